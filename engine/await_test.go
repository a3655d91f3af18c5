package engine_test

import (
	"context"
	"fmt"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/flightrules/flightrules/engine"
	"github.com/flightrules/flightrules/engine/journal"
	"github.com/flightrules/flightrules/internal/loop"
)

func TestWaitForAnEvent(t *testing.T) {
	timeline(t, "that comes while it waits", acting(`
      - id: ack
        wait_for: {event: custom.ack, where: event.payload.n == trigger.event.payload.n}
      - lab.ring: {text: "${{ steps.ack.output.event.payload.who }} ${{ steps.ack.output.timed_out }} ${{ steps.ack.output.remaining == nil }}"}
`), func(t *testing.T, l *lab) {
		l.post("custom.x", map[string]any{"n": 1})
		l.post("custom.ack", map[string]any{"n": 2, "who": "no one"})
		l.wantRuns("r", waiting)
		l.sec(10)
		l.post("custom.ack", map[string]any{"n": 1, "who": "alice"})
		l.wantTexts("alice false true")
		l.wantRuns("r", succeeded)
	})
	timeline(t, "that comes between two steps, and not before the run", acting(`
      - wait: 10s
      - id: ack
        wait_for: {event: custom.ack}
        timeout: 20s
      - lab.ring: {text: "${{ steps.ack.output.event.payload.n }} ${{ steps.ack.output.remaining }}"}
`), func(t *testing.T, l *lab) {
		l.post("custom.ack", map[string]any{"n": 1})
		l.post("custom.x", nil)
		l.sec(5)
		l.post("custom.ack", map[string]any{"n": 2})
		l.post("custom.ack", map[string]any{"n": 3})
		l.sec(10)
		l.wantTexts("2 20s")
		l.wantRuns("r", succeeded)
	})
	timeline(t, "each event ends one wait of a run, in whatever order they come", acting(`
      - wait_for: {event: custom.a}
      - lab.ring: {text: "one a"}
      - wait_for: {event: custom.b}
      - lab.ring: {text: "b"}
      - wait_for: {event: custom.a}
      - lab.ring: {text: "two a"}
`), func(t *testing.T, l *lab) {
		l.post("custom.x", nil)
		l.post("custom.b", nil)
		l.wantTexts()
		l.post("custom.a", nil)
		l.wantTexts("one a", "b")
		l.post("custom.a", nil)
		l.wantTexts("one a", "b", "two a")
	})
	timeline(t, "branches each have it", acting(`
      - wait_for: {event: custom.a}
      - parallel:
          - [{wait_for: {event: custom.a}}, {lab.ring: {text: left}}]
          - [{wait: 10s}, {wait_for: {event: custom.a}}, {lab.ring: {text: right}}]
      - wait_for: {event: custom.a}
      - lab.ring: {text: all}
`), func(t *testing.T, l *lab) {
		l.post("custom.x", nil)
		l.post("custom.a", nil)
		l.post("custom.a", nil)
		l.wantTexts("left")
		l.sec(10)
		l.wantTexts("left", "right")
		l.post("custom.a", nil)
		l.wantTexts("left", "right", "all")
	})
	timeline(t, "of any name below one, and of a change", acting(`
      - id: a
        wait_for: {event: custom.deep.*}
      - id: b
        wait_for: {event: door.opened, where: event.change.next.count > 1}
      - lab.ring: {text: "${{ steps.a.output.event.name }} ${{ steps.b.output.event.entity.id }}"}
`), func(t *testing.T, l *lab) {
		l.post("custom.x", nil)
		l.put("a", door{Status: "open", Count: 1})
		l.put("b", door{Status: "open", Count: 2})
		l.post("custom.deep.er.still", nil)
		l.wantTexts("custom.deep.er.still b")
	})
	timeline(t, "WT-2: when the time is over the run goes on, or fails", `
rules:
  - {id: unset, triggers: [{event: custom.x}], actions: [{id: w, wait_for: {event: custom.ack}, timeout: 5s}, {lab.ring: {text: "unset ${{ steps.w.output.timed_out }} ${{ steps.w.output.remaining }}"}}]}
  - {id: continue, triggers: [{event: custom.x}], actions: [{wait_for: {event: custom.ack}, timeout: "${{ duration('5s') }}", on_timeout: continue}, {lab.ring: {text: continue}}]}
  - {id: fail, triggers: [{event: custom.x}], actions: [{wait_for: {event: custom.ack}, timeout: 5s, on_timeout: fail}, {lab.ring: {text: never}}]}
`, func(t *testing.T, l *lab) {
		l.post("custom.x", nil)
		l.sec(4.9)
		l.wantTexts()
		l.sec(5)
		l.post("custom.ack", nil)
		l.wantRung(map[string]int{"unset true 0s": 1, "continue": 1})
		l.wantRuns("unset", succeeded)
		l.wantRuns("fail", failed)
		if got := l.Runs("fail")[0].Error; got != "actions[0]: timed out after 5s" {
			t.Error(got)
		}
	})
	timeline(t, "WT-6c: what was set is seen in the wait", acting(`
      - set: {seconds: 5}
      - wait_for: {event: custom.ack, where: event.payload.n > vars.seconds}
        timeout: "${{ string(vars.seconds * 4) + 's' }}"
      - lab.ring: {text: on}
`), func(t *testing.T, l *lab) {
		l.post("custom.x", nil)
		l.post("custom.ack", map[string]any{"n": 5})
		l.wantTexts()
		l.sec(10)
		l.post("custom.ack", map[string]any{"n": 6})
		l.wantTexts("on")
	})
	timeline(t, "an event of which nobody can say is passed over, with a record", acting(`
      - wait_for: {event: custom.ack, where: event.payload.n > 3}
`), func(t *testing.T, l *lab) {
		l.post("custom.x", nil)
		l.post("custom.ack", map[string]any{"m": 5})
		l.wantRuns("r", waiting)
		out, _ := l.Output(l.lastRun().ID, "actions[0]").(map[string]any)
		if list, _ := out["passed_over"].([]any); len(list) != 1 {
			t.Errorf("%v", out)
		}
		l.post("custom.ack", map[string]any{"n": 5})
		l.wantRuns("r", succeeded)
	})
	timeline(t, "one that comes too late while nobody was looking", acting(`
      - id: w
        wait_for: {event: custom.ack}
        timeout: 10s
      - lab.ring: {text: "late ${{ steps.w.output.timed_out }}"}
`), func(t *testing.T, l *lab) {
		l.post("custom.x", nil)
		l.Jump(20 * time.Second) // an outage
		if _, _, err := l.Engine.Engine.Emit(t.Context(), engine.Emitted{Name: "custom.ack"}); err != nil {
			t.Fatal(err)
		}
		l.then()
		l.wantTexts("late true")
	})
	timeline(t, "a queued run hears what comes from when it is its turn", `
rules:
  - id: r
    mode: queued
    triggers: [{event: custom.x}]
    actions:
      - id: w
        wait_for: {event: custom.ack}
      - lab.ring: {text: "${{ event.payload.n }} ${{ steps.w.output.event.payload.n }}"}
`, func(t *testing.T, l *lab) {
		l.post("custom.x", map[string]any{"n": 1})
		l.post("custom.x", map[string]any{"n": 2})
		l.post("custom.ack", map[string]any{"n": 1})
		l.wantTexts("1 1")
		l.post("custom.ack", map[string]any{"n": 2})
		l.wantTexts("1 1", "2 2")
		l.wantRuns("r", succeeded, succeeded)
	})
	timeline(t, "WT-4: an edge is not waited for that was there before", acting(`
      - wait_for: {event: door.opened}
      - lab.ring: {text: opened}
`), func(t *testing.T, l *lab) {
		l.be("a", "open")
		l.post("custom.x", nil)
		l.wantRuns("r", waiting)
		l.be("a", "closed")
		l.be("a", "open")
		l.wantTexts("opened")
	})
}

