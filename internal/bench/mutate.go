package bench

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"sync"
	"testing/fstest"
	"time"

	"github.com/uptrace/bun"
	"golang.org/x/sync/errgroup"

	"github.com/flightrules/flightrules/engine/outbox"
	"github.com/flightrules/flightrules/internal/app"
	"github.com/flightrules/flightrules/plugins"
)

// metersThere is how many entities the writers of mutate change.
const metersThere = 1000

// crossing is one in how many changes is one of status, and so means an event.
const crossing = 10

const meterRules = `
rules:
  - id: boiling
    triggers: [{event: meter.crossed, where: event.payload.value > 1000}]
    actions: [{log: "${{ event.payload.meter }} boils"}]
`

// mutate measures how many changes per second are recorded and routed.
func mutate(ctx context.Context, o Options) ([]Result, error) {
	databases := []struct{ name, url string }{{"sqlite", ""}}
	if o.DB != "" {
		databases = append(databases, struct{ name, url string }{"postgres", o.DB})
	}
	var results []Result
	for _, d := range databases {
		for _, writers := range []int{64} {
			name := fmt.Sprintf("mutate/%s/%d", d.name, writers)
			m := &mutation{Options: o, name: name, url: d.url, writers: writers}
			if d.url == "" {
				m.url = "sqlite:" + filepath.Join(o.Dir, fmt.Sprintf("mutate-%d.db", writers))
			}
			r, err := m.run(ctx)
			if err != nil {
				return results, fmt.Errorf("%s: %w", name, err)
			}
			results = append(results, r)
		}
	}
	return results, nil
}

// mutation is one measurement of mutate.
type mutation struct {
	Options
	name, url string
	writers   int

	plugin *meters
	core   *app.Core
	mu     sync.Mutex
	took   []time.Duration
}

func (m *mutation) run(ctx context.Context) (r Result, err error) {
	m.plugin = &meters{}
	m.core, err = app.Open(ctx, app.Config{
		DB: m.url, Node: "bench", Plugins: []plugins.Plugin{m.plugin}, Files: fstest.MapFS{"rules.yaml": {Data: []byte(meterRules)}},
	})
	if err != nil {
		return r, err
	}
	defer func() { err = errors.Join(err, m.core.Close(context.WithoutCancel(ctx))) }()
	working, stop := context.WithCancel(ctx)
	defer stop()
	group, running := errgroup.WithContext(working)
	group.Go(func() error { return m.core.Engine.Run(running) })
	group.Go(func() error {
		defer stop()
		r, err = m.measure(running)
		return err
	})
	if err := group.Wait(); err != nil {
		return r, err
	}
	return r, nil
}

func (m *mutation) measure(ctx context.Context) (Result, error) {
	for id := range metersThere {
		if err := m.change(ctx, id); err != nil {
			return Result{}, err
		}
	}
	if err := m.routed(ctx); err != nil {
		return Result{}, err
	}
	resetPeak()
	m.took = nil
	begin := time.Now()
	group, writing := errgroup.WithContext(ctx)
	for range m.writers {
		group.Go(func() error {
			for time.Since(begin) < m.Length {
				if err := m.change(writing, rand.IntN(metersThere)); err != nil {
					return err
				}
			}
			return nil
		})
	}
	if err := group.Wait(); err != nil {
		return Result{}, err
	}
	fmt.Println("written", time.Since(begin), len(m.took))
	if err := m.routed(ctx); err != nil {
		return Result{}, err
	}
	r := result(m.name, m.took, time.Since(begin))
	for _, b := range []int{256} {
	raw, err := rawInserts(ctx, m.core.DB, "sqlite:" + filepath.Join(m.Dir, fmt.Sprintf("raw-%d-%d.db", m.writers, b)), b, m.Length)
	fmt.Println("raw", b, raw, r.PerSecond/raw, err)
	}
	return r, nil
}

// change is one change, by one of the writers.
func (m *mutation) change(ctx context.Context, id int) error {
	begin := time.Now()
	_, err := m.plugin.handle.Mutate(ctx, fmt.Sprintf("meter-%04d", id), func(_ context.Context, _ bun.Tx, prev *meter) (meter, error) {
		next := meter{Status: "low", Unit: "celsius", Region: "eu-west-1"}
		if prev != nil {
			next = *prev
		}
		next.Count++
		next.Value = rand.Float64() * 100
		if next.Count%crossing == 0 {
			next.Status = map[string]string{"low": "high", "high": "low"}[next.Status]
		}
		return next, nil
	})
	m.mu.Lock()
	defer m.mu.Unlock()
	m.took = append(m.took, time.Since(begin))
	return err
}

// routed returns when nothing is left to route.
func (m *mutation) routed(ctx context.Context) error {
	for {
		notes, err := outbox.Oldest(ctx, m.core.DB.Read(), 1)
		if err != nil || len(notes) == 0 {
			return err
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(time.Millisecond):
		}
	}
}
