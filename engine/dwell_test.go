package engine_test

import (
	"strings"
	"testing"
	"time"

	"github.com/flightrules/flightrules/engine/journal"
)

const (
	held      = journal.Held
	cancelled = journal.Cancelled
	started   = journal.Started
)

const openFor5s = `
rules:
  - id: left-open
    triggers: [{state: door.status, to: open, for: 5s}]
    actions: [{lab.ring: {text: "${{ event.entity.id }}"}}]
  - id: bystander
    triggers: [{event: custom.other}]
    actions: [{log: hello}]
`

// The names in brackets are those of docs/scenarios.md.

func TestDwell(t *testing.T) {
	t.Run("fires once it has held all that time, not before", func(t *testing.T) {
		each(t, openFor5s, func(t *testing.T, l *lab) {
			l.be("a", "closed")
			l.be("a", "open")
			l.after(5*time.Second - time.Microsecond)
			l.wantOutcomes("left-open", held)
			l.after(time.Microsecond)
			l.wantOutcomes("left-open", held, started)
			l.after(time.Hour)
			l.wantOutcomes("left-open", held, started)
			l.wantRung(map[string]int{"a": 1})
		})
	})

	t.Run("a change of another field does not reset it [SD-2]", func(t *testing.T) {
		each(t, openFor5s, func(t *testing.T, l *lab) {
			l.put("a", door{Status: "open"})
			l.after(4 * time.Second)
			l.put("a", door{Status: "open", Count: 1})
			l.after(time.Second)
			l.wantOutcomes("left-open", held, started)
		})
	})

	t.Run("a flap cancels it and says so", func(t *testing.T) {
		each(t, openFor5s, func(t *testing.T, l *lab) {
			l.be("a", "open")
			l.after(2 * time.Second)
			l.be("a", "closed")
			l.be("a", "open")
			l.after(4 * time.Second)
			l.wantOutcomes("left-open", held, cancelled, held)
			if d := l.Decisions("left-open")[1]; !strings.Contains(d.Detail, "broken after 2s by version 2 of door/a") {
				t.Errorf("detail %q", d.Detail)
			}
			l.after(time.Second)
			l.wantOutcomes("left-open", held, cancelled, held, started)
			l.wantRung(map[string]int{"a": 1})
		})
	})

	t.Run("without to, the new value has stayed that long [SD-4]", func(t *testing.T) {
		each(t, `
rules:
  - id: steady
    triggers: [{state: door.status, for: 5s}]
    actions: [{lab.ring: {text: rung}}]
`, func(t *testing.T, l *lab) {
			l.be("a", "open")
			l.after(2 * time.Second)
			l.wantRung(map[string]int{})
			l.be("a", "closed")
			l.after(2 * time.Second)
			l.wantRung(map[string]int{})
			l.after(6 * time.Second)
			l.wantRung(map[string]int{"rung": 1})
			l.wantOutcomes("steady", held, cancelled, held, started)
		})
	})

	t.Run("entities hold each for itself [SD-5]", func(t *testing.T) {
		each(t, openFor5s, func(t *testing.T, l *lab) {
			l.be("e1", "open")
			l.after(time.Second)
			l.be("e2", "open")
			l.after(time.Second)
			l.be("e2", "closed")
			l.after(time.Second)
			l.be("e2", "open")
			l.after(3 * time.Second)
			l.wantRung(map[string]int{"e1": 1})
			l.after(3 * time.Second)
			l.wantRung(map[string]int{"e1": 1, "e2": 1})
		})
	})

	t.Run("the removal of the entity breaks it", func(t *testing.T) {
		each(t, openFor5s, func(t *testing.T, l *lab) {
			l.be("a", "open")
			if err := l.plugin.doors.Remove(t.Context(), "a", nil); err != nil {
				t.Fatal(err)
			}
			l.then()
			l.after(time.Hour)
			l.wantOutcomes("left-open", held, cancelled)
		})
	})

	t.Run("one that was due while the engine was down fires late, once, and is recorded as late", func(t *testing.T) {
		each(t, openFor5s, func(t *testing.T, l *lab) {
			l.be("a", "open")
			l.Jump(time.Minute)
			l.Restart()
			l.wantOutcomes("left-open", held, started)
			if d := l.Decisions("left-open")[1]; d.Detail != "late by 55s " {
				t.Errorf("detail %q", d.Detail)
			}
			l.after(time.Hour)
			l.wantRung(map[string]int{"a": 1})
		})
	})

	t.Run("a change after its end does not undo it, though it is seen first", func(t *testing.T) {
		each(t, openFor5s, func(t *testing.T, l *lab) {
			l.be("a", "open")
			l.Jump(time.Minute)
			l.be("a", "closed")
			l.wantOutcomes("left-open", held, started)
		})
	})

	t.Run("a change before its end undoes it, though its end is seen first", func(t *testing.T) {
		each(t, openFor5s, func(t *testing.T, l *lab) {
			l.be("a", "open")
			l.Jump(3 * time.Second)
			// Recorded and not yet routed when the dwell comes due.
			mutateOnly(t, l, "a", "closed")
			l.Jump(time.Minute)
			l.then()
			l.wantOutcomes("left-open", held, cancelled)
		})
	})

	t.Run("a reload of other rules leaves it alone", func(t *testing.T) {
		each(t, openFor5s, func(t *testing.T, l *lab) {
			l.be("a", "open")
			l.after(3 * time.Second)
			l.Reload(strings.Replace(openFor5s, "log: hello", "log: goodbye", 1))
			l.then()
			l.after(2 * time.Second)
			l.wantOutcomes("left-open", held, started)
		})
	})

	t.Run("an edit of its duration moves it", func(t *testing.T) {
		each(t, openFor5s, func(t *testing.T, l *lab) {
			l.be("a", "open")
			l.after(3 * time.Second)
			l.Reload(strings.Replace(openFor5s, "for: 5s", "for: 10s", 1))
			l.then()
			l.after(6 * time.Second)
			l.wantOutcomes("left-open", held)
			l.after(time.Second)
			l.wantOutcomes("left-open", held, started)
		})
	})

	t.Run("any other edit of its rule cancels it, and says so", func(t *testing.T) {
		for what, edit := range map[string]struct{ from, to, want string }{
			"an edit":    {`{text: "${{ event.entity.id }}"}`, `{text: other}`, "the rule was edited"},
			"a removal":  {"id: left-open", "id: other-rule", "the rule was removed"},
			"a shutdown": {"id: left-open", "id: left-open\n    enabled: false", "the rule was disabled"},
		} {
			t.Run(what, func(t *testing.T) {
				each(t, openFor5s, func(t *testing.T, l *lab) {
					l.be("a", "open")
					l.Reload(strings.Replace(openFor5s, edit.from, edit.to, 1))
					l.then()
					l.after(time.Hour)
					l.wantOutcomes("left-open", held, cancelled)
					if d := l.Decisions("left-open")[1]; d.Detail != edit.want {
						t.Errorf("detail %q", d.Detail)
					}
				})
			})
		}
	})
}

