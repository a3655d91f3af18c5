// Package loop runs a step whenever there may be work for it: at a hint, when
// the next row comes due, and now and then in case a hint was lost. It is what
// every background part of the engine stands on, and what simulation replaces:
// there the same steps are called by hand.
package loop

import (
	"context"
	"fmt"
	"log/slog"
	"runtime/debug"
	"time"
)

// Stepper is one background part.
//
// Step does what is due and says whether there may be more at once. Next is
// when something comes due by itself; the zero time means nothing will.
type Stepper interface {
	Step(ctx context.Context) (more bool, err error)
	Next(ctx context.Context) (time.Time, error)
}

// Loop drives a Stepper in real time.
type Loop struct {
	Name string
	Stepper
	Hint <-chan struct{}  // may be nil
	Now  func() time.Time // the engine's clock
	// Longest bounds a sleep, so that a lost hint or a wall clock that was
	// set forward delays nothing longer.
	Longest time.Duration
	Log     *slog.Logger
	// Failed is told of every error, for counting. May be nil.
	Failed func(name string, err error)
}

// longestBackoff bounds the pause after steps that failed again and again.
const longestBackoff = 10 * time.Second

// shortest is the pause where something is due and the step found nothing to
// do: somebody else has it locked, say.
const shortest = 10 * time.Millisecond

// Run steps until ctx ends. Errors and panics of steps are logged and tried
// again after a growing pause.
func (l Loop) Run(ctx context.Context) error {
	failures := 0
	for ctx.Err() == nil {
		more, err := l.step(ctx)
		var sleep time.Duration
		switch {
		case ctx.Err() != nil:
			return nil
		case err != nil:
			failures++
			sleep = min(50*time.Millisecond<<min(failures, 10), longestBackoff)
			l.Log.Error("a background step failed and will be tried again", "loop", l.Name, "error", err, "pause", sleep)
			if l.Failed != nil {
				l.Failed(l.Name, err)
			}
		case more:
			failures = 0
			continue
		default:
			failures = 0
			sleep = l.untilNext(ctx)
		}
		l.wait(ctx, sleep)
	}
	return nil
}

func (l Loop) step(ctx context.Context) (more bool, err error) {
	defer func() {
		if p := recover(); p != nil {
			more, err = false, fmt.Errorf("panic: %v\n%s", p, debug.Stack())
		}
	}()
	return l.Step(ctx)
}

func (l Loop) untilNext(ctx context.Context) time.Duration {
	next, err := l.Next(ctx)
	if err != nil {
		if ctx.Err() == nil {
			l.Log.Error("the next due time could not be read", "loop", l.Name, "error", err)
		}
		return min(time.Second, l.Longest)
	}
	if next.IsZero() {
		return l.Longest
	}
	until := next.Sub(l.Now())
	if until <= 0 {
		until = shortest
	}
	return min(until, l.Longest)
}

func (l Loop) wait(ctx context.Context, d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
	case <-l.Hint:
	case <-timer.C:
	}
}
