package engine

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"time"

	"github.com/flightrules/flightrules/engine/action"
	"github.com/flightrules/flightrules/engine/journal"
	"github.com/flightrules/flightrules/internal/db"
	"github.com/flightrules/flightrules/internal/duration"
	"github.com/flightrules/flightrules/rules"
)

// frame is where a walk is in the steps, and what they see there. A branch of
// parallel has a frame of its own; loops and blocks have copies that share the
// maps.
type frame struct {
	*walk
	env   map[string]any
	vars  map[string]any // env["vars"]
	steps map[string]any // env["steps"]
	left  *trail         // of a branch: what it leaves to those after it; nil outside of branches
	taken []string       // ids of the events that waits have taken

	iteration string
	limit     limit
	passing   bool // nothing is done any more: it goes over what is recorded
}

// trail is what a branch has written of what its steps see.
type trail struct{ vars, steps map[string]any }

// limit is the end of the time that a step around has.
type limit struct {
	at time.Time // zero: there is none
	of place
}

// The errors that end a walk, besides those of the database and of ctx.

// stopped ends a walk because a step said so.
type stopped struct {
	reason  string
	failure bool
}

func (s *stopped) Error() string { return "stopped: " + s.reason }

// cancelled ends the context of a run that somebody asked to end.
type cancelled struct{ why string }

func (c *cancelled) Error() string { return "cancelled: " + c.why }

// stepFailed ends a walk because a step did not succeed: the run has failed.
type stepFailed struct {
	path  string
	err   error
	chain []place // the steps that failed with it: itself, and those around it
}

func (f *stepFailed) Error() string { return f.path + ": " + f.err.Error() }
func (f *stepFailed) Unwrap() error { return f.err }

// timedOut ends what is below a step whose time is over.
type timedOut struct {
	of  place
	err error // what an action said when it was cut short; may be nil
}

func (t *timedOut) Error() string { return "the time of " + t.of.path + " is over" }

// errPassed ends a frame that passes over what is recorded, where that ends.
var errPassed = errors.New("nothing more is recorded")

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

// flushAt is how many records may be yet to be written.
const flushAt = 256

// all walks a list of steps.
func (f *frame) all(ctx context.Context, steps []*rules.Step) error {
	for _, step := range steps {
		if err := ctx.Err(); err != nil {
			return err
		}
		if err := f.one(ctx, step); err != nil {
			return err
		}
		if f.passing {
			continue
		}
		if rows, _ := f.unwritten(); len(rows) >= flushAt {
			if err := f.commit(ctx, nil); err != nil {
				return err
			}
		}
	}
	return nil
}

// one walks one step: past it, into it, or by doing it.
func (f *frame) one(ctx context.Context, step *rules.Step) error {
	record, begun := f.recorded(place{step.Path, f.iteration})
	switch {
	case begun && record.Status.Final():
		return f.pass(ctx, step, record)
	case f.passing:
		return errPassed
	case !begun && f.limit.over(f.Now()):
		return &timedOut{of: f.limit.of}
	case !begun:
		record = f.begin(step)
		if admitted, err := admitted(step, f.env); err != nil {
			f.settle(step, &record, nil, fmt.Errorf("if: %w", err), false)
			return f.leave(step, record)
		} else if !admitted {
			record.Status, record.FinishedAt = journal.StepSkipped, record.StartedAt
			f.keep(record)
			return f.leave(step, record)
		}
	}
	if !begun && step.Inside() != nil {
		f.keep(record) // when it began stays what it is
	}
	return f.perform(ctx, step, record)
}

func (f *frame) begin(step *rules.Step) journal.Step {
	now := db.At(f.Now())
	return journal.Step{
		RunID: f.run.ID, Path: step.Path, Iteration: f.iteration, Position: f.position(), StepID: step.ID, Action: step.Action,
		Status: journal.StepRunning, StartedAt: now, AttemptAt: now,
	}
}

func admitted(step *rules.Step, env map[string]any) (bool, error) {
	if !step.Enabled || step.If == nil {
		return step.Enabled, nil
	}
	return step.If.Bool(env)
}

