package rules

import (
	"iter"
	"slices"
	"strings"

	"github.com/flightrules/flightrules/internal/expression"
	"github.com/flightrules/flightrules/internal/yamlx"
	"github.com/flightrules/flightrules/triggers"
)

// Candidate is a trigger of a rule that an event may match.
type Candidate struct {
	Rule    *Rule
	Trigger *Trigger
	Role    Role

	at int // position among all of the set
}

// Role is what an event may be to a trigger: its Match, its Ending, or the part
// of an All with that number, from 1.
type Role int

// The roles besides those of parts.
const (
	Match  Role = 0
	Ending Role = -1 // of Unless
)

// Looks is what a candidate looks for, in its role.
func (c Candidate) Looks() (triggers.Trigger, *expression.Program) {
	switch {
	case c.Role == Match:
		return c.Trigger.Trigger, c.Trigger.Where
	case c.Role == Ending:
		return c.Trigger.Unless.Event, c.Trigger.Unless.Where
	default:
		part := c.Trigger.All.Parts[c.Role-1]
		return part.Trigger, part.Where
	}
}

// listen is one event that a trigger looks at.
type listen struct {
	role    Role
	trigger triggers.Trigger
	where   *expression.Program
	holds   bool // it must be found also for the changes that end what it matched
}

// listens are the events that a trigger looks at.
func (t *Trigger) listens() []listen {
	var list []listen
	if t.Trigger != nil {
		list = append(list, listen{Match, t.Trigger, t.Where, !t.Hold.IsZero() || latches(t.Trigger)})
	}
	if t.Unless != nil {
		list = append(list, listen{Ending, t.Unless.Event, t.Unless.Where, false})
	}
	if t.All != nil {
		for i, part := range t.All.Parts {
			list = append(list, listen{Role(i + 1), part.Trigger, part.Where, latches(part.Trigger)})
		}
	}
	return list
}

func latches(t triggers.Trigger) bool {
	l, ok := t.(triggers.Latching)
	return ok && l.Latches()
}

// Set is a set of rules that is swapped as a whole.
type Set struct {
	Rules     []*Rule         // in the order of their files
	Silences  []*Silence      // of the files
	Retention Retention       // what the files say, or the default
	Warnings  []yamlx.Problem // what is allowed and probably a mistake
	Declarations

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
	s := &Set{Rules: list, Retention: DefaultRetention(), byID: map[string]*Rule{}, index: map[string]*bucket{}}
	at := 0
	for _, r := range list {
		s.byID[r.ID] = r
		if !r.Enabled {
			continue
		}
		for i := range r.Triggers {
			t := &r.Triggers[i]
			if !t.Enabled {
				continue
			}
			for _, l := range t.listens() {
				s.add(Candidate{Rule: r, Trigger: t, Role: l.role, at: at}, l)
				at++
			}
		}
	}
	return s
}

// Only is the set with those of its rules alone that keep says; all else is
// shared.
func (s *Set) Only(keep func(*Rule) bool) *Set {
	var list []*Rule
	for _, r := range s.Rules {
		if keep(r) {
			list = append(list, r)
		}
	}
	return s.of(list)
}

// With is the set with a rule in the place of the one of its id, or at the end.
func (s *Set) With(r *Rule) *Set {
	list := slices.Clone(s.Rules)
	if i := slices.Index(list, s.byID[r.ID]); i >= 0 {
		list[i] = r
	} else {
		list = append(list, r)
	}
	return s.of(list)
}

// of is the set with other rules.
func (s *Set) of(list []*Rule) *Set {
	other := NewSet(list)
	other.Silences, other.Retention, other.Declarations = s.Silences, s.Retention, s.Declarations
	return other
}

func (s *Set) add(c Candidate, l listen) {
	name := l.trigger.Event()
	b := s.index[name]
	if b == nil {
		b = &bucket{changed: map[string][]Candidate{}, byPath: map[string]*member{}}
		s.index[name] = b
	}
	path, values := selector(l)
	fields, few := fieldsOf(l.trigger)
	switch {
	case values != nil:
		m := b.member(path)
		for _, v := range values {
			m.values[v] = append(m.values[v], c)
		}
	case few:
		for _, field := range fields {
			b.changed[field] = append(b.changed[field], c)
		}
	default:
		b.always = append(b.always, c)
	}
}

