package engine_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/flightrules/flightrules/engine/enginetest"
	"github.com/flightrules/flightrules/engine/journal"
	"github.com/flightrules/flightrules/internal/yamlx"
)

// The names in brackets are those of docs/scenarios.md.

func TestScenarioLoad(t *testing.T) {
	good := rule("triggers: [{event: custom.x}]")
	more := func(lines string) string { return good + "  - id: bad\n" + indent(lines) }
	for name, c := range map[string]struct {
		text string
		want []string // the beginnings of the problems
	}{
		"an expression with a mistake in its syntax [TE-2]": {more(`triggers: [{event: custom.x, where: "event.depth == "}]
actions: [{log: "${{ "}]`), []string{`rules.yaml:6:57: rule "bad": the expression ends too early`, `rules.yaml:7:22: rule "bad": ${{ is not closed`}},
		"several mistakes come all at once [TE-8]": {more(`triggers: [{event: custom.x}]
alert: loud
actions: [{log: hi}]
conditions: ["event.nobody == 1"]`) + "  - id: r\n    triggers: [{event: custom.y}]\n    actions: [{log: hi}]\n", []string{
			`rules.yaml:7:5: rule "bad": unknown key "alert"`,
			`rules.yaml:9:25: rule "bad": unknown field "nobody"`,
			`rules.yaml:10:9: rule "r": duplicate rule id "r"`,
		}},
		"a condition that lacks its time, or its entity [SD-8b]": {more(`triggers: [{event: custom.x}]
conditions:
  - {time: {}}
  - held("door") > duration("5s")
actions: [{log: hi}]`), []string{`rules.yaml:8:16: rule "bad": the window is always open`, `rules.yaml:9:9: rule "bad": not enough arguments for held`}},
		"a for that is no time [SD-9]": {more(`triggers: [{state: door.status, for: "{invalid}"}, {state: door.status, for: soon}, {state: door.status, for: {}}]
actions: [{log: hi}]`), []string{`rules.yaml:6:42: rule "bad": bad duration "{invalid}"`, `rules.yaml:6:82: rule "bad": bad duration "soon"`, `rules.yaml:6:115: rule "bad": for must be a duration`}},
	} {
		timeline(t, name, good, func(t *testing.T, l *lab) {
			err := l.TryReload(c.text)
			var list *yamlx.Error
			if !errors.As(err, &list) {
				t.Fatalf("%v", err)
			}
			if len(list.Problems) != len(c.want) {
				t.Errorf("%d problems, want %d:\n%v", len(list.Problems), len(c.want), err)
			}
			for i := range min(len(list.Problems), len(c.want)) {
				if got := list.Problems[i].String(); !strings.HasPrefix(got, c.want[i]) {
					t.Errorf("problem %d, want %s:\n%s", i, c.want[i], got)
				}
			}
			if l.Engine.Engine.Rules().Rule("bad") != nil {
				t.Error("a rule of the refused file is in force")
			}
			l.post("custom.x", nil) // the rules that were in force go on
			l.wantOutcomes("r", started)
		})
	}
}

func TestScenarioErrorsOfWaits(t *testing.T) {
	timeline(t, "a wait that cannot be evaluated fails the run before later steps [TE-4]", `
rules:
  - id: r
    triggers: [{event: custom.x}]
    actions:
      - lab.ring: {text: before}
      - wait: "${{ event.payload.nothing.at.all }}"
      - lab.ring: {text: after}
`, func(t *testing.T, l *lab) {
		l.post("custom.x", map[string]any{})
		l.sec(60)
		l.wantRung(map[string]int{"before": 1})
		l.wantRuns("r", failed)
		if got := l.Runs("r")[0].Error; !strings.HasPrefix(got, "actions[1]: ") {
			t.Errorf("error %q", got)
		}
	})
}

func TestScenarioModes(t *testing.T) {
	timeline(t, "of eleven starts at once one runs, and another rule is not in the way [CM-17]",
		ringAndWait("mode: single")+"  - {id: other, triggers: [{event: custom.x}], actions: [{wait: 5s}]}\n", func(t *testing.T, l *lab) {
			restart := l.restart
			l.restart = false
			for range 11 {
				l.x("1")
			}
			l.restart = restart
			l.then()
			l.sec(10)
			for _, id := range []string{"r", "other"} {
				l.wantRuns(id, succeeded)
				n := 0
				for _, o := range l.Outcomes(id) {
					if o == blocked {
						n++
					}
				}
				if n != 10 {
					t.Errorf("%s was dropped %d times", id, n)
				}
			}
		})
	timeline(t, "two entities whose time is over at once run both [CM-9]", `
rules:
  - id: r
    triggers: [{state: door.status, to: open, for: 5s}]
    actions: [{wait: 100ms}, {lab.ring: {text: "${{ event.entity.id }}"}}]
`, func(t *testing.T, l *lab) {
		l.be("a", "open")
		l.be("b", "open")
		l.sec(10)
		l.wantRung(map[string]int{"a": 1, "b": 1})
	})
}

