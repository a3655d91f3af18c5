package engine_test

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/flightrules/flightrules/engine"
	"github.com/flightrules/flightrules/engine/enginetest"
	"github.com/flightrules/flightrules/engine/journal"
	"github.com/flightrules/flightrules/entities"
	"github.com/flightrules/flightrules/internal/dbtest"
)

// ringAndWait is a rule whose runs ring, wait for a time, and ring again.
func ringAndWait(lines string) string {
	return `
rules:
  - id: r
    triggers: [{event: custom.x}]
    actions:
      - lab.ring: {text: "begin ${{ event.payload.n }}"}
      - wait: 10s
      - lab.ring: {text: "end ${{ event.payload.n }}"}
` + indent(lines)
}

func (l *lab) x(n string) {
	l.t.Helper()
	l.post("custom.x", map[string]any{"n": n})
}

func TestModes(t *testing.T) {
	timeline(t, "single drops and names the run in the way [CM-1, CM-17]", ringAndWait("mode: single"), func(t *testing.T, l *lab) {
		l.x("1")
		l.x("2")
		l.sec(10)
		l.wantOutcomes("r", started, blocked)
		if d := l.Decisions("r"); d[1].RunID != d[0].RunID {
			t.Errorf("blocked by %q, want %q", d[1].RunID, d[0].RunID)
		}
		l.wantRung(map[string]int{"begin 1": 1, "end 1": 1})
	})
	timeline(t, "parallel starts up to max [CM-3, CM-5]", ringAndWait("mode: parallel\nmax: 2"), func(t *testing.T, l *lab) {
		l.x("1")
		l.x("2")
		l.x("3")
		l.sec(10)
		l.wantOutcomes("r", started, started, dropped)
		l.wantRung(map[string]int{"begin 1": 1, "end 1": 1, "begin 2": 1, "end 2": 1})
		l.x("4")
		l.wantOutcomes("r", started, started, dropped, started)
	})
	timeline(t, "queued goes on one after the other, first come first served [CM-11, CM-13, CM-19]", ringAndWait("mode: queued\nmax: 2"), func(t *testing.T, l *lab) {
		for _, n := range []string{"1", "2", "3", "4"} {
			l.x(n)
		}
		l.wantOutcomes("r", started, queued, queued, dropped)
		l.wantRung(map[string]int{"begin 1": 1})
		l.sec(10)
		l.wantRung(map[string]int{"begin 1": 1, "end 1": 1, "begin 2": 1})
		l.sec(20)
		l.wantRung(map[string]int{"begin 1": 1, "end 1": 1, "begin 2": 1, "end 2": 1, "begin 3": 1})
		l.sec(30)
		l.wantRuns("r", succeeded, succeeded, succeeded)
	})
	timeline(t, "restart ends the active run [CM-15]", ringAndWait("mode: restart"), func(t *testing.T, l *lab) {
		l.x("1")
		l.sec(5)
		l.x("2")
		l.sec(10)
		l.wantRung(map[string]int{"begin 1": 1, "begin 2": 1})
		l.sec(15)
		l.wantRung(map[string]int{"begin 1": 1, "begin 2": 1, "end 2": 1})
		l.wantOutcomes("r", started, started)
		l.wantRuns("r", journal.RunCancelled, succeeded)
		runs := l.Runs("r")
		if d := l.Decisions("r")[1]; d.Detail != "restarts run "+runs[0].ID {
			t.Errorf("detail %q", d.Detail)
		}
		if steps := l.Steps(runs[0].ID); steps[1].Status != journal.StepCancelled {
			t.Errorf("its wait is %s", steps[1].Status)
		}
	})
	for name, c := range map[string]struct {
		per  string
		want []journal.Outcome
	}{
		"the entity, by default [CM-9]": {"", []journal.Outcome{started, started, blocked}},
		"the rule":                      {"per: rule", []journal.Outcome{started, blocked, blocked}},
		"an expression":                 {`per: 'event.entity.id == "b" ? 1 : 2'`, []journal.Outcome{started, started, blocked}},
	} {
		timeline(t, "it counts over "+name, strings.NewReplacer("custom.x", "door.opened", "payload.n", "payload.door").Replace(ringAndWait(c.per)), func(t *testing.T, l *lab) {
			l.be("a", "open")
			l.be("b", "open")
			l.be("b", "closed")
			l.be("b", "open")
			l.wantOutcomes("r", c.want...)
		})
	}
}

