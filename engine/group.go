package engine

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/uptrace/bun"

	"github.com/flightrules/flightrules/engine/journal"
	"github.com/flightrules/flightrules/internal/db"
	"github.com/flightrules/flightrules/internal/duration"
	"github.com/flightrules/flightrules/rules"
)

// groupKey is the key of a batch: what by gives, or all together.
func (b *batch) groupKey(ctx context.Context, m match) (string, error) {
	if m.trigger.Group.By == nil {
		return "-", nil
	}
	return b.gatherKey(ctx, m, m.trigger.Group.By)
}

func groupName(rule, trigger, key string) timerName {
	return timerName{groupTimer, key + " " + rule + " " + trigger}
}

// groupPart is the part of the items of batches.
const groupPart = -2

// gather puts a match into the batch of its key. The first one opens it; one
// that makes it full closes it.
func (b *batch) gather(ctx context.Context, tx bun.Tx, m match) error {
	g := m.trigger.Group
	key, err := b.groupKey(ctx, m)
	if err != nil {
		return b.failedMatch(m, err)
	}
	name := groupName(m.rule.ID, m.trigger.ID, key)
	a, open, err := b.armed(ctx, tx, name)
	if err != nil {
		return err
	}
	if open && !a.due.After(m.at) { // it was to fire before this one
		b.disarm(name)
		if err := b.endGroup(ctx, tx, a); err != nil {
			return err
		}
		if a, open, err = b.armed(ctx, tx, name); err != nil {
			return err
		}
	}
	if err := put(ctx, tx, m.item(key, groupPart)); err != nil {
		return err
	}
	if !open {
		a = m.awaited()
		a.Key, a.due = key, m.at.Add(g.Wait)
		b.arm(name, a.due, a)
	}
	b.decision(m, journal.Grouped, fmt.Sprintf("%q fires at %s", key, a.due.UTC().Format(time.RFC3339)), "")
	held, err := b.batched(ctx, tx, a)
	if err != nil || len(held) < g.Max {
		return err
	}
	b.disarm(name)
	return b.fireGroup(ctx, tx, a, held, m.at)
}

// batched are the items of a batch, oldest first.
func (b *batch) batched(ctx context.Context, tx bun.Tx, a awaited) ([]journal.Item, error) {
	list, err := items(ctx, tx, a.match().item(a.Key, groupPart), time.Time{}, time.Time{})
	kept := list[:0]
	for _, item := range list {
		if item.Part == groupPart {
			kept = append(kept, item)
		}
	}
	return kept, err
}

// endGroup fires the batch of a timer that is due. A batch that stayed empty
// for a whole interval is over.
func (b *batch) endGroup(ctx context.Context, tx bun.Tx, a awaited) error {
	held, err := b.batched(ctx, tx, a)
	if err != nil || len(held) == 0 {
		return err
	}
	return b.fireGroup(ctx, tx, a, held, a.due)
}

// fireGroup decides about a batch; the next one of its key waits for the
// interval.
func (b *batch) fireGroup(ctx context.Context, tx bun.Tx, a awaited, held []journal.Item, at time.Time) error {
	ids := make([]string, len(held))
	for i, item := range held {
		ids[i] = item.EventID
	}
	if _, err := tx.NewDelete().Model((*journal.Item)(nil)).
		Where("rule = ? AND trigger_id = ? AND key = ? AND part = ? AND event_id IN (?)", a.Rule, a.Trigger, a.Key, groupPart, bun.List(ids)).Exec(ctx); err != nil {
		return err
	}
	r, t, why := b.live(a)
	if t == nil || t.Group == nil {
		return b.cancelGroup(a, ids, why)
	}
	if t.Group.Interval > 0 {
		b.arm(groupName(a.Rule, a.Trigger, a.Key), at.Add(t.Group.Interval), a)
	}
	last := ids[len(ids)-1]
	event, value, err := b.happened(ctx, tx, last)
	m := match{rule: r, trigger: t, event: event, value: value, at: at, batch: ids}
	if errors.Is(err, errUnreadable) {
		m.event.ID = last
		return b.failedMatch(m, err)
	}
	if err != nil {
		return err
	}
	m.note = b.late(at) + fmt.Sprintf("a batch of %d ", len(ids))
	return b.decide(ctx, tx, m)
}

