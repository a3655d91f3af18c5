package sim_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"testing/fstest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/flightrules/flightrules/engine"
	"github.com/flightrules/flightrules/engine/action"
	"github.com/flightrules/flightrules/engine/journal"
	"github.com/flightrules/flightrules/internal/app"
	"github.com/flightrules/flightrules/internal/sim"
	"github.com/flightrules/flightrules/plugins"
	"github.com/flightrules/flightrules/rules"
)

const text = `
rules:
  - id: call
    triggers: [{event: custom.x}]
    actions:
      - wait: 30m
      - http: {url: "http://127.0.0.1:1/${{ event.payload.n }}"}
  - id: other
    triggers: [{event: custom.x}]
    actions: [{log: "${{ run.id }}"}]
`

var noon = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

// world answers every action after a minute.
type world struct {
	now   func() time.Time
	calls []string
	since map[string]time.Time
}

func (w *world) Act(_ context.Context, a action.Action, call action.Call, config any) (any, error) {
	if _, ok := w.since[call.IdempotencyKey]; !ok {
		w.since[call.IdempotencyKey] = w.now()
		return nil, &action.Pending{After: time.Minute}
	}
	w.calls = append(w.calls, fmt.Sprintf("%s %s %v", w.now().Format("15:04"), a.Name, config.(map[string]any)["url"]))
	return map[string]any{"status": 200, "headers": map[string]any{}, "body": nil}, nil
}

func newLab(tb testing.TB) *sim.Lab {
	tb.Helper()
	files := fstest.MapFS{"rules.yaml": {Data: []byte(text)}}
	lab, err := sim.NewLab(tb.Context(), files, "", func() []plugins.Plugin { return app.Plugins(app.PluginConfig{}) })
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() {
		if err := lab.Close(context.Background()); err != nil {
			tb.Error(err)
		}
	})
	return lab
}

// simulate lets one event happen, and gives what was called, and the logged id.
func simulate(ctx context.Context, lab *sim.Lab, restart bool) (told []string, err error) {
	n := 0
	s, done, err := lab.Open(ctx, sim.Options{Start: noon, NewID: func() string { n++; return fmt.Sprintf("%08d", n) }})
	if err != nil {
		return nil, err
	}
	defer func() {
		if ended := done(); err == nil {
			err = ended
		}
	}()
	w := &world{now: s.Time, since: map[string]time.Time{}}
	ctx = sim.WithOutside(ctx, w)
	if err := s.Use(ctx, lab.Set.Only(func(*rules.Rule) bool { return true })); err != nil {
		return nil, err
	}
	if _, _, err := s.Engine.Emit(ctx, engine.Emitted{Name: "custom.x", Payload: []byte(`{"n": 7}`)}); err != nil {
		return nil, err
	}
	for _, at := range []time.Duration{0, 30 * time.Minute, time.Hour} {
		if err := s.AdvanceTo(ctx, noon.Add(at)); err != nil {
			return nil, err
		}
		if restart {
			if err := s.Restart(ctx); err != nil {
				return nil, err
			}
			if s.Engine.Rules().Rule("call") == nil {
				return nil, errors.New("a restart has lost the rules")
			}
		}
	}
	runs, err := journal.Runs(ctx, s.DB.Read(), journal.Filter{})
	for _, run := range runs {
		told = append(told, fmt.Sprintf("%s %s %s", run.ID, run.Rule, run.Status))
	}
	return append(told, w.calls...), err
}

func TestLab(t *testing.T) {
	lab := newLab(t)
	want := []string{"00000003 other succeeded", "00000002 call succeeded", "12:31 http http://127.0.0.1:1/7"}
	for name, restart := range map[string]bool{"plain": false, "restarting": true} {
		t.Run("actions are answered and take simulated time, "+name, func(t *testing.T) {
			got, err := simulate(t.Context(), lab, restart)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("want -, got +\n%s", diff)
			}
		})
	}

	t.Run("many at once know nothing of each other", func(t *testing.T) {
		var wg sync.WaitGroup
		for range 8 {
			wg.Go(func() {
				got, err := simulate(t.Context(), lab, false)
				if diff := cmp.Diff(want, got); err != nil || diff != "" {
					t.Errorf("%v; want -, got +\n%s", err, diff)
				}
			})
		}
		wg.Wait()
	})

	t.Run("no rule sees what is before they are in force", func(t *testing.T) {
		s, done, err := lab.Open(t.Context(), sim.Options{Start: noon})
		if err != nil {
			t.Fatal(err)
		}
		defer func() {
			if err := done(); err != nil {
				t.Error(err)
			}
		}()
		if _, _, err := s.Engine.Emit(t.Context(), engine.Emitted{Name: "custom.x"}); err != nil {
			t.Fatal(err)
		}
		if err := s.AdvanceTo(t.Context(), noon.Add(time.Hour)); err != nil {
			t.Fatal(err)
		}
		if err := s.Use(t.Context(), lab.Set.Only(func(r *rules.Rule) bool { return r.ID == "other" })); err != nil {
			t.Fatal(err)
		}
		if err := s.AdvanceTo(t.Context(), noon.Add(2*time.Hour)); err != nil {
			t.Fatal(err)
		}
		if s.Engine.Rules().Rule("call") != nil || s.Engine.Rules().Rule("other") == nil {
			t.Error("other rules are in force than were chosen")
		}
		if list, err := journal.Decisions(t.Context(), s.DB.Read(), journal.Filter{}); err != nil || len(list) != 0 {
			t.Errorf("decided %v, %v", list, err)
		}
	})

	t.Run("without a world an action fails", func(t *testing.T) {
		s, done, err := lab.Open(t.Context(), sim.Options{Start: noon, Set: lab.Set})
		if err != nil {
			t.Fatal(err)
		}
		defer func() {
			if err := done(); err != nil {
				t.Error(err)
			}
		}()
		if _, _, err := s.Engine.Emit(t.Context(), engine.Emitted{Name: "custom.x", Payload: []byte(`{"n": 7}`)}); err != nil {
			t.Fatal(err)
		}
		if err := s.AdvanceTo(t.Context(), noon.Add(time.Hour)); err != nil {
			t.Fatal(err)
		}
		runs, err := journal.Runs(t.Context(), s.DB.Read(), journal.Filter{Rule: "call"})
		if err != nil || len(runs) != 1 || runs[0].Status != journal.RunFailed {
			t.Errorf("runs %+v, %v", runs, err)
		}
	})
}

func TestLabLeavesNothingBehind(t *testing.T) {
	t.Setenv("TMPDIR", t.TempDir())
	count := func() int {
		t.Helper()
		n := 0
		for _, dir := range []string{"/dev/shm", os.TempDir()} {
			found, err := filepath.Glob(filepath.Join(dir, "flightrules-sim-*"))
			if err != nil {
				t.Fatal(err)
			}
			n += len(found)
		}
		return n
	}
	before := count()
	files := fstest.MapFS{"rules.yaml": {Data: []byte("rules: [{id: 7}]")}}
	if _, err := sim.NewLab(t.Context(), files, "", func() []plugins.Plugin { return nil }); err == nil {
		t.Error("rules with problems were taken")
	}
	if after := count(); after != before {
		t.Errorf("%d folders before, %d after", before, after)
	}
}

func BenchmarkOpen(b *testing.B) {
	lab := newLab(b)
	for b.Loop() {
		if _, err := simulate(b.Context(), lab, false); err != nil {
			b.Fatal(err)
		}
	}
}
