package engine_test

import (
	"encoding/json"
	"flag"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/flightrules/flightrules/engine"
	"github.com/flightrules/flightrules/engine/enginetest"
	"github.com/flightrules/flightrules/engine/journal"
	"github.com/flightrules/flightrules/internal/dbtest"
)

// everyStep has a step of each kind, nested in each other, with waits inside.
const everyStep = `
rules:
  - id: r
    variables: {who: me, begun: "${{ now() }}"}
    triggers: [{event: custom.x}]
    actions:
      - log: "begun by ${{ vars.who }}"
      - set: {n: 0, left: none}
      - choose:
          - when: event.payload.n > 100
            do: [{stop: too many}]
        else:
          - repeat: {for_each: event.payload.items}
            do:
              - set: {n: "${{ vars.n + 1 }}"}
              - parallel:
                  - - lab.ring: {text: "left ${{ item }} ${{ vars.begun }}"}
                    - wait: 5s
                    - set: {left: "${{ item }} of ${{ vars.n }}"}
                    - update: {kind: door, id: "d${{ index }}", set: {status: open, count: "${{ vars.n }}"}}
                  - - id: opened
                      wait_for: {event: door.opened, where: "event.entity.id == 'd' + string(index)"}
                      timeout: 1m
                    - lab.ring: {text: "right ${{ steps.opened.output.event.payload.count }}", key: "${{ secrets.TOKEN }}"}
                    - emit: {event: custom.y, payload: {n: "${{ vars.n }}", left: "${{ vars.left }}"}}
              - choose:
                  - when: index == 1
                    do:
                      - repeat: {until: index == 1}
                        do: [{wait: 1s}, {lab.ring: {text: "inner ${{ index }} ${{ vars.left }}"}}]
      - repeat: {while: vars.n < 4}
        do: [{set: {n: "${{ vars.n + 1 }}"}}]
      - wait_for: {condition: "held('door', 'd1', 'status') >= duration('20s')"}
      - lab.ring: {text: flaky}
        retry: {attempts: 5, backoff: 2s}
      - choose:
          - when: "true"
            do: [{set: {n: "${{ vars.n + 10 }}"}}, {lab.ring: {text: "block ${{ vars.n }}"}}, {wait: 1s}, {lab.ring: {text: flaky too}}]
        retry: {attempts: 5, backoff: 2s}
      - parallel: [[{wait: 1h}, {lab.ring: {text: never}}]]
        timeout: 7s
        on_error: continue
      - id: quiet
        silence: {match: "event.name == 'custom.z'", for: 1h}
      - unsilence: ${{ steps.quiet.output.id }}
      - run: other
        inputs: {n: "${{ vars.n }}"}
      - id: last
        lab.ring: {text: "done ${{ vars.n }} ${{ vars.left }}"}
      - stop: "over with ${{ vars.n }} ${{ steps.last.status }}"
        outcome: failure
      - lab.ring: {text: never}
  - id: other
    triggers: [{manual: true, inputs: {n: {type: integer}}}]
    actions: [{lab.ring: {text: "other ${{ event.payload.n }}"}}]
  - id: y
    mode: parallel
    triggers: [{event: custom.y}]
    actions: [{lab.ring: {text: "y ${{ event.payload }}"}}]
`

// aftermath is what a run has left behind, without what may differ: ids, times
// and how often something was begun.
type aftermath struct {
	Runs   []string
	Trace  []string
	Texts  []string // each text that was rung, once
	Events []string
	Doors  map[string]door
	Left   int // rows of what waits
}

// TestACrashAnywhereChangesNothing ends the engine at each of the moments at
// which it looks at the clock, which it does between any two transactions, and
// compares what comes of it with a run that was left alone.
func TestACrashAnywhereChangesNothing(t *testing.T) {
	for name, c := range map[string]struct {
		url   func(testing.TB) string
		every int // how many of the moments
	}{"sqlite": {dbtest.SQLite, 61}, "postgres": {dbtest.Postgres, 211}} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			looks := 0
			want := crashing(t, c.url(t), func() { looks++ })
			if len(want.Runs) != 4 || want.Left != 0 {
				t.Fatalf("the run that was left alone left %+v", want)
			}
			t.Logf("it looked at the clock %d times", looks)
			every := c.every
			if *allMoments {
				every = 1
			}
			for at := 1; at <= looks; at += every {
				n := 0
				got := crashing(t, c.url(t), func() {
					if n++; n >= at && n < at+50 { // dead until it is started again
						panic(fmt.Sprintf("a crash at look %d", at))
					}
				})
				if diff := cmp.Diff(want, got); diff != "" {
					t.Fatalf("a crash at look %d of %d (-undisturbed +crashed):\n%s", at, looks, diff)
				}
			}
		})
	}
}

var allMoments = flag.Bool("moments", false, "crash at each moment, not only at some")

