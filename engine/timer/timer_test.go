package timer_test

import (
	"context"
	"errors"
	"io/fs"
	"log/slog"
	"slices"
	"sync"
	"testing"
	"testing/fstest"
	"time"

	"github.com/uptrace/bun"

	"github.com/flightrules/flightrules/engine/timer"
	"github.com/flightrules/flightrules/internal/db"
	"github.com/flightrules/flightrules/internal/dbtest"
)

var start = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

type fixture struct {
	*timer.Timers
	t   *testing.T
	db  *db.DB
	now time.Time
}

func open(t *testing.T, url string) *fixture {
	t.Helper()
	d, err := db.Open(t.Context(), url, db.Options{NoSync: true})
	must(t, err)
	t.Cleanup(func() { must(t, d.Close()) })
	must(t, d.Migrate(t.Context(), timer.Migrations()))
	f := &fixture{t: t, db: d, now: start}
	f.Timers = timer.New(d, func() time.Time { return f.now }, slog.New(slog.DiscardHandler), nil)
	return f
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func (f *fixture) set(timers ...timer.Timer) {
	f.t.Helper()
	must(f.t, f.db.Write(f.t.Context(), func(ctx context.Context, tx bun.Tx) error { return timer.Set(ctx, tx, timers...) }))
}

func (f *fixture) settle() {
	f.t.Helper()
	for {
		more, err := f.Step(f.t.Context())
		must(f.t, err)
		if !more {
			return
		}
	}
}

func at(kind, key string, after time.Duration) timer.Timer {
	return timer.Timer{Kind: kind, Key: key, DueAt: db.At(start.Add(after)), Payload: db.JSON(`{"k":"` + key + `"}`)}
}

func TestTimers(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, url string) {
		f := open(t, url)
		var fired []string
		boom := errors.New("boom")
		failing := 2
		f.Handle("a", func(_ context.Context, _ bun.Tx, one timer.Timer) error {
			fired = append(fired, one.Key+string(one.Payload))
			return nil
		})
		f.Handle("bad", func(ctx context.Context, tx bun.Tx, one timer.Timer) error {
			if failing--; failing >= 0 {
				must(t, timer.Set(ctx, tx, at("never", "x", 0))) // taken back with the rest
				if failing == 0 {
					panic(boom)
				}
				return boom
			}
			fired = append(fired, "at last "+one.Key)
			return nil
		})
		expect := func(want ...string) {
			t.Helper()
			f.settle()
			if !slices.Equal(fired, want) {
				t.Errorf("fired %q, want %q", fired, want)
			}
			fired = nil
		}

		f.set(at("a", "second", 2*time.Second), at("a", "first", time.Second), at("a", "moved", time.Second), at("a", "cancelled", time.Second))
		f.set(at("a", "moved", 3*time.Second))
		must(t, f.db.Write(t.Context(), func(ctx context.Context, tx bun.Tx) error {
			n, err := timer.Cancel(ctx, tx, "a", "cancelled", "unknown")
			if n != 1 {
				t.Errorf("cancelled %d, want 1", n)
			}
			return err
		}))
		expect()
		next, err := f.Next(t.Context())
		must(t, err)
		if !next.Equal(start.Add(time.Second)) {
			t.Errorf("next at %s", next)
		}
		f.now = start.Add(time.Second)
		expect(`first{"k":"first"}`)
		f.now = start.Add(time.Hour)
		expect(`second{"k":"second"}`, `moved{"k":"moved"}`)
		expect()

		// A handler that fails keeps nobody waiting, and is tried again after
		// growing pauses.
		f.set(at("bad", "x", 0), at("a", "y", 0))
		expect(`y{"k":"y"}`)
		f.now = f.now.Add(time.Second)
		expect()
		one, ok, err := timer.Get(t.Context(), f.db.Read(), "bad", "x")
		if must(t, err); !ok || one.Attempts != 2 || !one.DueAt.Equal(f.now.Add(2*time.Second)) {
			t.Errorf("got %+v", one)
		}
		f.now = f.now.Add(2 * time.Second)
		expect("at last x")
		if _, ok, err := timer.Get(t.Context(), f.db.Read(), "never", "x"); ok || err != nil {
			t.Errorf("what a failing handler wrote stayed (%v)", err)
		}
	})
}

