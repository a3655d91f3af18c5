package rules

import (
	"strings"

	"github.com/flightrules/flightrules/triggers"
)

// Candidate is a trigger of a rule that an event may match.
type Candidate struct {
	Rule    *Rule
	Trigger *Trigger
}

// Set is a set of rules that is swapped as a whole.
type Set struct {
	Rules []*Rule

	byID  map[string]*Rule
	index map[string]*bucket // by name of event
}

// bucket holds the triggers on one event. Those whose `where` demands that a
// member of the event equals a constant stand under the constant, so that a
// look-up of the member's value finds them, however many there are.
type bucket struct {
	always  []Candidate
	members []*member
}

type member struct {
	path   []string
	values map[any][]Candidate
}

// NewSet indexes rules. Rules and triggers that are not enabled are in the set
// and never candidates.
func NewSet(list []*Rule) *Set {
	s := &Set{Rules: list, byID: map[string]*Rule{}, index: map[string]*bucket{}}
	for _, r := range list {
		s.byID[r.ID] = r
		if !r.Enabled {
			continue
		}
		for i := range r.Triggers {
			if r.Triggers[i].Enabled {
				s.add(Candidate{r, &r.Triggers[i]})
			}
		}
	}
	return s
}

func (s *Set) add(c Candidate) {
	name := c.Trigger.Event()
	b := s.index[name]
	if b == nil {
		b = &bucket{}
		s.index[name] = b
	}
	path, values := selector(c.Trigger)
	if path == "" {
		b.always = append(b.always, c)
		return
	}
	m := b.member(path)
	for _, v := range values {
		m.values[v] = append(m.values[v], c)
	}
}

// selector is the first equality of a trigger's `where` that can be looked up;
// for a state trigger the field it waits for.
func selector(t *Trigger) (path string, values []any) {
	if state, ok := t.Trigger.(triggers.OnState); ok {
		return changedField, []any{state.Field}
	}
	if t.Where == nil {
		return "", nil
	}
next:
	for _, e := range t.Where.Equalities() {
		if !strings.HasPrefix(e.Path, "event.") || len(e.Values) == 0 {
			continue
		}
		values = values[:0]
		for _, v := range e.Values {
			k, ok := lookupKey(v)
			if !ok {
				continue next
			}
			values = append(values, k)
		}
		return strings.TrimPrefix(e.Path, "event."), values
	}
	return "", nil
}

// changedField stands for the path to each name in event.change.fields.
const changedField = "\x00changed"

func (b *bucket) member(path string) *member {
	parts := strings.Split(path, ".")
	for _, m := range b.members {
		if strings.Join(m.path, ".") == path {
			return m
		}
	}
	m := &member{path: parts, values: map[any][]Candidate{}}
	b.members = append(b.members, m)
	return m
}

// lookupKey brings a value to the form in which the index holds it: numbers
// are equal by value. Lists, maps and nil cannot be looked up.
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

// Rule finds a rule by its id; nil when there is none.
func (s *Set) Rule(id string) *Rule { return s.byID[id] }

// Listens says whether any rule looks at events of that name.
func (s *Set) Listens(event string) bool { return s.index[event] != nil }

// Candidates are the triggers that an event may match; event is its value in
// expressions. Triggers left out cannot match. The order is that of the rules
// only within one kind of selector; it says nothing about which fires first.
func (s *Set) Candidates(name string, event map[string]any) []Candidate {
	b := s.index[name]
	if b == nil {
		return nil
	}
	if len(b.members) == 0 {
		return b.always
	}
	list := append([]Candidate(nil), b.always...)
	for _, m := range b.members {
		if m.path[0] == changedField {
			for _, field := range changedFields(event) {
				list = append(list, m.values[field]...)
			}
			continue
		}
		if k, ok := lookupKey(walk(event, m.path)); ok {
			list = append(list, m.values[k]...)
		}
	}
	return list
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
