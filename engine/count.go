package engine

import (
	"context"
	"fmt"
	"time"

	"github.com/uptrace/bun"

	"github.com/flightrules/flightrules/engine/journal"
	"github.com/flightrules/flightrules/internal/db"
	"github.com/flightrules/flightrules/internal/duration"
	"github.com/flightrules/flightrules/internal/expression"
	"github.com/flightrules/flightrules/triggers"
)

// gatherKey is the key under which a trigger gathers a match: what by gives, or
// the entity.
func (b *batch) gatherKey(ctx context.Context, m match, by *expression.Program) (string, error) {
	if by == nil {
		return m.entity(), nil
	}
	env, err := b.env(ctx, m.rule, m.trigger.ID, m.value)
	if err != nil {
		return "", err
	}
	v, err := by.Eval(env)
	if err != nil {
		return "", fmt.Errorf("by: %w", err)
	}
	return keyText(v), nil
}

// item is m among what its trigger gathers.
func (m match) item(key string, part int) journal.Item {
	return journal.Item{Rule: m.rule.ID, Trigger: m.trigger.ID, Key: key, EventID: m.event.ID, Part: part, At: db.At(m.at)}
}

// put adds an item, once.
func put(ctx context.Context, tx bun.Tx, item journal.Item) error {
	_, err := tx.NewInsert().Model(&item).On("CONFLICT DO NOTHING").Returning("NULL").Exec(ctx)
	return err
}

// items are what a trigger has gathered of a key between two times, both
// exclusive, oldest first. Zero times do not narrow.
func items(ctx context.Context, tx bun.Tx, of journal.Item, from, to time.Time) ([]journal.Item, error) {
	var list []journal.Item
	q := tx.NewSelect().Model(&list).Where("rule = ? AND trigger_id = ? AND key = ?", of.Rule, of.Trigger, of.Key)
	if !from.IsZero() {
		q = q.Where("at > ?", db.At(from))
	}
	if !to.IsZero() {
		q = q.Where("at < ?", db.At(to))
	}
	err := q.Order("at", "event_id", "part").Scan(ctx)
	return list, err
}

// forget removes the items of a trigger, of every key, that no window can hold
// any more; events that come late may need some that are older than a window.
func (b *batch) forget(ctx context.Context, tx bun.Tx, of journal.Item, within time.Duration) error {
	oldest := b.now.Add(-2*within - time.Minute)
	_, err := tx.NewDelete().Model((*journal.Item)(nil)).
		Where("rule = ? AND trigger_id = ? AND at < ?", of.Rule, of.Trigger, db.At(oldest)).Exec(ctx)
	return err
}

// count counts a match, by its time, and says whether its window is full and
// the trigger fires. Where it does not, that is recorded.
func (b *batch) count(ctx context.Context, tx bun.Tx, m match) (full bool, err error) {
	c := m.trigger.Count
	key, err := b.gatherKey(ctx, m, c.By)
	if err != nil {
		return false, b.failedMatch(m, err)
	}
	item := m.item(key, 0)
	if err := b.forget(ctx, tx, item, c.Within); err != nil {
		return false, err
	}
	near, err := items(ctx, tx, item, m.at.Add(-c.Within), m.at.Add(c.Within))
	if err != nil {
		return false, err
	}
	if err := put(ctx, tx, item); err != nil {
		return false, err
	}
	w := window{length: c.Within, at: m.at}
	for _, one := range near {
		w.add(one.At.Time)
	}
	fired, err := b.fired(ctx, tx, item, w.before < c.N)
	if err != nil {
		return false, err
	}
	n := w.most()
	switch {
	case n < c.N:
		b.decision(m, journal.Counted, fmt.Sprintf("%d of %d within %s", n, c.N, duration.Format(c.Within)), "")
		return false, nil
	case fired && !c.Every:
		b.decision(m, journal.Counted, fmt.Sprintf("%d within %s; it has fired and does so again once there were less than %d", n, duration.Format(c.Within), c.N), "")
		return false, nil
	}
	return true, putLatch(ctx, tx, firedLatch(item, triggers.On))
}

// firedLatch says that a window is full and has fired.
func firedLatch(item journal.Item, value triggers.Latch) journal.Latch {
	return journal.Latch{Rule: item.Rule, Trigger: item.Trigger, Key: "window " + item.Key, Value: int(value)}
}

// fired says whether a window has fired and has been full ever since. That it
// had fallen before an item that comes late says nothing about it.
func (b *batch) fired(ctx context.Context, tx bun.Tx, item journal.Item, fallen bool) (bool, error) {
	row := firedLatch(item, triggers.Forgotten)
	n, err := tx.NewSelect().Model(&row).WherePK().Count(ctx)
	if err != nil || n == 0 || !fallen {
		return n > 0, err
	}
	newer, err := items(ctx, tx, item, item.At.Time, time.Time{})
	if err != nil || len(newer) > 0 {
		return true, err
	}
	return false, putLatch(ctx, tx, row)
}

// window counts what is near a new item in time.
type window struct {
	length time.Duration
	at     time.Time // of the new item
	times  []time.Time
	before int // items in the window that ends just before the new one
}

func (w *window) add(t time.Time) {
	w.times = append(w.times, t)
	if !t.After(w.at) {
		w.before++
	}
}

// most is how many items the fullest window holds that holds the new one. A
// window ends at an item, and what is exactly its length older is out.
func (w *window) most() int {
	most := 0
	for _, end := range append(w.times, w.at) {
		if end.Before(w.at) {
			continue
		}
		n := 1 // the new one
		for _, t := range w.times {
			if !t.After(end) && t.After(end.Add(-w.length)) {
				n++
			}
		}
		most = max(most, n)
	}
	return most
}
