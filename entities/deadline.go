package entities

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/uptrace/bun"

	"github.com/flightrules/flightrules/engine/timer"
	"github.com/flightrules/flightrules/internal/db"
)

// deadlineTimer is the kind of the timers at which entities will read
// differently; their key is KIND/ID.
const deadlineTimer = "entity.deadline"

func deadlineKey(kind, id string) string { return kind + "/" + id }

func idOfDeadline(t timer.Timer) string {
	_, id, _ := strings.Cut(t.Key, "/")
	return id
}

// onDeadlines looks again at the entities that are due, all of a kind in one
// transaction. When that fails, one by one, so that a failing entity keeps
// none of the others waiting; it comes due again after a pause.
func (r *Registry) onDeadlines(ctx context.Context, due []timer.Timer) error {
	byKind := map[string][]timer.Timer{}
	for _, t := range due {
		name, _, _ := strings.Cut(t.Key, "/")
		byKind[name] = append(byKind[name], t)
	}
	var errs []error
	for name, group := range byKind {
		if err := r.lookAgain(ctx, name, group); err == nil {
			continue
		} else if ctx.Err() != nil {
			return err
		}
		for _, t := range group {
			if err := r.lookAgain(ctx, name, []timer.Timer{t}); err != nil {
				errs = append(errs, r.timers.Defer(ctx, t, err))
			}
		}
	}
	return errors.Join(errs...)
}

func (r *Registry) lookAgain(ctx context.Context, name string, due []timer.Timer) error {
	k, err := r.kind(name)
	if errors.Is(err, ErrUnknownKind) {
		if ok, strayErr := r.stray(ctx, due); ok {
			return strayErr
		}
	}
	if err != nil {
		return err
	}
	if k.declared != nil {
		return r.expire(ctx, k, due)
	}
	return r.db.Write(ctx, func(ctx context.Context, tx bun.Tx) error {
		ops := make([]*op, len(due))
		for i, t := range due {
			ops[i] = newOp(ctx, k, idOfDeadline(t), nil)
			ops[i].apply = func(context.Context, bun.Tx, db.JSON) (any, error) { return nil, nil }
		}
		if _, err := r.lock(ctx, tx, ops); err != nil {
			return err
		}
		var ids []string
		var still []*op
		for i, t := range due {
			taken, err := timer.Take(ctx, tx, t)
			if err != nil {
				return err
			}
			if taken {
				ids, still = append(ids, ops[i].id), append(still, ops[i])
			}
		}
		if len(still) == 0 {
			return nil
		}
		// What Due finds due is read at the same time, so that nothing comes
		// due between the two.
		at := r.now()
		if k.due != nil {
			if err := contained(func() error { return k.due(ctx, tx, at, ids) }); err != nil {
				return fmt.Errorf("deadline of %s: %w", name, err)
			}
		}
		return r.changeAll(ctx, tx, at, still)
	})
}

func contained(fn func() error) (err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("panic: %v", p)
		}
	}()
	return fn()
}
