package entities

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"time"

	"github.com/uptrace/bun"

	"github.com/flightrules/flightrules/engine/timer"
	"github.com/flightrules/flightrules/internal/db"
	"github.com/flightrules/flightrules/internal/shape"
)

// Stale is what becomes of an entity of a declared kind that is left alone: so
// long after its last update, also one that changed nothing, the fields of Set
// take these values, once, until it is updated again.
type Stale struct {
	After time.Duration
	Set   map[string]any // as plain JSON values
}

func (s *Stale) check(form *shape.Shape) error {
	if s.After <= 0 {
		return errors.New("stale: after must be longer than nothing")
	}
	if len(s.Set) == 0 {
		return errors.New("stale: set says nothing")
	}
	for name, value := range s.Set {
		f, ok := form.Field(name)
		if !ok {
			return fmt.Errorf("stale: there is no field %q", name)
		}
		if value == nil && !f.Required {
			continue
		}
		if err := f.Shape.Check(value); err != nil {
			return fmt.Errorf("stale: %s: %w", name, err)
		}
	}
	return nil
}

// lastUpdate is the payload of the timer of an entity that may become stale.
type lastUpdate struct {
	At    int64 `json:"at"`              // microseconds
	Fired bool  `json:"fired,omitempty"` // it was found stale since: the timer is not due any more
}

// never is when the timer of an entity that was found stale is due: the row
// stays, so that it is known not to be fresh.
var never = time.Date(9999, 1, 1, 0, 0, 0, 0, time.UTC)

func (u lastUpdate) timer(kind, id string, after time.Duration) timer.Timer {
	due := time.UnixMicro(u.At).Add(after)
	if u.Fired {
		due = never
	}
	return timer.Timer{Kind: deadlineTimer, Key: deadlineKey(kind, id), DueAt: db.At(due), Payload: db.ToJSON(u)}
}

func lastUpdateOf(t timer.Timer) (u lastUpdate, err error) {
	if err := json.Unmarshal(t.Payload, &u); err != nil {
		return u, fmt.Errorf("deadline of %s: %w", t.Key, err)
	}
	return u, nil
}

// expire finds entities of a declared kind stale.
func (r *Registry) expire(ctx context.Context, k *kind, due []timer.Timer) error {
	return r.db.Write(ctx, func(ctx context.Context, tx bun.Tx) error {
		ops := make([]*op, len(due))
		for i, t := range due {
			ops[i] = newOp(ctx, k, idOfDeadline(t), nil)
			ops[i].expire()
		}
		if _, err := r.lock(ctx, tx, ops); err != nil {
			return err
		}
		at := r.now()
		var early []timer.Timer
		var stale []*op
		for i, t := range due {
			taken, err := timer.Take(ctx, tx, t)
			if err != nil {
				return err
			}
			if !taken || k.declared.Stale == nil {
				continue
			}
			u, err := lastUpdateOf(t)
			if err != nil {
				return err
			}
			// It may have been set when `after` was shorter.
			if moved := u.timer(k.name, ops[i].id, k.declared.Stale.After); moved.DueAt.After(at) {
				early = append(early, moved)
			} else {
				stale = append(stale, ops[i])
			}
		}
		if err := timer.Set(ctx, tx, early...); err != nil {
			return err
		}
		return r.changeAll(ctx, tx, at, stale)
	})
}

// expire makes a change of what Stale says.
func (o *op) expire() {
	o.expired = true
	o.apply = func(_ context.Context, _ bun.Tx, prev db.JSON) (any, error) {
		view, err := parseView(prev)
		if err != nil || view == nil {
			return nil, err
		}
		if stale := o.kind.declared.Stale; stale != nil {
			maps.Copy(view, stale.Set)
		}
		return map[string]any(view), nil
	}
}

// ofKind finds the deadlines of one kind of entity. LIKE would take the
// underscores of names for any character.
const ofKind = "kind = ? AND substr(key, 1, ?) = ?"

// moveStale brings the deadlines of a kind's entities in line with a new
// declaration: they count from the last update as far as that is known, and
// otherwise from now on. before is the declaration that was in force here; nil
// when there was none, as at the start.
func (r *Registry) moveStale(ctx context.Context, tx bun.Tx, d Declared, before *Declared) error {
	prefix := deadlineKey(d.Name, "")
	switch {
	case d.Stale == nil && before != nil && before.Stale == nil:
		return nil
	case d.Stale == nil:
		// What is known of the last updates will not be true any more.
		_, err := tx.NewDelete().Model((*timer.Timer)(nil)).Where(ofKind, deadlineTimer, len(prefix), prefix).Exec(ctx)
		return err
	case before != nil && before.Stale != nil && before.Stale.After == d.Stale.After:
		return nil
	}
	var armed []timer.Timer
	q := tx.NewSelect().Model(&armed).Where(ofKind, deadlineTimer, len(prefix), prefix).Order("id")
	if err := r.db.ForUpdate(q, false).Scan(ctx); err != nil {
		return err
	}
	var moved []timer.Timer
	known := make(map[string]bool, len(armed))
	for _, t := range armed {
		u, err := lastUpdateOf(t)
		if err != nil {
			continue // it is of a plugin's kind that had the name before
		}
		known[t.Key] = true
		if to := u.timer(d.Name, idOfDeadline(t), d.Stale.After); !to.DueAt.Equal(t.DueAt.Time) {
			moved = append(moved, to)
		}
	}
	var ids []string
	if err := tx.NewSelect().Model((*entityRow)(nil)).Column("id").Where("kind = ? AND state IS NOT NULL", d.Name).Scan(ctx, &ids); err != nil {
		return err
	}
	fresh := lastUpdate{At: r.now().UnixMicro()}
	for _, id := range ids {
		if t := fresh.timer(d.Name, id, d.Stale.After); !known[t.Key] {
			moved = append(moved, t)
		}
	}
	for len(moved) > 0 {
		n := min(len(moved), maxBatch)
		if err := timer.Set(ctx, tx, moved[:n]...); err != nil {
			return err
		}
		moved = moved[n:]
	}
	db.HintAfter(ctx, timer.Topic)
	return nil
}

// strayPause is how long a deadline of a kind that this node does not know
// waits. Another node may know it, or the kind may come back.
const strayPause = time.Minute

// stray puts off the deadlines of a declared kind that is not declared any
// more. It is false when they are of another kind.
func (r *Registry) stray(ctx context.Context, due []timer.Timer) (bool, error) {
	for _, t := range due {
		if t.Payload == nil {
			return false, nil
		}
	}
	return true, r.db.Write(ctx, func(ctx context.Context, tx bun.Tx) error {
		for _, t := range due {
			if _, err := tx.NewUpdate().Model((*timer.Timer)(nil)).Set("due_at = ?", db.At(r.now().Add(strayPause))).
				Where("id = ? AND due_at = ?", t.ID, t.DueAt).Exec(ctx); err != nil {
				return err
			}
		}
		return nil
	})
}
