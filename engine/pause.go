package engine

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/uptrace/bun"

	"github.com/flightrules/flightrules/engine/journal"
	"github.com/flightrules/flightrules/entities"
	"github.com/flightrules/flightrules/internal/db"
	"github.com/flightrules/flightrules/internal/duration"
	"github.com/flightrules/flightrules/triggers"
)

// ErrNoRule is returned for a rule that is not in force.
var ErrNoRule = errors.New("no such rule")

// Pause makes the matches of a rule be dropped, with a record, until somebody
// resumes it: also across reloads and restarts. The actor is that of ctx.
// ErrNoRule when it is not in force.
func (e *Engine) Pause(ctx context.Context, rule, reason string) (journal.RuleState, error) {
	state := journal.RuleState{Rule: rule, PausedAt: db.At(e.Now()), PausedBy: entities.CauseOf(ctx).Actor, Reason: reason}
	return state, e.setPaused(ctx, state, state.PausedAt)
}

// Resume ends a pause, also one of a rule that was tripped.
func (e *Engine) Resume(ctx context.Context, rule string) (journal.RuleState, error) {
	state := journal.RuleState{Rule: rule}
	return state, e.setPaused(ctx, state, db.At(e.Now()))
}

func (e *Engine) setPaused(ctx context.Context, state journal.RuleState, at db.Time) error {
	if e.Rules().Rule(state.Rule) == nil {
		return fmt.Errorf("%w: %s", ErrNoRule, state.Rule)
	}
	return e.DB.Write(ctx, func(ctx context.Context, tx bun.Tx) error { return putPaused(ctx, tx, state, at) })
}

// putPaused keeps whether a rule is paused, and notes that it came to be at a
// time.
func putPaused(ctx context.Context, tx bun.Tx, state journal.RuleState, at db.Time) error {
	change := journal.RuleChange{Rule: state.Rule, Change: journal.RuleResumed, Actor: state.PausedBy, Reason: state.Reason, At: at}
	switch {
	case state.Tripped:
		change.Change = journal.RuleTripped
	case state.Paused():
		change.Change = journal.RulePaused
	default:
		change.Actor = entities.CauseOf(ctx).Actor
	}
	if err := journal.NoteChanges(ctx, tx, change); err != nil {
		return err
	}
	_, err := tx.NewInsert().Model(&state).On("CONFLICT (rule) DO UPDATE").
		Set("paused_at = EXCLUDED.paused_at, paused_by = EXCLUDED.paused_by, tripped = EXCLUDED.tripped, reason = EXCLUDED.reason").
		Returning("NULL").Exec(ctx)
	return err
}

// pausedRules are the states of the rules that are paused, read once in a
// batch.
func (b *batch) pausedRules(ctx context.Context, tx bun.Tx) (map[string]journal.RuleState, error) {
	if b.states == nil {
		states, err := journal.RuleStates(ctx, tx, false)
		if err != nil {
			return nil, err
		}
		b.states = states
	}
	return b.states, nil
}

// paused drops a match of a rule that is paused.
func (b *batch) paused(ctx context.Context, tx bun.Tx, m match) (stop bool, err error) {
	states, err := b.pausedRules(ctx, tx)
	state := states[m.rule.ID]
	if err != nil || !state.Paused() || m.byHand && !state.Tripped {
		return false, err
	}
	detail := fmt.Sprintf("the rule was paused by %s", state.PausedBy)
	if state.Tripped {
		detail = "the rule is tripped and must be resumed"
	}
	if state.Reason != "" {
		detail += ": " + state.Reason
	}
	b.decision(m, journal.Dropped, detail, "")
	return true, nil
}

// The rate of starts that trips a rule: of one key, more than tripStarts within
// tripWindow.
const (
	tripStarts = 100
	tripWindow = 10 * time.Second
)

func startKey(m match) string { return m.rule.ID + " " + m.key() }

// tripped pauses a rule that starts runs without end: rules that cause each
// other, say. Somebody must resume it.
func (b *batch) tripped(ctx context.Context, tx bun.Tx, m match) (stop bool, err error) {
	n, known := b.starts[startKey(m)]
	if !known {
		if n, err = b.recentStarts(ctx, tx, m); err != nil {
			return false, err
		}
		b.starts[startKey(m)] = n
	}
	if n < tripStarts {
		return false, nil
	}
	reason := fmt.Sprintf("it started %d runs for %s in %s", n, m.key(), duration.Format(tripWindow))
	state := journal.RuleState{Rule: m.rule.ID, PausedAt: b.at(), PausedBy: entities.System, Tripped: true, Reason: reason}
	if err := putPaused(ctx, tx, state, b.at()); err != nil {
		return false, err
	}
	b.states[m.rule.ID] = state
	b.Log.Error("a rule was paused", "rule", m.rule.ID, "reason", reason)
	b.announce(b.made(triggers.Event{
		Name: triggers.RuleTripped, At: b.now, Kind: triggers.RuleKind, EntityID: m.rule.ID,
		Payload: db.ToJSON(triggers.TrippedPayload{Rule: m.rule.ID, Key: m.key(), Reason: reason}),
		Cause:   entities.Cause{Actor: entities.System, Depth: m.event.Cause.Depth + 1},
	}, m.rule.ID, m.trigger.ID))
	return b.paused(ctx, tx, m)
}

// recentStarts counts the runs of a key, as far as it matters.
func (b *batch) recentStarts(ctx context.Context, tx bun.Tx, m match) (int, error) {
	recent := tx.NewSelect().Model((*journal.Run)(nil)).ColumnExpr("1").
		Where("rule = ? AND key = ? AND created_at > ?", m.rule.ID, m.key(), db.At(b.now.Add(-tripWindow))).Limit(tripStarts + 1)
	var n int
	err := tx.NewSelect().ColumnExpr("COUNT(*)").TableExpr("(?) AS recent", recent).Scan(ctx, &n)
	return n, err
}

// lastStart is when the last run of a key was started; zero: none was.
func (b *batch) lastStart(ctx context.Context, tx bun.Tx, m match) (time.Time, error) {
	for i := len(b.runs) - 1; i >= 0; i-- {
		if run := b.runs[i]; run.Rule == m.rule.ID && run.Key == m.key() {
			return b.now, nil
		}
	}
	var last db.Time
	err := tx.NewSelect().Model((*journal.Run)(nil)).ColumnExpr("MAX(created_at)").
		Where("rule = ? AND key = ?", m.rule.ID, m.key()).Scan(ctx, &last)
	return last.Time, err
}