// fieldsOf are the fields of which one must have changed; false where any may
// have.
func fieldsOf(t triggers.Trigger) (fields []string, few bool) {
	switch t := t.(type) {
	case triggers.OnState:
		return []string{t.Field}, true
	case triggers.OnNumber:
		return []string{t.Field}, true
	case triggers.OnBecoming:
		return fieldsRead(t.Expr)
	}
	return nil, false
}

// fieldsRead are the fields of the state that an expression over an entity
// reads.
func fieldsRead(program *expression.Program) (fields []string, few bool) {
	paths, whole := program.Members("entity")
	if whole {
		return nil, false
	}
	for _, path := range paths {
		name, ok := strings.CutPrefix(path, "state.")
		if !ok {
			return nil, false // the id too may make it true as the entity comes
		}
		field, _, _ := strings.Cut(name, ".")
		if !slices.Contains(fields, field) {
			fields = append(fields, field)
		}
	}
	return fields, len(fields) > 0
}

// entitiesOf are the ids of the entities that a trigger looks at; nil: all.
func entitiesOf(t triggers.Trigger) []string {
	switch t := t.(type) {
	case triggers.OnState:
		return t.Entities
	case triggers.OnNumber:
		return t.Entities
	}
	return nil
}

// entityID is the path to the id of the entity of an event.
const entityID = "entity.id"

// selector is the first equality that a trigger demands and that can be looked
// up, with distinct values; "" when there is none.
//
// A trigger that holds must be found for the changes too that break it, and
// those have the entity in common with what it matched, but nothing else.
func selector(l listen) (path string, values []any) {
	if ids := entitiesOf(l.trigger); ids != nil {
		for _, id := range ids {
			values = append(values, id)
		}
		return entityID, distinct(values)
	}
	if l.where == nil {
		return "", nil
	}
	for _, e := range l.where.Equalities() {
		path, ok := strings.CutPrefix(e.Path, "event.")
		values := lookupKeys(e.Values)
		if ok && values != nil && (!l.holds || path == entityID) {
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
func (s *Set) Listens(event string) bool {
	for range s.buckets(event) {
		return true
	}
	return false
}

// buckets yields what stands under a name and under those that cover it.
func (s *Set) buckets(name string) iter.Seq[*bucket] {
	return func(yield func(*bucket) bool) {
		if b := s.index[name]; b != nil && !yield(b) {
			return
		}
		for end := strings.LastIndexByte(name, '.'); end > 0; end = strings.LastIndexByte(name[:end], '.') {
			pattern := name[:end] + ".*"
			if b := s.index[pattern]; b != nil && triggers.Covers(pattern, name) && !yield(b) {
				return
			}
		}
	}
}

// Candidates are the triggers that an event may match, or whose holding it may
// break, each once for each of its roles and in the order of the set; event is
// its value in expressions. The caller must not change the list.
//
// A trigger that is left out would not have matched: what its `where` demands
// is not so, or is about a member that the event does not have.
func (s *Set) Candidates(name string, event map[string]any) []Candidate {
	var list []Candidate
	for b := range s.buckets(name) {
		list = merge(list, b.always)
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
	}
	return list
}

// merge joins two lists that are in order, without doubles. It may give one of
// them, and changes neither.
func merge(a, b []Candidate) []Candidate {
	if len(a) == 0 {
		return b
	}
	if len(b) == 0 {
		return a
	}
	list := make([]Candidate, 0, len(a)+len(b))
	for len(a) > 0 && len(b) > 0 {
		switch {
		case a[0].at < b[0].at:
			list, a = append(list, a[0]), a[1:]
		case a[0].at > b[0].at:
			list, b = append(list, b[0]), b[1:]
		default:
			a = a[1:]
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