func TestWhatARunHearsIsForgottenWhenItEnds(t *testing.T) {
	each(t, acting(`
      - wait_for: {event: custom.ack}
      - wait_for: {condition: "state('door', 'a')?.status == 'open'"}
`), func(t *testing.T, l *lab) {
		l.post("custom.x", nil)
		l.post("custom.ack", nil)
		l.wantRuns("r", waiting)
		left := func() (n int) {
			for _, model := range []any{(*journal.Listener)(nil), (*journal.Mail)(nil), (*journal.Watch)(nil)} {
				some, err := l.DB.Read().NewSelect().Model(model).Count(t.Context())
				if err != nil {
					t.Fatal(err)
				}
				n += int(some)
			}
			return n
		}
		if got := left(); got != 3 {
			t.Errorf("%d rows while it waits, want 3", got)
		}
		l.be("a", "open")
		l.wantRuns("r", succeeded)
		if got := left(); got != 0 {
			t.Errorf("%d rows are left", got)
		}
		l.post("custom.x", nil)
		if _, err := l.Engine.Engine.CancelRun(t.Context(), l.lastRun().ID, "test"); err != nil {
			t.Fatal(err)
		}
		l.post("custom.ack", nil)
		if got := left(); got != 0 {
			t.Errorf("%d rows are left of a cancelled run", got)
		}
	})
}

