package entities_test

import (
	"context"
	"errors"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/uptrace/bun"

	"github.com/flightrules/flightrules/engine/outbox"
	"github.com/flightrules/flightrules/engine/timer"
	"github.com/flightrules/flightrules/entities"
	"github.com/flightrules/flightrules/internal/clock"
	"github.com/flightrules/flightrules/internal/db"
	"github.com/flightrules/flightrules/internal/dbtest"
)

var start = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

// node is one process's view of a database.
type node struct {
	*clock.Manual
	db     *db.DB
	kinds  *entities.Registry
	timers *timer.Timers
}

func open(t *testing.T, url string) *node {
	t.Helper()
	d, err := db.Open(t.Context(), url, db.Options{NoSync: true})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { must(t, d.Close()) })
	must(t, d.Migrate(t.Context(), timer.Migrations(), outbox.Migrations(), entities.Migrations()))
	return onDB(d)
}

func onDB(d *db.DB) *node {
	n := &node{Manual: clock.At(start), db: d}
	log := slog.New(slog.DiscardHandler)
	n.timers = timer.New(d, n.Now, log, nil)
	n.kinds = entities.NewRegistry(d, n.Now, log, n.timers)
	return n
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func define[S any](t *testing.T, n *node, spec entities.Spec[S]) *entities.Handle[S] {
	t.Helper()
	h, err := entities.Define(n.kinds, spec)
	must(t, err)
	return h
}

// door is a kind whose state the engine keeps.
type door struct {
	Status   string         `json:"status" enum:"open,closed"`
	Opened   int            `json:"opened"`
	At       *time.Time     `json:"at,omitempty"`
	Labels   map[string]any `json:"labels,omitempty"`
	Draught  float64        `json:"draught,omitempty" reactive:"false"`
	Password string         `json:"-"`
}

func (d door) Validate() error {
	if d.Opened < 0 {
		return errors.New("opened is negative")
	}
	return nil
}

func to(d door) entities.Apply[door] {
	return func(context.Context, bun.Tx, *door) (door, error) { return d, nil }
}

func (n *node) log(t *testing.T, id string) []entities.Transition {
	t.Helper()
	list, err := n.kinds.Transitions(t.Context(), n.db.Read(), entities.Filter{Kind: "door", ID: id})
	must(t, err)
	slices.Reverse(list)
	return list
}

func (n *node) notes(t *testing.T) int {
	t.Helper()
	list, err := outbox.Oldest(t.Context(), n.db.Read(), 1000)
	must(t, err)
	return len(list)
}

func TestMutate(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, url string) {
		n := open(t, url)
		doors := define(t, n, entities.Spec[door]{Name: "door"})
		ctx := entities.WithCause(t.Context(), entities.Cause{Actor: "alice", RunID: "r1", Depth: 2})

		t.Run("a change records version, delta, next, actor and cause", func(t *testing.T) {
			_, err := doors.Mutate(ctx, "a", to(door{Status: "closed"}))
			must(t, err)
			n.Set(start.Add(time.Minute))
			_, err = doors.Mutate(ctx, "a", to(door{Status: "open", Opened: 1}))
			must(t, err)
			got := n.log(t, "a")
			if len(got) != 2 || n.notes(t) != 2 {
				t.Fatalf("%d transitions and %d notes, want 2 and 2", len(got), n.notes(t))
			}
			want := entities.Delta{"status": {"closed", "open"}, "opened": {int64(0), int64(1)}}
			if diff := cmp.Diff(want, got[1].Delta); diff != "" {
				t.Error(diff)
			}
			if got[1].Version != 2 || got[1].Cause != (entities.Cause{Actor: "alice", RunID: "r1", Depth: 2}) || !got[1].At.Equal(start.Add(time.Minute)) {
				t.Errorf("got %+v", got[1])
			}
			if diff := cmp.Diff(entities.View{"status": "closed", "opened": int64(0)}, got[1].Prev()); diff != "" {
				t.Error(diff)
			}
			if got[0].Prev() != nil {
				t.Errorf("the first version has a state before it: %v", got[0].Prev())
			}
		})

		t.Run("an equal state records nothing", func(t *testing.T) {
			before := n.notes(t)
			zone := time.FixedZone("x", 3600)
			utc, local := start, start.In(zone)
			_, err := doors.Mutate(ctx, "eq", to(door{Status: "open", At: &utc, Labels: map[string]any{"n": 1, "x": nil}}))
			must(t, err)
			for name, same := range map[string]door{
				"the same again":           {Status: "open", At: &utc, Labels: map[string]any{"n": 1}},
				"a time in another zone":   {Status: "open", At: &local, Labels: map[string]any{"n": 1}},
				"another form of a number": {Status: "open", At: &utc, Labels: map[string]any{"n": 1.0}},
				"null for absent":          {Status: "open", At: &utc, Labels: map[string]any{"n": 1, "y": nil}},
				"a field that is passive":  {Status: "open", At: &utc, Labels: map[string]any{"n": 1}, Draught: 3},
				"a field that is not JSON": {Status: "open", At: &utc, Labels: map[string]any{"n": 1}, Password: "p"},
			} {
				_, err := doors.Mutate(ctx, "eq", to(same))
				must(t, err)
				if got := n.log(t, "eq"); len(got) != 1 {
					t.Errorf("%s: %d transitions, want 1: %v", name, len(got), got[len(got)-1].Delta)
				}
			}
			if n.notes(t) != before+1 {
				t.Errorf("%d notes, want %d", n.notes(t), before+1)
			}
		})

		t.Run("a passive field is carried along and has no state before", func(t *testing.T) {
			_, err := doors.Mutate(ctx, "passive", to(door{Status: "open", Draught: 1}))
			must(t, err)
			_, err = doors.Mutate(ctx, "passive", to(door{Status: "closed", Draught: 2}))
			must(t, err)
			got := n.log(t, "passive")
			if diff := cmp.Diff(entities.Delta{"status": {"open", "closed"}}, got[1].Delta); diff != "" {
				t.Error(diff)
			}
			if _, ok := got[1].Prev()["draught"]; ok || got[1].Next["draught"] != int64(2) || got[0].Prev() != nil {
				t.Errorf("prev %v, next %v", got[1].Prev(), got[1].Next)
			}
		})

		t.Run("what fails records nothing", func(t *testing.T) {
			_, err := doors.Mutate(ctx, "f", to(door{Status: "open"}))
			must(t, err)
			before := n.notes(t)
			boom := errors.New("boom")
			for name, c := range map[string]struct {
				apply entities.Apply[door]
				opts  []entities.Option
				want  error
				text  string
			}{
				"a failing apply":   {apply: func(context.Context, bun.Tx, *door) (door, error) { return door{}, boom }, want: boom},
				"a panicking apply": {apply: func(context.Context, bun.Tx, *door) (door, error) { panic("ouch") }, text: "ouch"},
				"a failing validation": {
					apply: to(door{Status: "closed", Opened: -1}), want: entities.ErrInvalid, text: "opened is negative",
				},
				"a value outside of the enum": {apply: to(door{Status: "ajar"}), want: entities.ErrInvalid, text: "ajar"},
				"another version":             {apply: to(door{Status: "closed"}), opts: []entities.Option{entities.IfVersion(7)}, want: entities.ErrVersion},
			} {
				_, err := doors.Mutate(ctx, "f", c.apply, c.opts...)
				if err == nil || (c.want != nil && !errors.Is(err, c.want)) || !strings.Contains(err.Error(), c.text) {
					t.Errorf("%s: error %v, want %v %q", name, err, c.want, c.text)
				}
			}
			if len(n.log(t, "f")) != 1 || n.notes(t) != before {
				t.Errorf("%d transitions, want 1", len(n.log(t, "f")))
			}
			_, err = doors.Mutate(ctx, "f", to(door{Status: "closed"}), entities.IfVersion(1))
			must(t, err)
		})

		t.Run("a removal is a transition without a next state, and the version goes on", func(t *testing.T) {
			_, err := doors.Mutate(ctx, "gone", to(door{Status: "open"}))
			must(t, err)
			must(t, doors.Remove(ctx, "gone", nil))
			if _, err := doors.Get(ctx, "gone"); !errors.Is(err, entities.ErrNotFound) {
				t.Errorf("Get after the removal: %v", err)
			}
			if err := doors.Remove(ctx, "gone", nil); !errors.Is(err, entities.ErrNotFound) {
				t.Errorf("a second removal: %v", err)
			}
			_, err = doors.Mutate(ctx, "gone", to(door{Status: "open"}))
			must(t, err)
			got := n.log(t, "gone")
			if len(got) != 3 || !got[1].Removed() || got[1].Delta["status"] != [2]any{"open", nil} || got[2].Version != 3 || got[2].Prev() != nil {
				t.Errorf("got %+v", got)
			}
		})

		t.Run("inside a transaction it says to use MutateTx", func(t *testing.T) {
			err := n.db.Write(ctx, func(ctx context.Context, tx bun.Tx) error {
				_, err := doors.Mutate(ctx, "nested", to(door{Status: "open"}))
				return err
			})
			if !errors.Is(err, db.ErrNested) {
				t.Errorf("got %v", err)
			}
		})

		t.Run("MutateTx shares the transaction's fate, and its failure leaves the rest", func(t *testing.T) {
			boom := errors.New("boom")
			err := n.db.Write(ctx, func(ctx context.Context, tx bun.Tx) error {
				_, err := doors.MutateTx(ctx, tx, "tx1", to(door{Status: "open"}))
				must(t, err)
				return boom
			})
			if !errors.Is(err, boom) || len(n.log(t, "tx1")) != 0 {
				t.Errorf("error %v, %d transitions", err, len(n.log(t, "tx1")))
			}
			must(t, n.db.Write(ctx, func(ctx context.Context, tx bun.Tx) error {
				_, err := doors.MutateTx(ctx, tx, "tx2", func(ctx context.Context, tx bun.Tx, _ *door) (door, error) {
					_, err := doors.MutateTx(ctx, tx, "tx3", to(door{Status: "open"}))
					return door{}, errors.Join(err, boom)
				})
				if !errors.Is(err, boom) {
					t.Errorf("got %v", err)
				}
				_, err = doors.MutateTx(ctx, tx, "tx4", to(door{Status: "open"}))
				return err
			}))
			if len(n.log(t, "tx2"))+len(n.log(t, "tx3")) != 0 || len(n.log(t, "tx4")) != 1 {
				t.Error("the failing change was not taken back alone")
			}
		})
	})
}

