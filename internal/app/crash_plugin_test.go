//go:build unix

package app_test

import (
	"context"
	"errors"
	"math/rand/v2"
	"time"

	"github.com/flightrules/flightrules/engine/action"
	"github.com/flightrules/flightrules/entities"
	"github.com/flightrules/flightrules/plugins"
	"github.com/flightrules/flightrules/triggers"
)

// sharedJob is the job that all drivers and a rule change at once. It is never
// removed.
const sharedJob = "shared"

// dwellLength is the `for` of the rule overdue.
const dwellLength = 20 * time.Millisecond

// crashRules do one of everything: each kind of step, a rule on what another
// one emits, a dwell, conditions, and modes that collide. Variables and
// what is set and updated have the time in them, so that it shows when they are
// evaluated twice.
const crashRules = `
rules:
  - id: ship
    variables: {ordered: "${{ now() }}"}
    triggers:
      - id: running
        event: job.running
        where: event.payload.count % 5 != 0
    conditions:
      - event.payload.count % 7 != 0
    actions:
      - log: "job ${{ event.payload.job }} runs"
      - set: {parcel: "parcel of ${{ event.payload.job }}, made ${{ now() }}"}
      - choose:
          - when: event.payload.count % 2 == 0
            do:
              - set: {lane: even}
              - crash.deliver: {text: "${{ run.id }} by the even lane: ${{ vars.parcel }}"}
        else:
          - set: {lane: odd}
          - crash.deliver: {text: "${{ run.id }} by the odd lane: ${{ vars.parcel }}"}
      - wait: 50ms
      - update: {kind: receipt, id: "${{ event.payload.job }}", set: {lane: "${{ vars.lane }}", shipped_at: "${{ now() }}"}}
      - emit: {event: custom.shipped, payload: {job: "${{ event.payload.job }}", parcel: "${{ vars.parcel }}", run: "${{ run.id }}"}}
      - repeat: {times: 2}
        do:
          - parallel:
              - - wait: 5ms
                - set: {sign: "left ${{ index }}"}
                - crash.deliver: {text: "${{ run.id }} signed ${{ vars.sign }}: ${{ vars.parcel }}"}
              - - wait_for: {event: custom.confirmed, where: event.payload.run == run.id}
                  timeout: 100ms
                - choose: [{when: index == 1, do: [{set: {sign: right}}]}]
          - wait_for: {condition: "now() - run.started_at > duration('60ms')"}
      - crash.deliver: {text: "${{ run.id }} at the end, ${{ vars.sign }}: ${{ vars.parcel }}, ordered ${{ vars.ordered }}"}

  - id: confirm
    triggers:
      - event: custom.shipped
    actions:
      - crash.deliver: {text: "${{ run.id }} confirms: ${{ event.payload.parcel }}"}
      - update: {kind: receipt, id: "${{ event.payload.job }}", set: {confirmed_at: "${{ now() }}"}}
      - repeat: {times: 2}
        do: [{emit: {event: custom.confirmed, payload: {run: "${{ event.payload.run }}"}}}]

  - id: overdue
    triggers:
      - state: job.stage
        to: running
        for: 20ms
    actions:
      - crash.deliver: {text: "${{ run.id }} is overdue: ${{ event.entity.id }}"}
      - update: {kind: job, id: shared, set: {note: "${{ run.id }} at ${{ now() }}"}}
`

// job is the kind that the drivers change. Each of their changes takes it to
// the next stage or removes it, and each of those means one event.
type job struct {
	Stage string `json:"stage" enum:"queued,running,done"`
	Count int    `json:"count"`
	Note  string `json:"note,omitempty"`
}

// after is the job as a driver leaves it.
func after(prev *job) job {
	if prev == nil {
		return job{Stage: "queued", Count: 1}
	}
	following := map[string]string{"queued": "running", "running": "done", "done": "queued"}
	return job{Stage: following[prev.Stage], Count: prev.Count + 1, Note: prev.Note}
}

// receipt is the kind that rules alone change.
type receipt struct {
	Lane        string    `json:"lane"`
	ShippedAt   time.Time `json:"shipped_at"`
	ConfirmedAt time.Time `json:"confirmed_at,omitzero"`
}

// jobEvent is the payload of the events of a job's life.
type jobEvent struct {
	Job   string `json:"job"`
	Count int    `json:"count"`
}

// parcel is the configuration of crash.deliver.
type parcel struct {
	Text string `json:"text"`
}

// delivery is a line of the file that stands for the outside world.
type delivery struct {
	Key   string `json:"key"`
	Text  string `json:"text"`
	Round int    `json:"round"` // which process it was
}

// crashPlugin brings the kinds, the events and the action.
type crashPlugin struct {
	deliveries *journalFile
	round      int

	jobs *entities.Handle[job]
}

func (*crashPlugin) Name() string { return "crash" }

func (p *crashPlugin) Register(h *plugins.Host) (err error) {
	if p.jobs, err = entities.Define(h.Entities(), entities.Spec[job]{Name: "job", Doc: "A job."}); err != nil {
		return err
	}
	if _, err = entities.Define(h.Entities(), entities.Spec[receipt]{Name: "receipt", Doc: "What became of a job."}); err != nil {
		return err
	}
	for _, stage := range []string{"queued", "running", "done"} {
		err = errors.Join(err, p.event(h, stage, func(c entities.Change[job]) bool {
			return c.Next != nil && c.Next.Stage == stage && (c.Prev == nil || c.Prev.Stage != stage)
		}))
	}
	return errors.Join(err,
		p.event(h, "removed", func(c entities.Change[job]) bool { return c.Next == nil }),
		action.Register(h.Actions(), action.Spec[parcel, struct{}]{Name: "crash.deliver", Doc: "Delivers.", Run: p.deliver}),
	)
}

func (p *crashPlugin) event(h *plugins.Host, name string, happened func(entities.Change[job]) bool) error {
	event, err := triggers.Define[jobEvent](h.Events(), triggers.EventSpec{Name: "job." + name, Doc: "The job is " + name + "."})
	if err != nil {
		return err
	}
	return triggers.Derive(h.Events(), p.jobs, event, func(c entities.Change[job]) (jobEvent, bool) {
		payload := jobEvent{Job: c.ID}
		if c.Next != nil {
			payload.Count = c.Next.Count
		}
		return payload, happened(c)
	})
}

// deliver has its effect at once and takes a little to say so, as what is far
// away does: then a crash can come between.
func (p *crashPlugin) deliver(_ context.Context, call action.Call, c parcel) (struct{}, error) {
	err := p.deliveries.add(delivery{Key: call.IdempotencyKey, Text: c.Text, Round: p.round})
	time.Sleep(rand.N(5 * time.Millisecond))
	return struct{}{}, err
}
