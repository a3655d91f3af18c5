package entities_test

import (
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/flightrules/flightrules/engine/timer"
	"github.com/flightrules/flightrules/entities"
	"github.com/flightrules/flightrules/internal/dbtest"
	"github.com/flightrules/flightrules/internal/shape"
)

// backups is a declaration; edit may change it.
func backups(edit ...func(*entities.Declared)) []entities.Declared {
	least := 0.0
	d := entities.Declared{
		Name: "backup", Doc: "A nightly backup.",
		Shape: &shape.Shape{Type: shape.Object, Fields: []shape.Field{
			{Name: "status", Required: true, Reactive: true, Shape: &shape.Shape{Type: shape.String, Enum: []string{"ok", "failed", "overdue"}, Default: "ok"}},
			{Name: "size_mb", Reactive: true, Shape: &shape.Shape{Type: shape.Number, Minimum: &least}},
			{Name: "finished_at", Reactive: true, Shape: &shape.Shape{Type: shape.Time}},
		}},
		Stale: &entities.Stale{After: 26 * time.Hour, Set: map[string]any{"status": "overdue"}},
	}
	for _, change := range edit {
		change(&d)
	}
	return []entities.Declared{d}
}

func after(d time.Duration) func(*entities.Declared) {
	return func(k *entities.Declared) { k.Stale = &entities.Stale{After: d, Set: k.Stale.Set} }
}

func withoutStale(k *entities.Declared) { k.Stale = nil }

// put sets fields of a backup.
func (n *node) put(t *testing.T, id string, set map[string]any) entities.Entity {
	t.Helper()
	e, err := n.kinds.Put(t.Context(), "backup", id, func(prev entities.View) (map[string]any, error) {
		next := map[string]any{}
		for _, from := range []map[string]any{prev, set} {
			for name, value := range from {
				next[name] = value
			}
		}
		return next, nil
	})
	must(t, err)
	return e
}

// status is what a backup says after everything that is due has happened.
func (n *node) status(t *testing.T, id string) string {
	t.Helper()
	for {
		more, err := n.timers.Step(t.Context())
		must(t, err)
		if !more {
			break
		}
	}
	e, err := n.kinds.Get(t.Context(), n.db.Read(), "backup", id)
	must(t, err)
	return fmt.Sprint(e.State["status"], " v", e.Version)
}

func want(t *testing.T, got, want string) {
	t.Helper()
	if got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}

// restarted is another process on the same database, at the same time.
func (n *node) restarted() *node {
	next := &node{Manual: n.Manual, db: n.db}
	log := slog.New(slog.DiscardHandler)
	next.timers = timer.New(n.db, n.Now, log, nil)
	next.kinds = entities.NewRegistry(n.db, n.Now, log, next.timers)
	return next
}