func TestConcurrentMutatesOfOneEntity(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, url string) {
		nodes := []*node{open(t, url)}
		if nodes[0].db.Postgres() {
			nodes = append(nodes, open(t, url)) // a second process, as far as the database can tell
		} else {
			nodes = append(nodes, nodes[0])
		}
		var handles []*entities.Handle[door]
		handles = append(handles, define(t, nodes[0], entities.Spec[door]{Name: "door"}))
		if nodes[1] != nodes[0] {
			handles = append(handles, define(t, nodes[1], entities.Spec[door]{Name: "door"}))
		} else {
			handles = append(handles, handles[0])
		}
		const each = 40
		var wg sync.WaitGroup
		for _, doors := range handles {
			for range 4 {
				wg.Go(func() {
					for range each / 4 {
						if _, err := doors.Mutate(t.Context(), "hot", func(_ context.Context, _ bun.Tx, prev *door) (door, error) {
							next := door{Status: "open"}
							if prev != nil {
								next.Opened = prev.Opened + 1
							}
							return next, nil
						}); err != nil {
							t.Error(err)
						}
					}
				})
			}
		}
		wg.Wait()
		log := nodes[0].log(t, "hot")
		if len(log) != 2*each {
			t.Fatalf("%d transitions, want %d", len(log), 2*each)
		}
		for i, tr := range log {
			if tr.Version != int64(i+1) || (i > 0 && tr.Delta["opened"] != [2]any{int64(i - 1), int64(i)}) {
				t.Fatalf("transition %d: version %d, delta %v", i, tr.Version, tr.Delta)
			}
		}
	})
}

