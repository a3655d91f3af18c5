package engine

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/uptrace/bun"

	"github.com/flightrules/flightrules/engine/journal"
	"github.com/flightrules/flightrules/engine/timer"
	"github.com/flightrules/flightrules/entities"
	"github.com/flightrules/flightrules/internal/db"
	"github.com/flightrules/flightrules/internal/shape"
	"github.com/flightrules/flightrules/rules"
)

// walk is one walk over the steps of a run's rule, from the first. Steps whose
// outcome is in the journal are passed over with that outcome; so a run that
// is resumed, taken over or begun is walked in the same way.
//
// What a step without outside effect did is kept in dirty and written with the
// next transaction, in time for whatever could make it visible.
type walk struct {
	*Engine
	run   journal.Run
	rule  *rules.Rule
	env   map[string]any
	steps map[string]any // steps.<id> of env
	done  map[string]journal.Step
	dirty []journal.Step
	next  int // position of the next step that begins
}

// suspended ends a walk that waits.
type suspended struct{ until time.Time }

func (s *suspended) Error() string { return "the run waits until " + s.until.Format(time.RFC3339) }

// cancelled ends the context of a run that somebody asked to end.
type cancelled struct{ why string }

func (c *cancelled) Error() string { return "cancelled: " + c.why }

// stepFailed ends a walk because a step did not succeed: the run has failed.
type stepFailed struct {
	path string
	err  error
}

func (f *stepFailed) Error() string { return f.path + ": " + f.err.Error() }
func (f *stepFailed) Unwrap() error { return f.err }

// walk takes a claimed run as far as it goes. An error means that it is not
// known how far that was; the journal knows.
func (e *Engine) walk(ctx context.Context, run journal.Run) error {
	w := &walk{Engine: e, run: run, steps: map[string]any{}, done: map[string]journal.Step{}}
	err := w.prepare(ctx)
	if err == nil {
		err = w.all(ctx, w.rule.Actions)
	}
	var (
		waits  *suspended
		failed *stepFailed
		broken *unusable
		asked  *cancelled
	)
	switch {
	case errors.As(context.Cause(ctx), &asked):
		ending, stop := context.WithTimeout(context.WithoutCancel(ctx), recordTimeout)
		defer stop()
		return w.finish(ending, journal.RunCancelled, asked.why)
	case err == nil:
		return w.finish(ctx, journal.RunSucceeded, "")
	case errors.As(err, &waits):
		return w.suspend(ctx, waits.until)
	case errors.As(err, &failed), errors.As(err, &broken):
		return w.finish(ctx, journal.RunFailed, err.Error())
	default:
		return err
	}
}

// prepare reads what the run has to do with.
func (w *walk) prepare(ctx context.Context) error {
	idb := w.DB.Read()
	steps, err := journal.Steps(ctx, idb, w.run.ID)
	if err != nil {
		return err
	}
	for _, s := range steps {
		w.done[s.Path] = s
		w.next = max(w.next, s.Position+1)
	}
	if w.rule, err = w.Engine.rule(ctx, idb, w.run.Rule, w.run.Version); err != nil {
		return err
	}
	_, value, err := w.Engine.event(ctx, idb, w.run.EventID)
	if errors.Is(err, errUnreadable) {
		return &stepFailed{"event", err}
	} else if err != nil {
		return err
	}
	var vars map[string]any
	w.env, vars = w.plainEnv(ctx, w.rule, w.run.Trigger, value)
	if err := w.batch(ctx, idb); err != nil {
		return err
	}
	merge(vars, stored(w.run.Variables))
	w.env["steps"] = w.steps
	w.env["run"] = map[string]any{
		"id": w.run.ID, "rule": w.run.Rule, "started_at": w.run.StartedAt.Time, "attempt": w.run.Attempt,
	}
	return nil
}

// batch puts the events of a group into the environment. One that cannot be
// read any more is left out.
func (w *walk) batch(ctx context.Context, idb bun.IDB) error {
	if w.run.Batch == nil {
		return nil
	}
	var ids []string
	if err := json.Unmarshal(w.run.Batch, &ids); err != nil {
		return &stepFailed{"events", err}
	}
	events := make([]any, 0, len(ids))
	for _, id := range ids {
		_, value, err := w.Engine.event(ctx, idb, id)
		if errors.Is(err, errUnreadable) {
			continue
		}
		if err != nil {
			return err
		}
		events = append(events, value)
	}
	w.env["events"] = events
	return nil
}

