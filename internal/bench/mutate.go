package bench

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"slices"
	"testing/fstest"
	"time"

	"github.com/uptrace/bun"
	"golang.org/x/sync/errgroup"

	"github.com/flightrules/flightrules/engine/outbox"
	"github.com/flightrules/flightrules/internal/app"
	"github.com/flightrules/flightrules/plugins"
)

const (
	// metersThere is how many entities the writers of mutate change.
	metersThere = 1000
	// crossing is one in how many changes is one of status, and so means an
	// event, which a rule looks at.
	crossing = 10
)

const meterRules = `
rules:
  - id: boiling
    triggers: [{event: meter.crossed, where: event.payload.value > 1000}]
    actions: [{log: "${{ event.payload.meter }} boils"}]
`

// mutate measures how many changes per second are recorded and routed. The
// baseline inserts the transitions that this makes, as rows and nothing else.
func mutate(ctx context.Context, o Options) ([]Result, error) {
	var results []Result
	for _, postgres := range []bool{false, true} {
		if postgres && o.DB == "" {
			continue
		}
		for _, writers := range []int{1, 64, 256} {
			m := &mutation{Options: o, writers: writers, name: fmt.Sprintf("mutate/sqlite/%d", writers)}
			m.url, m.rawURL = m.file("bench"), m.file("raw")
			if postgres {
				m.url, m.rawURL, m.name = o.DB, o.DB, fmt.Sprintf("mutate/postgres/%d", writers)
			}
			r, err := m.run(ctx)
			if err != nil {
				return results, fmt.Errorf("%s: %w", m.name, err)
			}
			results = append(results, r)
		}
	}
	return results, nil
}

// mutation is one measurement of mutate.
type mutation struct {
	Options
	name, url, rawURL string
	writers           int

	plugin *meters
	core   *app.Core
}

func (m *mutation) file(kind string) string {
	return "sqlite:" + filepath.Join(m.Dir, fmt.Sprintf("mutate-%d-%s.db", m.writers, kind))
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
	group.Go(func() error { return m.core.DB.RunHints(running, m.core.Log) })
	group.Go(func() error { return m.core.Engine.Run(running) })
	group.Go(func() error {
		defer stop()
		r, err = m.measure(running)
		return err
	})
	if err := group.Wait(); err != nil {
		return r, err
	}
	perRow, err := insertRaw(ctx, m.core.DB, m.url, m.rawURL, m.Length/4, transitions())
	if err != nil {
		return r, err
	}
	r = r.against(1 / perRow[0].Seconds())
	r.Detail = fmt.Sprintf("writers: %d, each waiting for its own change; the baseline inserts the same transitions in statements of %d rows and nothing else", m.writers, rawBatch)
	return r, nil
}

// measure changes meters for a while, and stops the time when the last change
// is routed.
func (m *mutation) measure(ctx context.Context) (Result, error) {
	if err := m.prepare(ctx); err != nil {
		return Result{}, err
	}
	resetPeak()
	begin := time.Now()
	var group errgroup.Group
	tooks := make([][]time.Duration, m.writers)
	for w := range m.writers {
		group.Go(func() error {
			shown := begin
			for last := begin; last.Sub(begin) < m.Length; {
				if err := m.change(ctx, rand.IntN(metersThere)); err != nil {
					return err
				}
				now := time.Now()
				tooks[w] = append(tooks[w], now.Sub(last))
				if last = now; w == 0 && now.Sub(shown) > progressEvery {
					shown = now
					m.tell(m.name, now.Sub(begin).Seconds()/m.Length.Seconds())
				}
			}
			return nil
		})
	}
	err := errors.Join(group.Wait(), routed(ctx, m.core))
	return result(m.name, slices.Concat(tooks...), time.Since(begin)), err
}

// prepare makes the meters.
func (m *mutation) prepare(ctx context.Context) error {
	m.tell(m.name, 0)
	var group errgroup.Group
	group.SetLimit(100)
	for id := range metersThere {
		group.Go(func() error { return m.change(ctx, id) })
	}
	return errors.Join(group.Wait(), routed(ctx, m.core))
}

// change is one change, by one of the writers.
func (m *mutation) change(ctx context.Context, id int) error {
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
	return err
}

// routed returns when nothing is left to route.
func routed(ctx context.Context, core *app.Core) error {
	for {
		notes, err := outbox.Oldest(ctx, core.DB.Read(), 1)
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
