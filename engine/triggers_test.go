package engine_test

import (
	"strings"
	"testing"
	"time"

	"github.com/flightrules/flightrules/engine/enginetest"
	"github.com/flightrules/flightrules/engine/journal"
)

// The names in brackets are those of docs/scenarios.md.

func TestNumeric(t *testing.T) {
	below := rule("triggers: [{numeric: door.count, below: 10}]")
	timeline(t, "it fires on crossing, not on each value inside [NT-1]", below, func(t *testing.T, l *lab) {
		l.level("a", 11, 9, 5, 3)
		l.wantStarted("r", 1)
		l.level("a", 12, 3)
		l.wantStarted("r", 2)
	})
	timeline(t, "an entity that is inside already does not fire [NT-3]", rule("triggers: [{event: custom.never}]"), func(t *testing.T, l *lab) {
		l.level("a", 9)
		l.Reload(below)
		l.then()
		l.level("a", 8)
		l.wantStarted("r", 0)
	})
	timeline(t, "equal is outside [NT-5]", rule("triggers: [{numeric: door.count, above: 10}]"), func(t *testing.T, l *lab) {
		l.level("a", 9, 10)
		l.wantStarted("r", 0)
		l.level("a", 11)
		l.wantStarted("r", 1)
	})
	timeline(t, "a leap over the range is not a crossing into it [NT-9]", rule("triggers: [{numeric: door.count, above: 8, below: 12, for: 5s}]"), func(t *testing.T, l *lab) {
		l.level("a", 9, 15)
		l.sec(10)
		l.wantOutcomes("r", held, cancelled)
		l.level("a", 10)
		l.sec(15)
		l.wantStarted("r", 1)
	})
	timeline(t, "the entity is removed [NT-11]", below, func(t *testing.T, l *lab) {
		l.level("a", 11)
		if err := l.plugin.doors.Remove(t.Context(), "a", nil); err != nil {
			t.Fatal(err)
		}
		l.then()
		l.wantOutcomes("r")
	})
	timeline(t, "reset keeps it on until it is reached [NT-19]", rule("triggers: [{numeric: door.count, above: 20, reset: 14}]"), func(t *testing.T, l *lab) {
		for i, step := range []struct{ value, runs int }{{21, 1}, {18, 1}, {22, 1}, {15, 1}, {21, 1}, {14, 1}, {18, 1}, {21, 2}, {15, 2}, {13, 2}, {21, 3}} {
			l.level("a", step.value)
			if got := len(l.Runs("r")); got != step.runs {
				t.Fatalf("step %d to %d: %d runs, want %d", i, step.value, got, step.runs)
			}
		}
	})
	timeline(t, "reset works downwards, for each entity by itself, and is inclusive [NT-17]", rule("triggers: [{numeric: door.count, below: 10, reset: 40}]"), func(t *testing.T, l *lab) {
		l.level("a", 100, 5)
		l.level("b", 100, 5)
		l.level("a", 25, 5, 39, 5)
		l.wantStarted("r", 2)
		l.level("a", 40, 5)
		l.wantStarted("r", 3)
	})
	hysteresis := rule("triggers: [{numeric: door.count, above: 20, reset: 10}]")
	timeline(t, "what happened of one entity is nothing to another", hysteresis, func(t *testing.T, l *lab) {
		l.level("a", 21, 15)
		l.level("b", 21)
		l.wantStarted("r", 2)
		l.level("a", 22)
		l.wantStarted("r", 2)
	})
	timeline(t, "changes that are routed together are seen one after the other", hysteresis, func(t *testing.T, l *lab) {
		l.level("a", 21)
		l.together(func() { l.level("a", 15, 5) })
		l.level("a", 21)
		l.wantStarted("r", 2)
		l.together(func() { l.level("a", 15, 22) })
		l.wantStarted("r", 2)
		l.together(func() { l.level("a", 15, 21, 16) })
		l.level("a", 21)
		l.wantStarted("r", 2)
	})
	timeline(t, "an edit of the trigger, or a removal, begins anew, an edit of the actions does not", hysteresis, func(t *testing.T, l *lab) {
		l.level("a", 21, 15)
		l.Reload(strings.Replace(hysteresis, "event.id", "event.name", 1))
		l.then()
		l.level("a", 22, 15)
		l.wantStarted("r", 1)
		l.Reload(strings.Replace(hysteresis, "reset: 10", "reset: 11", 1))
		l.then()
		l.level("a", 23, 15)
		l.wantStarted("r", 2)
		l.Reload("rules: []")
		l.then()
		l.Reload(strings.Replace(hysteresis, "reset: 10", "reset: 11", 1))
		l.then()
		l.level("a", 22)
		l.wantStarted("r", 3)
	})
	timeline(t, "with for and reset, the band between does not break it", rule("triggers: [{numeric: door.count, above: 20, reset: 10, for: 1m}]"), func(t *testing.T, l *lab) {
		l.level("a", 21)
		l.sec(30)
		l.level("a", 15)
		l.sec(60)
		l.wantOutcomes("r", held, started)
	})
}

func TestBecomes(t *testing.T) {
	r := rule(`triggers: [{becomes: 'entity.state.count > 3 and entity.state.status != "open"', kind: door}]`)
	timeline(t, "it fires as the expression turns true", r, func(t *testing.T, l *lab) {
		l.level("a", 1, 4, 5, 6)
		l.wantStarted("r", 1)
		l.level("a", 2, 4)
		l.wantStarted("r", 2)
		l.level("b", 9)
		l.wantStarted("r", 3)
	})
	timeline(t, "an error is recorded and re-arms nothing", rule("triggers: [{becomes: 'entity.state.note contains \"x\"', kind: door}]"), func(t *testing.T, l *lab) {
		l.put("a", door{Status: "open", Note: "x"})
		l.wantOutcomes("r", started)
		l.put("a", door{Status: "open"}) // note is absent: nil cannot be searched
		l.put("a", door{Status: "open", Note: "xx"})
		l.wantOutcomes("r", started, mistaken)
		l.put("a", door{Status: "open", Note: "y"})
		l.put("a", door{Status: "open", Note: "x"})
		l.wantOutcomes("r", started, mistaken, started)
	})
	timeline(t, "what was last known counts, also of changes that are routed together", rule("triggers: [{becomes: 'entity.state.note contains \"x\"', kind: door}]"), func(t *testing.T, l *lab) {
		l.put("a", door{Status: "open", Note: "x"})
		l.put("a", door{Status: "open"})
		l.together(func() {
			l.put("a", door{Status: "open", Note: "y"})
			l.put("a", door{Status: "ajar"})
		})
		l.put("a", door{Status: "ajar", Note: "x"})
		l.wantOutcomes("r", started, mistaken, mistaken, started)
	})
	timeline(t, "with for, it must stay true", rule("triggers: [{becomes: entity.state.count > 3, kind: door, for: 10s}]"), func(t *testing.T, l *lab) {
		l.level("a", 4)
		l.sec(5)
		l.level("a", 7)
		l.sec(10)
		l.wantOutcomes("r", held, started)
		l.level("a", 0, 4)
		l.sec(15)
		l.level("a", 0)
		l.sec(30)
		l.wantOutcomes("r", held, started, held, cancelled)
	})
}

