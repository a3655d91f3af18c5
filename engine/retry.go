package engine

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/uptrace/bun"

	"github.com/flightrules/flightrules/engine/journal"
	"github.com/flightrules/flightrules/engine/timer"
	"github.com/flightrules/flightrules/internal/db"
)

// What is done when the process ends again and again while a run is executed:
// the run may be what ends it.
const (
	// defaultMaxRecoveries is how often a step is taken up again that was broken
	// off.
	defaultMaxRecoveries = 10
	// runRecoveries is how many times as often a run is that gets no further:
	// it may be at nothing when it is broken off, and then it is hardly the
	// reason.
	runRecoveries = 10
)

// givenUp ends a walk that was broken off too often.
type givenUp struct {
	times int
	at    string // the step; "": it is not known
}

func (g *givenUp) Error() string {
	where := "before it got any further"
	if g.at != "" {
		where = "at " + g.at
	}
	return fmt.Sprintf("it was broken off %d times %s, and is not taken up again", g.times, where)
}

// retryLater has the run begin its next attempt after a pause, from the step
// that failed.
func (w *walk) retryLater(ctx context.Context, failed *stepFailed) error {
	w.reopen(failed.chain)
	due := w.Now().Add(w.rule.Retry.Pause(w.run.Attempt))
	set := "status = ?, error = ?, attempt = attempt + 1, heeds = ?, lease_node = NULL, lease_until = NULL"
	args := []any{journal.RunWaiting, failed.Error(), false}
	return w.write(ctx, set, args, func(ctx context.Context, tx bun.Tx) error { return w.wakeAt(ctx, tx, due) })
}

// reopen makes steps that have failed ones that are yet to be done.
func (w *walk) reopen(chain []place) {
	for _, at := range chain {
		s, ok := w.recorded(at)
		if !ok {
			continue
		}
		s.Status, s.Attempt, s.Failures, s.FinishedAt, s.DueAt, s.AttemptAt = journal.StepRunning, 0, 0, db.Time{}, db.Time{}, db.At(w.Now())
		w.keep(s)
	}
}

// The errors of what people do to runs.
var (
	// ErrOver is returned for a run that has ended.
	ErrOver = errors.New("the run has ended")
	// ErrNotFailed is returned when a run is to be retried that has not failed.
	ErrNotFailed = errors.New("the run has not failed")
	// ErrBusy is returned when a run is to be retried while its rule's mode
	// admits none beside another that is active.
	ErrBusy = errors.New("another run is active")
)

// CancelRun ends a run. One that is being executed is asked to end, and is
// ended in any case after a time; until then it is still active. The actor is
// that of ctx. Errors: ErrOver, ErrNotFound of journal.
func (e *Engine) CancelRun(ctx context.Context, id, why string) (run journal.Run, err error) {
	err = e.DB.Write(ctx, func(ctx context.Context, tx bun.Tx) error {
		if run, err = e.lockRun(ctx, tx, id); err != nil {
			return err
		}
		if run.Status.Final() {
			return fmt.Errorf("%w: it is %s", ErrOver, run.Status)
		}
		if run.Status == journal.RunRunning {
			err = askToEnd(ctx, tx, &run, why, e.Now())
		} else if err = endRun(ctx, tx, run.ID, why, e.Now()); err == nil {
			err = promote(ctx, tx, run.Lane)
		}
		if err != nil {
			return err
		}
		run, err = journal.RunByID(ctx, tx, id)
		return err
	})
	return run, err
}

// RetryRun has a run that failed go on from the step that did: what has
// succeeded is not done again. Errors: ErrNotFailed, ErrBusy, ErrNotFound of
// journal.
func (e *Engine) RetryRun(ctx context.Context, id string) (run journal.Run, err error) {
	run, err = journal.RunByID(ctx, e.DB.Read(), id)
	if err != nil {
		return run, err
	}
	if run.Status != journal.RunFailed {
		return run, fmt.Errorf("%w: it is %s", ErrNotFailed, run.Status)
	}
	w := e.newWalk(run)
	if err := w.failedSteps(ctx); err != nil {
		return run, err
	}
	rows, _ := w.unwritten()
	err = e.DB.Write(ctx, func(ctx context.Context, tx bun.Tx) error {
		if run, err = e.lockRun(ctx, tx, id); err != nil {
			return err
		}
		if run.Status != journal.RunFailed {
			return fmt.Errorf("%w: it is %s", ErrNotFailed, run.Status)
		}
		if err := e.admitAgain(ctx, tx, w, &run); err != nil {
			return err
		}
		return upsert(ctx, tx, rows...)
	})
	return run, err
}

