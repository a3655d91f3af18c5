package engine

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/uptrace/bun"

	"github.com/flightrules/flightrules/entities"
	"github.com/flightrules/flightrules/internal/duration"
)

// reading is what the functions of expressions read. It reads outside of any
// transaction: what is recorded there is committed, and a failing read must not
// take the transaction with it.
type reading struct {
	*Engine

	ctx   context.Context
	idb   bun.IDB
	clock func() time.Time
	asOf  time.Time             // read what the log says of this time; zero: what is
	seen  func(kind, id string) // is told of what is read, with id "" of a whole kind; may be nil
}

// present reads what is: in a shadow, what was then in the database that it is
// of.
func (e *Engine) present(ctx context.Context) *reading {
	if e.Shadow != nil {
		return &reading{Engine: e, ctx: ctx, idb: e.log(e.DB.Read()), clock: e.Now, asOf: e.Now()}
	}
	return &reading{Engine: e, ctx: ctx, idb: e.log(e.DB.Read()), clock: e.Now}
}

// past reads what was at a time.
func (e *Engine) past(ctx context.Context, at time.Time) *reading {
	return &reading{Engine: e, ctx: ctx, idb: e.log(e.DB.Read()), clock: func() time.Time { return at }, asOf: at}
}

// functions are the functions of the expression environment.
func (r *reading) functions() map[string]any {
	functions := map[string]any{
		"now": r.clock, "state": r.state, "entities": r.entities, "since": r.since, "held": r.held, "transitions": r.transitions,
	}
	for _, f := range r.Compiler.Functions {
		functions[f.Name] = f.Fn
	}
	return functions
}

func (r *reading) saw(kind, id string) {
	if r.seen != nil {
		r.seen(kind, id)
	}
}

func (r *reading) state(kind, id string) (any, error) {
	r.saw(kind, id)
	var view entities.View
	var err error
	if r.asOf.IsZero() {
		view, err = r.Entities.State(r.ctx, r.idb, kind, id)
	} else {
		var then entities.Transition
		then, err = r.Entities.AsOf(r.ctx, r.idb, kind, id, r.asOf)
		if view = then.Next; errors.Is(err, entities.ErrNotFound) {
			return nil, nil
		}
	}
	if err != nil {
		return nil, err
	}
	return r.Events.State(kind, view)
}

// maxEntities bounds what entities(kind) gives.
const maxEntities = 1000

func (r *reading) entities(kind string) ([]any, error) {
	r.saw(kind, "")
	list, err := r.list(kind)
	if err != nil {
		return nil, err
	}
	if len(list) > maxEntities {
		return nil, fmt.Errorf("there are more than %d entities of kind %s", maxEntities, kind)
	}
	all := make([]any, 0, len(list))
	for _, one := range list {
		state, err := r.Events.State(kind, one.State)
		if err != nil {
			return nil, err
		}
		all = append(all, map[string]any{"id": one.ID, "state": state})
	}
	return all, nil
}

// list gives the entities of a kind, and one more than there may be where there
// are too many; of the past only the ids and the states.
func (r *reading) list(kind string) ([]entities.Entity, error) {
	if r.asOf.IsZero() {
		return r.Entities.List(r.ctx, r.idb, kind, "", maxEntities+1)
	}
	then, err := r.Entities.ListAsOf(r.ctx, r.idb, kind, "", r.asOf, maxEntities+1)
	list := make([]entities.Entity, len(then))
	for i, t := range then {
		list[i] = entities.Entity{Kind: kind, ID: t.ID, State: t.Next}
	}
	return list, err
}

func (r *reading) since(kind, id, field string) (time.Time, error) {
	r.saw(kind, id)
	if r.asOf.IsZero() {
		return r.Entities.Since(r.ctx, r.idb, kind, id, field)
	}
	list, err := r.Entities.Transitions(r.ctx, r.idb, entities.Filter{Kind: kind, ID: id, Field: field, To: r.asOf.Add(time.Microsecond), Limit: 1})
	if err != nil {
		return time.Time{}, err
	}
	if len(list) == 0 || list[0].Delta[field][1] == nil {
		return time.Time{}, fmt.Errorf("%w: %s %s had no %s", entities.ErrNotFound, kind, id, field)
	}
	return list[0].At, nil
}

func (r *reading) held(kind, id, field string) (time.Duration, error) {
	since, err := r.since(kind, id, field)
	return r.clock().Sub(since), err
}

func (r *reading) transitions(kind, id, field string, window any) (int, error) {
	r.saw(kind, id)
	length, err := windowLength(window)
	if err != nil {
		return 0, err
	}
	filter := entities.Filter{Kind: kind, ID: id, Field: field, From: r.clock().Add(-length)}
	if !r.asOf.IsZero() {
		filter.To = r.asOf.Add(time.Microsecond)
	}
	return r.Entities.Count(r.ctx, r.idb, filter)
}

func windowLength(window any) (time.Duration, error) {
	switch w := window.(type) {
	case time.Duration:
		return w, nil
	case string:
		return duration.Parse(w)
	default:
		return 0, fmt.Errorf("a window is a duration such as \"10m\", not a %T", window)
	}
}
