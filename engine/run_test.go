package engine_test

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/uptrace/bun"

	"github.com/flightrules/flightrules/engine/enginetest"
	"github.com/flightrules/flightrules/engine/journal"
	"github.com/flightrules/flightrules/entities"
	"github.com/flightrules/flightrules/internal/dbtest"
)

const (
	succeeded = journal.RunSucceeded
	failed    = journal.RunFailed
	waiting   = journal.RunWaiting
)

// mutateOnly changes a door and routes nothing.
func mutateOnly(t *testing.T, l *lab, id, status string) {
	t.Helper()
	if _, err := l.plugin.doors.Mutate(t.Context(), id, func(_ context.Context, _ bun.Tx, prev *door) (door, error) {
		prev.Status = status
		return *prev, nil
	}); err != nil {
		t.Fatal(err)
	}
}

// trace is a run's steps in one line each.
func trace(steps []journal.Step) []string {
	lines := []string{}
	for _, s := range steps {
		lines = append(lines, strings.TrimSpace(s.Path+" "+s.Action+" "+string(s.Status)+" "+s.Error))
	}
	return lines
}

func TestRunDoesEveryStep(t *testing.T) {
	each(t, `
rules:
  - id: all
    variables: {greeting: "hello ${{ event.payload.door }}"}
    triggers: [{event: door.opened, where: event.payload.count > 0}]
    conditions:
      - state("door", event.entity.id).status == "open"
      - event.change.next.count == event.payload.count
    actions:
      - log: "${{ vars.greeting }}"
      - set: {twice: "${{ event.payload.count * 2 }}", soon: "${{ now() }}"}
      - id: bell
        lab.ring: {text: "${{ vars.greeting }} ${{ vars.twice }}"}
      - choose:
          - when: steps.bell.output.rings > 100
            do: [{log: never}]
          - when: vars.twice == 6 && vars.soon startsWith "2026-03-01T"
            do:
              - wait: 1h
              - set: {twice: "${{ vars.twice + 1 }}"}
        else: [{log: never}]
      - if: vars.twice == 6
        log: never
      - update: {kind: door, id: "${{ event.entity.id }}", set: {note: "seen ${{ vars.twice }} times"}}
      - emit: {event: custom.seen, payload: {n: "${{ vars.twice }}"}}
  - id: chained
    triggers: [{event: custom.seen, where: event.payload.n == 7}]
    actions: [{lab.ring: {text: "depth ${{ event.depth }} by ${{ event.actor }}"}}]
`, func(t *testing.T, l *lab) {
		l.put("a", door{Status: "open"})
		l.wantOutcomes("all") // the where was false: no match, no decision
		l.put("b", door{Status: "open", Count: 3})
		l.wantOutcomes("all", started)
		l.wantRuns("all", waiting)
		l.after(time.Hour - time.Second)
		l.wantRuns("all", waiting)
		l.after(time.Second)
		l.wantRuns("all", succeeded)
		run := l.Runs("all")[0]
		want := []string{
			"actions[0] log succeeded", "actions[1] set succeeded", "actions[2] lab.ring succeeded", "actions[3] choose succeeded",
			"actions[3].choose[1].do[0] wait succeeded", "actions[3].choose[1].do[1] set succeeded", "actions[4] log skipped",
			"actions[5] update succeeded", "actions[6] emit succeeded",
		}
		if diff := cmp.Diff(want, trace(l.Steps(run.ID))); diff != "" {
			t.Error(diff)
		}
		l.wantRung(map[string]int{"hello b 6": 1, "depth 1 by rule:all": 1})
		state, err := l.plugin.doors.Get(t.Context(), "b")
		if err != nil || state.Note != "seen 7 times" || state.Count != 3 {
			t.Errorf("%+v %v", state, err)
		}
		log, err := l.plugin.doors.Transitions(t.Context(), "b", 1)
		if err != nil || log[0].Cause != (entities.Cause{Actor: "rule:all", RunID: run.ID, Depth: 1}) {
			t.Errorf("%+v %v", log, err)
		}
		if key := l.world.rings[0].IdempotencyKey; key != run.ID+"/actions[2]/0" {
			t.Errorf("idempotency key %q", key)
		}
	})
}

func TestConditions(t *testing.T) {
	each(t, `
rules:
  - id: closed-only
    triggers: [{event: door.opened}]
    conditions: ['event.payload.count == 0', 'event.payload.door == "b"']
    actions: [{log: ran}]
  - id: broken
    triggers: [{event: custom.x}]
    conditions: ['event.payload.missing > 3']
    actions: [{log: ran}]
  - id: broken-where
    triggers: [{event: custom.x, where: 'event.payload.missing > 3'}]
    actions: [{log: ran}]
`, func(t *testing.T, l *lab) {
		l.put("a", door{Status: "open"})
		l.put("b", door{Status: "open"})
		l.wantOutcomes("closed-only", journal.ConditionFalse, started)
		if d := l.Decisions("closed-only")[0].Detail; d != `conditions[1]: event.payload.door == "b"` {
			t.Errorf("detail %q", d)
		}
		l.Emit("custom.x", map[string]any{})
		l.then()
		for _, rule := range []string{"broken", "broken-where"} {
			l.wantOutcomes(rule, journal.Failed)
			l.wantRuns(rule)
		}
	})
}