func TestStateExclusions(t *testing.T) {
	for name, c := range map[string]struct {
		trigger string
		path    []string
		want    int
	}{
		"not_to":             {"not_to: open", []string{"closed", "open", "ajar", "closed"}, 3},
		"not_from":           {"not_from: closed", []string{"closed", "open", "ajar", "closed", "open"}, 3},
		"not_to with a from": {"from: closed, not_to: [open]", []string{"closed", "open", "closed", "ajar"}, 1},
	} {
		timeline(t, name, rule("triggers: [{state: door.status, "+c.trigger+"}]"), func(t *testing.T, l *lab) {
			for _, status := range c.path {
				l.be("a", status)
			}
			l.wantStarted("r", c.want)
		})
	}
	timeline(t, "for is an expression that is evaluated when it is armed [SD-11]",
		rule(`triggers: [{state: door.status, to: open, for: '${{ event.entity.id == "e1" ? "5s" : "10s" }}'}]`), func(t *testing.T, l *lab) {
			l.be("e1", "open")
			l.be("e2", "open")
			l.sec(5)
			l.wantStarted("r", 1)
			l.sec(9)
			l.wantStarted("r", 1)
			l.sec(10)
			l.wantStarted("r", 2)
		})
	timeline(t, "a for that cannot be evaluated is recorded", rule(`triggers: [{state: door.status, to: open, for: '${{ event.change.next.note }}'}]`), func(t *testing.T, l *lab) {
		l.be("a", "open")
		l.wantOutcomes("r", mistaken)
	})
	timeline(t, "a condition on how long a state is held [SD-7]", rule(`triggers: [{event: custom.look}]
conditions: ['state("door", "a").status == "open" and held("door", "a", "status") >= duration("5s")']`), func(t *testing.T, l *lab) {
		l.be("a", "open")
		l.post("custom.look", nil)
		l.wantOutcomes("r", falsely)
		l.sec(10)
		l.post("custom.look", nil)
		l.wantOutcomes("r", falsely, started)
	})
}

func TestWildcard(t *testing.T) {
	timeline(t, "each event below the name fires, changes do not", rule("triggers: [{event: door.*}, {event: custom.deep.*}]"), func(t *testing.T, l *lab) {
		l.be("a", "open") // door.opened and door.changed
		l.wantStarted("r", 1)
		l.post("custom.deep.er", nil)
		l.post("custom.deep.er.still", nil)
		l.post("custom.deeper", nil)
		l.wantStarted("r", 3)
	})
}

func TestCount(t *testing.T) {
	three := "triggers: [{event: custom.x, count: 3, within: 10s, by: event.payload.host}]"
	hit := func(l *lab, s float64, host string) {
		l.sec(s)
		l.post("custom.x", map[string]any{"host": host})
	}
	timeline(t, "the third in the window fires; a restart changes nothing [WC-15]", rule(three), func(t *testing.T, l *lab) {
		hit(l, 0, "h")
		hit(l, 2, "h")
		l.Restart()
		l.wantStarted("r", 0)
		hit(l, 3, "h")
		l.wantOutcomes("r", counted, counted, started)
	})
	timeline(t, "the fourth does not: it re-arms when the window has fallen below [WC-11]", rule(three), func(t *testing.T, l *lab) {
		for _, s := range []float64{0, 1, 2, 3} {
			hit(l, s, "h")
		}
		l.wantOutcomes("r", counted, counted, started, counted)
		hit(l, 12.5, "h") // of the others only the one of 3 s is left
		hit(l, 12.6, "h")
		l.wantOutcomes("r", counted, counted, started, counted, counted, started)
	})
	timeline(t, "groups count each for itself [WC-13]", rule(strings.Replace(three, "count: 3", "count: 2", 1)), func(t *testing.T, l *lab) {
		hit(l, 0, "a")
		hit(l, 1, "b")
		l.wantStarted("r", 0)
		hit(l, 2, "a")
		l.wantStarted("r", 1)
		hit(l, 3, "b")
		l.wantOutcomes("r", counted, counted, started, started)
	})
	timeline(t, "at exactly its length an item is out [WC-17]", rule(three), func(t *testing.T, l *lab) {
		hit(l, 0, "h")
		hit(l, 3, "h")
		l.Restart()
		hit(l, 10, "h")
		l.wantOutcomes("r", counted, counted, counted)
		hit(l, 12.999, "h")
		l.wantOutcomes("r", counted, counted, counted, started)
	})
	timeline(t, "refire: every fires at each match from the Nth on", rule(strings.Replace(three, "by:", "refire: every, by:", 1)), func(t *testing.T, l *lab) {
		for _, s := range []float64{0, 1, 2, 3} {
			hit(l, s, "h")
		}
		l.wantOutcomes("r", counted, counted, started, started)
	})
	timeline(t, "an event counts when it happened, not when it came", rule(three), func(t *testing.T, l *lab) {
		hit(l, 0, "h")
		hit(l, 20, "h")
		hit(l, 21, "h")
		l.sec(60)
		l.emitLate(42*time.Second, "custom.x", map[string]any{"host": "h"}) // at 18 s
		l.wantOutcomes("r", counted, counted, counted, started)
	})
	timeline(t, "an event with the same id counts once [RS-10]", rule(three), func(t *testing.T, l *lab) {
		for range 4 {
			e := emitted("same")
			e.Payload = []byte(`{"host": "h"}`)
			if _, _, err := l.Engine.Engine.Emit(t.Context(), e); err != nil {
				t.Fatal(err)
			}
			l.then()
		}
		l.wantOutcomes("r", counted)
	})
	timeline(t, "a condition that says no has not spent the window", rule(three+"\nconditions: [\"event.payload?.go ?? false\"]"), func(t *testing.T, l *lab) {
		for _, s := range []float64{0, 1, 2} {
			hit(l, s, "h")
		}
		l.wantOutcomes("r", counted, counted, falsely)
	})
	timeline(t, "a key that cannot be evaluated is recorded", rule(three), func(t *testing.T, l *lab) {
		l.post("custom.x", map[string]any{"host": map[string]any{"deep": 1}})
		l.post("custom.x", nil)
		l.wantOutcomes("r", counted, mistaken)
	})
	two := strings.Replace(three, "count: 3", "count: 2", 1)
	timeline(t, "each key re-arms by itself", rule(two), func(t *testing.T, l *lab) {
		for i, host := range []string{"a", "a", "b", "a", "b"} {
			hit(l, float64(i), host)
		}
		l.wantOutcomes("r", counted, started, counted, counted, started)
	})
	timeline(t, "it re-arms as soon as one has left the window", rule(three), func(t *testing.T, l *lab) {
		for _, s := range []float64{0, 1, 2, 10.5} {
			hit(l, s, "h")
		}
		l.wantOutcomes("r", counted, counted, started, started)
	})
	timeline(t, "what is exactly its length old has left the window", rule(two), func(t *testing.T, l *lab) {
		for _, s := range []float64{0, 3, 10} {
			hit(l, s, "h")
		}
		l.wantOutcomes("r", counted, started, started)
	})
	timeline(t, "an event that comes late re-arms nothing", rule(two), func(t *testing.T, l *lab) {
		hit(l, 40, "h")
		hit(l, 41, "h")
		l.emitLate(6*time.Second, "custom.x", map[string]any{"host": "h"})
		l.emitLate(20*time.Second, "custom.x", map[string]any{"host": "h"})
		hit(l, 42, "h")
		l.wantOutcomes("r", counted, started, counted, counted, counted)
	})
	timeline(t, "a window that has fallen fires again, though an event comes late", rule(two), func(t *testing.T, l *lab) {
		for _, s := range []float64{0, 1, 20} {
			hit(l, s, "h")
		}
		l.emitLate(5*time.Second, "custom.x", map[string]any{"host": "h"})
		l.wantOutcomes("r", counted, started, counted, started)
	})
	timeline(t, "a window around an event that comes late is no longer than any other", rule(three), func(t *testing.T, l *lab) {
		hit(l, 10, "h")
		hit(l, 20, "h")
		l.emitLate(5*time.Second, "custom.x", map[string]any{"host": "h"})
		l.wantOutcomes("r", counted, counted, counted)
	})
	timeline(t, "what is exactly its length newer is in no window with it", rule(two), func(t *testing.T, l *lab) {
		hit(l, 20, "h")
		l.emitLate(10*time.Second, "custom.x", map[string]any{"host": "h"})
		l.wantOutcomes("r", counted, counted)
	})
	timeline(t, "rules and triggers count each for themselves", rule(`triggers:
  - {event: custom.x, count: 2, within: 10m}
  - {event: custom.y, count: 2, within: 10m}`)+"  - {id: short, triggers: [{event: custom.x, count: 2, within: 1s}], actions: [{log: hi}]}\n", func(t *testing.T, l *lab) {
		l.post("custom.x", nil)
		l.post("custom.y", nil)
		l.wantOutcomes("r", counted, counted)
		l.sec(200)
		l.post("custom.x", nil)
		l.wantOutcomes("r", counted, counted, started)
		l.wantOutcomes("short", counted, counted)
		l.wantGathered(4) // the other window does not need its first any more
	})
	timeline(t, "an edit of what is counted begins anew", rule(three), func(t *testing.T, l *lab) {
		hit(l, 0, "h")
		hit(l, 1, "h")
		l.Reload(rule(strings.Replace(three, "custom.x,", "custom.x, where: 'event.payload.host != \"i\"',", 1)))
		l.then()
		hit(l, 2, "h")
		l.wantOutcomes("r", counted, counted, counted)
		l.Reload("rules: []")
		l.then()
		l.wantGathered(0)
	})
	timeline(t, "edits one after the other, and back", rule(three), func(t *testing.T, l *lab) {
		narrower := rule(strings.Replace(three, "custom.x,", "custom.x, where: event.depth == 0,", 1))
		hit(l, 0, "h")
		l.Reload(narrower)
		l.then()
		hit(l, 1, "h")
		hit(l, 2, "h")
		l.Reload(strings.Replace(narrower, "event.id", "event.name", 1))
		l.then()
		hit(l, 3, "h")
		l.wantOutcomes("r", counted, counted, counted, started)
		l.sec(20)
		hit(l, 20, "h")
		l.Reload(rule(three))
		l.then()
		hit(l, 21, "h")
		hit(l, 22, "h")
		l.wantOutcomes("r", counted, counted, counted, started, counted, counted, counted)
		l.Reload(narrower)
		l.then()
		hit(l, 23, "h")
		l.wantStarted("r", 1)
	})
	timeline(t, "an edit that keeps the window keeps that it has fired", rule(two), func(t *testing.T, l *lab) {
		hit(l, 0, "h")
		hit(l, 1, "h")
		for _, edit := range []string{"event.name", "event.actor"} {
			l.Reload(strings.Replace(rule(two), "event.id", edit, 1))
			l.then()
		}
		hit(l, 2, "h")
		l.wantOutcomes("r", counted, started, counted)
	})
	timeline(t, "an edit of another rule, or of the actions, keeps the window [RS-12]", rule(three), func(t *testing.T, l *lab) {
		hit(l, 0, "h")
		hit(l, 1, "h")
		l.Reload(strings.Replace(rule(three), "event.id", "event.name", 1))
		l.then()
		hit(l, 2, "h")
		l.wantStarted("r", 1)
		l.Reload(strings.Replace(rule(three), "event.payload.host", "event.payload.host + event.name", 1))
		l.then()
		hit(l, 3, "h")
		l.wantStarted("r", 1)
	})
}