func TestDwellsOfRulesAndTriggers(t *testing.T) {
	timeline(t, "each holds for itself", rule("mode: parallel\ntriggers: [{state: door.status, to: open, for: 5s}, {state: door.status, to: open, for: 8s}]")+
		"  - {id: other, triggers: [{state: door.status, to: open, for: 3s}], actions: [{log: hi}]}\n", func(t *testing.T, l *lab) {
		l.be("a", "open")
		l.sec(3)
		l.wantOutcomes("r", held, held)
		l.wantOutcomes("other", held, started)
		l.sec(8)
		l.wantOutcomes("r", held, held, started, started)
	})
	timeline(t, "edits of its time one after the other move it", openFor5s, func(t *testing.T, l *lab) {
		l.be("a", "open")
		for _, length := range []string{"for: 9s", "for: 7s"} {
			l.Reload(strings.Replace(openFor5s, "for: 5s", length, 1))
			l.then()
		}
		l.sec(6.999)
		l.wantOutcomes("left-open", held)
		l.sec(7)
		l.wantOutcomes("left-open", held, started)
	})
	timeline(t, "an edit to a time that cannot be evaluated, or to none, cancels it", openFor5s, func(t *testing.T, l *lab) {
		l.be("a", "open")
		l.Reload(strings.Replace(openFor5s, "for: 5s", `for: "${{ event.change.next.note }}"`, 1))
		l.then()
		l.wantOutcomes("left-open", held, cancelled)
		l.be("a", "closed")
		l.Reload(openFor5s)
		l.be("a", "open")
		l.Reload(strings.Replace(openFor5s, ", for: 5s", "", 1))
		l.then()
		l.wantOutcomes("left-open", held, cancelled, held, cancelled)
	})
	timeline(t, "a change at its very end does not undo it", openFor5s, func(t *testing.T, l *lab) {
		l.be("a", "open")
		l.Jump(5 * time.Second)
		l.be("a", "closed")
		l.wantOutcomes("left-open", held, started)
	})
	timeline(t, "it counts from the change, however late that is seen", openFor5s, func(t *testing.T, l *lab) {
		l.be("a", "closed")
		mutateOnly(t, l, "a", "open")
		l.Jump(3 * time.Second)
		l.then()
		l.sec(5)
		l.wantOutcomes("left-open", held, started)
	})
	timeline(t, "what held goes on to be counted", rule("triggers: [{state: door.status, to: open, for: 5s, count: 2, within: 1m}]"), func(t *testing.T, l *lab) {
		l.be("a", "open")
		l.sec(5)
		l.be("a", "closed")
		l.be("a", "open")
		l.Jump(7 * time.Second)
		l.be("a", "closed") // the end of the second is seen with this
		l.wantOutcomes("r", held, counted, held, started)
	})
	timeline(t, "for may be a duration, and must not be less than nothing", rule(`triggers: [{state: door.status, to: open, for: '${{ duration(event.entity.id == "a" ? "5s" : "-5s") }}'}]`), func(t *testing.T, l *lab) {
		l.be("a", "open")
		l.be("b", "open")
		l.wantOutcomes("r", held, mistaken)
		l.sec(5)
		l.wantOutcomes("r", held, mistaken, started)
	})
}