// perform does a step, as often as it must be tried.
func (f *frame) perform(ctx context.Context, step *rules.Step, record journal.Step) error {
	before := f.snapshot(step)
	for {
		if between(record) {
			if f.Now().Before(record.DueAt.Time) {
				return f.sleep(record.DueAt.Time)
			}
			if !atWork(record) {
				record.AttemptAt = db.At(f.Now())
			}
			record.Status, record.Error, record.DueAt = journal.StepRunning, "", db.Time{}
			if step.Inside() != nil {
				record.Output = nil // a block begins anew
				before.restore(f)
			}
		}
		output, err := f.attempt(ctx, step, &record)
		var waits *suspended
		var ends *stopped
		var late *timedOut
		switch {
		case errors.As(err, &waits):
			return err
		case errors.As(err, &ends):
			f.settle(step, &record, output, nil, false)
			return err
		case errors.As(err, &late) && late.of != placeOf(record):
			record.Status, record.Error, record.FinishedAt = journal.StepCancelled, err.Error(), db.At(f.Now())
			f.keep(record)
			return err
		case errors.As(err, &late):
			err = own(timeoutError(step.Timeout, late.err))
		case outside(err):
			return err
		}
		if err := f.conclude(ctx, step, &record, output, err); err != nil {
			return err
		}
		if !between(record) {
			return f.leaveWith(step, record, err)
		}
	}
}

func timeoutError(after time.Duration, err error) error {
	if err == nil {
		return fmt.Errorf("timed out after %s", duration.Format(after))
	}
	return fmt.Errorf("timed out after %s: %w", duration.Format(after), err)
}

// between says whether a step waits for its next attempt.
func between(record journal.Step) bool {
	return record.Status == journal.StepWaiting && record.Error != ""
}

// attempt does a step once.
func (f *frame) attempt(ctx context.Context, step *rules.Step, record *journal.Step) (any, error) {
	inner := *f
	inner.limit = f.limitOf(step, *record)
	record.Attempt = record.Failures + 1
	inner.iteration = inside(f.iteration, step, *record)
	output, err := inner.do(ctx, step, record)
	f.taken = inner.taken
	return output, err
}

// limitOf is the end of the time that an attempt of a step has.
func (f *frame) limitOf(step *rules.Step, record journal.Step) limit {
	if at := record.AttemptAt.Add(step.Timeout); step.Timeout > 0 && (f.limit.at.IsZero() || at.Before(f.limit.at)) {
		return limit{at, placeOf(record)}
	}
	return f.limit
}

// inside is the iteration of what stands below a step: a block that may be
// tried several times has other steps each time.
func inside(iteration string, step *rules.Step, record journal.Step) string {
	if step.Retry.Attempts > 1 && step.Inside() != nil {
		return join(iteration, record.Failures+1)
	}
	return iteration
}

func join(iteration string, n int) string {
	if iteration == "" {
		return strconv.Itoa(n)
	}
	return iteration + "." + strconv.Itoa(n)
}

// outside says whether an error is not the step's own: the run itself was
// broken off.
func outside(err error) bool {
	var own *stepError
	var inner *stepFailed
	return err != nil && !errors.As(err, &own) && !errors.As(err, &inner)
}

// conclude records how an attempt ended. What has an effect outside is written
// at once, so that it need not be repeated.
func (f *frame) conclude(ctx context.Context, step *rules.Step, record *journal.Step, output any, err error) error {
	if record.Status.Final() || between(*record) {
		return nil // it was recorded with what it did
	}
	var later *action.Later
	var pending *action.Pending
	switch {
	case errors.As(err, &later):
		f.askAgain(record, later, later.After)
	case errors.As(err, &pending):
		after := pending.After
		if end := f.limitOf(step, *record).at; !end.IsZero() {
			after = min(after, end.Sub(f.Now()))
		}
		f.askAgain(record, pending, after)
	default:
		f.settle(step, record, output, err, true)
	}
	if _, acts := step.Do.(rules.Act); !acts {
		return nil
	}
	if ctx.Err() != nil {
		var stop context.CancelFunc
		ctx, stop = context.WithTimeout(context.WithoutCancel(ctx), recordTimeout)
		defer stop()
	}
	return f.commit(ctx, nil)
}

// askAgain has a step wait until it is to be asked again, as the same attempt.
func (f *frame) askAgain(record *journal.Step, why error, after time.Duration) {
	record.Attempt--
	record.Status, record.Error, record.DueAt = journal.StepWaiting, f.mask().Text(why.Error()), db.At(f.Now().Add(after))
	f.keep(*record)
}

// atWork says whether a step that waits has begun.
func atWork(record journal.Step) bool { return record.Error == (&action.Pending{}).Error() }

// settle keeps how a step ended or, with again, that it is to be tried again.
func (f *frame) settle(step *rules.Step, record *journal.Step, output any, err error, again bool) {
	f.fill(step, record, output, err, again)
	f.keep(*record)
}

// fill says in a record how a step ended.
func (f *frame) fill(step *rules.Step, record *journal.Step, output any, err error, again bool) {
	now := f.Now()
	switch {
	case err == nil:
		record.Status, record.FinishedAt, record.Error = journal.StepSucceeded, db.At(now), ""
		if output != nil {
			record.Output = f.output(output)
		}
	case again && record.Failures+1 < step.Retry.Attempts:
		record.Failures++
		record.Status, record.Error = journal.StepWaiting, f.mask().Text(err.Error())
		record.DueAt = db.At(now.Add(step.Retry.Pause(record.Failures)))
	default:
		record.Failures++
		record.Status, record.FinishedAt, record.Error = journal.StepFailed, db.At(now), f.mask().Text(err.Error())
	}
}