func TestWaitForACondition(t *testing.T) {
	timeline(t, "that is true already", acting(`
      - id: w
        wait_for: {condition: "state('door', 'a').status == 'open'"}
      - lab.ring: {text: "${{ steps.w.output.timed_out }} ${{ steps.w.output.event == nil }}"}
`), func(t *testing.T, l *lab) {
		l.be("a", "open")
		l.post("custom.x", nil)
		l.wantTexts("false true")
	})
	timeline(t, "it is looked at when what it reads changes", acting(`
      - wait_for: {condition: "state('door', 'a')?.status == 'open' and len(entities('door')) == 2"}
        timeout: 1h
      - lab.ring: {text: on}
`), func(t *testing.T, l *lab) {
		l.post("custom.x", nil)
		l.be("a", "open")
		l.wantTexts()
		l.be("b", "closed")
		l.wantTexts("on")
	})
	timeline(t, "and when time alone makes it true", acting(`
      - wait_for: {condition: "held('door', 'a', 'status') >= duration('10m') and state('door', 'a').status == 'open'"}
      - lab.ring: {text: "${{ now() - event.at }}"}
`), func(t *testing.T, l *lab) {
		l.be("a", "open")
		l.sec(60)
		l.post("custom.x", nil)
		l.sec(300)
		l.be("a", "closed")
		l.be("a", "open") // at 5m
		l.sec(899)
		l.wantTexts()
		l.sec(900)
		l.wantTexts("14m")
	})
	timeline(t, "a moment, and one of two", acting(`
      - wait_for: {condition: "now() > date('2026-03-01T12:07:00Z') or now() - event.at > duration('12m')"}
      - lab.ring: {text: "${{ now() - event.at }}"}
`), func(t *testing.T, l *lab) {
		l.sec(10)
		l.post("custom.x", nil)
		l.sec(419)
		l.wantTexts()
		l.sec(421)
		l.wantTexts("6m50.000001s")
	})
	timeline(t, "what depends on the calendar is looked at each minute", acting(`
      - wait_for: {condition: "now().Minute() == 5"}
      - lab.ring: {text: "${{ now() }}"}
`), func(t *testing.T, l *lab) {
		l.sec(30)
		l.post("custom.x", nil)
		l.sec(299)
		l.wantTexts()
		l.sec(300)
		l.wantTexts("2026-03-01T12:05:00Z")
	})
	timeline(t, "its time may be over first", acting(`
      - wait_for: {condition: "state('door', 'a')?.status == 'open'"}
        timeout: 10s
        on_timeout: fail
        retry: {attempts: 2, backoff: 5s}
      - lab.ring: {text: never}
`), func(t *testing.T, l *lab) {
		l.post("custom.x", nil)
		l.sec(10)
		l.wantTrace("actions[0] waiting timed out after 10s")
		l.sec(25)
		l.wantRuns("r", failed)
	})
	timeline(t, "one that cannot be evaluated fails the step", acting(`
      - wait_for: {condition: "state('door', 'a').status == 'open'"}
`), func(t *testing.T, l *lab) {
		l.post("custom.x", nil)
		l.wantRuns("r", failed)
	})
	timeline(t, "nothing is looked at that cannot have changed", acting(`
      - wait_for: {condition: "state('door', 'a')?.status == 'open'"}
`), func(t *testing.T, l *lab) {
		l.be("b", "closed")
		l.post("custom.x", nil)
		before := l.lastRun().Epoch
		l.be("b", "open")
		l.sec(100_000)
		if after := l.lastRun().Epoch; after != before {
			t.Errorf("it was looked at %d times", after-before)
		}
		l.be("a", "closed")
		if after := l.lastRun().Epoch; after <= before {
			t.Error("it was not looked at")
		}
	})
}