// all walks a list of steps.
func (w *walk) all(ctx context.Context, steps []*rules.Step) error {
	for _, step := range steps {
		if err := ctx.Err(); err != nil {
			return err
		}
		if err := w.one(ctx, step); err != nil {
			return err
		}
	}
	return nil
}

// one walks one step: past it, into it, or by doing it.
func (w *walk) one(ctx context.Context, step *rules.Step) error {
	if before, ok := w.done[step.Path]; ok && before.Status.Final() {
		return w.pass(step, before)
	}
	record, begun := w.done[step.Path]
	if !begun {
		record = journal.Step{
			RunID: w.run.ID, Path: step.Path, Position: w.next, StepID: step.ID, Action: step.Action,
			Status: journal.StepRunning, StartedAt: db.At(w.Now()),
		}
		w.next++
		if admitted, err := w.admitted(step); err != nil {
			return w.end(step, record, nil, fmt.Errorf("if: %w", err))
		} else if !admitted {
			record.Status, record.FinishedAt = journal.StepSkipped, db.At(w.Now())
			w.keep(record)
			return w.pass(step, record)
		}
	}
	record.Attempt++
	output, err := w.do(ctx, step, &record)
	var waits *suspended
	if errors.As(err, &waits) || outside(err) {
		return err
	}
	if record.Status.Final() {
		return w.pass(step, record)
	}
	return w.end(step, record, output, err)
}

// outside says whether an error is not the step's own: the run itself was
// broken off.
func outside(err error) bool {
	var own *stepError
	var inner *stepFailed
	return err != nil && !errors.As(err, &own) && !errors.As(err, &inner)
}

// stepError marks an error as the step's own.
type stepError struct{ err error }

func (s *stepError) Error() string { return s.err.Error() }
func (s *stepError) Unwrap() error { return s.err }

// own marks an error as the step's own.
func own(err error) error {
	if err == nil {
		return nil
	}
	return &stepError{err}
}

func (w *walk) admitted(step *rules.Step) (bool, error) {
	if !step.Enabled || step.If == nil {
		return step.Enabled, nil
	}
	return step.If.Bool(w.env)
}

// end records how a step ended, and gives what the walk does about it.
func (w *walk) end(step *rules.Step, record journal.Step, output any, err error) error {
	w.conclude(&record, output, err)
	w.keep(record)
	return w.pass(step, record)
}

// conclude fills in how a step ended.
func (w *walk) conclude(record *journal.Step, output any, err error) {
	record.Status, record.FinishedAt = journal.StepSucceeded, db.At(w.Now())
	if output != nil {
		record.Output = db.ToJSON(shape.Encode(output))
	}
	if err != nil {
		record.Status, record.Error = journal.StepFailed, err.Error()
	}
}

// keep puts the record of a step among what is to be written.
func (w *walk) keep(record journal.Step) {
	w.done[record.Path] = record
	for i := range w.dirty {
		if w.dirty[i].Path == record.Path {
			w.dirty[i] = record
			return
		}
	}
	w.dirty = append(w.dirty, record)
}

// pass goes past a step that has ended, with all that it left behind.
func (w *walk) pass(step *rules.Step, record journal.Step) error {
	output := stored(record.Output)
	switch do := step.Do.(type) {
	case rules.SetVars:
		if record.Status == journal.StepSucceeded {
			merge(w.env["vars"].(map[string]any), output)
		}
	case rules.Choose:
		// The variables and outputs of the branch that was taken.
		if branch, ok := taken(do, record); ok {
			for _, inner := range branch {
				if before, ok := w.done[inner.Path]; ok {
					if err := w.pass(inner, before); err != nil && !step.ContinueOnError {
						return err
					}
				}
			}
		}
	case rules.Act:
		if decoded, err := do.Action.Output.Decode(output); err == nil {
			output = decoded
		}
	}
	if step.ID != "" {
		w.steps[step.ID] = map[string]any{"output": output, "status": string(record.Status), "error": record.Error}
	}
	if record.Status == journal.StepFailed && !step.ContinueOnError {
		return &stepFailed{step.Path, errors.New(record.Error)}
	}
	return nil
}