// leaveWith leaves a step that has just ended with err.
func (f *frame) leaveWith(step *rules.Step, record journal.Step, err error) error {
	left := f.leave(step, record)
	var failed, cause *stepFailed
	if errors.As(left, &failed) && errors.As(err, &cause) {
		failed.chain = append(failed.chain, cause.chain...)
	}
	return left
}

// leave goes on after a step that has ended.
func (f *frame) leave(step *rules.Step, record journal.Step) error {
	output := stored(record.Output)
	switch do := step.Do.(type) {
	case rules.SetVars:
		if record.Status == journal.StepSucceeded {
			f.store(output)
		}
	case rules.Act:
		if decoded, err := do.Action.Output.Decode(output); err == nil {
			output = decoded
		}
	}
	if step.ID != "" {
		value := map[string]any{"output": output, "status": string(record.Status), "error": record.Error}
		f.steps[step.ID] = value
		if f.left != nil {
			f.left.steps[step.ID] = value
		}
	}
	if record.Status == journal.StepFailed && !step.ContinueOnError {
		return &stepFailed{path: step.Path, err: errors.New(record.Error), chain: []place{placeOf(record)}}
	}
	return nil
}

// store sets variables.
func (f *frame) store(values any) {
	merge(f.vars, values)
	if f.left != nil {
		merge(f.left.vars, values)
	}
}

// pass goes over a step that has ended before, with all that it left behind.
func (f *frame) pass(ctx context.Context, step *rules.Step, record journal.Step) error {
	inner := *f
	inner.passing = true
	inner.iteration = inside(f.iteration, step, record)
	if record.Status == journal.StepFailed || record.Status == journal.StepSucceeded || record.Status == journal.StepCancelled {
		err := inner.over(ctx, step, record)
		f.taken = inner.taken
		var ends *stopped
		var failed *stepFailed
		switch {
		case errors.As(err, &ends):
			return err
		case errors.As(err, &failed):
			return f.leaveWith(step, record, err)
		case err != nil && !errors.Is(err, errPassed):
			return err
		}
	}
	return f.leave(step, record)
}

// over goes over what stands below a step, as far as it was done.
func (f *frame) over(ctx context.Context, step *rules.Step, record journal.Step) error {
	switch do := step.Do.(type) {
	case rules.Choose:
		if branch, ok := taken(do, record); ok {
			return f.all(ctx, branch)
		}
	case rules.Repeat:
		return f.loopOver(ctx, do, record)
	case rules.Fork:
		return f.forkOver(ctx, do)
	case rules.WaitFor:
		if id := takenEvent(record); id != "" {
			f.taken = append(slices.Clip(f.taken), id)
		}
	case rules.Stop:
		if record.Status == journal.StepSucceeded {
			return stopOf(record)
		}
	}
	return nil
}

// branch is the frame of a branch of parallel: it sees what is seen here, and
// what it writes stays its own.
func (f *frame) branch() *frame {
	b := *f
	b.env, b.vars, b.steps = maps.Clone(f.env), maps.Clone(f.vars), maps.Clone(f.steps)
	b.env["vars"], b.env["steps"] = b.vars, b.steps
	b.left = &trail{vars: map[string]any{}, steps: map[string]any{}}
	return &b
}

// join takes over what a branch has left.
func (f *frame) join(b *frame) {
	f.store(b.left.vars)
	maps.Copy(f.steps, b.left.steps)
	if f.left != nil {
		maps.Copy(f.left.steps, b.left.steps)
	}
	for _, id := range b.taken {
		if !slices.Contains(f.taken, id) {
			f.taken = append(slices.Clip(f.taken), id)
		}
	}
}

// snapshot is what steps see when a block begins that may begin anew.
type snapshot struct {
	vars, steps map[string]any
	taken       []string
}

func (f *frame) snapshot(step *rules.Step) *snapshot {
	if step.Retry.Attempts < 2 || step.Inside() == nil {
		return nil
	}
	return &snapshot{maps.Clone(f.vars), maps.Clone(f.steps), f.taken}
}

func (s *snapshot) restore(f *frame) {
	if s == nil {
		return
	}
	for _, one := range []struct{ to, from map[string]any }{{f.vars, s.vars}, {f.steps, s.steps}} {
		clear(one.to)
		maps.Copy(one.to, one.from)
	}
	f.taken = s.taken
}

func (l limit) over(now time.Time) bool { return !l.at.IsZero() && !now.Before(l.at) }
