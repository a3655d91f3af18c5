package engine

import (
	"context"
	"fmt"
	"time"

	"github.com/uptrace/bun"

	"github.com/flightrules/flightrules/engine/journal"
	"github.com/flightrules/flightrules/engine/timer"
	"github.com/flightrules/flightrules/internal/duration"
	"github.com/flightrules/flightrules/triggers"
)

// unlessName names the timer of a match that another event may end.
func unlessName(rule, trigger, event string) timerName {
	return timerName{unlessTimer, event + " " + rule + " " + trigger}
}

// armUnless waits whether another event follows a match.
func (b *batch) armUnless(ctx context.Context, tx bun.Tx, m match) error {
	u := m.trigger.Unless
	key, err := b.gatherKey(ctx, m, u.By)
	if err != nil {
		return b.failedMatch(m, err)
	}
	if err := put(ctx, tx, m.item(key, unlessPart)); err != nil {
		return err
	}
	a := m.awaited()
	a.Key = key
	b.arm(unlessName(m.rule.ID, m.trigger.ID, m.event.ID), m.at.Add(u.Within), a)
	b.versions[m.rule.Version] = m.rule
	b.decision(m, journal.Held, fmt.Sprintf("unless %s comes within %s", u.Event.Name, duration.Format(u.Within)), "")
	return nil
}

// ending ends the matches that the event of m follows. Those that were due
// before it fire.
func (b *batch) ending(ctx context.Context, tx bun.Tx, m match) error {
	key, err := b.gatherKey(ctx, m, m.trigger.Unless.By)
	if err != nil {
		b.Log.Warn("whether an event ends a match cannot be told", "rule", m.rule.ID, "trigger", m.trigger.ID, "event", m.event.ID, "error", err)
		b.Metrics.Failed("unless", err)
		return nil
	}
	waiting, err := items(ctx, tx, m.item(key, 0), time.Time{}, time.Time{})
	if err != nil {
		return err
	}
	for _, item := range waiting {
		if item.Part != unlessPart {
			continue
		}
		name := unlessName(item.Rule, item.Trigger, item.EventID)
		a, ok, err := b.armed(ctx, tx, name)
		if err != nil {
			return err
		}
		if !ok || time.UnixMicro(a.At).After(m.event.At) || a.by(m.event) {
			continue // the event does not follow it
		}
		b.disarm(name)
		if err := take(ctx, tx, item); err != nil {
			return err
		}
		if !a.due.After(m.event.At) {
			if err := b.complete(ctx, tx, a, b.notEnded); err != nil {
				return err
			}
			continue
		}
		ended := a.match()
		b.decision(ended, journal.Cancelled, fmt.Sprintf("%s followed after %s (event %s)", m.event.Name,
			duration.Format(m.event.At.Sub(time.UnixMicro(a.At))), m.event.ID), "")
		b.record(m.event)
	}
	return nil
}

// by says whether it was armed by that event, or by one of the same change.
func (a awaited) by(e triggers.Event) bool {
	return a.EventID == e.ID || e.Change != nil && a.Change == e.Change.Version && a.Kind == e.Kind && a.Entity == e.EntityID
}

// endUnless goes on with a match that nothing followed.
func (b *batch) endUnless(ctx context.Context, tx bun.Tx, t timer.Timer, a awaited) error {
	if a.Kind != "" && b.DB.Postgres() {
		log, err := b.changedSince(ctx, tx, a)
		if err != nil {
			return err
		}
		seqs := make([]int64, len(log))
		for i, change := range log {
			seqs[i] = change.Seq
		}
		if unrouted, err := anyNoted(ctx, tx, seqs); err != nil {
			return err
		} else if unrouted { // what followed may be among these: they come first
			b.timers[timerName{t.Kind, t.Key}] = &pending{timer: &t}
			return nil
		}
	}
	if err := take(ctx, tx, a.match().item(a.Key, unlessPart)); err != nil {
		return err
	}
	return b.complete(ctx, tx, a, b.notEnded)
}

// unlessPart is the part of the items of matches that another event may end.
const unlessPart = -1

// take removes an item.
func take(ctx context.Context, tx bun.Tx, item journal.Item) error {
	_, err := tx.NewDelete().Model(&item).WherePK().Exec(ctx)
	return err
}