func TestCooldown(t *testing.T) {
	hit := func(l *lab, s float64, host string) {
		l.sec(s)
		l.post("custom.x", map[string]any{"host": host})
	}
	timeline(t, "at most one run of a key [WC-1, WC-3]", rule("triggers: [{event: custom.x}]\ncooldown: 10s\nper: event.payload.host"), func(t *testing.T, l *lab) {
		hit(l, 0, "h1")
		hit(l, 3, "h1")
		hit(l, 3, "h2")
		l.Restart()
		hit(l, 7, "h1")
		hit(l, 12, "h1")
		l.wantOutcomes("r", started, cooled, started, cooled, started)
	})
	timeline(t, "what is suppressed does not extend it; at exactly its length it is over [WC-19]", rule("triggers: [{event: custom.x}]\ncooldown: 5s\nper: event.payload.host"), func(t *testing.T, l *lab) {
		for _, c := range []struct {
			s    float64
			host string
		}{{15, "e1"}, {15, "e1"}, {18, "e1"}, {18, "e2"}, {19.999, "e1"}, {20, "e1"}, {20, "e2"}, {20, "e1"}, {20, "e3"}} {
			hit(l, c.s, c.host)
		}
		l.wantOutcomes("r", started, cooled, cooled, started, cooled, started, cooled, cooled, started)
	})
}

