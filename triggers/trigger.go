package triggers

import (
	"reflect"
	"slices"
	"strings"

	"github.com/flightrules/flightrules/entities"
	"github.com/flightrules/flightrules/internal/expression"
)

// Trigger is what a rule waits for in single events. It is a value, made when
// the rule is loaded and never changed; what it must remember between events
// is kept for it as a Latch.
type Trigger interface {
	// Event is the name of the events that it looks at; it may end in ".*".
	Event() string
	// Match says whether the event is one, before any `where`, and what is to be
	// remembered of the entity. An error means that it cannot be told.
	Match(h Event, before Latch) (yes bool, after Latch, err error)
}

// Latch is what a trigger remembers of an entity where the change alone does
// not tell: that it was last known to be on, or off.
type Latch int8

// The latches. Forgotten is the one that need not be kept.
const (
	Forgotten Latch = iota
	On
	Off
)

// Holding is a Trigger on a state that an entity comes into, and stays in until
// a change breaks it.
type Holding interface {
	Trigger
	// Breaks says whether a change ends what Match saw. Where that cannot be
	// told the change breaks nothing.
	Breaks(t entities.Transition) bool
	// Holds says whether an entity with that state is in it.
	Holds(id string, state entities.View) (bool, error)
}

// Latching is a Trigger that may want a Latch to be kept.
type Latching interface{ Latches() bool }

// OnEvent fires for each event of a name, or of all names below one when it
// ends in ".*". Changes (KIND.changed) are not among those: state triggers see
// them.
type OnEvent struct{ Name string }

// Event implements Trigger.
func (t OnEvent) Event() string { return t.Name }

// Match implements Trigger.
func (t OnEvent) Match(h Event, _ Latch) (bool, Latch, error) {
	return Covers(t.Name, h.Name), Forgotten, nil
}

// Covers says whether name is pattern, or below it where it ends in ".*".
func Covers(pattern, name string) bool {
	below, all := strings.CutSuffix(pattern, "*")
	return pattern == name || all && strings.HasPrefix(name, below) && !strings.HasSuffix(name, changedSuffix)
}

// ofKind says whether the event is a change of an entity of a kind and, unless
// ids is nil, of one of those.
func ofKind(h Event, kind string, ids []string) bool {
	return h.Change != nil && h.Kind == kind && (ids == nil || slices.Contains(ids, h.EntityID))
}

// OnState fires when a field of an entity changes into a value.
type OnState struct {
	Kind, Field    string
	From, To       []any // nil: any value; the values are as in entities.View
	NotFrom, NotTo []any
	Entities       []string // nil: every entity of the kind
}

// Event implements Trigger.
func (t OnState) Event() string { return ChangedEvent(t.Kind) }

// Match implements Trigger: a change of the field out of From and into To,
// not one between two values of To.
func (t OnState) Match(h Event, _ Latch) (bool, Latch, error) {
	if !ofKind(h, t.Kind, t.Entities) {
		return false, Forgotten, nil
	}
	values, ok := h.Change.Delta[t.Field]
	if !ok {
		return false, Forgotten, nil
	}
	from, to := values[0], values[1]
	left := (t.From == nil || contains(t.From, from)) && !contains(t.NotFrom, from)
	return left && t.in(to) && (t.To == nil || !t.in(from)), Forgotten, nil
}

func (t OnState) in(v any) bool {
	return (t.To == nil || contains(t.To, v)) && !contains(t.NotTo, v)
}

// Breaks implements Holding: the field left To or, where any value would do,
// changed at all. That the entity went away is a break too.
func (t OnState) Breaks(change entities.Transition) bool {
	values, ok := change.Delta[t.Field]
	return ok && (t.To == nil || !t.in(values[1]))
}

// Holds implements Holding.
func (t OnState) Holds(id string, state entities.View) (bool, error) {
	return state != nil && (t.Entities == nil || slices.Contains(t.Entities, id)) && t.in(state[t.Field]), nil
}