func TestStateTrigger(t *testing.T) {
	for name, c := range map[string]struct {
		trigger string
		path    []string
		want    int
	}{
		"to":                             {"to: open", []string{"closed", "open", "ajar", "open"}, 2},
		"to, on creation":                {"to: open", []string{"open"}, 1},
		"from and to":                    {"from: closed, to: open", []string{"closed", "open", "ajar", "open"}, 1},
		"from alone":                     {"from: open", []string{"open", "ajar", "open", "closed"}, 2},
		"a list":                         {"to: [open, ajar]", []string{"closed", "ajar", "open", "closed", "open"}, 2},
		"any change":                     {"entity: a", []string{"closed", "open", "ajar"}, 3},
		"an entity that is not this one": {"entity: [b, c]", []string{"closed", "open"}, 0},
	} {
		t.Run(name, func(t *testing.T) {
			each(t, `
rules:
  - id: r
    triggers: [{state: door.status, `+c.trigger+`}]
    actions: [{lab.ring: {text: rung}}]
`, func(t *testing.T, l *lab) {
				for _, status := range c.path {
					l.be("a", status)
					l.put("a", door{Status: status, Count: 1 + len(l.Runs("r"))}) // another field: never
				}
				if got := l.counted()["rung"]; got != c.want {
					t.Errorf("rung %d times, want %d", got, c.want)
				}
			})
		})
	}
}
