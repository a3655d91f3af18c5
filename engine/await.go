package engine

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/flightrules/flightrules/engine/journal"
	"github.com/flightrules/flightrules/internal/db"
	"github.com/flightrules/flightrules/internal/duration"
	"github.com/flightrules/flightrules/internal/expression"
	"github.com/flightrules/flightrules/rules"
	"github.com/flightrules/flightrules/triggers"
)

// suspended ends a walk that waits.
type suspended struct {
	until time.Time // zero: until something comes
	heeds bool      // something may come before that
	reads []seen    // of a condition: what it depends on
}

// seen is an entity, or with an empty id a kind.
type seen struct{ kind, id string }

func (s *suspended) Error() string { return "the run waits until " + s.until.Format(time.RFC3339) }

// with is what a walk waits for that waits in two places; the receiver may be
// nil.
func (s *suspended) with(other *suspended) *suspended {
	if s == nil {
		return other
	}
	both := &suspended{until: earlier(s.until, other.until), heeds: s.heeds || other.heeds, reads: slices.Clone(s.reads)}
	for _, one := range other.reads {
		if !slices.Contains(both.reads, one) {
			both.reads = append(both.reads, one)
		}
	}
	return both
}

// earlier is the first of two times, of which zero is none.
func earlier(a, b time.Time) time.Time {
	if a.IsZero() || !b.IsZero() && b.Before(a) {
		return b
	}
	return a
}

func (s *suspended) watched(run string) []journal.Watch {
	var list []journal.Watch
	for _, one := range s.reads {
		list = append(list, journal.Watch{Kind: one.kind, EntityID: one.id, RunID: run})
	}
	return list
}

// sleep suspends until a time, or until the step around runs out of its own.
func (f *frame) sleep(due time.Time) error { return f.suspend(&suspended{until: due}) }

func (f *frame) suspend(s *suspended) error {
	if f.limit.at.IsZero() || !s.until.IsZero() && !f.limit.at.Before(s.until) {
		return s
	}
	if f.limit.over(f.Now()) {
		return &timedOut{of: f.limit.of}
	}
	s.until = f.limit.at
	return s
}

// wait suspends the run for a time, or until one.
func (f *frame) wait(do rules.Wait, record *journal.Step) (any, error) {
	if record.Status != journal.StepWaiting {
		until, err := f.until(do, record.AttemptAt.Time)
		if err != nil {
			return nil, own(err)
		}
		record.DueAt = db.At(until)
	}
	due := record.DueAt.Time
	if late := f.limit.over(f.Now()) && f.limit.at.Before(due); late || f.Now().Before(due) {
		record.Status = journal.StepWaiting
		f.keep(*record)
		return nil, f.sleep(due)
	}
	return map[string]any{"until": due}, nil
}

// until is when a wait that begins at from ends.
func (f *frame) until(do rules.Wait, from time.Time) (time.Time, error) {
	if do.Until == nil {
		length, err := f.length("wait", do.For)
		return from.Add(length), err
	}
	v, err := do.Until.Eval(f.env)
	if err != nil {
		return time.Time{}, err
	}
	return moment("wait until", v)
}

// moment is a value that must be a time.
func moment(what string, v any) (time.Time, error) {
	if t, ok := v.(time.Time); ok {
		return t, nil
	}
	t, err := time.Parse(time.RFC3339Nano, fmt.Sprint(v))
	if err != nil {
		return time.Time{}, fmt.Errorf("%s %v: a time such as 2026-01-31T12:00:00Z is wanted", what, v)
	}
	return t, nil
}

// length evaluates a template that must give a duration.
func (f *frame) length(what string, t *expression.Template) (time.Duration, error) {
	v, err := t.Eval(f.env)
	if err != nil {
		return 0, err
	}
	if length, ok := v.(time.Duration); ok {
		return length, nil
	}
	length, err := duration.Parse(fmt.Sprint(v))
	if err != nil {
		return 0, fmt.Errorf("%s: %w", what, err)
	}
	return length, nil
}

// awaiting is the output of a wait_for while it waits: how far it has looked at
// what has come.
type awaiting struct {
	Looked     int64        `json:"looked"` // the seq of the last one
	PassedOver []passedOver `json:"passed_over,omitempty"`
}

// passedOver is an event of which nobody can say whether it is waited for.
type passedOver struct {
	Event string `json:"event"`
	Error string `json:"error"`
}

// maxPassedOver bounds how many of them are kept.
const maxPassedOver = 10

// waitFor suspends the run until an event has come, or a condition is true, or
// its time is over.
func (f *frame) waitFor(ctx context.Context, do rules.WaitFor, record *journal.Step) (any, error) {
	if record.Status != journal.StepWaiting {
		record.Status, record.Input = journal.StepWaiting, db.ToJSON(describeWait(do))
		if do.Timeout != nil {
			length, err := f.length("timeout", do.Timeout)
			if err != nil {
				return nil, own(err)
			}
			record.DueAt = db.At(record.AttemptAt.Add(length))
		}
	}
	if do.Condition != nil {
		return f.waitForCondition(ctx, do, record)
	}
	return f.waitForEvent(ctx, do, record)
}

