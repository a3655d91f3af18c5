package entities

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/uptrace/bun"

	"github.com/flightrules/flightrules/internal/db"
)

// Handle is the only path by which entities of one kind change.
type Handle[S any] struct {
	registry *Registry
	kind     *kind
}

// Name is the name of the kind.
func (h *Handle[S]) Name() string { return h.kind.name }

// Option is a condition of a change.
type Option func(*op)

// IfVersion makes a change fail with ErrVersion unless the entity is at that
// version; 0 is an entity that never was.
func IfVersion(version int64) Option {
	return func(o *op) { o.ifVersion = &version }
}

// Apply makes a change in tx. prev is the recorded state, nil where the entity
// does not exist. For a kind whose state the engine keeps, the result is the
// new state; for one with Read, what Apply wrote is read back and the result is
// not looked at. Apply may be run again, after everything it wrote was taken
// back, so it must leave nothing behind but rows.
type Apply[S any] func(ctx context.Context, tx bun.Tx, prev *S) (S, error)

// Mutate changes an entity, or makes it, and returns the new state once it is
// durable. Many mutations may share one transaction; one that fails is taken
// back alone. Errors: that of apply, ErrInvalid, ErrVersion, db.ErrNested
// inside a transaction (use MutateTx there).
func (h *Handle[S]) Mutate(ctx context.Context, id string, apply Apply[S], opts ...Option) (S, error) {
	o := h.op(ctx, id, apply, opts)
	return result[S](o, h.registry.commit.do(ctx, o))
}

// MutateTx is Mutate inside a transaction of db.Write. When it fails, what it
// wrote is taken back and the transaction goes on.
func (h *Handle[S]) MutateTx(ctx context.Context, tx bun.Tx, id string, apply Apply[S], opts ...Option) (S, error) {
	o := h.op(ctx, id, apply, opts)
	return result[S](o, h.registry.changeTx(ctx, tx, o))
}

// Remove ends an entity: apply does the plugin's own write, and a transition
// without a next state is recorded. ErrNotFound when there is none. The
// version goes on counting should the entity come back.
func (h *Handle[S]) Remove(ctx context.Context, id string, apply func(ctx context.Context, tx bun.Tx, prev S) error, opts ...Option) error {
	return h.registry.commit.do(ctx, h.removal(ctx, id, apply, opts))
}

// RemoveTx is Remove inside a transaction of db.Write.
func (h *Handle[S]) RemoveTx(ctx context.Context, tx bun.Tx, id string, apply func(ctx context.Context, tx bun.Tx, prev S) error, opts ...Option) error {
	return h.registry.changeTx(ctx, tx, h.removal(ctx, id, apply, opts))
}

// Look reads entities again and records what changed since they were recorded;
// for a kind with Read, when something other than Mutate moved their state or
// their deadline.
func (h *Handle[S]) Look(ctx context.Context, ids ...string) error {
	var errs []error
	for _, id := range ids {
		o := h.op(ctx, id, func(context.Context, bun.Tx, *S) (S, error) { var s S; return s, nil }, nil)
		errs = append(errs, h.registry.commit.do(ctx, o))
	}
	return errors.Join(errs...)
}

func (h *Handle[S]) op(ctx context.Context, id string, apply Apply[S], opts []Option) *op {
	o := newOp(ctx, h.kind, id, opts)
	o.apply = func(ctx context.Context, tx bun.Tx, prev db.JSON) (any, error) {
		if prev == nil {
			return apply(ctx, tx, nil)
		}
		s, err := decodeText[S](prev)
		if err != nil {
			return nil, err
		}
		return apply(ctx, tx, &s)
	}
	return o
}

func (h *Handle[S]) removal(ctx context.Context, id string, apply func(ctx context.Context, tx bun.Tx, prev S) error, opts []Option) *op {
	o := newOp(ctx, h.kind, id, opts)
	o.remove = true
	o.apply = func(ctx context.Context, tx bun.Tx, prev db.JSON) (any, error) {
		if prev == nil {
			return nil, ErrNotFound
		}
		s, err := decodeText[S](prev)
		if err != nil {
			return nil, err
		}
		if apply == nil {
			return nil, nil
		}
		return nil, apply(ctx, tx, s)
	}
	return o
}

func result[S any](o *op, err error) (S, error) {
	var zero S
	if err != nil || o.state == nil {
		return zero, err
	}
	return o.state.(S), nil
}

// Get is the present state of an entity; ErrNotFound when there is none.
func (h *Handle[S]) Get(ctx context.Context, id string) (S, error) {
	states, err := h.GetMany(ctx, id)
	if err != nil {
		var zero S
		return zero, err
	}
	s, ok := states[id]
	if !ok {
		return s, fmt.Errorf("%w: %s %s", ErrNotFound, h.kind.name, id)
	}
	return s, nil
}

// GetMany is the present states of entities by id; those that do not exist are
// left out.
func (h *Handle[S]) GetMany(ctx context.Context, ids ...string) (map[string]S, error) {
	return h.read(ctx, h.registry.db.Read(), ids)
}

// List is the present states of up to limit entities with ids after the given
// one, by id.
func (h *Handle[S]) List(ctx context.Context, after string, limit int) (map[string]S, error) {
	ids, err := h.registry.ids(ctx, h.registry.db.Read(), h.kind.name, after, limit)
	if err != nil {
		return nil, err
	}
	return h.read(ctx, h.registry.db.Read(), ids)
}

func (h *Handle[S]) read(ctx context.Context, idb bun.IDB, ids []string) (map[string]S, error) {
	states, err := h.registry.states(ctx, idb, h.kind, ids)
	if err != nil {
		return nil, err
	}
	out := make(map[string]S, len(states))
	for id, state := range states {
		out[id] = state.(S)
	}
	return out, nil
}

// Since is when a field took its recorded value. ErrNotFound where the entity
// or the field is absent.
func (h *Handle[S]) Since(ctx context.Context, id, field string) (time.Time, error) {
	return h.registry.Since(ctx, h.registry.db.Read(), h.kind.name, id, field)
}

// Held is how long a field has had its recorded value.
func (h *Handle[S]) Held(ctx context.Context, id, field string) (time.Duration, error) {
	since, err := h.Since(ctx, id, field)
	if err != nil {
		return 0, err
	}
	return h.registry.now().Sub(since), nil
}

// Transitions are the newest entries of an entity's log, at most limit.
func (h *Handle[S]) Transitions(ctx context.Context, id string, limit int) ([]Transition, error) {
	return h.registry.Transitions(ctx, h.registry.db.Read(), Filter{Kind: h.kind.name, ID: id, Limit: limit})
}

// AsOf is the state as it was recorded at a time; ErrNotFound when the entity
// did not exist then.
func (h *Handle[S]) AsOf(ctx context.Context, id string, at time.Time) (S, error) {
	var zero S
	t, err := h.registry.AsOf(ctx, h.registry.db.Read(), h.kind.name, id, at)
	if err != nil {
		return zero, err
	}
	return decode[S](t.Next)
}