func TestScenarioCooldownAccount(t *testing.T) {
	timeline(t, "every event is on record, those that were suppressed as well [WC-1]", rule("triggers: [{event: custom.x}]\ncooldown: 10s\nper: event.payload.host"), func(t *testing.T, l *lab) {
		for _, c := range []struct {
			s    float64
			host string
		}{{0, "h1"}, {3, "h1"}, {3, "h2"}, {7, "h1"}, {12, "h1"}} {
			l.sec(c.s)
			l.post("custom.x", map[string]any{"host": c.host})
		}
		n := map[journal.Outcome]int{}
		for _, o := range l.Outcomes("r") {
			n[o]++
		}
		if n[started] != 3 || n[cooled] != 2 || len(n) != 2 {
			t.Errorf("%v", n)
		}
		l.wantStarted("r", 3)
	})
}

// A window slides; the calendar does not end it.
func TestScenarioAllAcrossMidnight(t *testing.T) {
	for within, want := range map[string]int{"15m": 0, "20m": 0, "21m": 1} {
		timeline(t, "midnight is no border, the length is, within "+within+" [AB-13]",
			rule("triggers: [{all: [{event: custom.a}, {event: custom.b}], within: "+within+"}]"), func(t *testing.T, l *lab) {
				l.at(11*time.Hour + 50*time.Minute) // 23:50
				l.post("custom.a", nil)
				l.at(12*time.Hour + 10*time.Minute)
				l.post("custom.b", nil)
				l.wantStarted("r", want)
			})
	}
}

func TestScenarioRestarts(t *testing.T) {
	timeline(t, "a time that was running goes on over an outage, to the moment it had [RS-2, RS-4]",
		strings.Replace(openFor5s, "for: 5s", "for: 30m", 1), func(t *testing.T, l *lab) {
			l.be("a", "open")
			l.be("b", "open")
			l.at(20 * time.Minute)
			l.Jump(5 * time.Minute)
			l.Restart()
			l.at(30*time.Minute - time.Microsecond)
			l.wantRung(map[string]int{})
			l.at(30 * time.Minute)
			l.wantRung(map[string]int{"a": 1, "b": 1})
		})

	ten := `
rules:
  - {id: each, mode: parallel, triggers: [{event: custom.x}], actions: [{lab.ring: {text: each}}]}
  - {id: third, triggers: [{event: custom.x, count: 3, within: 1h}], actions: [{lab.ring: {text: third}}]}
  - {id: thirds, triggers: [{event: custom.x, count: 3, within: 3s, refire: every}], actions: [{lab.ring: {text: thirds}}]}
  - {id: one, triggers: [{event: custom.x, where: 'event.payload.i in [1, 3, 7]'}], actions: [{lab.ring: {text: one}}]}
  - {id: late, triggers: [{event: custom.x, where: event.payload.i == 8, unless: {event: custom.y, within: 4s}}], actions: [{lab.ring: {text: late}}]}
`
	timeline(t, "ten events, and a restart after every third, come out as without [RS-8]", ten, func(t *testing.T, l *lab) {
		for i := range 10 {
			l.sec(float64(i))
			l.post("custom.x", map[string]any{"i": i})
			if i%3 == 2 {
				l.Restart()
			}
		}
		l.sec(60)
		l.wantRung(map[string]int{"each": 10, "third": 1, "one": 3, "late": 1, "thirds": 8})
		if got := len(l.Events("custom.x")); got != 10 {
			t.Errorf("%d events", got)
		}
		for _, id := range []string{"each", "third", "thirds", "one", "late"} {
			for _, run := range l.Runs(id) {
				if run.Status != succeeded {
					t.Errorf("%s: %s", id, run.Status)
				}
			}
		}
	})

	timeline(t, "what is on record before the engine starts is routed when the rules are there, in its order [RS-16]", openFor5s+`
  - {id: first, mode: queued, max: 10, triggers: [{event: custom.x}, {event: door.opened}], actions: [{lab.ring: {text: "${{ event.name }} ${{ event.payload?.n ?? 0 }}"}}]}
`, func(t *testing.T, l *lab) {
		l.be("a", "closed")
		for i := range 3 {
			e := emitted(fmt.Sprint("e", i))
			e.Payload = fmt.Appendf(nil, `{"n": %d}`, i)
			if _, _, err := l.Engine.Engine.Emit(t.Context(), e); err != nil {
				t.Fatal(err)
			}
		}
		mutateOnly(t, l, "a", "open")
		if got := len(l.Decisions("first")); got != 0 {
			t.Fatalf("%d decisions before anything was routed", got)
		}
		l.Jump(2 * time.Second)
		l.Restart()
		l.wantOutcomes("first", started, queued, queued, started) // the last is of another entity
		var order []string
		l.world.mu.Lock()
		for _, text := range l.world.texts {
			if strings.HasPrefix(text, "custom.x") {
				order = append(order, text)
			}
		}
		l.world.mu.Unlock()
		if got := strings.Join(order, ", "); got != "custom.x 0, custom.x 1, custom.x 2" {
			t.Errorf("rung in the order %s", got)
		}
		l.wantRung(map[string]int{"custom.x 0": 1, "custom.x 1": 1, "custom.x 2": 1, "door.opened 0": 1})
		l.at(5 * time.Second)
		l.wantOutcomes("left-open", held, started)
		if d := l.Decisions("left-open")[1]; !d.At.Equal(enginetest.Epoch.Add(5*time.Second)) || d.Detail != "" {
			t.Errorf("at %s %q, not 5s after the change", d.At, d.Detail)
		}
	})
}