func describeWait(do rules.WaitFor) map[string]any {
	if do.Condition != nil {
		return map[string]any{"condition": do.Condition.Source()}
	}
	what := map[string]any{"event": do.Event}
	if do.Where != nil {
		what["where"] = do.Where.Source()
	}
	return what
}

// waited is the output of a wait_for that is over.
func (f *frame) waited(record *journal.Step, event any, timedOut bool) map[string]any {
	out := map[string]any{"event": event, "timed_out": timedOut, "remaining": nil}
	if !record.DueAt.IsZero() {
		out["remaining"] = max(record.DueAt.Sub(f.Now()), 0)
	}
	return out
}

// overdue says whether the time of a wait_for is over, and how it ends then.
func (f *frame) overdue(do rules.WaitFor, record *journal.Step) (output any, err error, yes bool) {
	if record.DueAt.IsZero() || f.Now().Before(record.DueAt.Time) {
		return nil, nil, false
	}
	if f.limit.over(f.Now()) && f.limit.at.Before(record.DueAt.Time) {
		return nil, nil, false // the step around ran out of time first
	}
	if do.Fail {
		return nil, own(fmt.Errorf("timed out after %s", duration.Format(record.DueAt.Sub(record.AttemptAt.Time)))), true
	}
	return f.waited(record, nil, true), nil, true
}

// waitForEvent looks at each event that has come since it last looked.
func (f *frame) waitForEvent(ctx context.Context, do rules.WaitFor, record *journal.Step) (any, error) {
	var a awaiting
	if record.Output != nil {
		if err := json.Unmarshal(record.Output, &a); err != nil {
			return nil, own(err)
		}
	}
	for _, m := range f.come() {
		if m.Seq <= a.Looked || slices.Contains(f.taken, m.EventID) {
			continue
		}
		event, value, err := f.Engine.event(ctx, f.DB.Read(), m.EventID)
		if err != nil && !errors.Is(err, errUnreadable) {
			return nil, err
		}
		a.Looked = m.Seq
		if !record.DueAt.IsZero() && event.At.After(record.DueAt.Time) {
			continue // it came too late
		}
		yes := false
		if err == nil {
			yes, err = f.isAwaited(do, event, value)
		}
		switch {
		case err != nil && len(a.PassedOver) < maxPassedOver:
			a.PassedOver = append(a.PassedOver, passedOver{m.EventID, err.Error()})
		case yes:
			f.taken = append(slices.Clip(f.taken), m.EventID)
			return f.waited(record, value, false), nil
		}
	}
	record.Output = db.ToJSON(a)
	if output, err, yes := f.overdue(do, record); yes {
		return output, err
	}
	f.keep(*record)
	return nil, f.suspend(&suspended{until: record.DueAt.Time, heeds: true})
}

// isAwaited says whether an event is the one that is waited for.
func (f *frame) isAwaited(do rules.WaitFor, event triggers.Event, value map[string]any) (bool, error) {
	if !triggers.Covers(do.Event, event.Name) {
		return false, nil
	}
	if do.Where == nil {
		return true, nil
	}
	env := maps.Clone(f.env)
	env["event"] = value
	return do.Where.Bool(env)
}

// takenEvent is the id of the event that a wait_for has taken; "": none.
func takenEvent(record journal.Step) string {
	var out struct{ Event struct{ ID string } }
	if record.Output == nil || json.Unmarshal(record.Output, &out) != nil {
		return ""
	}
	return out.Event.ID
}

// waitForCondition looks whether a condition is true, and when to look again.
func (f *frame) waitForCondition(ctx context.Context, do rules.WaitFor, record *journal.Step) (any, error) {
	c := &conditioned{reading: f.present(ctx), known: map[string]answer{}}
	c.seen = c.note
	env := maps.Clone(f.env)
	maps.Copy(env, c.functions())
	yes, err := do.Condition.Bool(env)
	if err != nil {
		return nil, own(fmt.Errorf("condition: %w", err))
	}
	if yes && !(f.limit.over(f.Now())) {
		return f.waited(record, nil, false), nil
	}
	if output, err, yes := f.overdue(do, record); yes {
		return output, err
	}
	f.keep(*record)
	until := earlier(record.DueAt.Time, c.next(do.Condition, env))
	return nil, f.suspend(&suspended{until: until, heeds: true, reads: c.reads})
}

// come is what has come for the run.
func (w *walk) come() []journal.Mail {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.mail
}

// newsToCome is closed when more has come.
func (w *walk) newsToCome() <-chan struct{} {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.news
}

// look reads what has come for a run that is being walked.
func (w *walk) look(ctx context.Context) error {
	mail, err := journal.MailOf(ctx, w.DB.Read(), w.run.ID)
	if err != nil {
		return err
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.mail = mail
	close(w.news)
	w.news = make(chan struct{})
	return nil
}