func TestUnless(t *testing.T) {
	r := rule("triggers: [{event: custom.a, unless: {event: custom.ack, within: 30s, by: event.payload.id}}]")
	ev := func(l *lab, s float64, name, id string) {
		l.sec(s)
		l.post(name, map[string]any{"id": id})
	}
	timeline(t, "what is not followed fires, at the time [AB-11]", r, func(t *testing.T, l *lab) {
		ev(l, 0, "custom.a", "e1")
		ev(l, 10, "custom.a", "e2")
		ev(l, 20, "custom.ack", "e1")
		ev(l, 30, "custom.a", "e3")
		l.sec(39.999)
		l.wantStarted("r", 0)
		l.sec(40)
		l.wantOutcomes("r", held, held, cancelled, held, started)
		l.sec(60)
		l.wantStarted("r", 2)
	})
	timeline(t, "for the same entity [AB-5, AB-7]", rule("triggers: [{event: door.opened, unless: {event: custom.shut, within: 10s}}]"), func(t *testing.T, l *lab) {
		l.be("a", "open")
		l.be("b", "open")
		l.sec(5)
		l.Restart()
		l.about("b", "custom.shut")
		l.sec(11)
		l.wantOutcomes("r", held, held, cancelled, started)
	})
	timeline(t, "one that passed while the engine was down fires late, once [AB-9]", r, func(t *testing.T, l *lab) {
		ev(l, 0, "custom.a", "e1")
		l.Jump(time.Minute)
		l.Restart()
		l.wantOutcomes("r", held, started)
		if d := l.Decisions("r")[1]; !strings.HasPrefix(d.Detail, "late by 30s") {
			t.Errorf("detail %q", d.Detail)
		}
		ev(l, 61, "custom.ack", "e1")
		l.wantOutcomes("r", held, started)
	})
	timeline(t, "what followed after its end does not undo it, though it is seen first", r, func(t *testing.T, l *lab) {
		ev(l, 0, "custom.a", "e1")
		l.Jump(40 * time.Second)
		l.post("custom.ack", map[string]any{"id": "e1"})
		l.wantOutcomes("r", held, started)
	})
	timeline(t, "one that is seen at its very end is too late", r, func(t *testing.T, l *lab) {
		ev(l, 0, "custom.a", "e1")
		l.Jump(30 * time.Second)
		l.post("custom.ack", map[string]any{"id": "e1"})
		l.wantOutcomes("r", held, started)
	})
	timeline(t, "it counts from when the event happened", r, func(t *testing.T, l *lab) {
		l.sec(30)
		l.emitLate(20*time.Second, "custom.a", map[string]any{"id": "e1"})
		l.sec(39.999)
		l.wantOutcomes("r", held)
		l.sec(40)
		l.wantOutcomes("r", held, started)
	})
	timeline(t, "what happened before is nothing that follows, though it comes late; what happens at once is", r, func(t *testing.T, l *lab) {
		ev(l, 10, "custom.a", "e1")
		l.emitLate(5*time.Second, "custom.ack", map[string]any{"id": "e1"})
		l.wantOutcomes("r", held)
		ev(l, 10, "custom.ack", "e1")
		l.wantOutcomes("r", held, cancelled)
	})
	timeline(t, "one event ends all that it follows, of every trigger and rule", rule(`triggers:
  - {event: custom.a, unless: {event: custom.ack, within: 30s, by: event.payload.id}}
  - {event: custom.a, unless: {event: custom.ack, within: 40s, by: event.payload.id}}`)+
		"  - {id: other, triggers: [{event: custom.a, unless: {event: custom.nack, within: 20s}}], actions: [{log: hi}]}\n", func(t *testing.T, l *lab) {
		ev(l, 0, "custom.a", "e1")
		ev(l, 1, "custom.a", "e1")
		l.sec(10)
		l.wantOutcomes("r", held, held, held, held)
		ev(l, 10, "custom.ack", "e1")
		l.wantOutcomes("r", held, held, held, held, cancelled, cancelled, cancelled, cancelled)
		l.sec(60)
		l.wantOutcomes("other", held, held, started, started)
		l.wantGathered(0)
	})
	timeline(t, "an event does not follow itself, the next one does", rule("triggers: [{event: custom.a, unless: {event: custom.a, within: 30s}}]"), func(t *testing.T, l *lab) {
		ev(l, 0, "custom.a", "e1")
		l.wantOutcomes("r", held)
		ev(l, 10, "custom.a", "e2")
		l.wantOutcomes("r", held, held, cancelled)
		l.sec(40)
		l.wantOutcomes("r", held, held, cancelled, started)
	})
	timeline(t, "nor do two events of one change follow each other", rule("triggers: [{event: door.opened, unless: {event: door.changed, within: 30s}}]"), func(t *testing.T, l *lab) {
		l.be("a", "open")
		l.be("b", "open")
		l.wantOutcomes("r", held, held)
		l.sec(10)
		l.be("a", "closed")
		l.wantOutcomes("r", held, held, cancelled)
		if e := l.Events("door.changed"); len(e) != 1 || !strings.Contains(l.Decisions("r")[2].Detail, e[0].ID) {
			t.Errorf("%+v", e)
		}
		l.sec(30)
		l.wantOutcomes("r", held, held, cancelled, started)
	})
	timeline(t, "a key that cannot be evaluated is recorded", r, func(t *testing.T, l *lab) {
		l.post("custom.a", nil)
		l.wantOutcomes("r", mistaken)
	})
	timeline(t, "what nothing followed goes into a batch", strings.Replace(r, "by: event.payload.id}", "by: event.payload.id}, group: {wait: 5s}", 1), func(t *testing.T, l *lab) {
		ev(l, 0, "custom.a", "e1")
		l.sec(35)
		l.wantOutcomes("r", held, grouped, started)
		ev(l, 40, "custom.a", "e2")
		l.Jump(31 * time.Second)
		l.post("custom.ack", map[string]any{"id": "e2"}) // too late
		l.sec(75)
		l.wantOutcomes("r", held, grouped, started, held, grouped, started)
		l.wantGathered(0)
	})
	timeline(t, "an edit of its time moves it, another one cancels it", r, func(t *testing.T, l *lab) {
		ev(l, 0, "custom.a", "e1")
		l.Reload(strings.Replace(r, "within: 30s", "within: 60s", 1))
		l.then()
		l.sec(59)
		l.wantOutcomes("r", held)
		l.sec(60)
		l.wantOutcomes("r", held, started)
		ev(l, 61, "custom.a", "e2")
		l.Reload(strings.Replace(r, "custom.ack", "custom.nack", 1))
		l.then()
		l.sec(200)
		l.wantOutcomes("r", held, started, held, cancelled)
		l.wantGathered(0)
	})
	timeline(t, "edits of its time one after the other, and a removal", r, func(t *testing.T, l *lab) {
		ev(l, 0, "custom.a", "e1")
		l.sec(10)
		for _, within := range []string{"within: 60s", "within: 50s"} {
			l.Reload(strings.Replace(r, "within: 30s", within, 1))
			l.then()
		}
		l.sec(49.999)
		l.wantOutcomes("r", held)
		l.sec(50)
		l.wantOutcomes("r", held, started)
		ev(l, 50, "custom.a", "e2")
		l.Reload(strings.Replace(r, "unless: {event: custom.ack, within: 50s, by: event.payload.id}", "", 1))
		l.Reload("rules: []")
		l.then()
		l.wantOutcomes("r", held, started, held, cancelled)
		l.wantGathered(0)
	})
}

