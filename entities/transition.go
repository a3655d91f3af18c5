package entities

import (
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/uptrace/bun"

	"github.com/flightrules/flightrules/internal/db"
)

// Transition is one entry of the log: version Version of an entity.
type Transition struct {
	Seq     int64
	Kind    string
	ID      string
	Version int64
	Delta   Delta
	Next    View // nil: the entity was removed
	Cause   Cause
	At      time.Time

	passive map[string]bool // fields that may have changed without being in Delta
}

// Removed says whether the entity went away in this transition.
func (t Transition) Removed() bool { return t.Next == nil }

// Fields are the names of the fields that changed, sorted.
func (t Transition) Fields() []string { return slices.Sorted(maps.Keys(t.Delta)) }

// Prev is the state before, as far as the transition tells: fields that are
// not reactive are left out, since they change without a trace. It is nil for
// the first version of an entity and for the one after a removal.
func (t Transition) Prev() View {
	prev := View{}
	for name, value := range t.Next {
		if _, changed := t.Delta[name]; !changed && !t.passive[name] {
			prev[name] = value
		}
	}
	for name, change := range t.Delta {
		if change[0] != nil {
			prev[name] = change[0]
		}
	}
	if len(prev) == 0 {
		return nil
	}
	return prev
}

// Change is a transition as derivers see it, with the states as an S.
type Change[S any] struct {
	Kind, ID string
	Version  int64
	Prev     *S // nil: the entity is new
	Next     *S // nil: the entity was removed
	Fields   []string
	Cause    Cause
	At       time.Time
}

// ChangeOf reads a transition as a Change.
func ChangeOf[S any](t Transition) (Change[S], error) {
	c := Change[S]{Kind: t.Kind, ID: t.ID, Version: t.Version, Fields: t.Fields(), Cause: t.Cause, At: t.At}
	for view, to := range map[*View]**S{ptr(t.Prev()): &c.Prev, &t.Next: &c.Next} {
		if *view == nil {
			continue
		}
		s, err := decode[S](*view)
		if err != nil {
			return c, fmt.Errorf("transition %d: %w", t.Seq, err)
		}
		*to = &s
	}
	return c, nil
}

func ptr[T any](v T) *T { return &v }

// transitionRow is a Transition as it is stored.
type transitionRow struct {
	bun.BaseModel `bun:"table:transitions"`

	Seq      int64   `bun:"seq,pk,autoincrement"`
	Kind     string  `bun:"kind"`
	EntityID string  `bun:"entity_id"`
	Version  int64   `bun:"version"`
	Delta    db.JSON `bun:"delta"`
	Next     db.JSON `bun:"next"`
	Actor    string  `bun:"actor"`
	RunID    string  `bun:"run_id,nullzero"`
	Depth    int     `bun:"depth"`
	At       db.Time `bun:"at"`
}

func (row transitionRow) transition(passive map[string]bool) (Transition, error) {
	t := Transition{
		passive: passive,
		Seq:     row.Seq, Kind: row.Kind, ID: row.EntityID, Version: row.Version,
		Cause: Cause{Actor: row.Actor, RunID: row.RunID, Depth: row.Depth}, At: row.At.Time,
	}
	next, err := parseView(row.Next)
	if err != nil {
		return t, fmt.Errorf("transition %d: %w", row.Seq, err)
	}
	t.Next = next
	delta, err := parseView(row.Delta)
	if err != nil {
		return t, fmt.Errorf("transition %d: %w", row.Seq, err)
	}
	t.Delta = make(Delta, len(delta))
	for name, change := range delta {
		values, ok := change.([]any)
		if !ok || len(values) != 2 {
			return t, fmt.Errorf("transition %d: %w: %s changed into %v", row.Seq, ErrInvalid, name, change)
		}
		t.Delta[name] = [2]any(values)
	}
	return t, nil
}

func (r *Registry) transitionsOf(rows []transitionRow) ([]Transition, error) {
	list := make([]Transition, len(rows))
	for i, row := range rows {
		var passive map[string]bool
		if k, err := r.kind(row.Kind); err == nil {
			passive = k.passive
		}
		t, err := row.transition(passive)
		if err != nil {
			return nil, err
		}
		list[i] = t
	}
	return list, nil
}
