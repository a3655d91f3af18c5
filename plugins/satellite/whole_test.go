package satellite_test

import (
	"context"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/uptrace/bun"

	"github.com/flightrules/flightrules/plugins"
	"github.com/flightrules/flightrules/plugins/satellite/agent"
)

// counter is a runner that counts.
type counter struct {
	mu   sync.Mutex
	runs []string // that were not cut off, as the prober of the core keeps them
}

func (c *counter) Run(ctx context.Context, job plugins.Job) (json.RawMessage, error) {
	began := time.Now().UTC().Format(time.RFC3339)
	select {
	case <-time.After(100 * time.Millisecond):
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.runs = append(c.runs, fmt.Sprintf("edge %s %s %d", job.ID, began, len(c.runs)))
	return json.Marshal(len(c.runs) - 1)
}

// TestEachResultOnce runs a core and an agent that does work, and lets
// everything that can happen on the way happen, in virtual time: connections
// break with and without notice, or in one direction alone, the core restarts, is away for hours, and the
// agent restarts. All that the agent did arrives once, in order, with its time.
func TestEachResultOnce(t *testing.T) {
	seed := rand.Uint64()
	t.Log("seed", seed)
	chance := rand.New(rand.NewPCG(seed, 0))
	dir := t.TempDir()
	var core *prober // of the newest process
	inBubble(t, func(t *testing.T, w *whole) {
		w.sql("CREATE TABLE taken (what TEXT)")
		k := w.create("edge")
		often := probe("a")
		often.Interval = 20 * time.Second
		must(t, w.db.Write(t.Context(), func(ctx context.Context, tx bun.Tx) error {
			return core.remote.Assign(ctx, tx, "probe", k.id, []plugins.Assignment{often})
		}))
		c := &counter{}
		run := func() (end func()) {
			ctx, stop := context.WithCancel(context.Background())
			done := make(chan error, 1)
			go func() {
				done <- agent.Run(ctx, agent.Config{
					Core: "http://127.0.0.1", ID: k.id, Token: k.token, HTTPClient: w.wire.client(), Dir: dir,
					Runners: map[string]plugins.Runner{"probe": c},
				})
			}()
			return func() { stop(); must(t, <-done) }
		}
		end := run()
		w.pass(3 * time.Minute)
		for round := range 30 {
			what := chance.IntN(6)
			if round < 12 {
				what = round % 6 // each of them at least twice
			}
			switch what {
			case 0:
				w.wire.reset()
			case 1:
				w.wire.cut()
			case 2:
				w.end()
				w.begin()
			case 3:
				w.end()
				w.pass(time.Duration(chance.IntN(300)) * time.Minute)
				w.begin()
			case 4:
				end()
				end = run()
			case 5:
				w.wire.deafen()
			}
			w.pass(time.Duration(chance.IntN(300)) * time.Second)
		}
		w.pass(10 * time.Minute)
		end()
		w.pass(time.Second)
		var taken []string
		must(t, w.db.Read().NewRaw("SELECT what FROM taken").Scan(t.Context(), &taken))
		if diff := cmp.Diff(c.runs, taken); diff != "" {
			t.Error(diff)
		}
		if len(taken) < 20 {
			t.Errorf("%d results", len(taken))
		}
	}, func() []plugins.Plugin {
		core = &prober{}
		return []plugins.Plugin{core}
	})
}
