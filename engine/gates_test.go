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

// What is routed together meets each other as what is routed in turn.
func TestModesOfOneBatch(t *testing.T) {
	for mode, c := range map[string]struct {
		lines string
		want  []journal.Outcome
		runs  []journal.RunStatus
	}{
		"single":   {"mode: single", []journal.Outcome{started, blocked, blocked, blocked}, []journal.RunStatus{succeeded}},
		"parallel": {"mode: parallel\nmax: 2", []journal.Outcome{started, started, dropped, dropped}, []journal.RunStatus{succeeded, succeeded}},
		"queued":   {"mode: queued\nmax: 1", []journal.Outcome{started, queued, dropped, dropped}, []journal.RunStatus{succeeded, succeeded}},
		"restart": {"mode: restart", []journal.Outcome{started, started, started, started},
			[]journal.RunStatus{journal.RunCancelled, journal.RunCancelled, journal.RunCancelled, succeeded}},
		"cooldown": {"mode: parallel\ncooldown: 1m", []journal.Outcome{started, cooled, cooled, cooled}, []journal.RunStatus{succeeded}},
	} {
		timeline(t, mode, ringAndWait(c.lines), func(t *testing.T, l *lab) {
			l.x("1")
			for _, n := range []string{"2", "3", "4"} {
				l.emitOnly("custom.x", map[string]any{"n": n})
			}
			l.then()
			l.wantOutcomes("r", c.want...)
			l.sec(30)
			l.wantRuns("r", c.runs...)
		})
		timeline(t, mode+", all four", ringAndWait(c.lines), func(t *testing.T, l *lab) {
			for _, n := range []string{"1", "2", "3", "4"} {
				l.emitOnly("custom.x", map[string]any{"n": n})
			}
			l.then()
			l.wantOutcomes("r", c.want...)
			l.sec(30)
			l.wantRuns("r", c.runs...)
		})
	}
	timeline(t, "cooldown is of a rule and a key", rule("mode: parallel\ntriggers: [{event: custom.x}]\ncooldown: 1m\nper: event.payload.n")+
		"  - {id: other, triggers: [{event: custom.x}, {event: custom.y}], cooldown: 1m, per: event.payload.n, actions: [{log: hi}]}\n", func(t *testing.T, l *lab) {
		for _, n := range []string{"1", "2"} {
			l.emitOnly("custom.x", map[string]any{"n": n})
		}
		l.then()
		l.wantOutcomes("r", started, started)
		l.wantOutcomes("other", started, started)
		l.post("custom.y", map[string]any{"n": "3"})
		l.x("3")
		l.wantOutcomes("r", started, started, started)
		l.wantOutcomes("other", started, started, started, cooled)
	})
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
	timeline(t, "starts are counted for each rule and key, in the last ten seconds", `
rules:
  - {id: r, mode: parallel, max: 1000, per: event.payload.n, triggers: [{event: custom.x}], actions: [{log: hi}]}
  - {id: other, mode: parallel, max: 1000, per: event.payload.n, triggers: [{event: custom.x}, {event: custom.y}], actions: [{log: hi}]}
`, func(t *testing.T, l *lab) {
		times := func(n int, name, key string) {
			for range n {
				l.emitOnly(name, map[string]any{"n": key})
			}
		}
		times(60, "custom.x", "a")
		times(60, "custom.x", "b")
		l.then()
		l.wantStarted("r", 120)
		l.sec(5)
		times(39, "custom.x", "a")
		l.then()
		l.wantStarted("r", 159)
		l.wantStarted("other", 159)
		l.sec(9.999)
		times(3, "custom.y", "a")
		l.then()
		l.wantStarted("other", 160)
		d := l.Decisions("other")
		if last := d[len(d)-1]; last.Outcome != dropped || len(d) != 162 {
			t.Errorf("%d decisions, the last %s", len(d), last.Outcome)
		}
		if e := l.Events("engine.rule_tripped"); len(e) != 1 || e[0].EntityID != "other" || e[0].Depth != 1 {
			t.Errorf("%+v", e)
		}
		l.sec(10) // the first sixty are out
		times(61, "custom.x", "a")
		l.then()
		l.wantStarted("r", 220)
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
	timeline(t, "a rule that is paused runs by hand, one that is tripped does not", rule("triggers: [{event: custom.x}]"), func(t *testing.T, l *lab) {
		byHand := func() {
			t.Helper()
			if _, err := l.Engine.Engine.RunByHand(t.Context(), "r", nil); err != nil {
				t.Fatal(err)
			}
			l.then()
		}
		pause(t, l, "r")
		byHand()
		l.wantOutcomes("r", started)
		tamper(t, l, "UPDATE rule_states SET tripped = TRUE")
		byHand()
		l.wantOutcomes("r", started, dropped)
		pause(t, l, "r") // by somebody, and no longer for its rate
		byHand()
		l.wantOutcomes("r", started, dropped, started)
		states, err := journal.RuleStates(t.Context(), l.DB.Read(), true)
		if s := states["r"]; err != nil || s.Tripped || s.PausedBy != "alice" || s.Reason != "too loud" {
			t.Errorf("%+v, %v", s, err)
		}
		resume(t, l, "r")
		states, err = journal.RuleStates(t.Context(), l.DB.Read(), true)
		if s := states["r"]; err != nil || s.Paused() || s.PausedBy != "" || s.Reason != "" {
			t.Errorf("%+v, %v", s, err)
		}
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
	timeline(t, "it is over at its very end, though that is yet to be seen", open, func(t *testing.T, l *lab) {
		silence(t, l, "true", 0, 10*time.Second)
		l.Jump(10 * time.Second)
		l.be("a", "open")
		l.wantOutcomes("r", started)
	})
	timeline(t, "what was due before its end is silenced, though it is seen after", rule("triggers: [{state: door.status, to: open, for: 5s}]"), func(t *testing.T, l *lab) {
		id := silence(t, l, `trigger.id == "1"`, 0, 10*time.Second)
		l.be("a", "open")
		l.Jump(15 * time.Second)
		l.then()
		l.wantOutcomes("r", held, silenced, started)
		s, err := journal.SilenceByID(t.Context(), l.DB.Read(), id)
		if err != nil || !s.EndedAt.Equal(enginetest.Epoch.Add(10*time.Second)) {
			t.Errorf("it ended at %s, %v", s.EndedAt, err)
		}
		if e := l.Events("engine.silence_ended"); len(e) != 1 {
			t.Errorf("%d events say so", len(e))
		}
	})
	timeline(t, "each ends for itself, and rules see it", open+"  - {id: watch, mode: parallel, triggers: [{event: engine.silence_ended}], actions: [{log: hi}]}\n", func(t *testing.T, l *lab) {
		silence(t, l, `event.entity.id == "a"`, 0, 10*time.Second)
		silence(t, l, `event.entity.id == "b"`, 0, 20*time.Second)
		l.be("a", "open")
		l.be("b", "open")
		l.sec(10)
		l.wantOutcomes("r", silenced, silenced, started)
		l.wantStarted("watch", 1)
		l.sec(20)
		l.wantOutcomes("r", silenced, silenced, started, started)
		l.wantStarted("watch", 2)
	})
	timeline(t, "an event that follows from a change is over when it happened", rule("triggers: [{event: door.opened}]"), func(t *testing.T, l *lab) {
		silence(t, l, "true", 0, 10*time.Second)
		l.be("a", "open")
		l.sec(20)
		l.wantOutcomes("r", silenced)
	})
	timeline(t, "a rule that is gone looks at nothing again", open, func(t *testing.T, l *lab) {
		silence(t, l, "true", 0, 10*time.Second)
		l.be("a", "open")
		l.Reload("rules: []")
		l.then()
		l.sec(20)
		l.wantOutcomes("r", silenced)
	})
	timeline(t, "a matcher that does not compile any more silences nothing", open, func(t *testing.T, l *lab) {
		silence(t, l, "true", 0, 10*time.Second)
		tamper(t, l, "UPDATE silences SET matcher = 'nobody('")
		l.be("a", "open")
		l.wantOutcomes("r", started)
	})
	timeline(t, "it begins at once where nothing else is said, and has the id that it was given", open, func(t *testing.T, l *lab) {
		spec := engine.SilenceSpec{ID: "mine", Match: "true", End: enginetest.Epoch.Add(time.Minute)}
		if s, err := l.Engine.Engine.Silence(t.Context(), spec); err != nil || s.ID != "mine" || !s.StartsAt.Equal(enginetest.Epoch) {
			t.Errorf("%+v, %v", s, err)
		}
		if _, err := l.Engine.Engine.Silence(t.Context(), spec); !errors.Is(err, engine.ErrSilence) {
			t.Errorf("made twice: %v", err)
		}
		l.then()
		l.sec(5)
		if _, err := l.Engine.Engine.Unsilence(t.Context(), "mine"); err != nil {
			t.Fatal(err)
		}
		l.then()
		s, err := journal.SilenceByID(t.Context(), l.DB.Read(), "mine")
		if want := enginetest.Epoch.Add(5 * time.Second); err != nil || !s.EndsAt.Equal(want) || !s.EndedAt.Equal(want) {
			t.Errorf("%+v, %v", s, err)
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
			"before it starts":  {Match: "true", Start: enginetest.Epoch.Add(time.Hour), End: enginetest.Epoch.Add(time.Minute)},
			"before it starts ": {Match: "true", Start: enginetest.Epoch.Add(time.Hour), End: enginetest.Epoch.Add(time.Hour)},
			"it ended already":  {Match: "true", Start: enginetest.Epoch.Add(-time.Hour), End: enginetest.Epoch},
			"ended already":     {Match: "true", Start: enginetest.Epoch.Add(-time.Hour), End: enginetest.Epoch.Add(-time.Minute)},
			"unknown name":      {Match: "nobody", End: enginetest.Epoch.Add(time.Minute)},
		} {
			if _, err := l.Engine.Engine.Silence(t.Context(), spec); err == nil || !strings.Contains(err.Error(), strings.TrimSpace(want)) {
				t.Errorf("%v, want %q", err, want)
			}
		}
	})
}

func TestSilencesOfFiles(t *testing.T) {
	open := rule("triggers: [{state: door.status, to: open}]")
	with := func(match, end string) string {
		return open + "silences: [{id: move, match: '" + match + "', end: " + end + ", reason: the move}]\n"
	}
	minute := with("true", "2026-03-01T12:01:00Z")
	row := func(t *testing.T, l *lab) journal.Silence {
		t.Helper()
		s, err := journal.SilenceByID(t.Context(), l.DB.Read(), "move")
		if err != nil {
			t.Fatal(err)
		}
		return s
	}
	timeline(t, "one silences from when it is loaded to its end, and is not made again", minute, func(t *testing.T, l *lab) {
		l.then()
		l.be("a", "open")
		l.sec(30)
		l.Restart()
		if s := row(t, l); !s.StartsAt.Equal(enginetest.Epoch) || !s.CreatedAt.Equal(enginetest.Epoch) {
			t.Errorf("it began at %s and was made at %s", s.StartsAt, s.CreatedAt)
		}
		if _, err := l.Engine.Engine.Unsilence(t.Context(), "move"); !errors.Is(err, engine.ErrSilence) {
			t.Errorf("ended by hand: %v", err)
		}
		l.sec(60)
		l.wantOutcomes("r", silenced, started)
		l.Restart()
		l.be("b", "open")
		l.wantOutcomes("r", silenced, started, started)
		if n := len(l.Events("engine.silence_ended")); n != 1 {
			t.Errorf("it ended %d times", n)
		}
	})
	timeline(t, "one that leaves the files ends then, once", minute, func(t *testing.T, l *lab) {
		l.then()
		other, err := l.Engine.Engine.Silence(t.Context(), engine.SilenceSpec{Match: `event.entity.id == "b"`, End: enginetest.Epoch.Add(time.Hour)})
		if err != nil {
			t.Fatal(err)
		}
		l.be("a", "open")
		l.sec(10)
		l.Reload(open)
		l.then()
		l.wantOutcomes("r", silenced, started)
		l.be("b", "open") // the one by hand goes on
		l.wantOutcomes("r", silenced, started, silenced)
		l.sec(20)
		l.Reload(strings.Replace(open, "event.id", "event.name", 1))
		l.then()
		l.sec(100)
		l.wantOutcomes("r", silenced, started, silenced)
		if s := row(t, l); !s.EndsAt.Equal(enginetest.Epoch.Add(10*time.Second)) || len(l.Events("engine.silence_ended")) != 1 {
			t.Errorf("it ended at %s", s.EndsAt)
		}
		if s, err := journal.SilenceByID(t.Context(), l.DB.Read(), other.ID); err != nil || !s.EndedAt.IsZero() {
			t.Errorf("%+v, %v", s, err)
		}
	})
	timeline(t, "an edit of its matcher and its end counts at once", minute, func(t *testing.T, l *lab) {
		l.then()
		l.sec(10)
		l.Reload(with(`event.entity.id == "a"`, "2026-03-01T12:02:00Z"))
		l.then()
		l.be("a", "open")
		l.be("b", "open")
		l.wantOutcomes("r", silenced, started)
		l.sec(119)
		l.wantOutcomes("r", silenced, started)
		l.sec(120)
		l.wantOutcomes("r", silenced, started, started)
		l.be("a", "closed")
		l.Reload(with("true", "2026-03-01T12:03:00Z")) // it begins anew
		l.then()
		l.be("a", "open")
		l.wantOutcomes("r", silenced, started, started, silenced)
		l.sec(180)
		l.wantOutcomes("r", silenced, started, started, silenced, started)
	})
	for name, end := range map[string]string{"was over": "2026-03-01T11:59:00Z", "is over just now": "2026-03-01T12:00:00Z"} {
		timeline(t, "one that "+name+" before anybody saw it is not made", with("true", end), func(t *testing.T, l *lab) {
			l.then()
			if _, err := journal.SilenceByID(t.Context(), l.DB.Read(), "move"); !errors.Is(err, journal.ErrNotFound) {
				t.Errorf("%v", err)
			}
			if n := len(l.Events("engine.silence_ended")); n != 0 {
				t.Errorf("it ended %d times", n)
			}
		})
	}
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
