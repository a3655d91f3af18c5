package engine_test

import (
	"strings"
	"testing"
	"time"

	"github.com/flightrules/flightrules/engine/enginetest"
	"github.com/flightrules/flightrules/internal/dbtest"
)

// ticks are when a rule's schedule fired, since the beginning of the test.
func (l *lab) ticks() string {
	l.t.Helper()
	var at []string
	for _, r := range l.Runs("r") {
		for _, e := range l.Events("engine.tick") {
			if e.ID == r.EventID {
				at = append(at, e.At.Sub(enginetest.Epoch).String())
			}
		}
	}
	return strings.Join(at, " ")
}

func (l *lab) wantTicks(want string) {
	l.t.Helper()
	if got := l.ticks(); got != want {
		l.t.Errorf("%s: ticks at %q, want %q\n%s", l.Now().Sub(enginetest.Epoch), got, want, details(l.Decisions("r")))
	}
}

// Tests begin at noon.
func TestSchedules(t *testing.T) {
	timeline(t, "cron", rule(`triggers: [{cron: "*/15 * * * *"}]`), func(t *testing.T, l *lab) {
		l.then()
		l.at(44 * time.Minute)
		l.wantTicks("15m0s 30m0s")
	})
	timeline(t, "every, from the rule's first load and not from an edit or a restart", rule("triggers: [{event: custom.never}]"), func(t *testing.T, l *lab) {
		l.sec(7)
		every := strings.Replace(rule("triggers: [{every: 20s}]"), "id: r", "id: r", 1)
		l.Reload("rules: []")
		l.then()
		l.sec(10)
		l.Reload(every)
		l.then()
		l.sec(35)
		l.Reload(strings.Replace(every, "event.id", "event.name", 1))
		l.Restart()
		l.sec(71)
		l.wantTicks("30s 50s 1m10s")
	})
	timeline(t, "an edit takes effect at once, and not for times before it [CR-18]", rule(`triggers: [{cron: "0 * * * *"}]`), func(t *testing.T, l *lab) {
		l.then()
		l.at(time.Hour + 7*time.Minute + 10*time.Second)
		l.wantTicks("1h0m0s")
		l.Reload(rule(`triggers: [{every: 20s}]`))
		l.then()
		l.at(time.Hour + 7*time.Minute + 41*time.Second)
		l.wantTicks("1h0m0s 1h7m20s 1h7m40s")
		l.Reload(rule(`triggers: [{every: 20s, enabled: false}]`))
		l.then()
		l.at(2 * time.Hour)
		l.wantTicks("1h0m0s 1h7m20s 1h7m40s")
		l.Reload("rules: []")
		l.then()
		l.Reload(rule(`triggers: [{every: 1m}]`))
		l.then()
		l.at(2*time.Hour + 61*time.Second)
		l.wantTicks("1h0m0s 1h7m20s 1h7m40s 2h1m0s")
	})
	timeline(t, "a paused rule has no ticks, and makes up for none [CR-16]", rule(`triggers: [{every: 1m, misfire: all}]`), func(t *testing.T, l *lab) {
		l.then()
		l.at(time.Minute)
		if _, err := l.Engine.Engine.Pause(t.Context(), "r", ""); err != nil {
			t.Fatal(err)
		}
		l.at(3 * time.Minute)
		l.Jump(10 * time.Minute)
		l.Restart()
		if _, err := l.Engine.Engine.Resume(t.Context(), "r"); err != nil {
			t.Fatal(err)
		}
		l.at(14*time.Minute + time.Second)
		l.wantTicks("1m0s 14m0s")
		l.wantOutcomes("r", started, started)
	})
	for policy, c := range map[string]struct {
		want     string
		outcomes int
	}{
		"skip": {"1m0s 10m0s 11m0s", 3}, // half a minute late is not missed
		"once": {"1m0s 10m0s 11m0s", 3},
		"all":  {"1m0s 2m0s 3m0s 4m0s 5m0s 6m0s 7m0s 8m0s 9m0s 10m0s 11m0s", 11},
	} {
		timeline(t, "misfire: "+policy, rule("mode: parallel\nmax: 100\ntriggers: [{every: 1m, misfire: "+policy+"}]"), func(t *testing.T, l *lab) {
			l.then()
			l.at(time.Minute)
			l.Jump(9*time.Minute + 30*time.Second)
			l.Restart()
			l.at(11 * time.Minute)
			l.wantTicks(c.want)
			if got := len(l.Decisions("r")); got != c.outcomes {
				t.Errorf("%d decisions, want %d\n%s", got, c.outcomes, details(l.Decisions("r")))
			}
		})
	}
	timeline(t, "misfire: skip records what it skips", rule(`triggers: [{cron: "0 * * * *", misfire: skip}]`), func(t *testing.T, l *lab) {
		l.then()
		l.Jump(3*time.Hour + 30*time.Minute)
		l.Restart()
		l.wantOutcomes("r", dropped)
		if d := l.Decisions("r")[0]; !strings.Contains(d.Detail, "missed, with 2 ticks before it") {
			t.Errorf("detail %q", d.Detail)
		}
		l.at(4 * time.Hour)
		l.wantTicks("4h0m0s")
	})
	timeline(t, "misfire: skip gives a tick a minute, and its jitter", rule(`triggers: [{cron: "0 * * * *", misfire: skip}]`)+
		"  - {id: jittery, triggers: [{cron: '0 * * * *', misfire: skip, jitter: 30s}], actions: [{log: hi}]}\n"+
		"  - {id: once, triggers: [{cron: '0 * * * *'}], actions: [{log: hi}]}\n", func(t *testing.T, l *lab) {
		l.then()
		l.Jump(time.Hour + time.Minute)
		l.then()
		l.wantOutcomes("r", started)
		l.wantOutcomes("jittery", started)
		l.Jump(time.Hour + 20*time.Second)
		l.then()
		l.wantOutcomes("r", started, dropped)
		if d := l.Decisions("r")[1]; d.Detail != "late by 1m20s missed, with 0 ticks before it; misfire is skip" {
			t.Errorf("detail %q", d.Detail)
		}
		l.wantOutcomes("jittery", started, started)
		l.Jump(time.Hour + 20*time.Second)
		l.then()
		l.wantOutcomes("jittery", started, started, dropped)
		l.wantOutcomes("once", started, started, started)
	})
	timeline(t, "a tick that is due as the engine comes up is one of those it missed", rule("triggers: [{every: 1m}]"), func(t *testing.T, l *lab) {
		l.then()
		l.Jump(3 * time.Minute)
		l.then()
		l.wantTicks("3m0s")
		if e := l.Events("engine.tick"); string(e[0].Payload) != `{"scheduled_at":"2026-03-01T12:03:00Z","missed":2}` {
			t.Errorf("payload %s", e[0].Payload)
		}
	})
	timeline(t, "misfire: all makes up for a thousand ticks", rule("triggers: [{every: 1s, misfire: all}]\nconditions: [event.payload.missed > 0]"), func(t *testing.T, l *lab) {
		l.then()
		l.Jump(1007 * time.Second)
		l.then()
		d := l.Decisions("r")
		if len(d) != 1000 || d[0].Outcome != started || d[1].Outcome != falsely {
			t.Fatalf("%d decisions, the first %s", len(d), d[0].Outcome)
		}
		if e := l.Events("engine.tick"); string(e[0].Payload) != `{"scheduled_at":"2026-03-01T12:00:08Z","missed":7}` {
			t.Errorf("payload %s", e[0].Payload)
		}
	})
	timeline(t, "where is about the tick, and an error of it is recorded", rule(`triggers:
  - {every: 1m, where: event.payload.missed > 0}
  - {every: 1m, where: "[true, true, true][event.payload.missed]"}`), func(t *testing.T, l *lab) {
		l.then()
		l.at(time.Minute)
		l.wantOutcomes("r", started)
		l.at(90 * time.Second)
		l.Jump(4 * time.Minute)
		l.then()
		l.wantOutcomes("r", started, started, mistaken)
	})
	timeline(t, "others see the ticks", rule("triggers: [{event: engine.tick}]")+"  - {id: other, triggers: [{every: 1m}], actions: [{log: hi}]}\n", func(t *testing.T, l *lab) {
		l.then()
		l.at(2 * time.Minute)
		l.wantStarted("r", 2)
	})
	timeline(t, "schedules of one rule tick each for itself", rule("triggers: [{every: 1m}, {every: 90s}]"), func(t *testing.T, l *lab) {
		l.then()
		l.at(2 * time.Minute)
		l.wantTicks("1m0s 1m30s 2m0s")
	})
	timeline(t, "those that are due at once tick in their order", rule("mode: parallel\ntriggers: [{every: 1m}, {every: 1m}, {every: 1m}, {every: 1m}, {every: 1m}]"), func(t *testing.T, l *lab) {
		l.then()
		l.at(2 * time.Minute)
		order := ""
		for _, d := range l.Decisions("r") {
			order += d.Trigger
		}
		if order != "1234512345" {
			t.Errorf("in the order %s", order)
		}
	})
	timeline(t, "a rule that was off begins as it is turned on", strings.Replace(rule("triggers: [{every: 20s}]"), "id: r", "id: r\n    enabled: false", 1), func(t *testing.T, l *lab) {
		l.then()
		l.sec(50)
		l.wantOutcomes("r")
		l.Reload(rule("triggers: [{every: 20s}]"))
		l.then()
		l.sec(70)
		l.wantTicks("1m10s")
	})
	timeline(t, "a clock that is set back repeats nothing", rule(`triggers: [{every: 1m}]`), func(t *testing.T, l *lab) {
		l.then()
		l.at(2 * time.Minute)
		l.Jump(-time.Minute)
		l.then()
		l.at(4 * time.Minute)
		l.wantTicks("1m0s 2m0s 3m0s 4m0s")
	})
	timeline(t, "jitter delays a tick and keeps its time", rule(`triggers: [{every: 1m, jitter: 30s}]`), func(t *testing.T, l *lab) {
		l.then()
		l.at(10*time.Minute + 30*time.Second)
		l.wantTicks("1m0s 2m0s 3m0s 4m0s 5m0s 6m0s 7m0s 8m0s 9m0s 10m0s")
		delays := map[time.Duration]bool{}
		for i, d := range l.Decisions("r") {
			delay := d.At.Sub(enginetest.Epoch.Add(time.Duration(i+1) * time.Minute))
			delays[delay] = true
			if delay < 0 || delay > 30*time.Second || d.Detail != "" {
				t.Errorf("tick %d is %s late %q", i, delay, d.Detail)
			}
		}
		if len(delays) < 5 {
			t.Errorf("the delays are %v", delays)
		}
	})
	timeline(t, "each schedule fires its own rule", rule("triggers: [{every: 1m}]")+"  - {id: other, triggers: [{every: 3m}], actions: [{log: hello}]}\n", func(t *testing.T, l *lab) {
		l.then()
		l.at(3 * time.Minute)
		l.wantStarted("r", 3)
		l.wantStarted("other", 1)
	})
}

func TestTwoNodesFireATickOnce(t *testing.T) {
	l := newLab(t, dbtest.Postgres(t), rule("triggers: [{every: 1s}]"))
	peer := l.Peer()
	l.Settle()
	for range 20 {
		l.Jump(time.Second)
		done := make(chan struct{})
		go func() { defer close(done); peer.Settle() }()
		l.Settle()
		<-done
	}
	l.Settle()
	l.wantStarted("r", 20)
}