// A run that is being executed is asked to end; the next one begins when it
// has.
func TestRestartReachesARunningStep(t *testing.T) {
	for name, url := range map[string]func(testing.TB) string{"sqlite": dbtest.SQLite, "postgres": dbtest.Postgres} {
		t.Run(name, func(t *testing.T) {
			l := newLab(t, url(t), ringAndWait("mode: restart"))
			begun, first := make(chan struct{}), true
			l.world.hook = func(ctx context.Context) {
				if first {
					first = false
					close(begun)
					<-ctx.Done() // a step that goes on until it is told
				}
			}
			l.Engine.Engine.Inline = false
			ctx, cancel := context.WithCancel(t.Context())
			ended := make(chan error, 1)
			go func() { ended <- l.Core.Engine.Run(ctx) }()
			put := func(n string) {
				t.Helper()
				e := emitted(n)
				e.Payload = []byte(`{"n": "` + n + `"}`)
				if _, _, err := l.Engine.Engine.Emit(t.Context(), e); err != nil {
					t.Fatal(err)
				}
			}
			put("1")
			<-begun
			put("2")
			deadline := time.After(30 * time.Second)
			for l.counted()["begin 2"] == 0 {
				select {
				case <-deadline:
					t.Fatal("the second run did not begin")
				case <-time.After(5 * time.Millisecond):
				}
			}
			cancel()
			if err := <-ended; err != nil {
				t.Fatal(err)
			}
			if runs := l.Runs("r"); runs[0].Status != journal.RunCancelled || l.counted()["end 1"] != 0 {
				t.Errorf("the first run is %s, %v", runs[0].Status, l.counted())
			}
		})
	}
}

func TestLoops(t *testing.T) {
	timeline(t, "a rule that starts runs without end is tripped, and somebody must resume it", `
rules:
  - id: r
    mode: parallel
    max: 1000
    triggers: [{event: custom.x}]
    actions: [{log: hello}]
  - id: watch
    triggers: [{event: engine.rule_tripped}]
    actions: [{lab.ring: {text: "${{ event.payload.rule }}"}}]
`, func(t *testing.T, l *lab) {
		restart := l.restart
		l.restart = false
		for range 102 {
			l.x("1")
		}
		l.restart = restart
		l.then()
		l.wantStarted("r", 100)
		l.wantRung(map[string]int{"r": 1})
		states, err := journal.RuleStates(t.Context(), l.DB.Read(), false)
		if err != nil || !states["r"].Tripped {
			t.Fatalf("%+v, %v", states, err)
		}
		l.sec(3600)
		l.Reload(`{rules: [{id: r, mode: parallel, triggers: [{event: custom.x}], actions: [{log: other}]}]}`)
		l.then()
		l.x("2")
		d := l.Decisions("r")
		if last := d[len(d)-1]; last.Outcome != dropped || !strings.Contains(last.Detail, "tripped and must be resumed: it started 100 runs for - in 10s") {
			t.Errorf("%s %q", last.Outcome, last.Detail)
		}
		if _, err := l.Engine.Engine.Resume(t.Context(), "r"); err != nil {
			t.Fatal(err)
		}
		l.x("3")
		l.wantStarted("r", 101)
	})
	timeline(t, "beyond the depth nothing fires", `
rules:
  - id: r
    mode: parallel
    triggers: [{event: custom.x}]
    actions: [{emit: {event: custom.x}}]
`, func(t *testing.T, l *lab) {
		l.x("1")
		l.then()
		l.wantStarted("r", engine.MaxDepth+1)
		d := l.Decisions("r")
		if last := d[len(d)-1]; last.Outcome != journal.DepthExceeded {
			t.Errorf("%s %q", last.Outcome, last.Detail)
		}
	})
}

func pause(t *testing.T, l *lab, rule string) {
	t.Helper()
	ctx := entities.WithCause(t.Context(), entities.Cause{Actor: "alice"})
	if _, err := l.Engine.Engine.Pause(ctx, rule, "too loud"); err != nil {
		t.Fatal(err)
	}
	l.then()
}