func TestDeclaredKinds(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, url string) {
		n := open(t, url)
		define(t, n, entities.Spec[door]{Name: "door"})
		must(t, n.kinds.Declare(t.Context(), backups()))

		t.Run("the catalogue knows it", func(t *testing.T) {
			info, ok := n.kinds.Kind("backup")
			if !ok || !info.Declared || !info.Kept || info.Doc != "A nightly backup." {
				t.Errorf("%+v, %t", info, ok)
			}
			if door, _ := n.kinds.Kind("door"); door.Declared {
				t.Error("a plugin's kind is said to be declared")
			}
		})

		t.Run("a new entity has the defaults", func(t *testing.T) {
			e := n.put(t, "crm", map[string]any{"size_mb": 12, "finished_at": "2026-03-01T13:00:00+01:00"})
			state := entities.View{"status": "ok", "size_mb": int64(12), "finished_at": "2026-03-01T12:00:00Z"}
			if diff := cmp.Diff(state, e.State); diff != "" {
				t.Error(diff)
			}
			list, err := n.kinds.List(t.Context(), n.db.Read(), "backup", "", 10)
			must(t, err)
			if len(list) != 1 || cmp.Diff(list[0], e) != "" {
				t.Errorf("it is read as %+v", list)
			}
		})

		t.Run("a state that does not fit is refused", func(t *testing.T) {
			for wrong, state := range map[string]map[string]any{
				"stauts: unknown field":        {"status": "ok", "stauts": "ok"},
				"status: must be one of":       {"status": "fine"},
				"status: is required":          {"size_mb": 1},
				"size_mb: must be 0 at least":  {"status": "ok", "size_mb": -1},
				"finished_at: must be a time":  {"status": "ok", "finished_at": 5},
				"size_mb: must be a number, n": {"status": "ok", "size_mb": "5"},
			} {
				_, err := n.kinds.Put(t.Context(), "backup", "crm", into(state))
				if !errors.Is(err, entities.ErrInvalid) || !strings.Contains(err.Error(), wrong) {
					t.Errorf("%q: %v", wrong, err)
				}
			}
		})

		t.Run("it can be deleted, and then comes back with the defaults", func(t *testing.T) {
			n.put(t, "erp", map[string]any{"status": "failed"})
			must(t, n.kinds.Delete(t.Context(), "backup", "erp"))
			if _, armed, err := timer.Get(t.Context(), n.db.Read(), "entity.deadline", "backup/erp"); armed || err != nil {
				t.Errorf("its deadline is there still: %t, %v", armed, err)
			}
			if e := n.put(t, "erp", nil); e.State["status"] != "ok" || e.Version != 3 {
				t.Errorf("%+v", e)
			}
		})

		t.Run("one that leaves is not known, and its rows stay", func(t *testing.T) {
			must(t, n.kinds.Declare(t.Context(), nil))
			if _, ok := n.kinds.Kind("backup"); ok {
				t.Error("it is known")
			}
			if _, err := n.kinds.Put(t.Context(), "backup", "crm", into(nil)); !errors.Is(err, entities.ErrUnknownKind) {
				t.Error(err)
			}
			log, err := n.kinds.Transitions(t.Context(), n.db.Read(), entities.Filter{Kind: "backup", ID: "erp"})
			must(t, err)
			if len(log) != 3 {
				t.Errorf("%d entries of its log", len(log))
			}
			must(t, n.kinds.Declare(t.Context(), backups()))
			want(t, n.status(t, "crm"), "ok v1")
		})
	})
}

func TestDeclareRefuses(t *testing.T) {
	n := open(t, dbtest.SQLite(t))
	define(t, n, entities.Spec[door]{Name: "door"})
	for _, tt := range []struct{ name, want string }{
		{"Backup", "lower case letters"},
		{"door", "the name is that of a kind of a plugin"},
		{"twice", "it is declared twice"},
		{"shapeless", "a state is an object with fields"},
		{"at once", "after must be longer than nothing"},
		{"nothing", "set says nothing"},
		{"no field", `there is no field "stauts"`},
		{"wrong", "status: must be one of"},
		{"null", "status: must be a string, not null"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			list := backups(func(d *entities.Declared) {
				stale := func(set map[string]any) { d.Stale = &entities.Stale{After: time.Hour, Set: set} }
				switch tt.name {
				case "Backup", "door":
					d.Name = tt.name
				case "shapeless":
					d.Shape = nil
				case "at once":
					d.Stale = &entities.Stale{Set: d.Stale.Set}
				case "nothing":
					stale(nil)
				case "no field":
					stale(map[string]any{"stauts": "ok"})
				case "wrong":
					stale(map[string]any{"status": "late"})
				case "null":
					stale(map[string]any{"status": nil})
				}
			})
			if tt.name == "twice" {
				list = append(list, list[0])
			}
			err := n.kinds.Declare(t.Context(), list)
			var refused *entities.DeclareError
			if !errors.As(err, &refused) || refused.Kind != list[0].Name || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("%v, want %q", err, tt.want)
			}
			if list := n.kinds.Kinds(); len(list) != 1 {
				t.Errorf("the kinds are %+v", list)
			}
		})
	}
}

func TestAKindThatStoredStatesDoNotFitIsRefused(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, url string) {
		n := open(t, url)
		must(t, n.kinds.Declare(t.Context(), backups()))
		for i := range 13 {
			n.put(t, fmt.Sprintf("b%02d", i), map[string]any{"status": "failed", "size_mb": i})
		}
		n.put(t, "fits", map[string]any{"status": "ok"})
		broken := backups(func(d *entities.Declared) {
			fields := append([]shape.Field{}, d.Shape.Fields...)
			fields[0].Shape = &shape.Shape{Type: shape.String, Enum: []string{"ok", "overdue"}}
			d.Shape = &shape.Shape{Type: shape.Object, Fields: fields}
		})
		for _, at := range []*node{n, n.restarted()} {
			err := at.kinds.Declare(t.Context(), broken)
			var unfit *entities.Unfit
			if !errors.As(err, &unfit) || len(unfit.States) != 10 || unfit.More != 3 {
				t.Fatalf("%v", err)
			}
			if got, want := unfit.States[0], `b00 (status: must be one of ok, overdue, not "failed")`; got != want {
				t.Errorf("got %s", got)
			}
			if !strings.HasSuffix(err.Error(), "; and 3 more") {
				t.Errorf("got %v", err)
			}
		}
		want(t, n.status(t, "b01"), "failed v1")
		n.put(t, "b01", map[string]any{"size_mb": 99}) // the old one is in force
	})
}

