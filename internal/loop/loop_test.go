package loop_test

import (
	"context"
	"log/slog"
	"testing"
	"testing/synctest"
	"time"

	"github.com/flightrules/flightrules/internal/loop"
)

// stepper counts its steps and does in each what it is told.
type stepper struct {
	steps int
	step  func(n int)
	next  func() time.Time
}

func (s *stepper) Step(context.Context) (bool, error) {
	s.steps++
	s.step(s.steps)
	return false, nil
}

func (s *stepper) Next(context.Context) (time.Time, error) { return s.next(), nil }

// runFor drives a stepper for a second of virtual time, and gives the errors
// that were counted.
func runFor(t *testing.T, s *stepper) (failed []error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Second)
	defer cancel()
	l := loop.Loop{
		Name: "test", Stepper: s, Now: time.Now, Longest: time.Minute, Log: slog.New(slog.DiscardHandler),
		Failed: func(_ string, err error) { failed = append(failed, err) },
	}
	if err := l.Run(ctx); err != nil {
		t.Fatal(err)
	}
	return failed
}

func TestAStepThatPanicsIsTriedAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &stepper{next: func() time.Time { return time.Time{} }, step: func(n int) {
			if n == 1 {
				panic("boom")
			}
		}}
		if failed := runFor(t, s); len(failed) != 1 || s.steps != 2 {
			t.Errorf("%d steps, failures %v", s.steps, failed)
		}
	})
}

func TestWhatIsDueAndCannotBeDoneKeepsNobodyBusy(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		begun := time.Now()
		s := &stepper{next: func() time.Time { return begun }, step: func(n int) {
			if n == 1000 {
				t.Fatal("it spins")
			}
		}}
		runFor(t, s)
		if s.steps < 2 {
			t.Error("it did not look again")
		}
	})
}

func TestItSleepsUntilTheNextDueTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		due := time.Now().Add(300 * time.Millisecond)
		var at []time.Duration
		begun := time.Now()
		s := &stepper{step: func(int) { at = append(at, time.Since(begun)) }}
		s.next = func() time.Time {
			if s.steps > 1 {
				return time.Time{}
			}
			return due
		}
		runFor(t, s)
		if len(at) != 2 || at[1] != 300*time.Millisecond {
			t.Errorf("steps at %v", at)
		}
	})
}