func resume(t *testing.T, l *lab, rule string) {
	t.Helper()
	if _, err := l.Engine.Engine.Resume(t.Context(), rule); err != nil {
		t.Fatal(err)
	}
	l.then()
}

func TestPause(t *testing.T) {
	timeline(t, "the matches of a paused rule are dropped with a record, also across a reload", rule("triggers: [{event: custom.x}]"), func(t *testing.T, l *lab) {
		pause(t, l, "r")
		l.x("1")
		l.Reload(strings.Replace(rule("triggers: [{event: custom.x}]"), "event.id", "event.name", 1))
		l.x("2")
		l.Reload("rules: []")
		l.Reload(rule("triggers: [{event: custom.x}]"))
		l.x("3")
		l.wantOutcomes("r", dropped, dropped, dropped)
		if d := l.Decisions("r")[0]; d.Detail != "the rule was paused by alice: too loud" {
			t.Errorf("detail %q", d.Detail)
		}
		resume(t, l, "r")
		l.x("4")
		l.wantOutcomes("r", dropped, dropped, dropped, started)
	})
	timeline(t, "a dwell that is due meanwhile is dropped", openFor5s, func(t *testing.T, l *lab) {
		l.be("a", "open")
		pause(t, l, "left-open")
		l.sec(5)
		resume(t, l, "left-open")
		l.wantOutcomes("left-open", held, dropped)
	})
	t.Run("a rule that is not there", func(t *testing.T) {
		l := newLab(t, dbtest.SQLite(t), "rules: []")
		if _, err := l.Engine.Engine.Pause(t.Context(), "nobody", ""); !errors.Is(err, engine.ErrNoRule) {
			t.Error(err)
		}
	})
}