func TestStale(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, url string) {
		n := open(t, url)
		must(t, n.kinds.Declare(t.Context(), backups()))
		n.put(t, "crm", nil)
		n.put(t, "erp", nil)
		pass := func(d time.Duration) { n.Set(n.Now().Add(d)) }

		pass(25 * time.Hour)
		n.put(t, "crm", map[string]any{"status": "ok"}) // changes nothing
		pass(time.Hour - time.Microsecond)
		want(t, n.status(t, "erp"), "ok v1")
		pass(time.Microsecond)
		want(t, n.status(t, "erp"), "overdue v2")
		want(t, n.status(t, "crm"), "ok v1")

		log, err := n.kinds.Transitions(t.Context(), n.db.Read(), entities.Filter{Kind: "backup", ID: "erp", Limit: 1})
		must(t, err)
		if diff := cmp.Diff(entities.Delta{"status": {"ok", "overdue"}}, log[0].Delta); diff != "" || log[0].Cause.Actor != entities.System {
			t.Error(diff, log[0].Cause)
		}

		t.Run("the update that changed nothing counts after a restart too", func(t *testing.T) {
			n = n.restarted()
			must(t, n.kinds.Declare(t.Context(), backups()))
			pass(25*time.Hour - time.Microsecond)
			want(t, n.status(t, "crm"), "ok v1")
			pass(time.Microsecond)
			want(t, n.status(t, "crm"), "overdue v2")
		})

		t.Run("it fires once, until the entity is updated", func(t *testing.T) {
			pass(1000 * time.Hour)
			want(t, n.status(t, "erp"), "overdue v2")
			n = n.restarted()
			must(t, n.kinds.Declare(t.Context(), backups(after(time.Hour))))
			want(t, n.status(t, "erp"), "overdue v2")
			n.put(t, "erp", map[string]any{"status": "failed"})
			pass(time.Hour)
			want(t, n.status(t, "erp"), "overdue v4")
		})
	})
}

func TestStaleWhenItsDeclarationChanges(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, url string) {
		n := open(t, url)
		declare := func(edit ...func(*entities.Declared)) {
			t.Helper()
			must(t, n.kinds.Declare(t.Context(), backups(edit...)))
		}
		pass := func(d time.Duration) { n.Set(n.Now().Add(d)) }

		declare()
		n.put(t, "a", nil)
		pass(2 * time.Hour)
		declare(after(3 * time.Hour)) // shorter: an hour is left
		pass(time.Hour - time.Microsecond)
		want(t, n.status(t, "a"), "ok v1")
		declare(after(4 * time.Hour)) // longer, at the last moment
		pass(time.Microsecond)
		want(t, n.status(t, "a"), "ok v1")
		pass(time.Hour)
		want(t, n.status(t, "a"), "overdue v2")

		t.Run("a shorter one makes it stale at once where it should have been", func(t *testing.T) {
			n.put(t, "a", map[string]any{"status": "ok"})
			pass(2 * time.Hour)
			declare(after(time.Hour))
			want(t, n.status(t, "a"), "overdue v4")
		})

		t.Run("without it nothing becomes stale, and with it again it counts from then", func(t *testing.T) {
			n.put(t, "a", map[string]any{"status": "ok"})
			declare(withoutStale)
			pass(100 * time.Hour)
			want(t, n.status(t, "a"), "ok v5")
			declare()
			pass(25 * time.Hour)
			want(t, n.status(t, "a"), "ok v5")
			pass(time.Hour)
			want(t, n.status(t, "a"), "overdue v6")
		})

		t.Run("a kind that was gone for a while goes on counting from the last update", func(t *testing.T) {
			n.put(t, "a", map[string]any{"status": "ok"})
			pass(25 * time.Hour)
			must(t, n.kinds.Declare(t.Context(), nil))
			pass(2 * time.Hour)
			_, err := n.timers.Step(t.Context())
			must(t, err)
			declare(after(30 * time.Hour))
			pass(3*time.Hour - time.Microsecond)
			want(t, n.status(t, "a"), "ok v7")
			pass(time.Microsecond)
			want(t, n.status(t, "a"), "overdue v8")
		})
	})
}
