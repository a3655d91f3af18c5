package db_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/uptrace/bun"

	"github.com/flightrules/flightrules/internal/db"
	"github.com/flightrules/flightrules/internal/dbtest"
)

var errBad = errors.New("bad")

// adders adds the names that its callers want; "bad" fails and "worse" panics.
type adders struct {
	*db.Group[string]
	mu    sync.Mutex
	sizes []int // of the transactions
}

func newAdders(d *db.DB) *adders {
	a := &adders{}
	a.Group = db.NewGroup(d, func(ctx context.Context, tx bun.Tx, all []string) error {
		a.mu.Lock()
		a.sizes = append(a.sizes, len(all))
		a.mu.Unlock()
		for _, name := range all {
			if err := add(ctx, tx, name); err != nil {
				return err
			}
			switch name {
			case "bad":
				return errBad
			case "worse":
				panic("worse")
			}
		}
		return nil
	})
	return a
}

// together has some wait for the writer at the same time, and gives how each
// ended.
func (a *adders) together(t *testing.T, d *db.DB, names ...string) map[string]error {
	t.Helper()
	var mu sync.Mutex
	var group sync.WaitGroup
	ended := map[string]error{}
	must(t, d.Write(t.Context(), func(context.Context, bun.Tx) error {
		for i, name := range names {
			group.Go(func() {
				err := a.Write(t.Context(), name)
				mu.Lock()
				defer mu.Unlock()
				ended[name] = err
			})
			a.await(t, i+1)
		}
		return nil
	}))
	group.Wait()
	return ended
}

func (a *adders) await(t *testing.T, n int) {
	t.Helper()
	for deadline := time.Now().Add(time.Minute); a.Waiting() != n; time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("%d wait, not %d", a.Waiting(), n)
		}
	}
}

func TestGroup(t *testing.T) {
	each := func(name string, fn func(t *testing.T, d *db.DB, a *adders)) {
		t.Run(name, func(t *testing.T) {
			dbtest.Each(t, func(t *testing.T, url string) {
				d, err := db.Open(t.Context(), url, db.Options{NoSync: true, MaxConns: 1}) // all wait for the one writer
				must(t, err)
				t.Cleanup(func() { must(t, d.Close()) })
				must(t, d.Migrate(t.Context(), db.Migrations{Owner: "test", Files: files("0001_things.sql", table)}))
				fn(t, d, newAdders(d))
			})
		})
	}

	each("those that wait at the same time share a transaction", func(t *testing.T, d *db.DB, a *adders) {
		for name, err := range a.together(t, d, "a", "b", "c", "d") {
			if err != nil {
				t.Errorf("%s: %v", name, err)
			}
		}
		if want := []string{"a", "b", "c", "d"}; !slices.Equal(names(t, d), want) || !slices.Equal(a.sizes, []int{4}) {
			t.Errorf("got %v, in transactions of %v", names(t, d), a.sizes)
		}
		must(t, a.Write(t.Context(), "e"))
		if len(names(t, d)) != 5 {
			t.Errorf("got %v afterwards", names(t, d))
		}
	})

	each("one that fails, or panics, is taken back alone", func(t *testing.T, d *db.DB, a *adders) {
		ended := a.together(t, d, "a", "bad", "b")
		if ended["a"] != nil || ended["b"] != nil || !errors.Is(ended["bad"], errBad) {
			t.Errorf("got %v", ended)
		}
		if p := a.worse(t, d); p != "worse" {
			t.Errorf("panicked with %v", p)
		}
		if want := []string{"a", "b", "c", "d"}; !slices.Equal(names(t, d), want) {
			t.Errorf("got %v, want %v", names(t, d), want)
		}
	})

	each("who gives up before it is taken up leaves nothing", func(t *testing.T, d *db.DB, a *adders) {
		ctx, giveUp := context.WithCancel(t.Context())
		ended := make(chan error, 2)
		must(t, d.Write(t.Context(), func(context.Context, bun.Tx) error {
			for i, name := range []string{"leader", "follower"} {
				go func() { ended <- a.Write(ctx, name) }()
				a.await(t, i+1)
			}
			giveUp()
			for range 2 {
				if err := <-ended; !errors.Is(err, context.Canceled) {
					t.Errorf("got %v", err)
				}
			}
			return nil
		}))
		must(t, a.Write(t.Context(), "later"))
		if want := []string{"later"}; !slices.Equal(names(t, d), want) {
			t.Errorf("got %v, want %v", names(t, d), want)
		}
	})

	each("inside a Write it says so and does not wait for itself", func(t *testing.T, d *db.DB, a *adders) {
		err := d.Write(t.Context(), func(ctx context.Context, _ bun.Tx) error { return a.Write(ctx, "a") })
		if !errors.Is(err, db.ErrNested) {
			t.Errorf("got %v", err)
		}
	})

	each("many at once all get through", func(t *testing.T, d *db.DB, a *adders) {
		var group sync.WaitGroup
		for i := range 400 {
			group.Go(func() {
				if err := a.Write(t.Context(), fmt.Sprintf("%03d", i)); err != nil {
					t.Error(err)
				}
			})
		}
		group.Wait()
		if got := len(slices.Compact(names(t, d))); got != 400 {
			t.Errorf("%d are there", got)
		}
	})
}

// worse has one panic among others, and gives what its caller panicked with.
func (a *adders) worse(t *testing.T, d *db.DB) any {
	t.Helper()
	var group sync.WaitGroup
	panicked := make(chan any, 1)
	must(t, d.Write(t.Context(), func(context.Context, bun.Tx) error {
		for i, name := range strings.Fields("c worse d") {
			group.Go(func() {
				defer func() {
					if p := recover(); p != nil {
						panicked <- p
					}
				}()
				if err := a.Write(t.Context(), name); err != nil {
					t.Errorf("%s: %v", name, err)
				}
			})
			a.await(t, i+1)
		}
		return nil
	}))
	group.Wait()
	close(panicked)
	return <-panicked
}
