package engine

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/flightrules/flightrules/engine/journal"
	"github.com/flightrules/flightrules/internal/db"
	"github.com/flightrules/flightrules/rules"
)

// chosen is the output of a choose: the branch that was taken.
type chosen struct {
	Branch *int `json:"branch"` // nil: none was true
	Else   bool `json:"else,omitempty"`
}

func (c chosen) steps(do rules.Choose) []*rules.Step {
	switch {
	case c.Branch != nil && *c.Branch < len(do.Branches):
		return do.Branches[*c.Branch].Do
	case c.Else:
		return do.Else
	default:
		return nil
	}
}

// taken is the branch that the journal says was taken.
func taken(do rules.Choose, record journal.Step) ([]*rules.Step, bool) {
	var c chosen
	if record.Output == nil || json.Unmarshal(record.Output, &c) != nil {
		return nil, false
	}
	return c.steps(do), true
}

// choose takes a branch, and the same one again when the run is resumed.
func (f *frame) choose(ctx context.Context, do rules.Choose, record *journal.Step) (any, error) {
	var c chosen
	if record.Output != nil {
		if err := json.Unmarshal(record.Output, &c); err != nil {
			return nil, own(err)
		}
		return c, f.all(ctx, c.steps(do))
	}
	c.Else = do.Else != nil
	for i, branch := range do.Branches {
		yes, err := branch.When.Bool(f.env)
		if err != nil {
			return nil, own(fmt.Errorf("choose[%d].when: %w", i, err))
		}
		if yes {
			c = chosen{Branch: &i}
			break
		}
	}
	record.Output = db.ToJSON(c)
	f.keep(*record)
	return c, f.all(ctx, c.steps(do))
}

// looped is the output of a repeat: how often it began.
type looped struct {
	Times int `json:"times"`
}

func loopedOf(record journal.Step) (l looped) {
	if record.Output != nil {
		_ = json.Unmarshal(record.Output, &l) // what cannot be read has not begun
	}
	return l
}

// turns is what a repeat goes over, which stays as it is when it begins.
type turns struct {
	Items []any `json:"items,omitempty"` // of for_each
	Times *int  `json:"times,omitempty"` // of times
}

// repeat does its steps as often as it must. How often it has begun is on
// record, so that a run that is resumed begins none anew.
func (f *frame) repeat(ctx context.Context, do rules.Repeat, record *journal.Step) (any, error) {
	over, err := f.loop(do, record)
	if err != nil {
		return nil, own(err)
	}
	defer f.restoreItem()()
	begun := loopedOf(*record)
	for i := 0; ; i++ {
		if i >= begun.Times {
			more, err := f.again(do, over, i)
			if err != nil {
				return nil, own(err)
			}
			if !more {
				return begun, nil
			}
			if i >= do.Max {
				return nil, own(fmt.Errorf("repeat: it is not done after %d times, which is max", do.Max))
			}
			begun.Times = i + 1
			record.Output = db.ToJSON(begun)
			f.keep(*record)
		}
		f.at(over, i)
		if err := f.turn(ctx, do, i); err != nil {
			return begun, err
		}
	}
}

// turn does the steps once.
func (f *frame) turn(ctx context.Context, do rules.Repeat, i int) error {
	inner := *f
	inner.iteration = join(f.iteration, i)
	err := inner.all(ctx, do.Do)
	f.taken = inner.taken
	return err
}

// loopOver goes over the times that were done.
func (f *frame) loopOver(ctx context.Context, do rules.Repeat, record journal.Step) error {
	over, err := f.loop(do, &record)
	if err != nil {
		return errPassed // it never began
	}
	defer f.restoreItem()()
	for i := range loopedOf(record).Times {
		f.at(over, i)
		if err := f.turn(ctx, do, i); err != nil {
			return err
		}
	}
	return nil
}

// loop works out what is gone over, once.
func (f *frame) loop(do rules.Repeat, record *journal.Step) (over turns, err error) {
	switch {
	case record.Input != nil:
		items, ok := stored(record.Input).(map[string]any)
		if over.Items, _ = items["items"].([]any); ok {
			if n, ok := items["times"].(int); ok {
				over.Times = &n
			}
		}
		return over, nil
	case do.Times != nil:
		v, err := do.Times.Eval(f.env)
		if err != nil {
			return over, fmt.Errorf("times: %w", err)
		}
		n, err := strconv.Atoi(fmt.Sprint(plain(v)))
		if err != nil || n < 0 {
			return over, fmt.Errorf("times: %v is not a whole number", v)
		}
		if n > do.Max {
			return over, fmt.Errorf("times: %d is more than max, which is %d", n, do.Max)
		}
		over.Times = &n
	case do.ForEach != nil:
		v, err := do.ForEach.Eval(f.env)
		if err != nil {
			return over, fmt.Errorf("for_each: %w", err)
		}
		items, ok := plain(v).([]any)
		if !ok {
			return over, fmt.Errorf("for_each: the expression gives %v, which is not a list", plain(v))
		}
		if len(items) > do.Max {
			return over, fmt.Errorf("for_each: the list has %d items, and max is %d", len(items), do.Max)
		}
		over.Items = items
	}
	record.Input = db.ToJSON(over)
	return over, nil
}