func TestGroup(t *testing.T) {
	r := `
rules:
  - id: r
    triggers: [{event: custom.x, group: {by: event.payload.team, wait: 1s, interval: 2s, max: 4}}]
    actions: [{lab.ring: {text: '${{ join(map(events, #.payload.n), ",") }}'}}]
`
	ev := func(l *lab, s float64, team, n string) {
		l.sec(s)
		l.post("custom.x", map[string]any{"team": team, "n": n})
	}
	timeline(t, "matches are collected and fire as one batch [WC-5, NO-1]", r, func(t *testing.T, l *lab) {
		ev(l, 0, "a", "1")
		ev(l, 0.5, "a", "2")
		ev(l, 0.6, "b", "3")
		l.wantRung(map[string]int{})
		l.sec(1)
		l.wantRung(map[string]int{"1,2": 1})
		l.sec(1.6)
		l.wantRung(map[string]int{"1,2": 1, "3": 1})
		ev(l, 2, "a", "4") // inside of the interval
		l.sec(2.9)
		l.wantRung(map[string]int{"1,2": 1, "3": 1})
		l.sec(3)
		l.wantRung(map[string]int{"1,2": 1, "3": 1, "4": 1})
		ev(l, 20, "a", "5") // the group was over
		l.sec(21)
		l.wantRung(map[string]int{"1,2": 1, "3": 1, "4": 1, "5": 1})
	})
	timeline(t, "a full batch fires at once", r, func(t *testing.T, l *lab) {
		for i, n := range []string{"1", "2", "3", "4", "5"} {
			ev(l, float64(i)*0.1, "a", n)
		}
		l.wantRung(map[string]int{"1,2,3,4": 1})
		l.sec(10)
		l.wantRung(map[string]int{"1,2,3,4": 1, "5": 1})
		l.wantOutcomes("r", grouped, grouped, grouped, grouped, started, grouped, started)
	})
	timeline(t, "one that was due while the engine was down fires once [WC-7]", r, func(t *testing.T, l *lab) {
		ev(l, 0, "a", "1")
		l.Jump(time.Minute)
		l.Restart()
		l.wantRung(map[string]int{"1": 1})
		l.sec(120)
		l.wantRung(map[string]int{"1": 1})
	})
	timeline(t, "an edit of the actions keeps the batch, the removal of the rule cancels it", r, func(t *testing.T, l *lab) {
		ev(l, 0, "a", "1")
		l.Reload(strings.Replace(r, `","`, `";"`, 1))
		l.then()
		ev(l, 0.5, "a", "2")
		l.sec(1)
		l.wantRung(map[string]int{"1;2": 1})
		ev(l, 10, "a", "3")
		l.Reload("rules: []")
		l.then()
		l.wantOutcomes("r", grouped, grouped, started, grouped, cancelled)
	})
	timeline(t, "the next batch waits for the interval, from when the last one fired", r, func(t *testing.T, l *lab) {
		ev(l, 0, "a", "1")
		l.sec(1)
		ev(l, 1.5, "a", "2")
		l.sec(2.999)
		l.wantRung(map[string]int{"1": 1})
		l.sec(3)
		l.wantRung(map[string]int{"1": 1, "2": 1})
	})
	timeline(t, "a batch that is full fires then, and the interval counts from there", strings.Replace(r, "wait: 1s, interval: 2s, max: 4", "wait: 10s, interval: 20s, max: 2", 1), func(t *testing.T, l *lab) {
		ev(l, 0, "a", "1")
		ev(l, 1, "a", "2")
		l.wantRung(map[string]int{"1,2": 1})
		ev(l, 5, "a", "3")
		l.sec(20.999)
		l.wantRung(map[string]int{"1,2": 1})
		l.sec(21)
		l.wantRung(map[string]int{"1,2": 1, "3": 1})
	})
	timeline(t, "without an interval the next one begins with its first match", strings.Replace(r, "wait: 1s, interval: 2s, max: 4", "wait: 10s, max: 2", 1), func(t *testing.T, l *lab) {
		ev(l, 0, "a", "1")
		ev(l, 1, "a", "2")
		ev(l, 2, "a", "3")
		l.sec(11.999)
		l.wantRung(map[string]int{"1,2": 1})
		l.sec(12)
		l.wantRung(map[string]int{"1,2": 1, "3": 1})
	})
	timeline(t, "what is seen after a batch was due, or as it was, is not in it", r, func(t *testing.T, l *lab) {
		ev(l, 0, "a", "1")
		l.Jump(time.Second)
		l.post("custom.x", map[string]any{"team": "a", "n": "2"})
		l.wantRung(map[string]int{"1": 1})
		l.sec(3)
		l.wantRung(map[string]int{"1": 1, "2": 1})
		l.Jump(3 * time.Second) // the interval is over
		l.post("custom.x", map[string]any{"team": "a", "n": "3"})
		l.wantRung(map[string]int{"1": 1, "2": 1})
		l.Jump(1500 * time.Millisecond)
		l.post("custom.x", map[string]any{"team": "a", "n": "4"})
		l.wantRung(map[string]int{"1": 1, "2": 1, "3": 1})
		l.sec(8.999) // two seconds after the 7 at which that one was due
		l.wantRung(map[string]int{"1": 1, "2": 1, "3": 1})
		l.sec(9)
		l.wantRung(map[string]int{"1": 1, "2": 1, "3": 1, "4": 1})
	})
	timeline(t, "the interval counts from when a batch was due", r, func(t *testing.T, l *lab) {
		ev(l, 0, "a", "1")
		l.Jump(2500 * time.Millisecond)
		l.then()
		if d := l.Decisions("r")[1]; d.Detail != "late by 2s a batch of 1 " {
			t.Errorf("detail %q", d.Detail)
		}
		ev(l, 2.6, "a", "2")
		l.sec(3)
		l.wantRung(map[string]int{"1": 1, "2": 1})
	})
	timeline(t, "matches are in it by the order of their times", r, func(t *testing.T, l *lab) {
		ev(l, 5, "a", "2")
		l.emitLate(500*time.Millisecond, "custom.x", map[string]any{"team": "a", "n": "1"})
		l.emitLate(500*time.Millisecond, "custom.x", map[string]any{"team": "b", "n": "3"})
		l.sec(5.5)
		l.wantRung(map[string]int{"3": 1})
		l.sec(6)
		l.wantRung(map[string]int{"3": 1, "1,2": 1})
	})
	timeline(t, "event is the last one", strings.Replace(r, `'${{ join(map(events, #.payload.n), ",") }}'`, `"${{ event.payload.n }} of ${{ len(events) }}"`, 1), func(t *testing.T, l *lab) {
		ev(l, 0, "a", "1")
		ev(l, 0.5, "a", "2")
		l.sec(1)
		l.wantRung(map[string]int{"2 of 2": 1})
	})
	timeline(t, "rules and triggers collect each for themselves", rule(`mode: parallel
triggers:
  - {event: custom.x, group: {wait: 1s}}
  - {event: custom.y, group: {wait: 3s}}`)+"  - {id: other, triggers: [{event: custom.x, group: {wait: 2s}}], actions: [{log: hi}]}\n", func(t *testing.T, l *lab) {
		l.post("custom.x", nil)
		l.post("custom.y", nil)
		l.sec(1)
		l.wantOutcomes("r", grouped, grouped, started)
		l.wantOutcomes("other", grouped)
		l.sec(3)
		l.wantOutcomes("r", grouped, grouped, started, started)
		l.wantOutcomes("other", grouped, started)
		for _, d := range l.Decisions("r")[2:] {
			if d.Detail != "a batch of 1 " {
				t.Errorf("detail %q", d.Detail)
			}
		}
	})
	timeline(t, "what is counted is not what is collected", rule("triggers: [{event: custom.x, count: 2, within: 10s, refire: every, group: {wait: 2s}}]"), func(t *testing.T, l *lab) {
		for _, s := range []float64{0, 1, 10.5} {
			l.sec(s)
			l.post("custom.x", nil)
		}
		l.sec(12.5)
		l.wantOutcomes("r", counted, grouped, started, grouped, started)
		for _, i := range []int{2, 4} {
			if d := l.Decisions("r")[i]; d.Detail != "a batch of 1 " {
				t.Errorf("detail %q", d.Detail)
			}
		}
	})
	timeline(t, "a key that cannot be evaluated is recorded", r, func(t *testing.T, l *lab) {
		l.post("custom.x", nil)
		l.wantOutcomes("r", mistaken)
	})
	timeline(t, "an edit that takes the group away cancels all of the batch", r, func(t *testing.T, l *lab) {
		ev(l, 0, "a", "1")
		ev(l, 0.5, "a", "2")
		l.Reload(rule("triggers: [{event: custom.x}]"))
		l.then()
		l.wantOutcomes("r", grouped, grouped, cancelled, cancelled)
		if d := l.Decisions("r")[3]; d.Detail != "the rule was edited" || d.Key != "a" {
			t.Errorf("of %s %q", d.Key, d.Detail)
		}
		l.wantGathered(0)
	})
	timeline(t, "another edit of the trigger keeps the batch", r, func(t *testing.T, l *lab) {
		ev(l, 0, "a", "1")
		l.Reload(strings.Replace(r, "custom.x,", "custom.x, where: event.payload.n > '0',", 1))
		l.then()
		l.sec(1)
		l.wantRung(map[string]int{"1": 1})
	})
	timeline(t, "a batch whose last event is gone has a decision", r, func(t *testing.T, l *lab) {
		ev(l, 0, "a", "1")
		tamper(t, l, "DELETE FROM events")
		l.sec(1)
		l.wantOutcomes("r", grouped, mistaken)
		if d := l.Decisions("r"); d[1].EventID != d[0].EventID {
			t.Errorf("about event %q, want %q", d[1].EventID, d[0].EventID)
		}
	})
}

