package entities_test

import (
	"context"
	"errors"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/uptrace/bun"

	"github.com/flightrules/flightrules/engine/outbox"
	"github.com/flightrules/flightrules/engine/timer"
	"github.com/flightrules/flightrules/entities"
	"github.com/flightrules/flightrules/internal/db"
	"github.com/flightrules/flightrules/internal/dbtest"
)

// heater is a kind of these tests whose state the engine keeps.
type heater struct {
	On    bool   `json:"on"`
	Watts int8   `json:"watts,omitempty"`
	Room  string `json:"room,omitempty"`
}

func (h heater) Validate() error {
	if h.Watts < 0 {
		return errors.New("a heater takes power")
	}
	return nil
}

// heaters is a registry with the kind heater, and the kind meter that belongs to a
// plugin.
func heaters(t *testing.T, url string) (*db.DB, *entities.Registry) {
	t.Helper()
	d, err := db.Open(t.Context(), url, db.Options{NoSync: true})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := d.Close(); err != nil {
			t.Error(err)
		}
	})
	if err := d.Migrate(t.Context(), timer.Migrations(), outbox.Migrations(), entities.Migrations()); err != nil {
		t.Fatal(err)
	}
	now := func() time.Time { return time.Date(2030, 1, 1, 0, 0, 0, 0, time.UTC) }
	log := slog.New(slog.DiscardHandler)
	r := entities.NewRegistry(d, now, log, timer.New(d, now, log, nil))
	if _, err := entities.Define(r, entities.Spec[heater]{Name: "heater"}); err != nil {
		t.Fatal(err)
	}
	if _, err := entities.Define(r, entities.Spec[heater]{
		Name: "meter", Read: func(context.Context, bun.IDB, time.Time, []string) (map[string]heater, error) { return nil, nil },
	}); err != nil {
		t.Fatal(err)
	}
	return d, r
}

// into is a change to a state, whatever was before.
func into(state map[string]any) func(entities.View) (map[string]any, error) {
	return func(entities.View) (map[string]any, error) { return state, nil }
}