func TestAFailingMutationInABatchFailsAlone(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, url string) {
		n := open(t, url)
		doors := define(t, n, entities.Spec[door]{Name: "door"})
		boom := errors.New("boom")
		gate, inside := make(chan struct{}), make(chan struct{})
		var wg sync.WaitGroup
		// The first holds the committer until the others wait together.
		wg.Go(func() {
			_, err := doors.Mutate(t.Context(), "first", func(context.Context, bun.Tx, *door) (door, error) {
				close(inside)
				<-gate
				return door{Status: "open"}, nil
			})
			if err != nil {
				t.Error(err)
			}
		})
		<-inside
		var started sync.WaitGroup
		for i := range 10 {
			started.Add(1)
			wg.Go(func() {
				started.Done()
				_, err := doors.Mutate(t.Context(), string(rune('a'+i)), func(context.Context, bun.Tx, *door) (door, error) {
					if i == 5 {
						return door{}, boom
					}
					return door{Status: "open"}, nil
				})
				if (i == 5) != errors.Is(err, boom) {
					t.Errorf("mutation %d: %v", i, err)
				}
			})
		}
		started.Wait()
		close(gate)
		wg.Wait()
		if n.notes(t) != 10 {
			t.Errorf("%d recorded, want 10", n.notes(t))
		}
	})
}