func TestAll(t *testing.T) {
	r := rule(`triggers:
  - all: [{event: custom.stopped}, {event: custom.ping}, {event: custom.storage, where: event.payload.percent > 95}]
    within: 10s`)
	ev := func(l *lab, s float64, name string) {
		l.sec(s)
		l.post(name, map[string]any{"percent": 96})
	}
	timeline(t, "all inside the window, in any order [AB-1]", r, func(t *testing.T, l *lab) {
		ev(l, 0, "custom.stopped")
		ev(l, 8, "custom.ping")
		ev(l, 11, "custom.storage")
		l.wantStarted("r", 0)
		ev(l, 15, "custom.stopped")
		l.wantOutcomes("r", counted, counted, counted, started)
		ev(l, 16, "custom.ping") // the others are spent
		l.wantStarted("r", 1)
	})
	timeline(t, "what a where refuses is no part", r, func(t *testing.T, l *lab) {
		ev(l, 0, "custom.stopped")
		l.post("custom.storage", map[string]any{"percent": 95})
		ev(l, 2, "custom.ping")
		l.wantOutcomes("r", counted, counted)
	})
	timeline(t, "a restart between the parts changes nothing; too late is too late [AB-3, AB-15]", r, func(t *testing.T, l *lab) {
		ev(l, 0, "custom.stopped")
		ev(l, 3, "custom.ping")
		l.Restart()
		ev(l, 14, "custom.storage")
		l.wantStarted("r", 0)
	})
	twice := rule("triggers: [{all: [{event: custom.x, where: event.payload.n > 3}, {event: custom.x}, {event: custom.y}], within: 10s}]")
	timeline(t, "an event that is two of the parts has one decision", twice, func(t *testing.T, l *lab) {
		l.post("custom.x", map[string]any{"n": 5})
		l.wantOutcomes("r", counted)
		pause(t, l, "r")
		l.post("custom.x", map[string]any{"n": 5})
		l.wantOutcomes("r", counted, dropped)
		resume(t, l, "r")
		l.post("custom.y", nil)
		l.wantOutcomes("r", counted, dropped, started)
	})
	timeline(t, "an event that is two of the parts counts for one firing", twice, func(t *testing.T, l *lab) {
		l.post("custom.y", nil)
		l.post("custom.x", map[string]any{"n": 1})
		l.post("custom.x", map[string]any{"n": 5})
		l.wantOutcomes("r", counted, counted, started)
		l.post("custom.y", nil)
		l.post("custom.x", map[string]any{"n": 1})
		l.wantOutcomes("r", counted, counted, started, counted, counted)
	})
	timeline(t, "an event of which two parts cannot be told has one decision", rule(`triggers:
  - {all: [{event: custom.x, where: event.payload.n > 3}, {event: custom.x, where: event.payload.n > 4}], within: 10s}
  - {event: custom.x, where: event.payload.n > 3, unless: {event: custom.x, where: event.payload.n > 4, within: 1s}}
  - {all: [{event: custom.x}, {event: custom.x}], within: 10s, by: event.payload.n.m}`), func(t *testing.T, l *lab) {
		l.post("custom.x", map[string]any{})
		l.wantOutcomes("r", mistaken, mistaken, mistaken)
	})
	timeline(t, "the run knows the events that completed it, each once, oldest first", rule(`triggers:
  - {all: [{event: custom.x}, {event: custom.x, where: event.payload.n > 3}, {event: custom.y}], within: 10s}`), func(t *testing.T, l *lab) {
		l.post("custom.x", map[string]any{"n": 5}) // a newer one of its part comes
		x := l.post("custom.x", map[string]any{"n": 5})
		y := l.post("custom.y", nil)
		if got, want := string(l.Runs("r")[0].Batch), `["`+x+`","`+y+`"]`; got != want {
			t.Errorf("of %s, want %s", got, want)
		}
		l.post("custom.y", nil) // what it did not need of the window is spent as well
		l.wantOutcomes("r", counted, counted, started, counted)
	})
	timeline(t, "the record tells how far the best window has come", rule("triggers: [{all: [{event: custom.a}, {event: custom.b}, {event: custom.c}], within: 10s}]"), func(t *testing.T, l *lab) {
		ev(l, 1, "custom.a")
		ev(l, 14, "custom.b")
		l.emitLate(9*time.Second, "custom.b", nil) // at 5 s, with the first
		l.wantOutcomes("r", counted, counted, counted)
		if d := l.Decisions("r")[2]; d.Detail != "2 of 3 within 10s" {
			t.Errorf("detail %q", d.Detail)
		}
	})
	timeline(t, "the one that completes it is spent as well", rule("triggers: [{all: [{event: custom.a}, {event: custom.b}], within: 10s}]"), func(t *testing.T, l *lab) {
		ev(l, 0, "custom.a")
		ev(l, 1, "custom.b")
		ev(l, 2, "custom.a")
		l.wantOutcomes("r", counted, started, counted)
		ev(l, 100, "custom.a")
		l.wantGathered(1) // no window needs the other one
	})
	timeline(t, "rules and triggers gather each for themselves, in one batch of the router", rule(`triggers:
  - {all: [{event: custom.a}, {event: custom.b}], within: 10s}
  - {all: [{event: custom.a}, {event: custom.c}], within: 10s}`)+"  - {id: other, triggers: [{all: [{event: custom.a}, {event: custom.d}], within: 10s}], actions: [{log: hi}]}\n", func(t *testing.T, l *lab) {
		l.emitOnly("custom.a", nil)
		l.emitOnly("custom.a", nil)
		l.then()
		l.wantOutcomes("r", counted, counted, counted, counted)
		l.wantOutcomes("other", counted, counted)
	})
	timeline(t, "a key that cannot be evaluated is recorded", rule("triggers: [{all: [{event: custom.a}, {event: custom.b}], within: 10s, by: event.payload.n.m}]"), func(t *testing.T, l *lab) {
		l.post("custom.a", nil)
		l.wantOutcomes("r", mistaken)
	})
	timeline(t, "parts with a reset remember each for itself, also across edits of the actions", rule(`triggers:
  - {all: [{numeric: door.count, above: 20, reset: 10}, {numeric: door.count, below: 5, reset: 30}], within: 1m, by: event.entity.id}`), func(t *testing.T, l *lab) {
		l.level("a", 21, 15)
		l.Reload(strings.Replace(rule(`triggers:
  - {all: [{numeric: door.count, above: 20, reset: 10}, {numeric: door.count, below: 5, reset: 30}], within: 1m, by: event.entity.id}`), "event.id", "event.name", 1))
		l.then()
		l.level("a", 22, 4)
		l.wantOutcomes("r", counted, started)
		l.level("a", 15)
		l.Restart()
		l.Reload(rule(`triggers:
  - {all: [{numeric: door.count, above: 20, reset: 10}, {numeric: door.count, below: 5, reset: 30}], within: 1m, by: event.entity.id}`))
		l.then()
		l.level("a", 4, 21)
		l.wantOutcomes("r", counted, started, counted)
	})
	late := rule("triggers: [{all: [{event: custom.a}, {event: custom.b}, {event: custom.c}], within: 10s}]")
	timeline(t, "an event counts when it happened, not when it came", late, func(t *testing.T, l *lab) {
		ev(l, 14, "custom.c")
		l.emitLate(3*time.Second, "custom.b", nil)
		l.emitLate(9*time.Second, "custom.a", nil)
		l.wantOutcomes("r", counted, counted, started)
		ev(l, 15, "custom.a") // the others are spent, also those that happened later
		ev(l, 16, "custom.b")
		l.wantOutcomes("r", counted, counted, started, counted, counted)
	})
	timeline(t, "a window around an event that comes late is no longer than any other", late, func(t *testing.T, l *lab) {
		ev(l, 1, "custom.a")
		ev(l, 14, "custom.c")
		ev(l, 15, "custom.b")
		l.emitLate(10*time.Second, "custom.b", nil) // at 5 s
		l.wantOutcomes("r", counted, counted, counted, counted)
	})
	timeline(t, "at exactly its length before the end of a window an event is out", late, func(t *testing.T, l *lab) {
		ev(l, 10, "custom.a")
		ev(l, 20, "custom.c")
		l.emitLate(5*time.Second, "custom.b", nil)
		l.wantOutcomes("r", counted, counted, counted)
	})
	timeline(t, "of one key, and with states among them", rule(`triggers:
  - all: [{state: door.status, to: open}, {numeric: door.count, above: 5}]
    within: 1m
    by: event.entity.id`), func(t *testing.T, l *lab) {
		l.be("a", "open")
		l.put("b", door{Status: "closed", Count: 9})
		l.wantStarted("r", 0)
		l.put("a", door{Status: "open", Count: 9})
		l.wantStarted("r", 1)
		l.put("b", door{Status: "open", Count: 9})
		l.wantStarted("r", 2)
	})
}

