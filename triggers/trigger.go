package triggers

import (
	"reflect"
	"slices"
	"time"

	"github.com/flightrules/flightrules/entities"
)

// Trigger is what a rule waits for. It is a value, made when the rule is
// loaded and never changed.
type Trigger interface {
	// Event is the name of the event that it looks at.
	Event() string
	// Match says whether the event is one, before any `where`.
	Match(h Event) bool
	// For is how long what it matched must hold; zero: it fires at once.
	For() time.Duration
	// Breaks says whether a change ends what Match saw, so that For starts
	// anew.
	Breaks(t entities.Transition) bool
}

// OnEvent fires for each event of a name.
type OnEvent struct{ Name string }

// Event implements Trigger.
func (t OnEvent) Event() string { return t.Name }

// Match implements Trigger.
func (t OnEvent) Match(h Event) bool { return h.Name == t.Name }

// For implements Trigger: an event does not hold.
func (OnEvent) For() time.Duration { return 0 }

// Breaks implements Trigger.
func (OnEvent) Breaks(entities.Transition) bool { return false }

// OnState fires when a field of an entity changes into a value and, with
// Hold, when it has kept that value all that time.
type OnState struct {
	Kind, Field string
	From, To    []any    // nil: any value; the values are as in entities.View
	Entities    []string // nil: every entity of the kind
	Hold        time.Duration
}

// Event implements Trigger.
func (t OnState) Event() string { return ChangedEvent(t.Kind) }

// Match implements Trigger: a change of the field out of From and into To,
// not one between two values of To.
func (t OnState) Match(h Event) bool {
	if h.Change == nil || h.Kind != t.Kind || (t.Entities != nil && !slices.Contains(t.Entities, h.EntityID)) {
		return false
	}
	values, ok := h.Change.Delta[t.Field]
	if !ok {
		return false
	}
	from, to := values[0], values[1]
	if t.From != nil && !contains(t.From, from) {
		return false
	}
	return t.To == nil || contains(t.To, to) && !contains(t.To, from)
}

// For implements Trigger.
func (t OnState) For() time.Duration { return t.Hold }

// Breaks implements Trigger: the field left To or, where any value would do,
// changed at all. That the entity went away is a break too.
func (t OnState) Breaks(change entities.Transition) bool {
	values, ok := change.Delta[t.Field]
	return ok && (t.To == nil || !contains(t.To, values[1]))
}

// contains compares by value; the values of fields may be lists and maps.
func contains(list []any, v any) bool {
	return slices.ContainsFunc(list, func(one any) bool { return reflect.DeepEqual(one, v) })
}
