package rules_test

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/flightrules/flightrules/entities"
	"github.com/flightrules/flightrules/internal/db"
	"github.com/flightrules/flightrules/rules"
	"github.com/flightrules/flightrules/triggers"
)

// matches says whether a trigger, by itself, matches an event.
func matches(trigger *rules.Trigger, e triggers.Event, value map[string]any) bool {
	if yes, _, err := trigger.Match(e, triggers.Forgotten); !yes || err != nil {
		return false
	}
	if trigger.Where == nil {
		return true
	}
	yes, err := trigger.Where.Bool(map[string]any{"event": value, "vars": map[string]any{}, "trigger": map[string]any{}})
	return err == nil && yes
}

// plainly is what Candidates and matches give, without an index.
func plainly(set *rules.Set, e triggers.Event, value map[string]any) []string {
	var list []string
	for _, r := range set.Rules {
		for i := range r.Triggers {
			if r.Enabled && r.Triggers[i].Enabled && matches(&r.Triggers[i], e, value) {
				list = append(list, r.ID+"/"+r.Triggers[i].ID)
			}
		}
	}
	return list
}

// Candidates never leave out a trigger that matches or whose holding is broken,
// name none twice, and keep the order of the files.
func TestCandidatesAreAsGoodAsAll(t *testing.T) {
	c := newCompiler(t)
	rapid.Check(t, func(t *rapid.T) {
		text := "rules:\n" + strings.Join(rapid.SliceOfN(rapid.Custom(randomRule), 1, 12).Draw(t, "rules"), "")
		text = numbered(text)
		set, err := c.Load(files("rules.yaml", text), "")
		if err != nil {
			t.Fatalf("%v\n%s", err, text)
		}
		for _, e := range rapid.SliceOfN(rapid.Custom(randomEvent), 1, 8).Draw(t, "events") {
			value, err := c.Events.Value(e)
			if err != nil {
				t.Fatal(err)
			}
			var got, candidates []string
			for _, one := range set.Candidates(e.Name, value) {
				name := one.Rule.ID + "/" + one.Trigger.ID
				candidates = append(candidates, name)
				if matches(one.Trigger, e, value) {
					got = append(got, name)
				}
			}
			if diff := cmp.Diff(plainly(set, e, value), got); diff != "" {
				t.Fatalf("other matches of %v (-all +candidates):\n%s\n%s", value, diff, text)
			}
			if once := slices.Compact(slices.Clone(candidates)); len(once) != len(candidates) || !slices.IsSorted(candidates) {
				t.Fatalf("the candidates are %v\n%s", candidates, text)
			}
			for _, name := range broken(set, e, value) {
				if !slices.Contains(candidates, name) {
					t.Fatalf("%s may hold for this entity and is broken by %v, but is no candidate\n%s", name, value, text)
				}
			}
		}
	})
}

// broken are the triggers that may hold for the entity of an event, and that
// its change breaks. What `where` says of the change does not count: it was
// asked when they began to hold.
func broken(set *rules.Set, e triggers.Event, value map[string]any) []string {
	var list []string
	for _, r := range set.Rules {
		for i, t := range r.Triggers {
			state, ok := t.Trigger.(triggers.OnState)
			if !ok || !r.Enabled || !t.Enabled || t.Hold.IsZero() || e.Change == nil || e.Kind != state.Kind {
				continue
			}
			if state.Entities != nil && !slices.Contains(state.Entities, e.EntityID) {
				continue
			}
			if t.Where != nil && strings.Contains(t.Where.Source(), "event.entity.id") {
				if yes, _ := t.Where.Bool(map[string]any{"event": value}); !yes {
					continue // it holds for other entities only
				}
			}
			if state.Breaks(*e.Change) {
				list = append(list, r.ID+"/"+r.Triggers[i].ID)
			}
		}
	}
	return list
}

var wheres = []string{
	`event.payload.sensor == %s`, `%s == event.payload.sensor`, `event.payload.sensor in [%s, %s]`, `event.payload.sensor != %s`,
	`event.payload.sensor in [%s] and event.payload.status == %d`, `not (event.payload.sensor == %s)`,
	`event.payload.sensor == %s or event.payload.status == %d`, `(event.payload.sensor ?? %s) == %s`,
	`event.payload.status == %d`, `event.payload.status in [%d, %d]`, `event.payload.status >= %d`, `event.payload.status == -%d`,
	`event.payload.value == %d`, `event.payload.value == %d.5`, `event.payload.value in [%d, %d.0]`, `event.payload.value * 2 == %d`,
	`event.payload.ok == true`, `event.payload.ok`, `event.payload.ok == false && event.payload.sensor == %s`,
	`event.payload.extra == %s`, `event.payload.extra == %d`, `event.payload.extra in [%s, %d, true]`, `event.payload?.extra == %s`,
	`event.payload.extra?.deep == %s`, `event.payload["sensor"] == %s`, `event.payload.count > %d and event.payload.sensor == %s`,
	`event.payload.extra == nil`, `event.payload.extra in [nil, %s]`, `event.payload.sensor in []`,
	`event.name == "weather.measured"`, `event.depth == 0 and event.payload.sensor == %s`, `true`,
}

