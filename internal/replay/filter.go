package replay

import (
	"slices"

	"github.com/flightrules/flightrules/engine/journal"
	"github.com/flightrules/flightrules/entities"
	"github.com/flightrules/flightrules/internal/expression"
	"github.com/flightrules/flightrules/internal/sim"
	"github.com/flightrules/flightrules/rules"
	"github.com/flightrules/flightrules/triggers"
)

// filter says of what is recorded whether it may matter to the rules. Most of a
// log does not: to find that out costs little, to have it routed a hundred times
// as much.
type filter struct {
	events *triggers.Catalogue
	set    *rules.Set
	ids    map[string]bool

	kinds   []string        // of entities whose changes may matter
	derives map[string]bool // kinds of which an event may matter
	awaited []string        // events that runs which are walked may wait for
	watched map[string]bool // kinds that they may watch; "": any

	surely bool // only what certainly leads to a decision matters

	pure  map[*expression.Program]bool
	fails map[*rules.Trigger]bool // triggers that have failed: they remember that
	reads []string                // the functions by which expressions look around
}

func newFilter(s *sim.Sim, p plan) *filter {
	f := &filter{
		events: s.Events, set: p.all, ids: p.ids, derives: map[string]bool{}, watched: map[string]bool{},
		pure: map[*expression.Program]bool{}, fails: map[*rules.Trigger]bool{},
		reads: []string{"now", "state", "entities", "since", "held", "transitions"},
	}
	for _, fn := range s.Compiler.Functions {
		f.reads = append(f.reads, fn.Name)
	}
	for _, r := range p.all.Rules {
		f.awaited = append(f.awaited, r.Awaits()...)
		if p.walked[r.Version] {
			r.Each(f.watches)
		}
	}
	for _, e := range s.Events.Events() {
		if e.Derived && (f.set.Listens(e.Name) || f.hears(e.Name)) {
			f.derives[e.Kind] = true
		}
	}
	for _, k := range s.Entities.Kinds() {
		if f.watched[k.Name] || f.watched[""] || f.derives[k.Name] || f.set.Listens(triggers.DeriverFailed) || f.set.Listens(triggers.ChangedEvent(k.Name)) {
			f.kinds = append(f.kinds, k.Name)
		}
	}
	return f
}

// watches notes the kinds that the condition of a wait reads.
func (f *filter) watches(s *rules.Step) {
	do, ok := s.Do.(rules.WaitFor)
	if !ok || do.Condition == nil {
		return
	}
	for _, call := range do.Condition.Calls() {
		if !slices.Contains(f.reads, call.Name) || len(call.Args) == 0 {
			continue
		}
		kind, _ := call.Args[0].(string)
		f.watched[kind] = true
	}
}

func (f *filter) hears(name string) bool {
	return slices.ContainsFunc(f.awaited, func(awaited string) bool { return triggers.Covers(awaited, name) })
}

// transition says whether a change may matter.
func (f *filter) transition(t entities.Transition) bool {
	if !f.surely && (f.watched[t.Kind] || f.watched[""]) {
		return true
	}
	e := triggers.Event{At: t.At, Kind: t.Kind, EntityID: t.ID, Cause: t.Cause, Change: &t}
	if f.derives[t.Kind] || f.set.Listens(triggers.DeriverFailed) {
		for _, d := range f.events.Derive(t) {
			e.Name, e.Payload = d.Name, d.Payload
			if f.event(e) {
				return true
			}
		}
	}
	e.Name, e.Payload = triggers.ChangedEvent(t.Kind), []byte("{}")
	return f.event(e)
}

// recorded says whether an event that is in the log by itself may matter.
func (f *filter) recorded(row journal.Event) bool {
	return f.event(triggers.Event{
		ID: row.ID, Name: row.Name, At: row.At.Time, Kind: row.Kind, EntityID: row.EntityID, Payload: row.Payload,
		Cause: entities.Cause{Actor: row.Actor, RunID: row.RunID, Depth: row.Depth},
	})
}

func (f *filter) event(e triggers.Event) bool {
	if !f.surely && f.hears(e.Name) || e.Name == triggers.Manual && f.ids[e.EntityID] {
		return true
	}
	if !f.set.Listens(e.Name) {
		return false
	}
	value, err := f.events.Value(e)
	if err != nil {
		return true
	}
	for _, c := range f.set.Candidates(e.Name, value) {
		if f.matters(c, e, value) {
			return true
		}
	}
	return false
}

// matters says whether an event may be something to a trigger: it matches, or
// ends what did, or cannot be told without looking at more than the event.
func (f *filter) matters(c rules.Candidate, e triggers.Event, value map[string]any) (yes bool) {
	defer func() {
		if recover() != nil {
			yes = true // the router contains it, and has a record of it
		}
	}()
	if f.surely && (c.Role == rules.Ending || c.Trigger.Absent != nil) {
		return false
	}
	trigger, where := c.Looks()
	_, becomes := trigger.(triggers.OnBecoming)
	if l, ok := trigger.(triggers.Latching); ok && l.Latches() && (!becomes || f.fails[c.Trigger]) {
		return !f.surely
	}
	matches, _, err := trigger.Match(e, triggers.Forgotten)
	if err != nil {
		f.fails[c.Trigger] = true
		return true
	}
	if holding, ok := trigger.(triggers.Holding); ok && !f.surely && c.Role == rules.Match && !c.Trigger.Hold.IsZero() && e.Change != nil && holding.Breaks(*e.Change) {
		return true
	}
	if !matches || where == nil {
		return matches
	}
	if !f.isPure(c.Rule, where) {
		return !f.surely
	}
	holds, err := where.Bool(map[string]any{
		"event": value, "trigger": map[string]any{"id": c.Trigger.ID, "rule": c.Rule.ID}, "vars": map[string]any{},
	})
	return holds || err != nil
}

// isPure says whether an expression hangs on nothing but the event, as it is
// before it has an id.
func (f *filter) isPure(r *rules.Rule, where *expression.Program) bool {
	pure, known := f.pure[where]
	if !known {
		members, whole := where.Members("event")
		pure = r.Variables == nil && !where.CallsAny(f.reads...) && !whole && !slices.Contains(members, "id")
		f.pure[where] = pure
	}
	return pure
}
