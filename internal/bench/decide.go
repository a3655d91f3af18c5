package bench

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"testing/fstest"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/flightrules/flightrules/engine"
	"github.com/flightrules/flightrules/internal/app"
	"github.com/flightrules/flightrules/internal/db"
)

// decideRules match each event twice and never run: the conditions of one are
// false, and the other counts to more than there will be. %[1]d tells apart the
// measurements that share a database.
const decideRules = `
rules:
  - id: refused-%[1]d
    triggers: [{event: custom.reading_%[1]d, where: event.payload.value > 10}]
    conditions: [event.payload.value > 1000]
    actions: [{log: never}]
  - id: counted-%[1]d
    triggers: [{event: custom.reading_%[1]d, where: event.payload.value > 10, count: 10000, within: 1m, by: event.payload.meter}]
    actions: [{log: never}]
`

// decide measures how many events per second are recorded, routed and decided,
// where nothing is to be done about them. The baseline inserts the rows that
// this leaves, and nothing else.
func decide(ctx context.Context, o Options) ([]Result, error) {
	var results []Result
	for _, postgres := range []bool{false, true} {
		if postgres && o.DB == "" {
			continue
		}
		for _, writers := range []int{64, 256} {
			file := func(kind string) string {
				return "sqlite:" + filepath.Join(o.Dir, fmt.Sprintf("decide-%d-%s.db", writers, kind))
			}
			d := &deciding{Options: o, writers: writers, name: fmt.Sprintf("decide/sqlite/%d", writers), url: file("bench"), rawURL: file("raw")}
			if postgres {
				d.url, d.rawURL, d.name = o.DB, o.DB, fmt.Sprintf("decide/postgres/%d", writers)
			}
			r, err := d.run(ctx)
			if err != nil {
				return results, fmt.Errorf("%s: %w", d.name, err)
			}
			results = append(results, r)
		}
	}
	return results, nil
}

// deciding is one measurement of decide.
type deciding struct {
	Options
	name, url, rawURL string
	writers           int

	core *app.Core
}

func (d *deciding) run(ctx context.Context) (r Result, err error) {
	d.tell(d.name, 0)
	d.core, err = app.Open(ctx, app.Config{
		DB: d.url, Node: "bench", Files: fstest.MapFS{"rules.yaml": {Data: fmt.Appendf(nil, decideRules, d.writers)}},
	})
	if err != nil {
		return r, err
	}
	defer func() { err = errors.Join(err, d.core.Close(context.WithoutCancel(ctx))) }()
	working, stop := context.WithCancel(ctx)
	defer stop()
	group, running := errgroup.WithContext(working)
	group.Go(func() error { return d.core.DB.RunHints(running, d.core.Log) })
	group.Go(func() error { return d.core.Engine.Run(running) })
	group.Go(func() error {
		defer stop()
		r, err = d.measure(running)
		return err
	})
	if err := group.Wait(); err != nil {
		return r, err
	}
	return d.compare(ctx, r)
}

// measure emits events for a while, and stops the time when the last one is
// decided.
func (d *deciding) measure(ctx context.Context) (Result, error) {
	if err := d.prepare(ctx); err != nil {
		return Result{}, err
	}
	resetPeak()
	begin := time.Now()
	var group errgroup.Group
	tooks := make([][]time.Duration, d.writers)
	for w := range d.writers {
		group.Go(func() error {
			shown := begin
			for last := begin; last.Sub(begin) < d.Length; {
				meter := (w + len(tooks[w])*d.writers) % metersThere
				if err := d.emit(ctx, meter); err != nil {
					return err
				}
				now := time.Now()
				tooks[w] = append(tooks[w], now.Sub(last))
				if last = now; w == 0 && now.Sub(shown) > progressEvery {
					shown = now
					d.tell(d.name, now.Sub(begin).Seconds()/d.Length.Seconds())
				}
			}
			return nil
		})
	}
	err := errors.Join(group.Wait(), routed(ctx, d.core))
	return result(d.name, slices.Concat(tooks...), time.Since(begin)), err
}

// prepare emits some events, so that there is enough to compare with.
func (d *deciding) prepare(ctx context.Context) error {
	var group errgroup.Group
	group.SetLimit(d.writers)
	for meter := range rawBatch {
		group.Go(func() error { return d.emit(ctx, meter) })
	}
	return errors.Join(group.Wait(), routed(ctx, d.core))
}

// emit makes one event.
func (d *deciding) emit(ctx context.Context, meter int) error {
	_, _, err := d.core.Engine.Emit(ctx, engine.Emitted{
		Name: fmt.Sprintf("custom.reading_%d", d.writers), Kind: "meter", EntityID: meterID(meter),
		Payload: db.ToJSON(map[string]any{"meter": meterID(meter), "value": 99.5}),
	})
	return err
}

// compare checks that each event was decided as is meant, and compares with the
// baseline.
func (d *deciding) compare(ctx context.Context, r Result) (Result, error) {
	tables := d.tables()
	perRow, err := insertRaw(ctx, d.core.DB, d.url, d.rawURL, d.Length/4, tables...)
	if err != nil {
		return r, err
	}
	perEvent := time.Duration(0)
	for i, t := range tables {
		perEvent += perRow[i] * time.Duration(t.perEvent)
		if events := r.Ops + rawBatch; len(t.rows) != events*t.perEvent {
			return r, fmt.Errorf("%d events left %d rows of %s, not %d for each", events, len(t.rows), t.like, t.perEvent)
		}
	}
	r = r.against(1 / perEvent.Seconds())
	r.Detail = fmt.Sprintf("writers: %d, each waiting until its own event is recorded, which is what p50 and p99 are of; ops/s counts until the last is decided; each matches two rules, one with a false condition and one that counts; the baseline inserts the same rows (an event, two decisions, an item of a window) in statements of %d and nothing else", d.writers, rawBatch)
	return r, nil
}

// tables are what is left of the events.
func (d *deciding) tables() []*rawTable {
	refused, counted := fmt.Sprintf("refused-%d", d.writers), fmt.Sprintf("counted-%d", d.writers)
	events, decisions, items := rawEvents(fmt.Sprintf("reading_%d", d.writers)), rawDecisions(refused, counted), rawItems(counted)
	events.perEvent, decisions.perEvent, items.perEvent = 1, 2, 1
	return []*rawTable{events, decisions, items}
}