func TestAbsent(t *testing.T) {
	r := rule("triggers: [{absent: custom.beat, for: 10s, by: event.payload.host}]")
	beat := func(l *lab, s float64, host string) {
		l.sec(s)
		l.post("custom.beat", map[string]any{"host": host})
	}
	timeline(t, "once for each key, until it comes again", r, func(t *testing.T, l *lab) {
		l.sec(60)
		l.wantOutcomes("r") // it was never seen
		beat(l, 60, "a")
		beat(l, 65, "b")
		beat(l, 69, "a")
		l.sec(74.999)
		l.wantStarted("r", 0)
		l.sec(75)
		l.wantStarted("r", 1)
		l.sec(79)
		l.wantStarted("r", 2)
		l.sec(300)
		l.wantStarted("r", 2)
		beat(l, 300, "a")
		l.sec(310)
		l.wantStarted("r", 3)
		if got := string(l.Events("engine.absence")[0].Payload); got != `{"event":"custom.beat","key":"b","since":"2026-03-01T12:01:05Z"}` {
			t.Error(got)
		}
	})
	timeline(t, "since: start counts from the load", rule("triggers: [{absent: custom.beat, for: 10s, since: start}]"), func(t *testing.T, l *lab) {
		l.then()
		l.sec(10)
		l.wantStarted("r", 1)
		beat(l, 20, "a")
		beat(l, 25, "b")
		l.sec(34)
		l.wantStarted("r", 1)
		l.sec(35)
		l.wantStarted("r", 2)
	})
	timeline(t, "one that was due while the engine was down is on record before the event that ends it", r, func(t *testing.T, l *lab) {
		beat(l, 0, "a")
		l.Jump(time.Minute)
		l.post("custom.beat", map[string]any{"host": "a"})
		l.wantStarted("r", 1)
		l.sec(75)
		l.wantStarted("r", 2)
	})
	timeline(t, "an edit of its time moves it, an edit of the actions leaves it", r, func(t *testing.T, l *lab) {
		beat(l, 0, "a")
		l.Reload(strings.Replace(r, "for: 10s", "for: 20s", 1))
		l.then()
		l.sec(19)
		l.Reload(strings.NewReplacer("for: 10s", "for: 20s", "event.id", "event.name").Replace(r))
		l.then()
		l.wantStarted("r", 0)
		l.sec(20)
		l.wantStarted("r", 1)
	})
}

