package rules

import (
	"slices"
	"strings"

	"github.com/flightrules/flightrules/triggers"
)

// Candidate is a trigger of a rule that an event may match.
type Candidate struct {
	Rule    *Rule
	Trigger *Trigger

	at int // position among all triggers of the set
}

// Set is a set of rules that is swapped as a whole.
type Set struct {
	Rules []*Rule // in the order of their files

	byID  map[string]*Rule
	index map[string]*bucket // by name of event
}

// bucket holds the triggers on one event. Those that can match only where a
// member of the event has one of a few values stand under these values, so that
// a look-up finds them, however many there are. All lists are in the order of
// the set.
type bucket struct {
	always  []Candidate
	changed map[string][]Candidate // by a field that must have changed
	members []*member
	byPath  map[string]*member
}

type member struct {
	path   []string
	values map[any][]Candidate
}

// NewSet indexes rules. Rules and triggers that are not enabled are in the set
// and never candidates.
func NewSet(list []*Rule) *Set {
	s := &Set{Rules: list, byID: map[string]*Rule{}, index: map[string]*bucket{}}
	at := 0
	for _, r := range list {
		s.byID[r.ID] = r
		if !r.Enabled {
			continue
		}
		for i := range r.Triggers {
			if r.Triggers[i].Enabled {
				s.add(Candidate{Rule: r, Trigger: &r.Triggers[i], at: at})
				at++
			}
		}
	}
	return s
}

func (s *Set) add(c Candidate) {
	name := c.Trigger.Event()
	b := s.index[name]
	if b == nil {
		b = &bucket{changed: map[string][]Candidate{}, byPath: map[string]*member{}}
		s.index[name] = b
	}
	state, isState := c.Trigger.Trigger.(triggers.OnState)
	path, values := selector(c.Trigger)
	switch {
	case path != "":
		m := b.member(path)
		for _, v := range values {
			m.values[v] = append(m.values[v], c)
		}
	case isState:
		b.changed[state.Field] = append(b.changed[state.Field], c)
	default:
		b.always = append(b.always, c)
	}
}

// entityID is the path to the id of the entity of an event.
const entityID = "entity.id"

// selector is the first equality that a trigger demands and that can be looked
// up, with distinct values; "" when there is none.
//
// A trigger that holds must be found for the changes too that break it, and
// those have the entity in common with what it matched, but nothing else.
func selector(t *Trigger) (path string, values []any) {
	if state, ok := t.Trigger.(triggers.OnState); ok && state.Entities != nil {
		for _, id := range state.Entities {
			values = append(values, id)
		}
		return entityID, distinct(values)
	}
	if t.Where == nil {
		return "", nil
	}
	for _, e := range t.Where.Equalities() {
		path, ok := strings.CutPrefix(e.Path, "event.")
		values := lookupKeys(e.Values)
		if ok && values != nil && (t.For() == 0 || path == entityID) {
			return path, values
		}
	}
	return "", nil
}

// lookupKeys brings the constants of an equality to the form in which the index
// holds them; nil when there are none.
func lookupKeys(constants []any) []any {
	var keys []any
	for _, v := range constants {
		key, _ := lookupKey(v) // constants are strings, numbers and booleans
		keys = append(keys, key)
	}
	return distinct(keys)
}

// lookupKey is a value in the form in which the index holds it: numbers are
// equal by value. Lists, maps and nil cannot be looked up.
func lookupKey(v any) (any, bool) {
	switch v := v.(type) {
	case string, bool:
		return v, true
	case int:
		return float64(v), true
	case int64:
		return float64(v), true
	case float64:
		return v, true
	default:
		return nil, false
	}
}

// distinct leaves out what is there already.
func distinct(values []any) []any {
	var list []any
	for _, v := range values {
		if !slices.Contains(list, v) {
			list = append(list, v)
		}
	}
	return list
}

func (b *bucket) member(path string) *member {
	m := b.byPath[path]
	if m == nil {
		m = &member{path: strings.Split(path, "."), values: map[any][]Candidate{}}
		b.byPath[path] = m
		b.members = append(b.members, m)
	}
	return m
}

// Rule finds a rule by its id; nil when there is none.
func (s *Set) Rule(id string) *Rule { return s.byID[id] }

// Listens says whether any rule looks at events of that name.
func (s *Set) Listens(event string) bool { return s.index[event] != nil }

// Candidates are the triggers that an event may match, or whose holding it may
// break, each once and in the order of the set; event is its value in
// expressions. The caller must not change the list.
//
// A trigger that is left out would not have matched: what its `where` demands
// is not so, or is about a member that the event does not have.
func (s *Set) Candidates(name string, event map[string]any) []Candidate {
	b := s.index[name]
	if b == nil {
		return nil
	}
	list := b.always
	if len(b.changed) > 0 {
		for _, field := range changedFields(event) {
			list = merge(list, b.changed[field])
		}
	}
	for _, m := range b.members {
		if key, ok := lookupKey(walk(event, m.path)); ok {
			list = merge(list, m.values[key])
		}
	}
	return list
}

// merge joins two lists that are in order and have nothing in common. It may
// give one of them, and changes neither.
func merge(a, b []Candidate) []Candidate {
	if len(a) == 0 {
		return b
	}
	if len(b) == 0 {
		return a
	}
	list := make([]Candidate, 0, len(a)+len(b))
	for len(a) > 0 && len(b) > 0 {
		if a[0].at < b[0].at {
			list, a = append(list, a[0]), a[1:]
		} else {
			list, b = append(list, b[0]), b[1:]
		}
	}
	return append(append(list, a...), b...)
}

func changedFields(event map[string]any) []string {
	change, _ := event["change"].(map[string]any)
	fields, _ := change["fields"].([]string)
	return fields
}

func walk(v any, path []string) any {
	for _, name := range path {
		m, ok := v.(map[string]any)
		if !ok {
			return nil
		}
		v = m[name]
	}
	return v
}