func TestUntypedWrites(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, url string) {
		d, r := heaters(t, url)
		ctx := t.Context()

		t.Run("the entity comes back as it is after the change", func(t *testing.T) {
			got, err := r.Put(ctx, "heater", "a", into(map[string]any{"on": true, "watts": 5}))
			if err != nil {
				t.Fatal(err)
			}
			want, err := r.Get(ctx, d.Read(), "heater", "a")
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(want, got); diff != "" || got.Version != 1 || got.State["watts"] != int64(5) {
				t.Errorf("got %+v (-read +got):\n%s", got, diff)
			}
		})

		t.Run("so does one that did not change", func(t *testing.T) {
			got, err := r.Put(ctx, "heater", "a", into(map[string]any{"watts": 5.0, "on": true, "room": nil}))
			if err != nil || got.Version != 1 || len(got.Since) != 2 {
				t.Errorf("got %+v, %v", got, err)
			}
		})

		t.Run("the change sees the state before it", func(t *testing.T) {
			got, err := r.Put(ctx, "heater", "a", func(prev entities.View) (map[string]any, error) {
				prev["watts"] = prev["watts"].(int64) + 1
				return prev, nil
			}, entities.IfVersion(1))
			if err != nil || got.Version != 2 || got.State["watts"] != int64(6) {
				t.Errorf("got %+v, %v", got, err)
			}
			if _, err := r.Put(ctx, "heater", "new", func(prev entities.View) (map[string]any, error) {
				if prev != nil {
					t.Errorf("the state before a new one is %v", prev)
				}
				return map[string]any{"on": false}, nil
			}); err != nil {
				t.Error(err)
			}
		})

		refused := errors.New("refused")
		for _, c := range []struct {
			name, kind string
			change     func(entities.View) (map[string]any, error)
			opts       []entities.Option
			want       error
			says       string
		}{
			{"an unknown field is refused", "heater", into(map[string]any{"on": true, "wats": 5}), nil, entities.ErrInvalid, `wats: unknown field, did you mean "watts"?`},
			{"a value of another type is refused", "heater", into(map[string]any{"on": "yes"}), nil, entities.ErrInvalid, "on: must be"},
			{"a required field is wanted", "heater", into(map[string]any{}), nil, entities.ErrInvalid, "on: is required"},
			{"no state at all is refused", "heater", into(nil), nil, entities.ErrInvalid, "an object is wanted"},
			{"a value that the type cannot hold is refused", "heater", into(map[string]any{"on": true, "watts": 300}), nil, entities.ErrInvalid, "does not fit its kind"},
			{"the type's Validate is asked", "heater", into(map[string]any{"on": true, "watts": -1}), nil, entities.ErrInvalid, "a heater takes power"},
			{"another version is refused", "heater", into(map[string]any{"on": false}), []entities.Option{entities.IfVersion(1)}, entities.ErrVersion, ""},
			{"the error of the change is the caller's", "heater", func(entities.View) (map[string]any, error) { return nil, refused }, nil, refused, ""},
			{"a kind of a plugin is not kept", "meter", into(map[string]any{"on": true}), nil, entities.ErrNotKept, ""},
			{"an unknown kind is one", "stove", into(map[string]any{"on": true}), nil, entities.ErrUnknownKind, ""},
		} {
			t.Run(c.name, func(t *testing.T) {
				if _, err := r.Put(ctx, c.kind, "a", c.change, c.opts...); !errors.Is(err, c.want) || !strings.Contains(err.Error(), c.says) {
					t.Errorf("error %v, want %v with %q", err, c.want, c.says)
				}
				if e, err := r.Get(ctx, d.Read(), "heater", "a"); err != nil || e.Version != 2 {
					t.Errorf("the entity is at %d, %v", e.Version, err)
				}
			})
		}

		t.Run("in a transaction a failure takes back itself and no more", func(t *testing.T) {
			err := d.Write(ctx, func(ctx context.Context, tx bun.Tx) error {
				if _, err := r.PutTx(ctx, tx, "heater", "tx", into(map[string]any{"on": true})); err != nil {
					return err
				}
				if _, err := r.PutTx(ctx, tx, "heater", "tx", into(map[string]any{"on": 1})); !errors.Is(err, entities.ErrInvalid) {
					t.Errorf("error %v", err)
				}
				e, err := r.PutTx(ctx, tx, "heater", "tx", into(map[string]any{"on": false}))
				if e.Version != 2 {
					t.Errorf("version %d, want 2", e.Version)
				}
				return err
			})
			if err != nil {
				t.Error(err)
			}
			if e, err := r.Get(ctx, d.Read(), "heater", "tx"); err != nil || e.Version != 2 {
				t.Errorf("got %+v, %v", e, err)
			}
		})

		t.Run("of many at once each gets its own version", func(t *testing.T) {
			var wg sync.WaitGroup
			versions := make([]int64, 40)
			for i := range versions {
				wg.Go(func() {
					e, err := r.Put(ctx, "heater", "busy", func(prev entities.View) (map[string]any, error) {
						on, _ := prev["on"].(bool)
						return map[string]any{"on": !on}, nil
					})
					if err != nil {
						t.Error(err)
					}
					versions[i] = e.Version
				})
			}
			wg.Wait()
			seen := map[int64]bool{}
			for _, v := range versions {
				seen[v] = true
			}
			if len(seen) != len(versions) {
				t.Errorf("%d versions for %d changes: %v", len(seen), len(versions), versions)
			}
		})

		t.Run("a removed entity is gone, once", func(t *testing.T) {
			if err := r.Delete(ctx, "heater", "a", entities.IfVersion(1)); !errors.Is(err, entities.ErrVersion) {
				t.Errorf("error %v", err)
			}
			if err := r.Delete(ctx, "heater", "a", entities.IfVersion(2)); err != nil {
				t.Error(err)
			}
			if err := r.Delete(ctx, "heater", "a"); !errors.Is(err, entities.ErrNotFound) {
				t.Errorf("error %v", err)
			}
			if err := r.Delete(ctx, "meter", "a"); !errors.Is(err, entities.ErrNotKept) {
				t.Errorf("error %v", err)
			}
			list, err := r.Transitions(ctx, d.Read(), entities.Filter{Kind: "heater", ID: "a"})
			if err != nil || len(list) != 3 || !list[0].Removed() {
				t.Errorf("transitions %+v, %v", list, err)
			}
		})
	})
}

func TestGive(t *testing.T) {
	d, r := heaters(t, dbtest.SQLite(t))
	put := func(id string, on bool) error {
		_, err := r.Put(t.Context(), "meter", id, func(entities.View) (map[string]any, error) { return map[string]any{"on": on}, nil })
		return err
	}
	if err := put("a", true); !errors.Is(err, entities.ErrNotKept) {
		t.Errorf("before it was given: %v", err)
	}
	if err := r.Give("meter", "a"); err != nil {
		t.Fatal(err)
	}
	if err := put("a", true); err != nil {
		t.Fatal(err)
	}
	if err := put("b", true); !errors.Is(err, entities.ErrNotKept) {
		t.Errorf("another one, which is the plugin's: %v", err)
	}
	state, err := r.State(t.Context(), d.Read(), "meter", "a")
	if err != nil || state["on"] != true {
		t.Errorf("the state is %v, %v", state, err)
	}
	if list, err := r.List(t.Context(), d.Read(), "meter", "", 10); err != nil || len(list) != 1 {
		t.Errorf("there are %v, %v", list, err)
	}
	if err := r.Delete(t.Context(), "meter", "a"); err != nil {
		t.Error(err)
	}
	if err := r.Give("moon", "a"); !errors.Is(err, entities.ErrUnknownKind) {
		t.Errorf("of an unknown kind: %v", err)
	}
}