func TestAbsentDetails(t *testing.T) {
	beat := func(l *lab, s float64, host string) {
		l.sec(s)
		l.post("custom.beat", map[string]any{"host": host})
	}
	absent := "absent: custom.beat, for: 10s"
	timeline(t, "it is missing at the very end, and from when it last happened", rule("triggers: [{"+absent+"}]"), func(t *testing.T, l *lab) {
		beat(l, 10, "a")
		l.emitLate(5*time.Second, "custom.beat", nil) // there is a newer one
		l.Jump(10 * time.Second)
		l.post("custom.beat", nil)
		l.wantStarted("r", 1)
		l.sec(30)
		l.wantStarted("r", 2)
		l.emitLate(4*time.Second, "custom.beat", nil)
		l.sec(35.999)
		l.wantStarted("r", 2)
		l.Jump(5 * time.Second)
		l.then()
		l.wantStarted("r", 3)
		if d := l.Decisions("r")[2]; d.Detail != "late by 5s no custom.beat for 10s " {
			t.Errorf("detail %q", d.Detail)
		}
		for i, want := range []float64{20, 30, 36} {
			e := l.Events("engine.absence")[i]
			if got := e.At.Sub(enginetest.Epoch).Seconds(); got != want {
				t.Errorf("absence %d is at %v, want %v", i, got, want)
			}
		}
	})
	timeline(t, "where is about the event that is waited for", rule("triggers: [{"+absent+", where: 'event.payload.host == \"a\"'}]"), func(t *testing.T, l *lab) {
		beat(l, 0, "a")
		beat(l, 5, "b")
		l.sec(10)
		l.wantOutcomes("r", started)
	})
	timeline(t, "a key that cannot be evaluated is recorded", rule("triggers: [{"+absent+", by: event.payload.host}]"), func(t *testing.T, l *lab) {
		l.post("custom.beat", nil)
		l.wantOutcomes("r", mistaken)
	})
	timeline(t, "rules and triggers wait each for themselves, and others see what is missing", rule("mode: parallel\ntriggers: [{"+absent+"}, {absent: custom.beat, for: 12s}]")+
		"  - {id: other, triggers: [{absent: custom.beat, for: 5s}], actions: [{log: hi}]}\n"+
		"  - {id: watch, mode: parallel, triggers: [{event: engine.absence}], actions: [{log: hi}]}\n", func(t *testing.T, l *lab) {
		beat(l, 0, "a")
		l.sec(5)
		l.wantStarted("other", 1)
		l.wantStarted("r", 0)
		l.sec(12)
		l.wantStarted("r", 2)
		l.wantStarted("other", 1)
		l.wantStarted("watch", 3)
	})
	for name, c := range map[string]struct{ trigger, kind, entity string }{
		"the entity of the event":            {"absent: door.opened, for: 10s", "door", "a"},
		"the rule, where a key is given":     {"absent: door.opened, for: 10s, by: event.payload.door", "rule", "r"},
		"the rule, where it is not the last": {"absent: door.opened, for: 10s, since: start", "rule", "r"},
	} {
		timeline(t, "it is about "+name, rule("triggers: [{"+c.trigger+"}]"), func(t *testing.T, l *lab) {
			l.then()
			l.sec(5)
			l.be("a", "open")
			l.sec(14.999)
			l.wantStarted("r", 0)
			l.sec(15)
			if e := l.Events("engine.absence"); len(e) != 1 || e[0].Kind != c.kind || e[0].EntityID != c.entity {
				t.Errorf("%+v", e)
			}
		})
	}
	timeline(t, "an edit of what is waited for, or a removal, ends the wait", rule("triggers: [{"+absent+"}]"), func(t *testing.T, l *lab) {
		beat(l, 0, "a")
		l.Reload(rule("triggers: [{" + absent + ", where: event.depth == 0}]"))
		l.then()
		l.sec(20)
		beat(l, 20, "a")
		l.Reload("rules: []")
		l.then()
		l.Reload(rule("triggers: [{" + absent + "}]"))
		l.then()
		l.sec(60)
		l.wantOutcomes("r")
	})
	start := rule("triggers: [{" + absent + ", since: start}]")
	timeline(t, "since: start begins anew when the rule comes back, and not at an edit", start, func(t *testing.T, l *lab) {
		l.then()
		l.sec(5)
		l.Reload(strings.Replace(start, "event.id", "event.name", 1))
		l.then()
		l.sec(9.999)
		l.wantStarted("r", 0)
		l.sec(10)
		l.wantStarted("r", 1)
		l.sec(20)
		l.wantStarted("r", 1)
		l.Reload("rules: []")
		l.then()
		l.sec(25)
		l.Reload(strings.Replace(start, "id: r", "id: r\n    enabled: false", 1))
		l.then()
		l.sec(40)
		l.wantStarted("r", 1)
		l.Reload(start)
		l.then()
		l.sec(49.999)
		l.wantStarted("r", 1)
		l.sec(50)
		l.wantStarted("r", 2)
	})
}

func TestInitial(t *testing.T) {
	for name, trigger := range map[string]string{
		"state": "state: door.status, to: open", "numeric": "numeric: door.count, above: 5", "becomes": "becomes: entity.state.count > 5, kind: door",
	} {
		timeline(t, name+" looks at entities as they are, once", rule("triggers: [{event: custom.never}]"), func(t *testing.T, l *lab) {
			l.put("a", door{Status: "open", Count: 9})
			l.put("b", door{Status: "closed"})
			text := strings.Replace(rule("triggers: [{"+trigger+", initial: true}]"), "id: r", "id: new", 1)
			l.Reload(text)
			l.then()
			l.wantStarted("new", 1)
			l.Reload(strings.Replace(text, "event.id", "event.name", 1))
			l.then()
			l.wantStarted("new", 1)
		})
	}
	timeline(t, "with for, from when the state was entered", rule("triggers: [{event: custom.never}]"), func(t *testing.T, l *lab) {
		l.be("a", "open")
		l.sec(3)
		l.put("a", door{Status: "open", Count: 1})
		l.sec(5)
		l.Reload(strings.Replace(rule("triggers: [{state: door.status, to: open, for: 10s, initial: true}]"), "id: r", "id: new", 1))
		l.then()
		l.sec(9)
		l.wantOutcomes("new", held)
		l.sec(10)
		l.wantOutcomes("new", held, started)
	})
	initially := func(trigger string) string {
		return strings.Replace(rule("triggers: [{"+trigger+", initial: true}]"), "id: r", "id: new", 1)
	}
	load := func(l *lab, text string) {
		l.Reload(text)
		l.then()
	}
	never := rule("triggers: [{event: custom.never}]")
	timeline(t, "with for and no value, from the last change of the field", never, func(t *testing.T, l *lab) {
		l.be("a", "closed")
		l.sec(3)
		l.be("a", "open")
		l.put("a", door{Status: "open", Count: 1})
		l.sec(5)
		load(l, initially("state: door.status, for: 10s"))
		l.sec(12.999)
		l.wantOutcomes("new", held)
		l.sec(13)
		l.wantOutcomes("new", held, started)
		if d := l.Decisions("new")[0]; d.Detail != "as the rule was loaded for 10s" {
			t.Errorf("detail %q", d.Detail)
		}
	})
	timeline(t, "without for, as of now", never, func(t *testing.T, l *lab) {
		l.be("a", "open")
		l.sec(50)
		l.be("b", "open")
		l.sec(100)
		load(l, initially(`state: door.status, to: open, count: 2, within: 10s, by: '"k"'`))
		l.wantOutcomes("new", counted, started)
	})
	timeline(t, "where counts, and an error is recorded", never, func(t *testing.T, l *lab) {
		l.put("a", door{Status: "open", Note: "x"})
		l.put("b", door{Status: "open", Note: "y"})
		l.put("c", door{Status: "open"})
		load(l, initially(`state: door.status, to: open, where: 'event.change.next.note contains "x"'`))
		l.wantOutcomes("new", started, mistaken)
		load(l, strings.Replace(initially(`becomes: 'entity.state.note contains "x"', kind: door`), "id: new", "id: newer", 1))
		l.wantOutcomes("newer", started, mistaken)
	})
	timeline(t, "a rule that is off looks when it is turned on, a trigger that is off does not", never, func(t *testing.T, l *lab) {
		l.be("a", "open")
		on := initially("state: door.status, to: open")
		load(l, strings.Replace(on, "id: new", "id: new\n    enabled: false", 1))
		l.wantOutcomes("new")
		load(l, on)
		l.wantOutcomes("new", started)
		load(l, strings.Replace(initially("state: door.status, to: open, enabled: false"), "id: new", "id: off", 1))
		l.wantOutcomes("off")
	})
	timeline(t, "a rule that is paused looks at nothing", initially("state: door.status, to: open, for: 5s"), func(t *testing.T, l *lab) {
		l.then()
		pause(t, l, "new")
		load(l, "rules: []")
		l.be("a", "open")
		load(l, initially("state: door.status, to: open, for: 5s"))
		l.wantOutcomes("new", dropped)
	})
	timeline(t, "without it nothing fires by being loaded", rule("triggers: [{event: custom.never}]"), func(t *testing.T, l *lab) {
		l.be("a", "open")
		l.Reload(strings.Replace(rule("triggers: [{state: door.status, to: open}]"), "id: r", "id: new", 1))
		l.then()
		l.wantOutcomes("new")
	})
}

var _ = journal.Started
