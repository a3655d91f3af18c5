package entities

import (
	"context"
	"fmt"
	"time"

	"github.com/uptrace/bun"

	"github.com/flightrules/flightrules/internal/db"
)

// Put changes an entity of a kind whose state the engine keeps, or makes it,
// for callers that do not know the type of its state. change gets the recorded
// state, nil where the entity does not exist, and gives the whole new one; it
// may be run again. The entity as it is after the change comes back once that
// is durable.
//
// Errors: that of change, ErrUnknownKind, ErrNotKept, ErrInvalid, ErrVersion,
// and db.ErrNested inside a transaction (use PutTx there).
func (r *Registry) Put(ctx context.Context, kindName, id string, change func(prev View) (map[string]any, error), opts ...Option) (Entity, error) {
	o, err := r.untyped(ctx, kindName, id, opts)
	if err != nil {
		return Entity{}, err
	}
	o.put(change)
	if err := r.commit.do(ctx, o); err != nil {
		return Entity{}, err
	}
	return o.entity()
}

// PutTx is Put inside a transaction of db.Write. When it fails, the
// transaction goes on.
func (r *Registry) PutTx(ctx context.Context, tx bun.Tx, kindName, id string, change func(prev View) (map[string]any, error), opts ...Option) (Entity, error) {
	o, err := r.untyped(ctx, kindName, id, opts)
	if err != nil {
		return Entity{}, err
	}
	o.put(change)
	if err := r.changeTx(ctx, tx, o); err != nil {
		return Entity{}, err
	}
	return o.entity()
}

// Delete ends an entity of a kind whose state the engine keeps. Errors:
// ErrNotFound when there is none, and those of Put.
func (r *Registry) Delete(ctx context.Context, kindName, id string, opts ...Option) error {
	o, err := r.untyped(ctx, kindName, id, opts)
	if err != nil {
		return err
	}
	o.remove = true
	o.apply = func(_ context.Context, _ bun.Tx, prev db.JSON) (any, error) {
		if prev == nil {
			return nil, fmt.Errorf("%w: %s %s", ErrNotFound, kindName, id)
		}
		return nil, nil
	}
	return r.commit.do(ctx, o)
}

func (r *Registry) untyped(ctx context.Context, kindName, id string, opts []Option) (*op, error) {
	k, err := r.kind(kindName)
	if err != nil {
		return nil, err
	}
	o := newOp(ctx, k, id, opts)
	if o.given = r.isGiven(k, id); k.read != nil && !o.given {
		return nil, fmt.Errorf("%w: %q", ErrNotKept, kindName)
	}
	return o, nil
}

func (o *op) put(change func(prev View) (map[string]any, error)) {
	o.apply = func(_ context.Context, _ bun.Tx, prev db.JSON) (any, error) {
		view, err := parseView(prev)
		if err != nil {
			return nil, err
		}
		next, err := change(view)
		if err != nil {
			return nil, err
		}
		if view == nil && o.kind.declared != nil {
			next = o.kind.declared.withDefaults(next)
		}
		state, err := o.kind.parse(next)
		if err != nil {
			return nil, fmt.Errorf("%w of %s %s: %w", ErrInvalid, o.kind.name, o.id, err)
		}
		return state, nil
	}
}

// parse makes an S of a state that comes from outside. The shape is looked at
// first: decoding alone would drop the fields that S does not have.
func (k *kind) parse(state map[string]any) (any, error) {
	view, err := viewOf(k.shape, state)
	if err != nil {
		return nil, err
	}
	if err := k.shape.Check(map[string]any(view)); err != nil {
		return nil, err
	}
	return k.decode(view)
}

// entity is what a change that succeeded left behind.
func (o *op) entity() (Entity, error) {
	view, err := viewOf(o.kind.shape, o.state)
	if err != nil {
		return Entity{}, err
	}
	return o.row.entity(view)
}

// entity is the row with its present state, as readers see it.
func (row entityRow) entity(view View) (Entity, error) {
	times, err := parseSince(row.Since)
	if err != nil {
		return Entity{}, err
	}
	e := Entity{Kind: row.Kind, ID: row.ID, Version: row.Version, State: view, Since: make(map[string]time.Time, len(times)), UpdatedAt: row.UpdatedAt.Time}
	for name, micros := range times {
		e.Since[name] = time.UnixMicro(micros).UTC()
	}
	return e, nil
}