// commit writes what is dirty, and whatever fn writes, under the run's lease.
func (w *walk) commit(ctx context.Context, fn func(ctx context.Context, tx bun.Tx) error) error {
	err := w.DB.Write(ctx, func(ctx context.Context, tx bun.Tx) error {
		if err := w.fence(ctx, tx, "lease_until = ?", db.At(w.Now().Add(w.Lease))); err != nil {
			return err
		}
		if err := w.flush(ctx, tx); err != nil {
			return err
		}
		if fn == nil {
			return nil
		}
		return fn(ctx, tx)
	})
	if err == nil {
		w.dirty = nil
	}
	return err
}

// fence updates the run if this walk still holds it. It is the first write of
// every transaction of a walk.
func (w *walk) fence(ctx context.Context, tx bun.Tx, set string, args ...any) error {
	res, err := tx.NewUpdate().Model((*journal.Run)(nil)).Set(set, args...).
		Where("id = ? AND epoch = ? AND lease_node = ?", w.run.ID, w.run.Epoch, w.Node).Exec(ctx)
	if err != nil {
		return err
	}
	n, err := res.RowsAffected()
	if err == nil && n != 1 {
		err = errLeaseLost
	}
	return err
}

func (w *walk) flush(ctx context.Context, tx bun.Tx) error {
	return upsert(ctx, tx, w.dirty...)
}

func upsert(ctx context.Context, tx bun.Tx, steps ...journal.Step) error {
	if len(steps) == 0 {
		return nil
	}
	_, err := tx.NewInsert().Model(&steps).On("CONFLICT (run_id, path, iteration) DO UPDATE").
		Set("status = EXCLUDED.status, attempt = EXCLUDED.attempt, input = EXCLUDED.input, output = EXCLUDED.output, error = EXCLUDED.error, finished_at = EXCLUDED.finished_at").
		Returning("NULL").Exec(ctx)
	return err
}

// suspend gives the run back until a time.
func (w *walk) suspend(ctx context.Context, until time.Time) error {
	return w.DB.Write(ctx, func(ctx context.Context, tx bun.Tx) error {
		if err := w.fence(ctx, tx, "status = ?, lease_node = NULL, lease_until = NULL", journal.RunWaiting); err != nil {
			return err
		}
		if err := w.flush(ctx, tx); err != nil {
			return err
		}
		db.HintAfter(ctx, timer.Topic)
		return timer.Set(ctx, tx, timer.Timer{Kind: wakeTimer, Key: w.run.ID, DueAt: db.At(until)})
	})
}

// finish ends the run.
func (w *walk) finish(ctx context.Context, status journal.RunStatus, why string) error {
	err := w.DB.Write(ctx, func(ctx context.Context, tx bun.Tx) error {
		if err := w.fence(ctx, tx, "status = ?, error = NULLIF(?, ''), slot = NULL, lease_node = NULL, lease_until = NULL, finished_at = ?",
			status, why, db.At(w.Now())); err != nil {
			return err
		}
		if err := w.flush(ctx, tx); err != nil {
			return err
		}
		if status == journal.RunCancelled {
			if err := endSteps(ctx, tx, w.run.ID, w.Now()); err != nil {
				return err
			}
		}
		if _, err := timer.Cancel(ctx, tx, cancelTimer, w.run.ID); err != nil {
			return err
		}
		return promote(ctx, tx, w.run.Lane)
	})
	if err != nil {
		return err
	}
	w.Metrics.runs.WithLabelValues(w.run.Rule, string(status)).Inc()
	if status == journal.RunFailed {
		w.Log.Warn("a run failed", "rule", w.run.Rule, "run", w.run.ID, "error", why)
	}
	return nil
}

// cause is who is behind what the run does.
func (w *walk) cause() entities.Cause {
	return entities.Cause{Actor: "rule:" + w.run.Rule, RunID: w.run.ID, Depth: w.run.Depth}
}