// cancelGroup records that the events of a batch come to nothing.
func (b *batch) cancelGroup(a awaited, ids []string, why string) error {
	if why == "" {
		why = "the rule was edited"
	}
	for _, id := range ids {
		m := match{rule: &rules.Rule{ID: a.Rule, Version: a.Version}, trigger: &rules.Trigger{ID: a.Trigger}}
		m.event.ID = id
		m.per = a.Key
		b.decision(m, journal.Cancelled, why, "")
	}
	return nil
}

// part puts a match among the parts of an `all`, and decides when it completes
// them.
func (b *batch) part(ctx context.Context, tx bun.Tx, m match, part int) error {
	all := m.trigger.All
	key := "-"
	if all.By != nil {
		var err error
		if key, err = b.gatherKey(ctx, m, all.By); err != nil {
			return b.failedMatch(m, err)
		}
	}
	item := m.item(key, part)
	if err := b.forget(ctx, tx, item, all.Within); err != nil {
		return err
	}
	if err := put(ctx, tx, item); err != nil {
		return err
	}
	near, err := items(ctx, tx, item, m.at.Add(-all.Within), m.at.Add(all.Within))
	if err != nil {
		return err
	}
	ids, missing := covering(near, m.at, all.Within, len(all.Parts))
	if ids == nil {
		if !b.decidedInBatch(m, isCounted) { // the event is two of the parts
			b.decision(m, journal.Counted, fmt.Sprintf("%d of %d within %s", len(all.Parts)-missing, len(all.Parts), duration.Format(all.Within)), "")
		}
		return nil
	}
	// Each event counts for one firing.
	if _, err := tx.NewDelete().Model((*journal.Item)(nil)).
		Where("rule = ? AND trigger_id = ? AND key = ? AND (at <= ? OR event_id IN (?))", item.Rule, item.Trigger, item.Key, db.At(m.at), bun.List(ids)).Exec(ctx); err != nil {
		return err
	}
	m.batch = ids
	return b.decide(ctx, tx, m)
}

// covering finds a window, around a time, in which every part is; and the
// events of it, oldest first. Where there is none it says how many parts the
// best one lacks.
func covering(near []journal.Item, at time.Time, length time.Duration, parts int) (ids []string, missing int) {
	missing = parts
	for _, end := range near {
		if end.At.Before(at) {
			continue
		}
		found := map[int]string{}
		var order []string
		for _, item := range near {
			if item.At.After(end.At.Time) || !item.At.After(end.At.Add(-length)) {
				continue
			}
			found[item.Part] = item.EventID
		}
		if len(found) == parts {
			for _, item := range near {
				if found[item.Part] == item.EventID && !slices.Contains(order, item.EventID) {
					order = append(order, item.EventID)
				}
			}
			return order, 0
		}
		missing = min(missing, parts-len(found))
	}
	return nil, missing
}

// decidedInBatch says whether a match has an outcome of that sort already.
func (b *batch) decidedInBatch(m match, is func(journal.Outcome) bool) bool {
	for i := len(b.decisions) - 1; i >= 0; i-- {
		d := b.decisions[i]
		if d.EventID != m.event.ID {
			return false
		}
		if d.Rule == m.rule.ID && d.Trigger == m.trigger.ID && is(d.Outcome) {
			return true
		}
	}
	return false
}

func isCounted(o journal.Outcome) bool { return o == journal.Counted }

func isFailed(o journal.Outcome) bool { return o == journal.Failed }

// isDecided says whether an event is nothing more to its trigger.
func isDecided(o journal.Outcome) bool { return !isCounted(o) && !isFailed(o) }
