package bench

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"sync/atomic"
	"testing/fstest"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/flightrules/flightrules/engine"
	"github.com/flightrules/flightrules/internal/app"
	"github.com/flightrules/flightrules/internal/db"
)

const (
	// posters is how many post events at once, each the next one when its own is
	// recorded.
	posters = 64
	// atOnce is how many events may be posted whose runs have neither ended nor
	// wait: enough for the engine to be busy, and few enough for the end of a
	// measurement to come soon after its time.
	atOnce = 1024
	// countEvery is how often it is counted how many those are.
	countEvery = 5 * time.Millisecond
)

// running is an engine in which posted events start runs.
type running struct {
	Options
	name, url, rawURL string
	clock             func() time.Time // nil: the wall clock
	core              *app.Core
}

// eachDatabase measures something on every database that there is.
func eachDatabase(o Options, what string, measure func(r *running) (Result, error)) ([]Result, error) {
	file := func(kind string) string { return "sqlite:" + filepath.Join(o.Dir, what+"-"+kind+".db") }
	on := []*running{{Options: o, name: what + "/sqlite", url: file("bench"), rawURL: file("raw")}}
	if o.DB != "" {
		on = append(on, &running{Options: o, name: what + "/postgres", url: o.DB, rawURL: o.DB})
	}
	var results []Result
	for _, r := range on {
		one, err := measure(r)
		if err != nil {
			return results, fmt.Errorf("%s: %w", r.name, err)
		}
		results = append(results, one)
	}
	return results, nil
}

// with runs the engine with these rules while fn measures, and lets compare
// look at what is left when it stands still.
func (r *running) with(ctx context.Context, rules string, fn, compare func(ctx context.Context) error) (err error) {
	r.tell(r.name, 0)
	r.core, err = app.Open(ctx, app.Config{
		DB: r.url, Node: "bench", Files: fstest.MapFS{"rules.yaml": {Data: []byte(rules)}}, Now: r.clock,
	})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, r.core.Close(context.WithoutCancel(ctx))) }()
	working, stop := context.WithCancel(ctx)
	defer stop()
	group, running := errgroup.WithContext(working)
	group.Go(func() error { return r.core.DB.RunHints(running, r.core.Log) })
	group.Go(func() error { return r.core.Engine.Run(running) })
	group.Go(func() error {
		defer stop()
		return fn(running)
	})
	if err := group.Wait(); err != nil {
		return err
	}
	return compare(ctx)
}

// post posts events, as fast as the engine goes on with them, for as long as
// more says so, and returns when all of their runs have ended or wait. Each event
// is of an entity of its own, so that no run is in the way of another.
func (r *running) post(ctx context.Context, event func(n int) engine.Emitted, more func(n int) bool) (posted int, err error) {
	var begun, done atomic.Int64
	under := make(chan struct{}, atOnce)
	var group errgroup.Group
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	for range posters {
		group.Go(func() error {
			for {
				select {
				case under <- struct{}{}:
				case <-ctx.Done():
					return ctx.Err()
				}
				n := int(begun.Add(1)) - 1
				if !more(n) {
					return nil
				}
				if _, _, err := r.core.Engine.Emit(ctx, event(n)); err != nil {
					stop()
					return err
				}
				done.Add(1)
			}
		})
	}
	ended := make(chan error, 1)
	go func() { ended <- group.Wait() }()
	tick := time.NewTicker(countEvery)
	defer tick.Stop()
	for gone, last := int64(0), false; ; {
		before := done.Load()
		left, err := r.unfinished(ctx)
		if err != nil {
			stop()
			return 0, errors.Join(err, group.Wait())
		}
		if last && left == 0 {
			return int(before), nil
		}
		for ; gone < before-int64(left); gone++ {
			<-under
		}
		select {
		case err := <-ended:
			if err != nil {
				return 0, err
			}
			last = true
		case <-tick.C:
		}
	}
}

// unfinished is how many events are yet to be routed, and how many runs have
// neither ended nor wait.
func (r *running) unfinished(ctx context.Context) (n int, err error) {
	err = r.core.DB.Read().QueryRowContext(ctx,
		"SELECT (SELECT COUNT(*) FROM outbox) + (SELECT COUNT(*) FROM runs WHERE status IN ('queued', 'running'))").Scan(&n)
	return n, err
}

// reading is an event that the rules of runRules match.
func reading(name string) func(n int) engine.Emitted {
	return func(n int) engine.Emitted {
		return engine.Emitted{
			Name: "custom." + name, Kind: "meter", EntityID: meterID(n), Payload: db.ToJSON(map[string]any{"meter": meterID(n), "value": 99.5}),
		}
	}
}

// lasting is a more of post that ends after a time, when there is enough to
// compare with.
func (r *running) lasting(length time.Duration, from, to float64) func(n int) bool {
	begin := time.Now()
	var shown atomic.Int64
	return func(n int) bool {
		passed := time.Since(begin)
		if before := shown.Load(); passed-time.Duration(before) > progressEvery && shown.CompareAndSwap(before, int64(passed)) {
			r.tell(r.name, from+(to-from)*min(1, passed.Seconds()/length.Seconds()))
		}
		return n < rawBatch || passed < length
	}
}

// tooks are how long it took from one column of the runs of a rule to another;
// the tables are runs, events and first, the first steps.
func (r *running) tooks(ctx context.Context, rule, from, to string) ([]time.Duration, error) {
	var took []time.Duration
	rows, err := r.core.DB.Read().QueryContext(ctx, "SELECT "+to+" - "+from+" FROM runs "+
		"JOIN events ON events.id = runs.event_id JOIN steps AS first ON first.run_id = runs.id AND first.position = 0 WHERE runs.rule = ?", rule)
	if err != nil {
		return nil, err
	}
	for rows.Next() {
		var micros int64
		if err := rows.Scan(&micros); err != nil {
			return nil, errors.Join(err, rows.Close())
		}
		took = append(took, time.Duration(micros)*time.Microsecond)
	}
	return took, errors.Join(rows.Err(), rows.Close())
}
