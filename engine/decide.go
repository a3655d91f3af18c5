package engine

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/uptrace/bun"

	"github.com/flightrules/flightrules/engine/journal"
	"github.com/flightrules/flightrules/internal/duration"
	"github.com/flightrules/flightrules/rules"
	"github.com/flightrules/flightrules/triggers"
)

// MaxDepth is how many runs may stand between an event and the outside world.
// Beyond it nothing fires: rules that cause each other end there.
const MaxDepth = 16

// lateAfter is how much after its time something fires before the record calls
// it late.
const lateAfter = time.Second

// match is an event that a trigger of a rule has matched.
type match struct {
	rule    *rules.Rule
	trigger *rules.Trigger
	event   triggers.Event
	value   map[string]any // the event in expressions
	at      time.Time      // when it counts: the event's time, or that of a timer
	batch   []string       // ids of the events of a group, oldest first; nil: there is none
	byHand  bool           // somebody wants it to run: conditions do not count
	per     string         // what the rule counts over; "": not known yet
	note    string         // stands before the detail of what is decided
}

// entity is the entity that the event is about, or "-".
func (m match) entity() string {
	if m.event.Kind == "" {
		return "-"
	}
	return m.event.Kind + "/" + m.event.EntityID
}

// key is what the rule counts over.
func (m match) key() string {
	if m.per != "" {
		return m.per
	}
	return m.entity()
}

// late is what a record says of something that happens after its time.
func (b *batch) late(due time.Time) string {
	if late := b.now.Sub(due); late > lateAfter {
		return "late by " + duration.Format(late.Round(time.Second)) + " "
	}
	return ""
}

// decide is the way through the gates to a run: depth, pause, silences,
// conditions, cooldown, loops, mode.
func (b *batch) decide(ctx context.Context, tx bun.Tx, m match) error {
	if m.event.Cause.Depth > MaxDepth {
		b.decision(m, journal.DepthExceeded, fmt.Sprintf("%d runs stand behind the event, and %d may", m.event.Cause.Depth, MaxDepth), "")
		return nil
	}
	if stop, err := b.paused(ctx, tx, m); stop || err != nil {
		return err
	}
	if stop, err := b.silenced(ctx, tx, m); stop || err != nil {
		return err
	}
	env, err := b.admission(ctx, tx, m)
	if err != nil {
		return b.failedMatch(m, err)
	}
	if m.per, err = perOf(m, env); err != nil {
		return b.failedMatch(m, fmt.Errorf("per: %w", err))
	}
	if !m.byHand {
		refused, err := rules.Check(m.rule.Conditions, env, b.now)
		if err != nil {
			return b.failedMatch(m, err)
		}
		if refused != nil {
			b.decision(m, journal.ConditionFalse, refused.Path+": "+refused.Text, "")
			return nil
		}
	}
	if stop, err := b.cooling(ctx, tx, m); stop || err != nil {
		return err
	}
	return b.admit(ctx, tx, m, env)
}

// failedMatch records that a match could not be decided, once for an event that
// is several things to its trigger; what the database refused is not the rule's
// fault and is given back.
func (b *batch) failedMatch(m match, err error) error {
	var failed *databaseError
	if errors.As(err, &failed) {
		return failed.err
	}
	if !b.decidedInBatch(m, isFailed) {
		b.decision(m, journal.Failed, err.Error(), "")
	}
	return nil
}

// databaseError marks an error that is not the rule's.
type databaseError struct{ err error }

func (d *databaseError) Error() string { return d.err.Error() }
func (d *databaseError) Unwrap() error { return d.err }

// admission is what the rule's expressions see of a match, the events of a
// group included.
func (b *batch) admission(ctx context.Context, tx bun.Tx, m match) (map[string]any, error) {
	env, err := b.env(ctx, m.rule, m.trigger.ID, m.value)
	if err != nil || m.batch == nil {
		return env, err
	}
	values := make([]any, 0, len(m.batch))
	for _, id := range m.batch {
		_, value, err := b.happened(ctx, tx, id)
		if errors.Is(err, errUnreadable) {
			continue
		}
		if err != nil {
			return nil, &databaseError{err}
		}
		values = append(values, value)
	}
	env["events"] = values
	return env, nil
}

// perOf is what the rule's mode and cooldown count over.
func perOf(m match, env map[string]any) (string, error) {
	switch {
	case m.rule.Per.Rule:
		return "rule", nil
	case m.rule.Per.Expr == nil:
		return m.entity(), nil
	}
	v, err := m.rule.Per.Expr.Eval(env)
	if err != nil {
		return "", err
	}
	return keyText(v), nil
}

// cooling drops a match of a key for which the rule ran a short while ago, and
// trips a rule that runs all the time.
func (b *batch) cooling(ctx context.Context, tx bun.Tx, m match) (stop bool, err error) {
	if m.rule.Cooldown > 0 && !m.byHand {
		last, err := b.lastStart(ctx, tx, m)
		if err != nil {
			return false, err
		}
		if end := last.Add(m.rule.Cooldown); !last.IsZero() && b.now.Before(end) {
			b.decision(m, journal.CooledDown, fmt.Sprintf("the last run began %s ago; cooldown is %s",
				duration.Format(b.now.Sub(last)), duration.Format(m.rule.Cooldown)), "")
			return true, nil
		}
	}
	return b.tripped(ctx, tx, m)
}