// again says whether a loop goes on with its turn i, whose predecessor item and
// index are of.
func (f *frame) again(do rules.Repeat, over turns, i int) (bool, error) {
	switch {
	case do.Times != nil:
		return i < *over.Times, nil
	case do.ForEach != nil:
		return i < len(over.Items), nil
	case do.While != nil:
		f.at(over, i)
		yes, err := do.While.Bool(f.env)
		if err != nil {
			return false, fmt.Errorf("while: %w", err)
		}
		return yes, nil
	case i == 0:
		return true, nil
	}
	yes, err := do.Until.Bool(f.env)
	if err != nil {
		return false, fmt.Errorf("until: %w", err)
	}
	return !yes, nil
}

// at sets item and index.
func (f *frame) at(over turns, i int) {
	f.env["index"], f.env["item"] = i, i
	if i < len(over.Items) {
		f.env["item"] = over.Items[i]
	}
}

// restoreItem gives what makes item and index again what they are now.
func (f *frame) restoreItem() func() {
	item, index := f.env["item"], f.env["index"]
	return func() { f.env["item"], f.env["index"] = item, index }
}

// outcome is how a branch of parallel has ended, or that it waits.
type outcome struct {
	frame *frame
	err   error
}

// fork runs branches together, and ends when all have.
func (f *frame) fork(ctx context.Context, do rules.Fork) error {
	var all []outcome
	if f.Inline {
		for _, steps := range do.Branches {
			b := f.branch()
			all = append(all, outcome{b, b.all(ctx, steps)})
		}
	} else {
		all = f.together(ctx, do)
	}
	return f.joined(all)
}

// together runs each branch in its own goroutine. A branch that waits is taken
// up again when what it waits for has come while others are still at work.
func (f *frame) together(ctx context.Context, do rules.Fork) []outcome {
	all := make([]outcome, len(do.Branches))
	ended := make(chan int)
	running := 0
	start := func(i int) {
		running++
		b := f.branch()
		all[i] = outcome{frame: b}
		go func() {
			all[i].err = contained(func() error { return b.all(ctx, do.Branches[i]) })
			ended <- i
		}()
	}
	waiting := func(i int) *suspended {
		var s *suspended
		errors.As(all[i].err, &s)
		return s
	}
	for i := range do.Branches {
		start(i)
	}
	idle := map[int]bool{} // branches that wait
	for running > 0 {
		news := f.newsToCome()
		due := time.NewTimer(f.untilDue(idle, waiting))
		select {
		case i := <-ended:
			running--
			idle[i] = waiting(i) != nil
		case <-due.C:
			for i := range do.Branches {
				if !idle[i] {
					continue // it is at work, and what it will come to is its own
				}
				if s := waiting(i); !s.until.IsZero() && !f.Now().Before(s.until) {
					idle[i] = false
					start(i)
				}
			}
		case <-news:
			for i := range do.Branches {
				if idle[i] && waiting(i).heeds {
					idle[i] = false
					start(i)
				}
			}
		}
		due.Stop()
	}
	return all
}

// untilDue is how long until the first of the branches that wait is due.
func (f *frame) untilDue(idle map[int]bool, waiting func(int) *suspended) time.Duration {
	longest := time.Hour // by when it looks again: nothing is lost by that
	for i, yes := range idle {
		if !yes {
			continue
		}
		if s := waiting(i); !s.until.IsZero() {
			longest = min(longest, max(s.until.Sub(f.Now()), 0))
		}
	}
	return longest
}

// joined takes over what branches have left, in their order, and says how they
// have ended: what broke one off comes first, then that one waits, then the
// first failure, then that one ended the run.
func (f *frame) joined(all []outcome) error {
	var waits *suspended
	var failed, chain *stepFailed
	var ends *stopped
	var late *timedOut
	for _, one := range all {
		var s *suspended
		var fail *stepFailed
		var end *stopped
		var over *timedOut
		switch {
		case one.err == nil, errors.Is(one.err, errPassed):
		case errors.As(one.err, &s):
			waits = waits.with(s)
		case errors.As(one.err, &fail):
			if failed == nil {
				failed = fail
				chain = &stepFailed{path: fail.path, err: fail.err}
			}
			chain.chain = append(chain.chain, fail.chain...)
		case errors.As(one.err, &over):
			late = over
		case errors.As(one.err, &end):
			if ends == nil {
				ends = end
			}
		default:
			return one.err
		}
	}
	if waits != nil {
		return waits
	}
	for _, one := range all {
		f.join(one.frame)
	}
	switch {
	case late != nil:
		return late
	case chain != nil:
		return chain
	case ends != nil:
		return ends
	}
	return nil
}

// forkOver goes over what branches have done.
func (f *frame) forkOver(ctx context.Context, do rules.Fork) error {
	var all []outcome
	for _, steps := range do.Branches {
		b := f.branch()
		all = append(all, outcome{b, b.all(ctx, steps)})
	}
	return f.joined(all)
}

func (f *frame) stop(do rules.Stop, record *journal.Step) (any, error) {
	reason, err := do.Reason.Eval(f.env)
	if err != nil {
		return nil, own(err)
	}
	outcome := "success"
	if do.Failure {
		outcome = "failure"
	}
	output := map[string]any{"reason": fmt.Sprint(reason), "outcome": outcome}
	record.Output = db.ToJSON(output)
	return output, stopOf(*record)
}

// stopOf is how a stop ends the run.
func stopOf(record journal.Step) error {
	var o struct{ Reason, Outcome string }
	if err := json.Unmarshal(record.Output, &o); err != nil {
		return err
	}
	return &stopped{o.Reason, o.Outcome == "failure"}
}