func (e *Engine) lockRun(ctx context.Context, tx bun.Tx, id string) (journal.Run, error) {
	if err := e.DB.ForUpdate(tx.NewSelect().Model((*journal.Run)(nil)).Column("id").Where("id = ?", id), false).Scan(ctx, new([]string)); err != nil {
		return journal.Run{}, err
	}
	return journal.RunByID(ctx, tx, id)
}

// failedSteps reopens the steps because of which the run has failed.
func (w *walk) failedSteps(ctx context.Context) error {
	err := w.prepare(ctx)
	var f *frame
	if err == nil {
		f, err = w.frame(ctx)
	}
	if err == nil {
		f.passing = true
		err = f.all(ctx, w.rule.Actions)
	}
	var failed *stepFailed
	var ends *stopped
	switch {
	case errors.As(err, &ends):
		return fmt.Errorf("%w: a step stopped it", ErrNotFailed)
	case errors.As(err, &failed):
		w.reopen(failed.chain)
	case err != nil && !errors.Is(err, errPassed):
		return err
	}
	// What was cut off when the run was given up is done again too.
	for at, s := range w.done {
		if s.Status == journal.StepCancelled && w.run.Dead && f != nil {
			w.reopen([]place{at})
		}
	}
	return nil
}

// admitAgain makes a failed run active again, if its rule's mode admits it now.
func (e *Engine) admitAgain(ctx context.Context, tx bun.Tx, w *walk, run *journal.Run) error {
	b := e.newBatch()
	active, err := b.active(ctx, tx, run.Lane, w.rule.Mode)
	if err != nil {
		return err
	}
	slot := ""
	if !shares(w.rule) {
		if slot = run.Lane; len(active) > 0 {
			return fmt.Errorf("%w: %s", ErrBusy, active[0].ID)
		}
	} else if len(active) >= w.rule.Max {
		return fmt.Errorf("%w: %d are, and %d may be", ErrBusy, len(active), w.rule.Max)
	}
	var rows []journal.Listener
	for _, name := range w.rule.Awaits() {
		rows = append(rows, journal.Listener{Event: name, RunID: run.ID})
	}
	if err := listen(ctx, tx, rows); err != nil {
		return err
	}
	db.HintAfter(ctx, journal.Topic)
	_, err = tx.NewUpdate().Model(run).
		Set("status = ?, ready = ?, slot = NULLIF(?, ''), attempt = attempt + 1, error = NULL, dead = ?, recoveries = 0, finished_at = NULL, cancel_at = NULL, cancel_why = NULL",
			journal.RunWaiting, true, slot, false).
		WherePK().Returning("*").Exec(ctx)
	if db.IsUnique(err) {
		return ErrBusy
	}
	return err
}

// cancelTimer is the kind of the timers of runs that were asked to end; the key
// is the run.
const cancelTimer = "run.cancel"

// askToEnd asks the node that executes a run to end it, and ends it after
// endBound in any case.
func askToEnd(ctx context.Context, tx bun.Tx, run *journal.Run, why string, now time.Time) error {
	if !run.CancelAt.IsZero() {
		return nil
	}
	run.CancelAt, run.CancelWhy = db.At(now), why
	if _, err := tx.NewUpdate().Model(run).Column("cancel_at", "cancel_why").WherePK().Exec(ctx); err != nil {
		return err
	}
	db.HintAfter(ctx, journal.Topic)
	db.HintAfter(ctx, timer.Topic)
	return timer.Set(ctx, tx, timer.Timer{Kind: cancelTimer, Key: run.ID, DueAt: db.At(now.Add(endBound))})
}
