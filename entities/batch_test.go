package entities_test

import (
	"context"
	"errors"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/uptrace/bun"

	"github.com/flightrules/flightrules/entities"
	"github.com/flightrules/flightrules/internal/dbtest"
)

// gauge is a kind whose plugin keeps the state, and whose functions panic for
// entities with bad ids.
type gauge struct {
	Level int `json:"level"`
	id    string
}

func (g gauge) Validate() error { return trip("validate", g.id) }

func trip(where, id string) error {
	if id == "bad-"+where {
		panic(where)
	}
	return nil
}

func gauges(t *testing.T, n *node) *entities.Handle[gauge] {
	return define(t, n, entities.Spec[gauge]{
		Name: "gauge",
		Read: func(_ context.Context, _ bun.IDB, at time.Time, ids []string) (map[string]gauge, error) {
			states := map[string]gauge{}
			for _, id := range ids {
				if err := trip("read", id); err != nil {
					return nil, err
				}
				states[id] = gauge{Level: int(at.Sub(start) / time.Second), id: id}
			}
			return states, nil
		},
		Deadline: func(g gauge) time.Time {
			_ = trip("deadline", g.id)
			return start.Add(time.Duration(g.Level+1) * time.Second)
		},
	})
}

// together makes changes that share a transaction: they wait for one that is
// under way.
func together(t *testing.T, n *node, changes ...func() error) []error {
	t.Helper()
	gate := make(chan struct{})
	first := define(t, n, entities.Spec[door]{Name: "gatekeeper"})
	var wg sync.WaitGroup
	entered := make(chan struct{})
	wg.Go(func() {
		_, err := first.Mutate(t.Context(), "g", func(context.Context, bun.Tx, *door) (door, error) {
			close(entered)
			<-gate
			return door{Status: "open"}, nil
		})
		if err != nil {
			t.Error(err)
		}
	})
	<-entered
	errs := make([]error, len(changes))
	for i, change := range changes {
		wg.Go(func() {
			defer func() {
				if p := recover(); p != nil {
					errs[i] = errors.New("the panic reached the caller")
				}
			}()
			errs[i] = change()
		})
		n.kinds.AwaitWaiting(i + 1)
	}
	close(gate)
	wg.Wait()
	return errs
}

func TestAPanicOfAKindFailsItsChangeAlone(t *testing.T) {
	for _, where := range []string{"read", "validate", "deadline"} {
		t.Run(where, func(t *testing.T) {
			dbtest.Each(t, func(t *testing.T, url string) {
				n := open(t, url)
				h := gauges(t, n)
				look := func(id string) func() error { return func() error { return h.Look(t.Context(), id) } }
				errs := together(t, n, look("bad-"+where), look("good"), look("better"))
				if errs[0] == nil || !strings.Contains(errs[0].Error(), "panic: "+where) {
					t.Errorf("got %v", errs[0])
				}
				must(t, errors.Join(errs[1:]...))
				must(t, h.Look(t.Context(), "afterwards"))
			})
		})
	}
}

func TestAChangeSeesItsOwnCallersValues(t *testing.T) {
	n := open(t, dbtest.SQLite(t))
	doors := define(t, n, entities.Spec[door]{Name: "door"})
	change := func(actor string) func() error {
		return func() error {
			ctx := entities.WithCause(t.Context(), entities.Cause{Actor: actor})
			_, err := doors.Mutate(ctx, actor, func(ctx context.Context, _ bun.Tx, _ *door) (door, error) {
				if got := entities.CauseOf(ctx).Actor; got != actor {
					t.Errorf("the change of %s is told that it is of %s", actor, got)
				}
				return door{Status: "open"}, nil
			})
			return err
		}
	}
	must(t, errors.Join(together(t, n, change("alice"), change("bob"))...))
}

// label is a kind all of whose fields may be absent.
type label struct {
	Text string `json:"text,omitempty"`
}

func TestAnEntityMayHaveNothingInIt(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, url string) {
		n := open(t, url)
		labels := define(t, n, entities.Spec[label]{Name: "label"})
		_, err := labels.Mutate(t.Context(), "a", func(context.Context, bun.Tx, *label) (label, error) { return label{}, nil })
		must(t, err)
		_, err = labels.Get(t.Context(), "a")
		must(t, err)
		must(t, labels.Remove(t.Context(), "a", nil))
		if _, err := labels.Get(t.Context(), "a"); !errors.Is(err, entities.ErrNotFound) {
			t.Errorf("got %v", err)
		}
	})
}

func TestAPanicOfAKindKeepsNoDeadlineWaiting(t *testing.T) {
	n := open(t, dbtest.SQLite(t))
	var bad bool
	h := define(t, n, entities.Spec[gauge]{
		Name: "gauge",
		Read: func(_ context.Context, _ bun.IDB, at time.Time, ids []string) (map[string]gauge, error) {
			states := map[string]gauge{}
			for _, id := range ids {
				if bad && id == "bad" {
					panic("unreadable")
				}
				states[id] = gauge{Level: int(at.Sub(start) / time.Second)}
			}
			return states, nil
		},
		Deadline: func(g gauge) time.Time { return start.Add(time.Duration(g.Level+1) * time.Second) },
	})
	must(t, h.Look(t.Context(), "bad", "good"))
	bad = true
	n.Set(start.Add(time.Second))
	_, err := n.timers.Step(t.Context())
	must(t, err)
	got, err := n.kinds.Transitions(t.Context(), n.db.Read(), entities.Filter{Kind: "gauge", ID: "good"})
	must(t, err)
	if len(got) != 2 {
		t.Errorf("%d transitions of the good one, want 2", len(got))
	}
}