func TestSingle(t *testing.T) {
	each(t, `
rules:
  - id: slow
    triggers: [{event: door.opened}]
    actions: [{wait: 10s}, {lab.ring: {text: "${{ event.entity.id }}"}}]
`, func(t *testing.T, l *lab) {
		open := func(id string) {
			l.be(id, "closed")
			l.be(id, "open")
		}
		open("a")
		l.after(5 * time.Second)
		open("a")
		open("b") // another entity, another slot
		l.wantOutcomes("slow", started, journal.Blocked, started)
		if d := l.Decisions("slow"); d[1].RunID != d[0].RunID {
			t.Errorf("the decision names %q as what blocks, not %q", d[1].RunID, d[0].RunID)
		}
		l.after(5 * time.Second)
		open("a")
		l.after(time.Minute)
		l.wantOutcomes("slow", started, journal.Blocked, started, started)
		l.wantRung(map[string]int{"a": 2, "b": 1})
	})
}

func TestWaitUntilATime(t *testing.T) {
	each(t, `
rules:
  - id: until
    triggers: [{event: custom.go}]
    actions:
      - wait: {until: "${{ event.payload.at }}"}
      - lab.ring: {text: rung}
`, func(t *testing.T, l *lab) {
		l.Emit("custom.go", map[string]any{"at": enginetest.Epoch.Add(time.Hour)})
		l.then()
		l.Jump(2 * time.Hour)
		l.then()
		l.wantRung(map[string]int{"rung": 1})
		l.Emit("custom.go", map[string]any{"at": "soon"})
		l.then()
		l.wantRuns("until", succeeded, failed)
	})
}

func TestErrorsOfSteps(t *testing.T) {
	each(t, `
rules:
  - id: fails
    triggers: [{event: custom.x}]
    actions: [{lab.ring: {text: one, fail: boom}}, {lab.ring: {text: never}}]
  - id: panics
    triggers: [{event: custom.x}]
    actions: [{lab.ring: {text: two, fail: panic}}]
  - id: goes-on
    triggers: [{event: custom.x}]
    actions:
      - {id: ring, lab.ring: {text: three, fail: boom}, on_error: continue}
      - choose:
          - when: steps.ring.status == "failed" && steps.ring.error == "boom"
            do: [{lab.ring: {text: four, fail: inner}}]
        on_error: continue
      - {lab.ring: {text: five}}
  - id: bad-update
    triggers: [{event: custom.x}]
    actions: [{update: {kind: door, id: d, set: {status: "${{ event.payload.status }}"}}}]
  - id: bad-expression
    triggers: [{event: custom.x}]
    actions: [{log: "${{ event.payload.nothing.at.all }}"}]
`, func(t *testing.T, l *lab) {
		l.Emit("custom.x", map[string]any{"status": "broken"})
		l.then()
		for rule, want := range map[string]string{
			"fails": "actions[0]: boom", "panics": "actions[0]: action lab.ring: panic: rung too hard",
		} {
			l.wantRuns(rule, failed)
			if got := l.Runs(rule)[0].Error; got != want {
				t.Errorf("%s: error %q, want %q", rule, got, want)
			}
		}
		l.wantRuns("goes-on", succeeded)
		l.wantRuns("bad-update", failed)
		l.wantRuns("bad-expression", failed)
		if got := l.Runs("bad-update")[0].Error; !strings.Contains(got, "broken") {
			t.Errorf("error %q", got)
		}
		if _, err := l.plugin.doors.Get(t.Context(), "d"); !errors.Is(err, entities.ErrNotFound) {
			t.Errorf("a refused update left something behind: %v", err)
		}
		l.wantRung(map[string]int{"one": 1, "two": 1, "three": 1, "four": 1, "five": 1})
	})
}

func TestARunKeepsTheVersionItBeganWith(t *testing.T) {
	const rule = `
rules:
  - id: r
    triggers: [{event: custom.x}]
    actions: [{wait: 1h}, {lab.ring: {text: old}}]
`
	each(t, rule, func(t *testing.T, l *lab) {
		l.Emit("custom.x", nil)
		l.then()
		l.Reload(strings.Replace(rule, "text: old", "text: new", 1))
		l.then()
		l.after(time.Hour)
		l.wantRung(map[string]int{"old": 1})
		l.Emit("custom.x", nil)
		l.then()
		l.after(time.Hour)
		l.wantRung(map[string]int{"old": 1, "new": 1})
		if runs := l.Runs("r"); runs[0].Version == runs[1].Version {
			t.Error("an edited rule has the version of the old one")
		}
	})
}