// TestSeveralKinds looks for the timers of some kinds together.
func TestSeveralKinds(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, url string) {
		f := open(t, url)
		f.set(at("a", "1", 3*time.Second), at("b", "2", time.Second), at("b", "3", time.Minute), at("a", "4", time.Second), at("c", "5", 0))
		for _, c := range []struct {
			kinds []string
			after time.Duration
			limit int
			want  []string
		}{
			{[]string{"a", "b"}, 3 * time.Second, 10, []string{"2", "4", "1"}},
			{[]string{"b", "a"}, 3 * time.Second, 2, []string{"2", "4"}},
			{[]string{"a", "b"}, 0, 10, nil},
			{[]string{"c"}, 0, 10, []string{"5"}},
			{[]string{"d", "e"}, time.Hour, 10, nil},
		} {
			due, err := timer.DueOf(t.Context(), f.db.Read(), c.kinds, start.Add(c.after), c.limit)
			must(t, err)
			var got []string
			for _, one := range due {
				got = append(got, one.Key)
			}
			if !slices.Equal(got, c.want) {
				t.Errorf("due of %v after %s: %v, want %v", c.kinds, c.after, got, c.want)
			}
		}
		for want, kinds := range map[time.Duration][]string{time.Second: {"a", "b"}, 0: {"b", "c", "a"}, -1: {"d", "e"}} {
			next, err := timer.Next(t.Context(), f.db.Read(), kinds...)
			must(t, err)
			if want < 0 && !next.IsZero() || want >= 0 && !next.Equal(start.Add(want)) {
				t.Errorf("next of %v: %s", kinds, next)
			}
		}
	})
}

func TestATimerFiresOnOneOfManyNodes(t *testing.T) {
	url := dbtest.Postgres(t)
	var mu sync.Mutex
	fired := map[string]int{}
	var wg sync.WaitGroup
	var nodes []*fixture
	for range 5 {
		f := open(t, url)
		f.Handle("a", func(_ context.Context, _ bun.Tx, one timer.Timer) error {
			mu.Lock()
			defer mu.Unlock()
			fired[one.Key]++
			return nil
		})
		nodes = append(nodes, f)
	}
	const n = 50
	for i := range n {
		nodes[0].set(at("a", string(rune('A'+i)), 0))
	}
	for _, f := range nodes {
		wg.Go(f.settle)
	}
	wg.Wait()
	if len(fired) != n {
		t.Errorf("%d fired, want %d", len(fired), n)
	}
	for key, times := range fired {
		if times != 1 {
			t.Errorf("%s fired %d times", key, times)
		}
	}
}

// A timer that was set before timers bore the id of their event gets it.
func TestTimersFromBeforeKnowTheirEvent(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, url string) {
		d, err := db.Open(t.Context(), url, db.Options{NoSync: true})
		must(t, err)
		t.Cleanup(func() { must(t, d.Close()) })
		first := timer.Migrations()
		text, err := fs.ReadFile(first.Files, "0001_timers.sql")
		must(t, err)
		first.Files = fstest.MapFS{"0001_timers.sql": {Data: text}}
		must(t, d.Migrate(t.Context(), first))
		must(t, d.Write(t.Context(), func(ctx context.Context, tx bun.Tx) error {
			for key, payload := range map[string]any{
				"held": `{"rule":"r","trigger":"1","event_id":"an \"id\"","at":1}`, "tick": `{"rule":"r","trigger":"1","at":1}`, "plain": nil,
			} {
				if _, err := tx.ExecContext(ctx, "INSERT INTO timers (kind, key, due_at, payload) VALUES ('a', ?, 1, ?)", key, payload); err != nil {
					return err
				}
			}
			return nil
		}))
		must(t, d.Migrate(t.Context(), timer.Migrations()))
		for key, want := range map[string]string{"held": `an "id"`, "tick": "", "plain": ""} {
			one, ok, err := timer.Get(t.Context(), d.Read(), "a", key)
			if must(t, err); !ok || one.EventID != want {
				t.Errorf("%s: %+v", key, one)
			}
		}
	})
}

func TestTwoHandlersOfOneKindAreAMistake(t *testing.T) {
	f := open(t, dbtest.SQLite(t))
	f.HandleBatch("a", nil)
	defer func() {
		if recover() == nil {
			t.Error("it was accepted")
		}
	}()
	f.HandleBatch("a", nil)
}
