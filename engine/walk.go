package engine

import (
	"context"
	"encoding/json"
	"errors"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/uptrace/bun"

	"github.com/flightrules/flightrules/engine/journal"
	"github.com/flightrules/flightrules/engine/timer"
	"github.com/flightrules/flightrules/entities"
	"github.com/flightrules/flightrules/internal/db"
	"github.com/flightrules/flightrules/rules"
)

// walk is one walk over the steps of a run's rule, from the first. Steps whose
// outcome is in the journal are passed over with that outcome; so a run that
// is resumed, taken over, retried or begun is walked in the same way. Its frames
// do the walking; what they share is here.
//
// What a step without outside effect did is kept in dirty and written with the
// next transaction, in time for whatever could make it visible.
type walk struct {
	*Engine
	run   journal.Run
	rule  *rules.Rule
	ahead *ahead // nil: nothing was read ahead

	mu    sync.Mutex // guards what follows: the branches of parallel share it
	done  map[place]journal.Step
	dirty map[place]int // what is yet to be written, by the revision that is
	rev   int
	next  int            // position of the next step that begins
	mail  []journal.Mail // what has come for the run, oldest first
	news  chan struct{}  // closed when more has come
	vault *vault
}

// ahead is what was read for a walk before it began.
type ahead struct {
	steps []journal.Step
	event journal.Event
}

// place names a step of a run: its path, and the iterations of the loops and
// the attempts of the blocks around it.
type place struct{ path, iteration string }

func placeOf(s journal.Step) place { return place{s.Path, s.Iteration} }

func (e *Engine) newWalk(run journal.Run) *walk {
	return &walk{
		Engine: e, run: run, done: map[place]journal.Step{}, dirty: map[place]int{}, news: make(chan struct{}),
	}
}

// walk takes a claimed run as far as it goes. An error means that it is not
// known how far that was; the journal knows.
func (w *walk) walk(ctx context.Context) error {
	if ghost, err := w.ghost(ctx); ghost != nil || err != nil {
		return w.haunt(ctx, ghost, err)
	}
	err := w.prepare(ctx)
	if w.run.Recoveries > w.MaxRecoveries*runRecoveries {
		err = &givenUp{times: w.run.Recoveries}
	}
	if err == nil {
		var f *frame
		if f, err = w.frame(ctx); err == nil {
			err = f.all(ctx, w.rule.Actions)
		}
	}
	return w.end(ctx, err)
}

// end ends or suspends the run with what its steps have come to.
func (w *walk) end(ctx context.Context, err error) error {
	var (
		waits    *suspended
		failed   *stepFailed
		ends     *stopped
		broken   *unusable
		asked    *cancelled
		hopeless *givenUp
	)
	switch {
	case errors.As(context.Cause(ctx), &asked):
		ending, stop := context.WithTimeout(context.WithoutCancel(ctx), recordTimeout)
		defer stop()
		return w.finish(ending, journal.RunCancelled, asked.why, false)
	case err == nil:
		return w.finish(ctx, journal.RunSucceeded, "", false)
	case errors.As(err, &waits):
		return w.suspend(ctx, waits)
	case errors.As(err, &ends) && ends.failure:
		return w.finish(ctx, journal.RunFailed, ends.Error(), false)
	case errors.As(err, &ends):
		return w.finish(ctx, journal.RunSucceeded, "", false)
	case errors.As(err, &failed) && w.run.Attempt < w.rule.Retry.Attempts:
		return w.retryLater(ctx, failed)
	case errors.As(err, &failed):
		return w.finish(ctx, journal.RunFailed, err.Error(), w.rule.Retry.Attempts > 1)
	case errors.As(err, &hopeless):
		w.Log.Error("a run was given up", "rule", w.run.Rule, "run", w.run.ID, "reason", err)
		return w.finish(ctx, journal.RunFailed, err.Error(), true)
	case errors.As(err, &broken):
		return w.finish(ctx, journal.RunFailed, err.Error(), false)
	default:
		return err
	}
}

// prepare reads what the run has done, and what it has to do.
func (w *walk) prepare(ctx context.Context) error {
	idb := w.DB.Read()
	steps, err := w.stepsDone(ctx)
	if err != nil {
		return err
	}
	for _, s := range steps {
		w.done[placeOf(s)] = s
		w.next = max(w.next, s.Position+1)
	}
	if w.rule, err = w.Engine.rule(ctx, idb, w.run.Rule, w.run.Version); err != nil {
		return err
	}
	w.unlock(ctx)
	if len(w.rule.Awaits()) > 0 {
		return w.look(ctx)
	}
	return nil
}