func TestHistory(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, url string) {
		n := open(t, url)
		doors := define(t, n, entities.Spec[door]{Name: "door"})
		for i, status := range []string{"closed", "open", "closed", "open"} {
			n.Set(start.Add(time.Duration(i) * time.Minute))
			_, err := doors.Mutate(t.Context(), "a", to(door{Status: status, Opened: i / 2}))
			must(t, err)
		}
		n.Set(start.Add(10 * time.Minute))

		t.Run("since and held tell when a field took its value", func(t *testing.T) {
			for field, want := range map[string]time.Time{"status": start.Add(3 * time.Minute), "opened": start.Add(2 * time.Minute)} {
				since, err := doors.Since(t.Context(), "a", field)
				must(t, err)
				held, err := doors.Held(t.Context(), "a", field)
				must(t, err)
				if !since.Equal(want) || held != start.Add(10*time.Minute).Sub(want) {
					t.Errorf("%s since %s, held %s", field, since, held)
				}
			}
			if _, err := doors.Since(t.Context(), "a", "nothing"); !errors.Is(err, entities.ErrNotFound) {
				t.Errorf("got %v", err)
			}
		})
		t.Run("the state as of a time is the one recorded then", func(t *testing.T) {
			for at, want := range map[time.Duration]string{0: "closed", 59 * time.Second: "closed", time.Minute: "open", time.Hour: "open"} {
				got, err := doors.AsOf(t.Context(), "a", start.Add(at))
				must(t, err)
				if got.Status != want {
					t.Errorf("at %s: %s, want %s", at, got.Status, want)
				}
			}
			if _, err := doors.AsOf(t.Context(), "a", start.Add(-time.Second)); !errors.Is(err, entities.ErrNotFound) {
				t.Errorf("before the first: %v", err)
			}
		})
		t.Run("transitions are filtered by field, time and actor, newest first", func(t *testing.T) {
			for name, c := range map[string]struct {
				f    entities.Filter
				want []int64
			}{
				"all":             {entities.Filter{}, []int64{4, 3, 2, 1}},
				"of a field":      {entities.Filter{Field: "opened"}, []int64{3, 1}},
				"not of a prefix": {entities.Filter{Field: "open_d"}, nil},
				"from":            {entities.Filter{From: start.Add(2 * time.Minute)}, []int64{4, 3}},
				"to":              {entities.Filter{To: start.Add(2 * time.Minute)}, []int64{2, 1}},
				"of an actor":     {entities.Filter{Actor: "nobody"}, nil},
				"limited":         {entities.Filter{Limit: 1}, []int64{4}},
			} {
				list, err := n.kinds.Transitions(t.Context(), n.db.Read(), c.f)
				must(t, err)
				var got []int64
				for _, tr := range list {
					got = append(got, tr.Version)
				}
				if !slices.Equal(got, c.want) {
					t.Errorf("%s: %v, want %v", name, got, c.want)
				}
				count, err := n.kinds.Count(t.Context(), n.db.Read(), c.f)
				must(t, err)
				if c.f.Limit == 0 && count != len(c.want) {
					t.Errorf("%s: counted %d, want %d", name, count, len(c.want))
				}
			}
		})
		t.Run("a clock that is set back does not turn the log around", func(t *testing.T) {
			n.Set(start.Add(-time.Hour))
			_, err := doors.Mutate(t.Context(), "a", to(door{Status: "closed"}))
			must(t, err)
			log := n.log(t, "a")
			if last := log[len(log)-1]; last.At.Before(log[len(log)-2].At) {
				t.Errorf("%s before %s", last.At, log[len(log)-2].At)
			}
		})
	})
}

// lamp is a kind whose plugin keeps its state: it goes out by itself.
type lamp struct {
	Status string    `json:"status"`
	Out    time.Time `json:"-"`
}

func lamps(t *testing.T, n *node) *entities.Handle[lamp] {
	return define(t, n, entities.Spec[lamp]{
		Name: "lamp",
		Read: func(ctx context.Context, idb bun.IDB, at time.Time, ids []string) (map[string]lamp, error) {
			var rows []struct {
				ID   string
				Till db.Time
			}
			if err := idb.NewSelect().Table("lamps").Column("id", "till").Where("id IN (?)", bun.List(ids)).Scan(ctx, &rows); err != nil {
				return nil, err
			}
			states := map[string]lamp{}
			for _, row := range rows {
				states[row.ID] = lamp{Status: "lit", Out: row.Till.Time}
				if !at.Before(row.Till.Time) {
					states[row.ID] = lamp{Status: "dark"}
				}
			}
			return states, nil
		},
		Deadline: func(l lamp) time.Time { return l.Out },
	})
}