// TestNoEventFallsBetweenALookAndAWait has events come at every point around
// the moment at which a run begins to wait.
func TestNoEventFallsBetweenALookAndAWait(t *testing.T) {
	each(t, acting(`
      - lab.ring: {text: "before"}
      - wait_for: {event: custom.ack}
      - lab.ring: {text: "after"}
`), func(t *testing.T, l *lab) {
		for i := range 3 {
			l.world.mu.Lock()
			l.world.texts, l.world.rings = nil, nil
			l.world.mu.Unlock()
			if _, _, err := l.Engine.Engine.Emit(t.Context(), engine.Emitted{Name: "custom.x"}); err != nil {
				t.Fatal(err)
			}
			// The parts of the engine, one step after the other, with the event
			// after the ith of them.
			for j, stepper := range l.Engine.Engine.Steppers() {
				if i == j {
					if _, _, err := l.Engine.Engine.Emit(t.Context(), engine.Emitted{Name: "custom.ack"}); err != nil {
						t.Fatal(err)
					}
				}
				if _, err := stepper.Step(t.Context()); err != nil {
					t.Fatal(err)
				}
			}
			l.then()
			l.wantTexts("before", "after")
		}
	})
}

func TestManyRunsWaitAtOnce(t *testing.T) {
	each(t, `
rules:
  - id: r
    mode: parallel
    max: 1000
    triggers: [{event: custom.x}]
    actions:
      - wait_for: {event: custom.ack, where: event.payload.n == trigger.event.payload.n}
      - lab.ring: {text: "n${{ event.payload.n }}"}
`, func(t *testing.T, l *lab) {
		const n = 90
		for i := range n {
			if _, _, err := l.Engine.Engine.Emit(t.Context(), engine.Emitted{Name: "custom.x", Payload: fmt.Appendf(nil, `{"n":%d}`, i)}); err != nil {
				t.Fatal(err)
			}
		}
		l.then()
		for i := range n {
			if _, _, err := l.Engine.Engine.Emit(t.Context(), engine.Emitted{Name: "custom.ack", Payload: fmt.Appendf(nil, `{"n":%d}`, i)}); err != nil {
				t.Fatal(err)
			}
		}
		l.then()
		want := map[string]int{}
		for i := range n {
			want[fmt.Sprintf("n%d", i)] = 1
		}
		if diff := cmp.Diff(want, l.counted()); diff != "" {
			t.Error(diff)
		}
	})
}

// TestWhatComesAtAnyMomentIsHeard has what a run waits for come, and be routed,
// at each of the moments at which the run looks at the clock: before it begins
// to wait, between its last look and the moment from which it waits, and after.
func TestWhatComesAtAnyMomentIsHeard(t *testing.T) {
	each(t, `
rules:
  - id: event
    triggers: [{event: custom.x, where: event.payload.rule == "event"}]
    actions: [{log: hi}, {wait_for: {event: custom.ack}, timeout: 1h}, {log: on}]
  - id: condition
    triggers: [{event: custom.x, where: event.payload.rule == "condition"}]
    actions: [{log: hi}, {wait_for: {condition: "state('door', 'a')?.status == 'open'"}, timeout: 1h}, {log: on}]
`, func(t *testing.T, l *lab) {
		part := func(i int) loop.Stepper { return l.Engine.Engine.Steppers()[i] }
		come := map[string]func() error{
			"event": func() error {
				_, _, err := l.Engine.Engine.Emit(context.Background(), engine.Emitted{Name: "custom.ack"})
				return err
			},
			"condition": func() error { return l.tryToBe("a", "open") },
		}
		for rule, happen := range come {
			for at, reached := 1, true; reached; at++ {
				l.be("a", "closed")
				if _, _, err := l.Engine.Engine.Emit(t.Context(), engine.Emitted{Name: "custom.x", Payload: fmt.Appendf(nil, `{"rule": %q}`, rule)}); err != nil {
					t.Fatal(err)
				}
				for more := true; more; {
					var err error
					if more, err = part(1).Step(t.Context()); err != nil {
						t.Fatal(err)
					}
				}
				reached = false
				var looks atomic.Int64
				done := make(chan error, 1)
				l.world.looked = func() {
					if looks.Add(1) != int64(at) {
						return // it also looks itself, and then it is past that
					}
					reached = true
					go func() {
						err := happen()
						for more := true; more && err == nil; {
							more, err = part(1).Step(context.Background())
						}
						done <- err
					}()
					select {
					case err := <-done:
						done <- err
					case <-time.After(50 * time.Millisecond): // it waits for the transaction that is open here
					}
				}
				if _, err := part(2).Step(t.Context()); err != nil {
					t.Fatal(err)
				}
				if reached {
					if err := <-done; err != nil {
						t.Fatal(err)
					}
				}
				l.world.looked = nil
				if !reached {
					if err := happen(); err != nil {
						t.Fatal(err)
					}
				}
				l.Settle()
				for _, r := range l.Runs(rule) {
					if r.Status != succeeded {
						t.Fatalf("%s: what came at look %d was not heard: the run is %s", rule, at, r.Status)
					}
				}
			}
		}
	})
}
