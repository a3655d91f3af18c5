package entities_test

import (
	"context"
	"log/slog"
	"slices"
	"testing"
	"time"

	"github.com/uptrace/bun"

	"github.com/flightrules/flightrules/engine/timer"
	"github.com/flightrules/flightrules/entities"
	"github.com/flightrules/flightrules/internal/dbtest"
)

// fuse is a kind that burns by itself.
type fuse struct {
	Burning bool `json:"burning"`

	until time.Time
}

// A clock moves all the time, also within a change. Were what a plugin writes
// and what is read after it at two times, something could come due between
// them, and be recorded without having been written.
func TestOneTimeForAChange(t *testing.T) {
	n := open(t, dbtest.SQLite(t))
	at := start
	now := func() time.Time { at = at.Add(time.Millisecond); return at }
	timers := timer.New(n.db, now, slog.New(slog.DiscardHandler), nil)
	kinds := entities.NewRegistry(n.db, now, slog.New(slog.DiscardHandler), timers)
	var wrote, read time.Time
	fuses, err := entities.Define(kinds, entities.Spec[fuse]{
		Name: "fuse",
		Read: func(_ context.Context, _ bun.IDB, at time.Time, ids []string) (map[string]fuse, error) {
			read = at
			end := start.Add(time.Minute)
			return map[string]fuse{ids[0]: {Burning: at.Before(end), until: end}}, nil
		},
		Deadline: func(f fuse) time.Time { return f.until },
		Due:      func(_ context.Context, _ bun.Tx, at time.Time, _ []string) error { wrote = at; return nil },
	})
	must(t, err)
	logged := func() time.Time {
		list, err := kinds.Transitions(t.Context(), n.db.Read(), entities.Filter{Kind: "fuse", Limit: 1})
		must(t, err)
		return list[0].At
	}

	_, err = fuses.Mutate(t.Context(), "a", func(ctx context.Context, _ bun.Tx, _ *fuse) (fuse, error) {
		wrote = entities.At(ctx)
		return fuse{}, nil
	})
	must(t, err)
	if !wrote.Equal(read) || !wrote.Equal(logged()) {
		t.Errorf("a change was applied at %s, read at %s and logged at %s", wrote, read, logged())
	}

	at = start.Add(time.Minute)
	_, err = timers.Step(t.Context())
	must(t, err)
	if !wrote.After(start.Add(time.Minute)) || !wrote.Equal(read) || !wrote.Equal(logged()) {
		t.Errorf("a deadline was written at %s, read at %s and logged at %s", wrote, read, logged())
	}
}

// What is gone now was there then, and the other way round.
func TestListAsOf(t *testing.T) {
	n := open(t, dbtest.SQLite(t))
	doors := define(t, n, entities.Spec[door]{Name: "door"})
	for _, id := range []string{"a", "b", "c"} {
		n.Set(n.Now().Add(time.Minute))
		_, err := doors.Mutate(t.Context(), id, to(door{Status: "closed"}))
		must(t, err)
	}
	n.Set(n.Now().Add(time.Minute))
	must(t, doors.Remove(t.Context(), "a", func(context.Context, bun.Tx, door) error { return nil }))
	for at, want := range map[time.Duration][]string{0: nil, time.Minute: {"a"}, 3 * time.Minute: {"a", "b"}, time.Hour: {"b", "c"}} {
		list, err := n.kinds.ListAsOf(t.Context(), n.db.Read(), "door", "", start.Add(at), 2)
		must(t, err)
		var got []string
		for _, one := range list {
			got = append(got, one.ID)
		}
		if !slices.Equal(got, want) {
			t.Errorf("at %s there were %v, want %v", at, got, want)
		}
	}
}
