package engine_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/flightrules/flightrules/engine"
	"github.com/flightrules/flightrules/engine/journal"
	"github.com/flightrules/flightrules/internal/dbtest"
)

// explained is an explanation in lines.
func (l *lab) explained(rule, event string) string {
	l.t.Helper()
	e, err := l.Engine.Engine.Explain(l.t.Context(), rule, event)
	if err != nil {
		l.t.Fatal(err)
	}
	var out strings.Builder
	evaluated := func(what string, v engine.Evaluated) {
		fmt.Fprintf(&out, "  %s %s = %v %v\n", what, v.Text, v.Value, v.Err)
		for _, p := range v.Parts {
			fmt.Fprintf(&out, "    %s = %v %v\n", p.Text, p.Value, p.Err)
		}
	}
	for _, t := range e.Triggers {
		fmt.Fprintf(&out, "%s %t %s: %s\n", t.Trigger.ID, t.Matched, t.Gate, t.Detail)
		if t.Where != nil {
			evaluated("where", *t.Where)
		}
		for _, c := range t.Conditions {
			evaluated("condition", c)
		}
	}
	for _, d := range e.Decisions {
		fmt.Fprintf(&out, "decided %s\n", d.Outcome)
	}
	return out.String()
}

func TestExplain(t *testing.T) {
	rules := rule(`triggers:
  - {event: custom.x, where: event.payload.n > 3 and event.payload.host == "a"}
  - {state: door.status, to: open}
conditions: ['state("door", "a")?.count == 1', 'held("door", "a", "status") > duration("1m")']`)
	timeline(t, "a where that said no, with the values of its parts, though nothing was recorded", rules, func(t *testing.T, l *lab) {
		id := l.post("custom.x", map[string]any{"n": 5, "host": "b"})
		l.wantOutcomes("r")
		want := `1 false where: event.payload.n > 3 and event.payload.host == "a" is false
  where event.payload.n > 3 and event.payload.host == "a" = false <nil>
    event.payload.n = 5 <nil>
    event.payload.n > 3 = true <nil>
    event.payload.host = b <nil>
    event.payload.host == "a" = false <nil>
2 false event: it looks at door.changed, and this is custom.x
`
		if diff := cmp.Diff(want, l.explained("r", id)); diff != "" {
			t.Error(diff)
		}
	})
	timeline(t, "a condition, as of the time of the event and not as of now", rules, func(t *testing.T, l *lab) {
		l.put("a", door{Status: "closed", Count: 1})
		l.sec(30)
		id := l.post("custom.x", map[string]any{"n": 5, "host": "a"})
		l.at(time.Hour)
		l.put("a", door{Status: "open", Count: 2})
		got := l.explained("r", id)
		for _, want := range []string{
			"1 true conditions: conditions[1]", `state("door", "a")?.count = 1 <nil>`, `held("door", "a", "status") = 30s <nil>`, "decided condition_false",
		} {
			if !strings.Contains(got, want) {
				t.Errorf("no %q in\n%s", want, got)
			}
		}
		opened := l.Events("door.opened")[0].ID
		if got := l.explained("r", opened); !strings.Contains(got, "2 true conditions: conditions[0]") {
			t.Errorf("of the change behind another event:\n%s", got)
		}
	})
	timeline(t, "the ticks of another rule are not its own", `
rules:
  - {id: r, triggers: [{every: 1h}], actions: [{log: r}]}
  - {id: other, triggers: [{every: 30m}], actions: [{log: other}]}
`, func(t *testing.T, l *lab) {
		l.at(30 * time.Minute)
		tick := l.Events("engine.tick")[0].ID
		if got, want := l.explained("r", tick), "1 false event: it looks at engine.tick of its own, and this one is not\n"; got != want {
			t.Errorf("got %q, want %q", got, want)
		}
		if got, want := l.explained("other", tick), "1 true : \ndecided started\n"; got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	})
	t.Run("what there is not", func(t *testing.T) {
		l := newLab(t, dbtest.SQLite(t), rules)
		if _, err := l.Engine.Engine.Explain(t.Context(), "nobody", "x"); !errors.Is(err, engine.ErrNoRule) {
			t.Error(err)
		}
		if _, err := l.Engine.Engine.Explain(t.Context(), "r", "nothing"); !errors.Is(err, journal.ErrNotFound) {
			t.Error(err)
		}
	})
}
