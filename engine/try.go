package engine

import (
	"context"
	"errors"
	"time"

	"github.com/uptrace/bun"

	"github.com/flightrules/flightrules/engine/journal"
	"github.com/flightrules/flightrules/rules"
	"github.com/flightrules/flightrules/triggers"
)

// Try puts an event into the log of a shadow and decides about it, together
// with the change that it was derived from, as the router does in the log that
// the shadow reads. What stands behind it there is not known here: each match
// is the first of its rule. A trigger that is given as fired is taken to have
// fired for the event: conditions do not count.
func (e *Engine) Try(ctx context.Context, row journal.Event, fired rules.Candidate) error {
	if e.Shadow == nil {
		return errors.New("events are tried in a shadow alone")
	}
	var b *batch
	err := e.DB.Write(ctx, func(ctx context.Context, tx bun.Tx) error {
		b = e.newBatch()
		if err := b.reconcile(ctx, tx); err != nil {
			return err
		}
		if _, err := tx.NewInsert().Model(&row).ExcludeColumn("seq").Returning("NULL").Exec(ctx); err != nil {
			return err
		}
		event, value, err := e.withChange(ctx, tx, row)
		if err != nil {
			return err
		}
		b.recorded[event.ID] = true
		m := match{rule: fired.Rule, trigger: fired.Trigger, event: event, value: value, at: event.At}
		if err := b.try(ctx, tx, m); err != nil {
			return err
		}
		return b.write(ctx, tx)
	})
	if err == nil {
		b.committed()
	}
	return err
}

// try decides about an event: for a trigger where the match has one, or for
// whatever it is something to.
func (b *batch) try(ctx context.Context, tx bun.Tx, m match) error {
	if m.trigger != nil {
		m.byHand = true
		if m.trigger.Group != nil {
			m.batch = []string{m.event.ID}
		}
		return b.decide(ctx, tx, m)
	}
	if err := b.event(ctx, tx, m.event); err != nil {
		return err
	}
	if err := b.tryOwn(ctx, tx, m); err != nil {
		return err
	}
	change := m.event.Change
	if change == nil || m.event.About || m.event.Name == triggers.ChangedEvent(change.Kind) {
		return nil
	}
	return b.event(ctx, tx, b.changedEvent(*change))
}

// tryOwn decides about a tick or an absence for the first trigger of each rule
// that it may have been made for.
func (b *batch) tryOwn(ctx context.Context, tx bun.Tx, m match) error {
	for _, r := range b.set.Rules {
		for i := range r.Triggers {
			t := &r.Triggers[i]
			if !r.Enabled || !t.Enabled || t.Manual != nil || !isFor(r, t, m.event) {
				continue
			}
			m.rule, m.trigger = r, t
			if err := b.decideOwn(ctx, tx, m); err != nil {
				return err
			}
			break
		}
	}
	return nil
}

// NextChange is when, after now, something changed in the log that a shadow reads
// which the condition of a run has read; zero: nothing did.
func (e *Engine) NextChange(ctx context.Context, run string) (next time.Time, err error) {
	var watches []journal.Watch
	if err := e.DB.Read().NewSelect().Model(&watches).Where("run_id = ?", run).Scan(ctx); err != nil {
		return next, err
	}
	for _, w := range watches {
		at, err := e.Entities.NextChange(ctx, e.log(e.DB.Read()), w.Kind, w.EntityID, e.Now())
		if err != nil {
			return next, err
		}
		next = earlier(next, at)
	}
	return next, nil
}

// LookAgain has a run that waits for something look whether it has come.
func (e *Engine) LookAgain(ctx context.Context, run string) error {
	return e.DB.Write(ctx, func(ctx context.Context, tx bun.Tx) error {
		_, err := wakeRuns(ctx, tx, map[string]bool{run: true})
		return err
	})
}