func light(id string, till time.Time) entities.Apply[lamp] {
	return func(ctx context.Context, tx bun.Tx, _ *lamp) (lamp, error) {
		_, err := tx.ExecContext(ctx, "INSERT INTO lamps (id, till) VALUES (?, ?) ON CONFLICT (id) DO UPDATE SET till = EXCLUDED.till", id, db.At(till))
		return lamp{}, err
	}
}

func TestDeadlines(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, url string) {
		n := open(t, url)
		_, err := n.db.Read().Exec("SELECT 1")
		must(t, err)
		must(t, n.db.Write(t.Context(), func(ctx context.Context, tx bun.Tx) error {
			_, err := tx.ExecContext(ctx, "CREATE TABLE lamps (id TEXT PRIMARY KEY, till BIGINT)")
			return err
		}))
		handle := lamps(t, n)
		ctx := t.Context()
		for id, length := range map[string]time.Duration{"a": time.Minute, "b": time.Hour} {
			_, err := handle.Mutate(ctx, id, light(id, start.Add(length)))
			must(t, err)
		}
		settle := func() {
			t.Helper()
			for {
				more, err := n.timers.Step(ctx)
				must(t, err)
				if !more {
					return
				}
			}
		}
		changes := func(id string) (list []entities.Delta) {
			t.Helper()
			log, err := handle.Transitions(ctx, id, 10)
			must(t, err)
			for _, tr := range log {
				list = append(list, tr.Delta)
			}
			return list
		}

		n.Set(start.Add(time.Minute - time.Microsecond))
		settle()
		if len(changes("a")) != 1 {
			t.Error("looked too soon")
		}
		// It reads differently already, and the log does not know: the state
		// before is the recorded one.
		n.Set(start.Add(time.Minute))
		if got, err := handle.Get(ctx, "a"); err != nil || got.Status != "dark" {
			t.Errorf("%v %v", got, err)
		}
		settle()
		want := []entities.Delta{{"status": {"lit", "dark"}}, {"status": {nil, "lit"}}}
		if diff := cmp.Diff(want, changes("a")); diff != "" {
			t.Error(diff)
		}
		settle()
		if len(changes("a")) != 2 || len(changes("b")) != 1 {
			t.Error("a deadline fired twice, or for another entity")
		}
		next, err := n.timers.Next(ctx)
		must(t, err)
		if !next.Equal(start.Add(time.Hour)) {
			t.Errorf("the next deadline is at %s", next)
		}

		t.Run("a deadline that was moved is not the old one", func(t *testing.T) {
			_, err := handle.Mutate(ctx, "b", light("b", start.Add(2*time.Hour)))
			must(t, err)
			n.Set(start.Add(time.Hour))
			settle()
			if len(changes("b")) != 1 {
				t.Error("fired at the old time")
			}
			n.Set(start.Add(2 * time.Hour))
			settle()
			if len(changes("b")) != 2 {
				t.Error("did not fire at the new time")
			}
		})
	})
}

func TestDefineRefuses(t *testing.T) {
	n := open(t, dbtest.SQLite(t))
	define(t, n, entities.Spec[door]{Name: "door"})
	for name, err := range map[string]error{
		"a taken name":             errOf(entities.Define(n.kinds, entities.Spec[door]{Name: "door"})),
		"a name in capitals":       errOf(entities.Define(n.kinds, entities.Spec[door]{Name: "Door"})),
		"a state without fields":   errOf(entities.Define(n.kinds, entities.Spec[int]{Name: "number"})),
		"a deadline without Read":  errOf(entities.Define(n.kinds, entities.Spec[door]{Name: "d2", Deadline: func(door) time.Time { return start }})),
		"an unknown reason":        n.kinds.DeclareNonReactive("t", "because", "note"),
		"a table without a note":   n.kinds.DeclareNonReactive("t", entities.RawSample, ""),
		"a table declared already": errors.Join(n.kinds.DeclareNonReactive("x", entities.RawSample, "n"), n.kinds.DeclareNonReactive("x", entities.RawSample, "n")),
	} {
		if err == nil {
			t.Errorf("%s was accepted", name)
		}
	}
	if got := n.kinds.NonReactive(); len(got) != 1 || got[0].Table != "x" {
		t.Errorf("got %v", got)
	}
	var names []string
	for _, k := range n.kinds.Kinds() {
		names = append(names, k.Name)
	}
	if !slices.Equal(names, []string{"door"}) {
		t.Errorf("got %v", names)
	}
}

func errOf[T any](_ T, err error) error { return err }
