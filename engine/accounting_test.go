package engine_test

import (
	"flag"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/flightrules/flightrules/engine/journal"
	"github.com/flightrules/flightrules/internal/dbtest"
)

// TestEveryMatchIsAccountedFor draws rules and timelines and compares the
// matches, counted without the engine, with the decisions: no match is without
// one, no decision is without a match, what waited has come to an end, and each
// run has the decision that made it.
//
// Each draw is a whole engine: there are few of them unless -rapid.checks asks
// for more.
func TestEveryMatchIsAccountedFor(t *testing.T) {
	if checks := flag.Lookup("rapid.checks"); checks.Value.String() == checks.DefValue {
		defer func() { _ = flag.Set("rapid.checks", checks.DefValue) }()
		if err := flag.Set("rapid.checks", "20"); err != nil {
			t.Fatal(err)
		}
	}
	rapid.Check(t, func(rt *rapid.T) {
		var text strings.Builder
		text.WriteString("rules:\n")
		var models []model
		for i := range rapid.IntRange(1, 6).Draw(rt, "rules") {
			m := drawModel(rt, fmt.Sprintf("r%d", i))
			models = append(models, m)
			text.WriteString(m.text)
		}
		l := newLab(t, dbtest.SQLite(t), text.String())
		events := map[string]int{} // ids of custom.x, with their n
		opened, status := 0, map[string]string{}
		for range rapid.IntRange(5, 40).Draw(rt, "steps") {
			switch rapid.IntRange(0, 9).Draw(rt, "step") {
			case 0, 1, 2, 3:
				n := rapid.IntRange(0, 9).Draw(rt, "n")
				events[l.post("custom.x", map[string]any{"n": n})] = n
			case 4, 5, 6:
				id, next := rapid.SampledFrom([]string{"a", "b"}).Draw(rt, "door"), rapid.SampledFrom([]string{"open", "closed", "ajar"}).Draw(rt, "status")
				if next == "open" && status[id] != "open" {
					opened++
				}
				status[id] = next
				l.be(id, next)
			case 7:
				l.after(time.Duration(rapid.IntRange(0, 15_000).Draw(rt, "wait")) * time.Millisecond)
			case 8:
				l.Jump(time.Duration(rapid.IntRange(0, 15_000).Draw(rt, "outage")) * time.Millisecond)
				l.Restart()
			default:
				l.post("custom.end", nil)
			}
		}
		l.after(time.Hour)
		for _, m := range models {
			m.check(rt, l, events, opened)
		}
		for _, r := range l.Runs("") {
			if !r.Status.Final() {
				rt.Fatalf("run %s of %s is %s", r.ID, r.Rule, r.Status)
			}
		}
	})
}

// model is a rule and what it matches.
type model struct {
	id, text string
	above    int  // of custom.x: n > above
	state    bool // it is on doors that open
}

func drawModel(rt *rapid.T, id string) model {
	m := model{id: id, above: rapid.IntRange(-1, 6).Draw(rt, "above"), state: rapid.Bool().Draw(rt, "on a state")}
	trigger := fmt.Sprintf("event: custom.x, where: event.payload.n > %d", m.above)
	if m.state {
		trigger = "state: door.status, to: open"
	}
	modifiers := []string{
		"", "count: 2, within: 10s", "count: 3, within: 20s, refire: every", "unless: {event: custom.end, within: 5s, by: '\"k\"'}",
		"group: {wait: 3s, interval: 5s, max: 3}", "count: 2, within: 10s, group: {wait: 2s}",
	}
	if m.state {
		modifiers = append(modifiers, "for: 4s", "for: 4s, count: 2, within: 1m")
	}
	if modifier := rapid.SampledFrom(modifiers).Draw(rt, "modifier"); modifier != "" {
		trigger += ", " + modifier
	}
	mode := rapid.SampledFrom([]string{"single", "restart", "queued", "parallel"}).Draw(rt, "mode")
	m.text = fmt.Sprintf("  - id: %s\n    mode: %s\n    triggers: [{%s}]\n    actions: [{log: hi}, {wait: 3s}]\n", id, mode, trigger)
	gates := []string{"", "    cooldown: 7s\n", "    per: rule\n"}
	if !m.state {
		gates = append(gates, "    conditions: [event.payload.n != 5]\n", "    conditions: [event.payload.nobody > 1]\n")
	}
	m.text += rapid.SampledFrom(gates).Draw(rt, "gate")
	return m
}

// check compares the decisions of a rule with what it should have matched.
func (m model) check(rt *rapid.T, l *lab, events map[string]int, opened int) {
	byEvent := map[string][]journal.Outcome{}
	starts := 0
	for _, d := range l.Decisions(m.id) {
		byEvent[d.EventID] = append(byEvent[d.EventID], d.Outcome)
		if d.Outcome == started || d.Outcome == queued {
			starts++
		}
	}
	fail := func(format string, args ...any) {
		rt.Fatalf("%s\n%s%s", fmt.Sprintf(format, args...), m.text, details(l.Decisions(m.id)))
	}
	want := 0
	if m.state {
		want = opened
	}
	for id, n := range events {
		if !m.state && n > m.above {
			want++
			if byEvent[id] == nil {
				fail("event %s with n %d has no decision", id, n)
			}
		}
	}
	if len(byEvent) != want {
		fail("%d events have decisions, and %d match", len(byEvent), want)
	}
	for id, outcomes := range byEvent {
		if last := outcomes[len(outcomes)-1]; last == held {
			fail("event %s is held for ever", id)
		}
		if slices.Contains(outcomes[1:], held) {
			fail("event %s is held after something else: %v", id, outcomes)
		}
	}
	if runs := len(l.Runs(m.id)); runs != starts {
		fail("%d runs, and %d decisions that made one", runs, starts)
	}
}