// stepsDone are the steps in the journal.
func (w *walk) stepsDone(ctx context.Context) ([]journal.Step, error) {
	if w.ahead != nil {
		return w.ahead.steps, nil
	}
	return journal.Steps(ctx, w.DB.Read(), w.run.ID)
}

// began is the value of the event that the run began with.
func (w *walk) began(ctx context.Context) (value map[string]any, err error) {
	if w.ahead != nil {
		_, value, err = w.withChange(ctx, w.DB.Read(), w.ahead.event)
	} else {
		_, value, err = w.Engine.event(ctx, w.DB.Read(), w.run.EventID)
	}
	return value, err
}

// frame makes the frame in which the run begins.
func (w *walk) frame(ctx context.Context) (*frame, error) {
	value, err := w.began(ctx)
	if errors.Is(err, errUnreadable) {
		return nil, &stepFailed{path: "event", err: err}
	} else if err != nil {
		return nil, err
	}
	env, vars := w.plainEnv(ctx, w.rule, w.run.Trigger, value)
	merge(vars, stored(w.run.Variables))
	f := &frame{walk: w, env: env, vars: vars, steps: map[string]any{}}
	env["trigger"].(map[string]any)["event"] = value
	env["steps"] = f.steps
	env["run"] = map[string]any{
		"id": w.run.ID, "rule": w.run.Rule, "started_at": w.run.StartedAt.Time, "attempt": w.run.Attempt,
	}
	return f, w.batch(ctx, env)
}

// batch puts the events of a group into the environment. One that cannot be
// read any more is left out.
func (w *walk) batch(ctx context.Context, env map[string]any) error {
	if w.run.Batch == nil {
		return nil
	}
	var ids []string
	if err := json.Unmarshal(w.run.Batch, &ids); err != nil {
		return &stepFailed{path: "events", err: err}
	}
	events := make([]any, 0, len(ids))
	for _, id := range ids {
		_, value, err := w.Engine.event(ctx, w.DB.Read(), id)
		if errors.Is(err, errUnreadable) {
			continue
		}
		if err != nil {
			return err
		}
		events = append(events, value)
	}
	env["events"] = events
	return nil
}

// recorded is what the journal will say of a step.
func (w *walk) recorded(at place) (journal.Step, bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	s, ok := w.done[at]
	return s, ok
}

// keep puts the record of a step among what is to be written.
func (w *walk) keep(record journal.Step) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.rev++
	w.done[placeOf(record)] = record
	w.dirty[placeOf(record)] = w.rev
}

// note is keep for a record that was written already.
func (w *walk) note(record journal.Step) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.done[placeOf(record)] = record
	delete(w.dirty, placeOf(record))
}

// position is that of a step that begins.
func (w *walk) position() int {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.next++
	return w.next - 1
}

// commit writes what is dirty, and whatever fn writes, under the run's lease.
func (w *walk) commit(ctx context.Context, fn func(ctx context.Context, tx bun.Tx) error) error {
	r := &report{stamp: "lease_until", after: w.Lease}
	if fn == nil {
		return w.share(ctx, r)
	}
	return w.alone(ctx, r, fn)
}

// write updates the run if this walk still holds it; then it writes what is
// dirty, and what fn does. A run that gets further has recovered.
func (w *walk) write(ctx context.Context, set string, args []any, fn func(ctx context.Context, tx bun.Tx) error) error {
	return w.alone(ctx, &report{set: set, args: args}, fn)
}

// alone writes a report, and what fn writes, in a transaction of its own.
func (w *walk) alone(ctx context.Context, r *report, fn func(ctx context.Context, tx bun.Tx) error) error {
	r.walk = w
	err := w.DB.Write(ctx, func(ctx context.Context, tx bun.Tx) error {
		if err := w.writeReports(ctx, tx, []*report{r}); err != nil {
			return err
		}
		if r.err != nil {
			return r.err
		}
		return fn(ctx, tx)
	})
	if err == nil {
		w.clean(r.wrote)
	}
	return err
}

// unwritten is what is dirty now, in the order in which the steps began.
func (w *walk) unwritten() ([]journal.Step, map[place]int) {
	w.mu.Lock()
	defer w.mu.Unlock()
	rows := make([]journal.Step, 0, len(w.dirty))
	for at := range w.dirty {
		rows = append(rows, w.done[at])
	}
	slices.SortFunc(rows, func(a, b journal.Step) int { return a.Position - b.Position })
	return rows, maps.Clone(w.dirty)
}