var changeWheres = []string{
	`event.entity.id == %s`, `event.entity.id in [%s, %s]`, `event.change.next.priority == %d`, `event.change.next?.priority == %d`,
	`event.change.next?.status == "open"`, `"status" in event.change.fields`, `event.change.prev?.labels?.team == %s`, `event.actor == ""`,
}

func randomWhere(t *rapid.T, from []string) string {
	format := rapid.SampledFrom(from).Draw(t, "where")
	for _, verb := range []string{"%s", "%d"} {
		for strings.Contains(format, verb) {
			format = strings.Replace(format, verb, constant(t, verb), 1)
		}
	}
	return format
}

// constant is one of few, so that events match.
func constant(t *rapid.T, verb string) string {
	n := rapid.IntRange(0, 2).Draw(t, "constant")
	if verb == "%s" {
		return fmt.Sprintf(`"%c"`, 'a'+n)
	}
	return fmt.Sprint(n)
}

func randomTrigger(t *rapid.T) string {
	enabled := ""
	if rapid.IntRange(0, 9).Draw(t, "off") == 0 {
		enabled = ", enabled: false"
	}
	if rapid.Bool().Draw(t, "event") {
		where := ""
		if rapid.IntRange(0, 9).Draw(t, "bare") > 0 {
			where = fmt.Sprintf(", where: %q", randomWhere(t, wheres))
		}
		return fmt.Sprintf("{event: weather.measured%s%s}", where, enabled)
	}
	text := "state: ticket." + rapid.SampledFrom([]string{"status, to: open", "status, from: open", "status", "priority, to: [1, 2]", "labels"}).Draw(t, "field")
	text += rapid.SampledFrom([]string{"", ", for: 5m", ", entity: a", ", entity: [a, b, a]", ", entity: b, for: 1m"}).Draw(t, "more")
	if rapid.Bool().Draw(t, "with where") {
		text += fmt.Sprintf(", where: %q", randomWhere(t, changeWheres))
	}
	return "{" + text + enabled + "}"
}

func randomRule(t *rapid.T) string {
	list := rapid.SliceOfN(rapid.Custom(randomTrigger), 1, 3).Draw(t, "triggers")
	off := ""
	if rapid.IntRange(0, 9).Draw(t, "off") == 0 {
		off = "\n    enabled: false"
	}
	return "  - id: ID" + off + "\n    triggers: [" + strings.Join(list, ", ") + "]\n    actions: [{log: hi}]\n"
}

// numbered gives each rule an id; in the order of the file they are sorted.
func numbered(text string) string {
	for i := 0; strings.Contains(text, "id: ID"); i++ {
		text = strings.Replace(text, "id: ID", fmt.Sprintf("id: r%03d", i), 1)
	}
	return text
}

func randomEvent(t *rapid.T) triggers.Event {
	word := rapid.SampledFrom([]string{"a", "b", "c", "d"})
	number := rapid.IntRange(-2, 3)
	if rapid.Bool().Draw(t, "change") {
		return randomChange(t, word, number)
	}
	payload := map[string]any{"sensor": word.Draw(t, "sensor"), "status": number.Draw(t, "status")}
	optional := map[string]any{
		"value": float64(number.Draw(t, "halves")) / 2, "count": number.Draw(t, "count"), "ok": rapid.Bool().Draw(t, "ok"),
		"extra": rapid.SampledFrom([]any{"a", 1, 1.0, true, nil, []any{"a"}, map[string]any{"deep": "a"}, 0.0}).Draw(t, "extra"),
	}
	for _, name := range slices.Sorted(maps.Keys(optional)) {
		if rapid.Bool().Draw(t, "has "+name) {
			payload[name] = optional[name]
		}
	}
	return triggers.Event{ID: "e", Name: "weather.measured", At: time.Unix(0, 0), Payload: db.ToJSON(payload)}
}

func randomChange(t *rapid.T, word *rapid.Generator[string], number *rapid.Generator[int]) triggers.Event {
	state := func(name string) entities.View {
		if rapid.IntRange(0, 5).Draw(t, name+" is none") == 0 {
			return nil
		}
		v := entities.View{"status": rapid.SampledFrom([]string{"open", "closed"}).Draw(t, name)}
		if rapid.Bool().Draw(t, name+" has a priority") {
			v["priority"] = int64(number.Draw(t, name+" priority"))
		}
		if rapid.Bool().Draw(t, name+" has labels") {
			v["labels"] = map[string]any{"team": word.Draw(t, name+" team")}
		}
		return v
	}
	prev, next := state("prev"), state("next")
	change := entities.Transition{Kind: "ticket", ID: word.Draw(t, "id"), Version: 2, Next: next, Delta: entities.Delta{}}
	for _, name := range []string{"status", "priority", "labels"} {
		if !cmp.Equal(prev[name], next[name]) {
			change.Delta[name] = [2]any{prev[name], next[name]}
		}
	}
	return triggers.Event{ID: "e", Name: "ticket.changed", Kind: "ticket", EntityID: change.ID, At: time.Unix(0, 0), Change: &change}
}