// OnNumber fires when a field of an entity crosses into a range. Its ends are
// outside of it.
type OnNumber struct {
	Kind, Field  string
	Above, Below *float64 // one of them at least
	// Reset is what the value must pass, or reach, before it can fire again; nil:
	// leaving the range will do. Only with one of Above and Below.
	Reset    *float64
	Entities []string
}

// Event implements Trigger.
func (t OnNumber) Event() string { return ChangedEvent(t.Kind) }

// Latches implements Latching: between the range and Reset, the value does not
// tell whether it has fired.
func (t OnNumber) Latches() bool { return t.Reset != nil }

// Match implements Trigger.
func (t OnNumber) Match(h Event, before Latch) (bool, Latch, error) {
	if !ofKind(h, t.Kind, t.Entities) {
		return false, before, nil
	}
	values, ok := h.Change.Delta[t.Field]
	if !ok {
		return false, before, nil
	}
	was := before == On || t.in(values[0])
	switch {
	case t.in(values[1]):
		return !was, Forgotten, nil
	case was && !t.out(values[1]):
		return false, On, nil
	default:
		return false, Forgotten, nil
	}
}

func (t OnNumber) in(v any) bool {
	n, ok := number(v)
	return ok && (t.Above == nil || n > *t.Above) && (t.Below == nil || n < *t.Below)
}

// out says whether a value ends what was on. Something that is no number does.
func (t OnNumber) out(v any) bool {
	n, ok := number(v)
	switch {
	case !ok:
		return true
	case t.Reset == nil:
		return !t.in(v)
	case t.Above != nil:
		return n <= *t.Reset
	default:
		return n >= *t.Reset
	}
}

// Breaks implements Holding.
func (t OnNumber) Breaks(change entities.Transition) bool {
	values, ok := change.Delta[t.Field]
	return ok && t.out(values[1])
}

// Holds implements Holding.
func (t OnNumber) Holds(id string, state entities.View) (bool, error) {
	return state != nil && (t.Entities == nil || slices.Contains(t.Entities, id)) && t.in(state[t.Field]), nil
}

func number(v any) (float64, bool) {
	switch v := v.(type) {
	case int64:
		return float64(v), true
	case int:
		return float64(v), true
	case float64:
		return v, true
	}
	return 0, false
}

// OnBecoming fires when an expression over an entity turns from false to true.
// An error of the expression re-arms nothing: what was last known counts.
type OnBecoming struct {
	Kind string
	Expr *expression.Program // sees `entity`: id, state
	// State decodes a state for the expression; see Catalogue.State.
	State func(kind string, view entities.View) (any, error)
}

// Event implements Trigger.
func (t OnBecoming) Event() string { return ChangedEvent(t.Kind) }

// Latches implements Latching.
func (OnBecoming) Latches() bool { return true }

// Match implements Trigger.
func (t OnBecoming) Match(h Event, before Latch) (bool, Latch, error) {
	if !ofKind(h, t.Kind, nil) {
		return false, before, nil
	}
	if before == Forgotten {
		before = Off // of a state that cannot be told nothing is known
		if was, err := t.Holds(h.EntityID, h.Change.Prev()); err == nil && was {
			before = On
		}
	}
	is, err := t.Holds(h.EntityID, h.Change.Next)
	if err != nil {
		return false, before, err
	}
	return is && before == Off, Forgotten, nil
}

// Breaks implements Holding.
func (t OnBecoming) Breaks(change entities.Transition) bool {
	is, err := t.Holds(change.ID, change.Next)
	return err == nil && !is
}

// Holds implements Holding.
func (t OnBecoming) Holds(id string, view entities.View) (bool, error) {
	if view == nil {
		return false, nil
	}
	state, err := t.State(t.Kind, view)
	if err != nil {
		return false, err
	}
	return t.Expr.Bool(map[string]any{"entity": map[string]any{"id": id, "state": state}})
}

// contains compares by value; the values of fields may be lists and maps.
func contains(list []any, v any) bool {
	return slices.ContainsFunc(list, func(one any) bool { return reflect.DeepEqual(one, v) })
}