// clean takes out of what is dirty what was written and has not changed since.
func (w *walk) clean(revisions map[place]int) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for at, rev := range revisions {
		if w.dirty[at] == rev {
			delete(w.dirty, at)
		}
	}
}

// upsertRows bounds how many rows one statement writes.
const upsertRows = 500

func upsert(ctx context.Context, tx bun.Tx, steps ...journal.Step) error {
	for some := range slices.Chunk(steps, upsertRows) {
		if _, err := tx.NewInsert().Model(&some).On("CONFLICT (run_id, path, iteration) DO UPDATE").
			Set("status = EXCLUDED.status, attempt = EXCLUDED.attempt, failures = EXCLUDED.failures, attempt_at = EXCLUDED.attempt_at, due_at = EXCLUDED.due_at").
			Set("input = EXCLUDED.input, output = EXCLUDED.output, error = EXCLUDED.error, finished_at = EXCLUDED.finished_at").
			Returning("NULL").Exec(ctx); err != nil {
			return err
		}
	}
	return nil
}

// suspend gives the run back until a time, or until something comes.
//
// A condition may have become true between the look at it and the moment from
// which changes of what it read are noticed: where that set has grown, the run
// is ready to look once more.
func (w *walk) suspend(ctx context.Context, s *suspended) error {
	r := &report{
		set:  "status = ?, lease_node = NULL, lease_until = NULL, heeds = ?, ready = (woken AND ?)",
		args: []any{journal.RunWaiting, s.heeds, s.heeds},
		wake: s.until, awake: s.until.IsZero() && w.run.Epoch > 1, again: s.heeds,
	}
	if !w.watches() {
		return w.share(ctx, r)
	}
	return w.alone(ctx, r, func(ctx context.Context, tx bun.Tx) error {
		grown, err := journal.SetWatches(ctx, tx, w.run.ID, s.watched(w.run.ID))
		if err != nil || !grown {
			return err
		}
		db.HintAfter(ctx, journal.Topic)
		_, err = tx.NewUpdate().Model((*journal.Run)(nil)).Set("ready = ?", true).Where("id = ?", w.run.ID).Exec(ctx)
		return err
	})
}

// wakeAt sets the timer of the run; zero: none.
func (w *walk) wakeAt(ctx context.Context, tx bun.Tx, until time.Time) error {
	if until.IsZero() {
		_, err := timer.Cancel(ctx, tx, wakeTimer, w.run.ID)
		return err
	}
	db.HintAfter(ctx, timer.Topic)
	return timer.Set(ctx, tx, timer.Timer{Kind: wakeTimer, Key: w.run.ID, DueAt: db.At(until)})
}

// watches says whether the run may wait for a condition.
func (w *walk) watches() (yes bool) {
	w.rule.Each(func(s *rules.Step) {
		do, ok := s.Do.(rules.WaitFor)
		yes = yes || ok && do.Condition != nil
	})
	return yes
}

// finish ends the run. dead puts it among those that somebody should look at.
func (w *walk) finish(ctx context.Context, status journal.RunStatus, why string, dead bool) error {
	r := &report{
		set:  "status = ?, error = NULLIF(?, ''), dead = ?, slot = NULL, lease_node = NULL, lease_until = NULL",
		args: []any{status, why, dead}, stamp: "finished_at", lane: w.run.Lane,
		deaf: w.rule == nil || len(w.rule.Awaits()) > 0 || w.watches(),
	}
	var err error
	if status == journal.RunCancelled || dead || !w.run.CancelAt.IsZero() {
		err = w.alone(ctx, r, func(ctx context.Context, tx bun.Tx) error { return w.cutShort(ctx, tx, status, dead) })
	} else {
		err = w.share(ctx, r)
	}
	if err != nil {
		return err
	}
	w.Metrics.runs.WithLabelValues(w.run.Rule, string(status)).Inc()
	if status == journal.RunFailed {
		w.Log.Warn("a run failed", "rule", w.run.Rule, "run", w.run.ID, "error", why)
	}
	return nil
}

// cutShort is what else is to be written of a run that somebody has ended, or
// that was given up.
func (w *walk) cutShort(ctx context.Context, tx bun.Tx, status journal.RunStatus, dead bool) error {
	if status == journal.RunCancelled || dead {
		if err := endSteps(ctx, tx, w.run.ID, w.Now()); err != nil {
			return err
		}
	}
	_, err := timer.Cancel(ctx, tx, cancelTimer, w.run.ID)
	return err
}

// cause is who is behind what the run does.
func (w *walk) cause() entities.Cause {
	return entities.Cause{Actor: "rule:" + w.run.Rule, RunID: w.run.ID, Depth: w.run.Depth}
}