func TestSilence(t *testing.T) {
	silence := func(t *testing.T, l *lab, match string, start, end time.Duration) string {
		t.Helper()
		s, err := l.Engine.Engine.Silence(t.Context(), engine.SilenceSpec{
			Match: match, Start: enginetest.Epoch.Add(start), End: enginetest.Epoch.Add(end), Reason: "the move",
		})
		if err != nil {
			t.Fatal(err)
		}
		l.then()
		return s.ID
	}
	open := rule("triggers: [{state: door.status, to: open}]")
	timeline(t, "a silenced match is recorded, and looked at again at the end [NO-9]", open, func(t *testing.T, l *lab) {
		silence(t, l, `event.entity.id != "c" and trigger.rule == "r"`, 2500*time.Millisecond, 4500*time.Millisecond)
		l.sec(2)
		l.be("before", "open")
		l.sec(3)
		l.be("a", "open")
		l.be("b", "open")
		l.be("c", "open")
		l.sec(4)
		l.be("b", "closed")
		l.wantOutcomes("r", started, silenced, silenced, started)
		l.sec(4.5)
		l.wantOutcomes("r", started, silenced, silenced, started, started)
		if d := l.Decisions("r")[4]; d.Key != "door/a" || !strings.Contains(d.Detail, "ended") {
			t.Errorf("%s %q", d.Key, d.Detail)
		}
		l.be("d", "open")
		l.wantStarted("r", 4)
	})
	timeline(t, "a state that was left and entered again counts once", open, func(t *testing.T, l *lab) {
		silence(t, l, "true", 0, 10*time.Second)
		l.be("a", "open")
		l.be("a", "closed")
		l.be("a", "open")
		l.sec(10)
		l.wantOutcomes("r", silenced, silenced, started)
	})
	timeline(t, "events are over when they happened [NO-15, NO-17]", rule("triggers: [{event: custom.x}]"), func(t *testing.T, l *lab) {
		silence(t, l, `event.name == "custom.x"`, 0, 10*time.Second)
		l.x("1")
		l.sec(20)
		l.wantOutcomes("r", silenced)
	})
	timeline(t, "what is left after its end does not undo it, though it is seen first", open, func(t *testing.T, l *lab) {
		silence(t, l, "true", 0, 10*time.Second)
		l.be("a", "open")
		l.Jump(15 * time.Second)
		l.be("a", "closed")
		l.wantOutcomes("r", silenced, started)
		if e := l.Events("door.changed"); len(e) != 2 || !e[1].At.Equal(enginetest.Epoch.Add(10*time.Second)) {
			t.Errorf("%+v", e)
		}
	})
	timeline(t, "a second silence after the first", open, func(t *testing.T, l *lab) {
		silence(t, l, "true", 0, 10*time.Second)
		silence(t, l, "true", 5*time.Second, 20*time.Second)
		l.be("a", "open")
		l.sec(10)
		l.wantOutcomes("r", silenced, silenced)
		l.sec(20)
		l.wantOutcomes("r", silenced, silenced, started)
	})
	timeline(t, "one that is ended by hand, and one that ended while the engine was down", open, func(t *testing.T, l *lab) {
		id := silence(t, l, `event.entity.id == "a"`, 0, time.Hour)
		silence(t, l, `event.entity.id == "b"`, 0, 10*time.Second)
		l.be("a", "open")
		l.be("b", "open")
		if _, err := l.Engine.Engine.Unsilence(t.Context(), id); err != nil {
			t.Fatal(err)
		}
		l.then()
		l.wantStarted("r", 1)
		l.Jump(time.Minute)
		l.Restart()
		l.wantStarted("r", 2)
		if _, err := l.Engine.Engine.Unsilence(t.Context(), id); !errors.Is(err, journal.ErrNotFound) {
			t.Errorf("ended twice: %v", err)
		}
	})
	timeline(t, "what was silenced during a dwell that held", rule("triggers: [{state: door.status, to: open, for: 5s}]"), func(t *testing.T, l *lab) {
		silence(t, l, "true", 0, 10*time.Second)
		l.be("a", "open")
		l.sec(10)
		l.wantOutcomes("r", held, silenced, started)
	})
	timeline(t, "a matcher that cannot be evaluated silences nothing", open, func(t *testing.T, l *lab) {
		silence(t, l, `event.payload.nobody == "x"`, 0, time.Hour)
		l.be("a", "open")
		l.wantOutcomes("r", started)
	})
	t.Run("what is refused", func(t *testing.T) {
		l := newLab(t, dbtest.SQLite(t), "rules: []")
		for want, spec := range map[string]engine.SilenceSpec{
			"before it starts": {Match: "true", Start: enginetest.Epoch.Add(time.Hour), End: enginetest.Epoch.Add(time.Minute)},
			"ended already":    {Match: "true", Start: enginetest.Epoch.Add(-time.Hour), End: enginetest.Epoch.Add(-time.Minute)},
			"unknown name":     {Match: "nobody", End: enginetest.Epoch.Add(time.Minute)},
		} {
			if _, err := l.Engine.Engine.Silence(t.Context(), spec); err == nil || !strings.Contains(err.Error(), want) {
				t.Errorf("%v, want %q", err, want)
			}
		}
	})
}

func TestByHand(t *testing.T) {
	r := rule(`triggers: [{event: custom.x}, {manual: true, inputs: {host: {type: string, required: true}, count: {type: integer, default: 3}}}]
conditions: ["false"]`)
	timeline(t, "a rule runs, whatever its conditions", strings.Replace(r, "event.id", "event.payload.host + string(event.payload.count)", 1), func(t *testing.T, l *lab) {
		l.x("1")
		if _, err := l.Engine.Engine.RunByHand(t.Context(), "r", map[string]any{"host": "h"}); err != nil {
			t.Fatal(err)
		}
		l.then()
		l.wantOutcomes("r", falsely, started)
		l.wantRung(map[string]int{"h3": 1})
	})
	t.Run("inputs are checked", func(t *testing.T) {
		l := newLab(t, dbtest.SQLite(t), r)
		for want, inputs := range map[string]map[string]any{
			"host":    {},
			"nothing": {"host": "h", "nothing": 1},
			"count":   {"host": "h", "count": "three"},
		} {
			if _, err := l.Engine.Engine.RunByHand(t.Context(), "r", inputs); err == nil || !strings.Contains(err.Error(), want) {
				t.Errorf("%v, want %q", err, want)
			}
		}
		if _, err := l.Engine.Engine.RunByHand(t.Context(), "nobody", nil); !errors.Is(err, engine.ErrNoRule) {
			t.Error(err)
		}
	})
}
