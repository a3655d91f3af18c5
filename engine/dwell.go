package engine

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/uptrace/bun"

	"github.com/flightrules/flightrules/engine/journal"
	"github.com/flightrules/flightrules/entities"
	"github.com/flightrules/flightrules/internal/duration"
	"github.com/flightrules/flightrules/rules"
	"github.com/flightrules/flightrules/triggers"
)

// dwell names the timer of a match that must hold.
func (m match) dwell() timerName {
	return timerName{dwellTimer, m.entity() + " " + m.rule.ID + " " + m.trigger.ID}
}

// armDwell starts the clock of a match that must hold.
func (b *batch) armDwell(ctx context.Context, m match) error {
	length, err := b.length(ctx, m)
	if err != nil {
		return b.failedMatch(m, err)
	}
	b.arm(m.dwell(), m.at.Add(length), m.awaited())
	b.versions[m.rule.Version] = m.rule
	b.decision(m, journal.Held, "for "+duration.Format(length), "")
	return nil
}

// length is how long a match must hold; an expression gives it when it is
// armed.
func (b *batch) length(ctx context.Context, m match) (time.Duration, error) {
	hold := m.trigger.Hold
	if hold.Expr == nil {
		return hold.For, nil
	}
	env, err := b.env(ctx, m.rule, m.trigger.ID, m.value)
	if err != nil {
		return 0, err
	}
	v, err := hold.Expr.Eval(env)
	if err != nil {
		return 0, fmt.Errorf("for: %w", err)
	}
	d, err := duration.Parse(fmt.Sprint(v))
	if err != nil {
		return 0, fmt.Errorf("for: %w", err)
	}
	return d, nil
}

// breakDwell ends the dwell that the change of m breaks. One that was due
// before the change has held all its time, and fires: changes and deadlines
// count in the order of their times, however late they are looked at.
func (b *batch) breakDwell(ctx context.Context, tx bun.Tx, m match) error {
	if m.trigger.Hold.IsZero() || m.event.Change == nil || !b.breaks(m.trigger, *m.event.Change) {
		return nil
	}
	a, ok, err := b.armed(ctx, tx, m.dwell())
	if err != nil || !ok {
		return err
	}
	b.disarm(m.dwell())
	if !a.due.After(m.event.At) {
		return b.complete(ctx, tx, a, b.held)
	}
	b.broken(a, *m.event.Change)
	return nil
}

// breaks says whether a change ends what a trigger matched. One of which that
// cannot be told does not.
func (b *batch) breaks(t *rules.Trigger, change entities.Transition) (yes bool) {
	holding, ok := t.Trigger.(triggers.Holding)
	if !ok {
		return false
	}
	if err := contained(func() error { yes = holding.Breaks(change); return nil }); err != nil {
		b.Metrics.Failed("triggers", err)
	}
	return yes
}

// broken records which change ended a dwell.
func (b *batch) broken(a awaited, by entities.Transition) {
	m := a.match()
	b.decision(m, journal.Cancelled, fmt.Sprintf("broken after %s by version %d of %s", duration.Format(by.At.Sub(time.UnixMicro(a.At))), by.Version, m.key()), "")
}

// endDwell goes on with a dwell that is due, unless the log has a change before
// its end that breaks it: that one may be yet to be routed.
func (b *batch) endDwell(ctx context.Context, tx bun.Tx, a awaited) error {
	log, err := b.changedSince(ctx, tx, a)
	if errors.Is(err, entities.ErrInvalid) {
		b.decision(a.match(), journal.Failed, "whether it was broken cannot be told: "+err.Error(), "")
		return nil
	}
	if err != nil {
		return err
	}
	if _, trigger, _ := b.live(a); trigger != nil {
		for _, t := range log {
			if b.breaks(trigger, t) {
				b.broken(a, t)
				return nil
			}
		}
	}
	return b.complete(ctx, tx, a, b.held)
}