func TestLoopsEndAtTheDepth(t *testing.T) {
	each(t, `
rules:
  - id: ping
    triggers: [{event: custom.ping}]
    actions: [{emit: {event: custom.pong}}]
  - id: pong
    triggers: [{event: custom.pong}]
    actions: [{emit: {event: custom.ping}}]
`, func(t *testing.T, l *lab) {
		l.Emit("custom.ping", nil)
		l.then()
		outcomes := append(l.Outcomes("ping"), l.Outcomes("pong")...)
		n := map[journal.Outcome]int{}
		for _, o := range outcomes {
			n[o]++
		}
		if n[journal.DepthExceeded] != 1 || n[started] != 17 {
			t.Errorf("got %v", n)
		}
	})
}

func TestAFailingDeriverIsOnRecord(t *testing.T) {
	each(t, `
rules:
  - id: other
    triggers: [{event: door.opened}]
    actions: [{lab.ring: {text: "${{ event.entity.id }}"}}]
  - id: watch
    triggers: [{event: engine.deriver_failed}]
    actions: [{lab.ring: {text: "${{ event.payload.failures[0].event }} of ${{ len(event.payload.failures) }}"}}]
`, func(t *testing.T, l *lab) {
		l.put("a", door{Status: "open", Note: "panic"})
		l.wantRung(map[string]int{"a": 1, "door.bad of 2": 1})
	})
}

func TestEventsAreTakenOnce(t *testing.T) {
	each(t, `
rules:
  - id: r
    triggers: [{event: custom.x}]
    actions: [{lab.ring: {text: rung}}]
`, func(t *testing.T, l *lab) {
		for range 3 {
			emit(t, l, "the-same")
			l.then()
		}
		l.wantRung(map[string]int{"rung": 1})
		l.wantOutcomes("r", started)
	})
}

// Two nodes on one database, stepping in turns: everything happens once.
func TestTwoNodes(t *testing.T) {
	l := newLab(t, dbtest.Postgres(t), openFor5s+`
  - id: slow
    triggers: [{event: door.opened}]
    actions: [{wait: 1s}, {lab.ring: {text: "slow ${{ event.entity.id }}"}}]
`)
	here := l.plugin
	peer := l.Peer()
	for _, id := range []string{"a", "b", "c"} {
		if _, err := here.doors.Mutate(t.Context(), id, func(context.Context, bun.Tx, *door) (door, error) { return door{Status: "open"}, nil }); err != nil {
			t.Fatal(err)
		}
		peer.Settle()
		l.Settle()
	}
	l.Jump(time.Hour)
	done := make(chan error)
	for _, e := range []*enginetest.Engine{l.Engine, peer} {
		go func() {
			for _, stepper := range e.Engine.Steppers() {
				for {
					more, err := stepper.Step(t.Context())
					if err != nil {
						done <- err
						return
					}
					if !more {
						break
					}
				}
			}
			done <- nil
		}()
	}
	for range 2 {
		if err := <-done; err != nil {
			t.Error(err)
		}
	}
	l.Settle()
	l.wantRung(map[string]int{"a": 1, "b": 1, "c": 1, "slow a": 1, "slow b": 1, "slow c": 1})
	l.wantOutcomes("left-open", held, held, held, started, started, started)
}

// A node that was frozen while it held a run writes nothing once another one
// has taken the run over.
func TestAFrozenNodeIsFencedOff(t *testing.T) {
	l := newLab(t, dbtest.Postgres(t), `
rules:
  - id: r
    triggers: [{event: custom.x}]
    actions: [{lab.ring: {text: "rung at ${{ now() }}"}}, {update: {kind: door, id: d, set: {status: open, count: 1}}}]
`)
	peer := l.Peer()
	frozen, thaw := make(chan struct{}), make(chan struct{})
	first := true
	l.world.hook = func(context.Context) {
		if first {
			first = false
			close(frozen)
			<-thaw
		}
	}
	emit(t, l, "x")
	done := make(chan struct{})
	go func() {
		defer close(done)
		l.Settle()
	}()
	<-frozen
	l.Jump(time.Minute) // the lease runs out
	peer.Settle()
	close(thaw)
	<-done
	l.Settle()
	l.wantRuns("r", succeeded)
	// The second was a minute later, and rang as the first did.
	l.wantRung(map[string]int{"rung at 2026-03-01T12:00:00Z": 2})
	if keys := l.world.rings; keys[0].IdempotencyKey != keys[1].IdempotencyKey {
		t.Errorf("the repetition has another key: %q and %q", keys[0].IdempotencyKey, keys[1].IdempotencyKey)
	}
	log, err := peer.Entities.Transitions(t.Context(), l.DB.Read(), entities.Filter{Kind: "door"})
	if err != nil || len(log) != 1 {
		t.Errorf("%d transitions, want 1 (%v)", len(log), err)
	}
	run := l.Runs("r")[0]
	if steps := l.Steps(run.ID); steps[0].Attempt != 2 || run.Epoch != 2 {
		t.Errorf("attempt %d, epoch %d", steps[0].Attempt, run.Epoch)
	}
}

func emit(t *testing.T, l *lab, id string) {
	t.Helper()
	if _, _, err := l.Engine.Engine.Emit(t.Context(), emitted(id)); err != nil {
		t.Fatal(err)
	}
}