// crashing runs everyStep to its end, starting the engine again when it crashes.
func crashing(t *testing.T, url string, looked func()) aftermath {
	t.Helper()
	l := newLab(t, url, everyStep)
	l.world.until = map[string]time.Time{"flaky": l.Now().Add(50 * time.Second), "flaky too": l.Now().Add(63 * time.Second)}
	dead := false
	l.world.looked = func() {
		if dead {
			panic("it has crashed")
		}
		defer func() {
			if p := recover(); p != nil {
				dead = true
				panic(p)
			}
		}()
		looked()
	}
	// Whoever posts an event does so again, with its id, until it is accepted.
	guarded(&dead, l, func() error {
		_, _, err := l.Engine.Engine.Emit(t.Context(), engine.Emitted{ID: "begin", Name: "custom.x", Payload: []byte(`{"n": 1, "items": ["a", "b"]}`)})
		return err
	})
	end := enginetest.Epoch.Add(10 * time.Minute)
	for {
		guarded(&dead, l, func() error { return l.Sim.Settle(t.Context()) })
		next := end
		guarded(&dead, l, func() error {
			due, err := l.Sim.Next(t.Context())
			if next = end; err == nil && !due.IsZero() && due.Before(end) {
				next = due
			}
			return err
		})
		now := l.Time()
		if !next.Before(end) {
			break
		}
		l.Jump(max(next.Sub(now), 0))
	}
	l.world.looked = nil
	return l.aftermath()
}

// guarded does something, again and again until no crash comes between.
func guarded(dead *bool, l *lab, fn func() error) {
	l.t.Helper()
	for {
		var err error
		func() {
			defer func() {
				if p := recover(); p != nil {
					*dead = true
				}
			}()
			err = fn()
		}()
		if !*dead {
			if err != nil {
				l.t.Fatal(err)
			}
			return
		}
		l.restartDead(dead)
	}
}

// restartDead starts the engine again; nothing looks at the clock in vain
// while it does.
func (l *lab) restartDead(dead *bool) {
	l.t.Helper()
	looked := l.world.looked
	l.world.looked = nil
	*dead = false
	l.Reopen()
	if l.DB.Postgres() {
		// The leases of the dead run out by the time, which would be another then.
		tamper(l.t, l, `UPDATE runs SET lease_until = 1 WHERE lease_until IS NOT NULL`)
	}
	l.world.looked = looked
}

func (l *lab) aftermath() aftermath {
	l.t.Helper()
	a := aftermath{Doors: map[string]door{}}
	for _, name := range []string{"r", "other", "y"} {
		for _, r := range l.Runs(name) {
			a.Runs = append(a.Runs, fmt.Sprintf("%s %s %s", r.Rule, r.Status, r.Error))
			for _, s := range l.Steps(r.ID) {
				a.Trace = append(a.Trace, fmt.Sprintf("%s %s@%s %s %s failures %d in %s out %s", r.Rule, s.Path, s.Iteration, s.Status, s.Error, s.Failures, l.comparable(s.Input), l.comparable(s.Output)))
			}
		}
	}
	slices.Sort(a.Runs) // those of y are of two events that come at once
	slices.Sort(a.Trace)
	keys := map[string]string{}
	for i, call := range l.world.rings {
		if before, ok := keys[call.IdempotencyKey]; ok && before != l.world.texts[i] {
			l.t.Errorf("under the key %s %q was rung, and %q", call.IdempotencyKey, before, l.world.texts[i])
		}
		keys[call.IdempotencyKey] = l.world.texts[i]
		if strings.HasPrefix(l.world.texts[i], "right") && l.world.keys[i] != token {
			l.t.Errorf("rung with %q", l.world.keys[i])
		}
	}
	for _, text := range keys {
		a.Texts = append(a.Texts, text)
	}
	slices.Sort(a.Texts)
	for _, name := range []string{"custom.y", "engine.manual", "door.opened"} {
		for _, e := range l.Events(name) {
			a.Events = append(a.Events, e.Name+" "+string(e.Payload))
		}
	}
	for _, id := range []string{"d0", "d1"} {
		d, err := l.plugin.doors.Get(l.t.Context(), id)
		if err != nil {
			l.t.Fatal(err)
		}
		a.Doors[id] = d
	}
	for _, model := range []any{(*journal.Listener)(nil), (*journal.Mail)(nil), (*journal.Watch)(nil)} {
		n, err := l.DB.Read().NewSelect().Model(model).Count(l.t.Context())
		if err != nil {
			l.t.Fatal(err)
		}
		a.Left += int(n)
	}
	return a
}

// comparable is what was recorded without ids, and without how often the bell
// was rung before.
func (l *lab) comparable(text []byte) string {
	if text == nil {
		return "-"
	}
	var v any
	if err := json.Unmarshal(text, &v); err != nil {
		l.t.Fatal(err)
	}
	var without func(v any) any
	without = func(v any) any {
		m, ok := v.(map[string]any)
		if !ok {
			return v
		}
		for _, key := range []string{"id", "rings", "looked"} {
			delete(m, key)
		}
		for key := range m {
			m[key] = without(m[key])
		}
		return m
	}
	out, err := json.Marshal(without(v))
	if err != nil {
		l.t.Fatal(err)
	}
	return string(out)
}
