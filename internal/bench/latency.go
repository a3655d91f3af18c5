package bench

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/uptrace/bun"
	"golang.org/x/sync/errgroup"

	"github.com/flightrules/flightrules/internal/db"
)

// latency measures how long it takes from an event to the first step of its
// run, at half of the load that the engine carries: that is measured first, as
// run does it. Events are posted at their times, whether or not those before
// them are through. The baseline commits a bare row at the same times.
func latency(ctx context.Context, o Options) ([]Result, error) {
	return eachDatabase(o, "latency", func(r *running) (result Result, err error) {
		var full Result
		err = r.with(ctx, "rules:"+fmt.Sprintf(runRules, "full")+fmt.Sprintf(runRules, "half"), func(ctx context.Context) error {
			if full, err = r.full(ctx, "full", r.Length, 0.5); err != nil {
				return err
			}
			result, err = r.half(ctx, full.PerSecond/2)
			return err
		}, func(ctx context.Context) error {
			bare, err := r.bare(ctx, full.PerSecond/2)
			result = result.against(full.PerSecond)
			result.Detail = fmt.Sprintf("p50 and p99 are from the event to the first step of its run, at half of the load that was measured just before as `run` does it, which is the baseline/s; a bare row, with a transaction of its own at the same times, took %.3g ms (p50) and %.3g ms (p99)",
				bare.P50, bare.P99)
			return err
		})
		return result, err
	})
}

// half posts events at a rate.
func (r *running) half(ctx context.Context, perSecond float64) (Result, error) {
	resetPeak()
	begin := time.Now()
	event := reading("half")
	posted, err := r.paced(ctx, perSecond, r.Length, func(ctx context.Context, n int, at time.Time) error {
		e := event(n)
		e.At = at
		_, _, err := r.core.Engine.Emit(ctx, e)
		return err
	})
	if err != nil {
		return Result{}, err
	}
	all := time.Since(begin)
	for left := 1; left > 0; {
		if left, err = r.unfinished(ctx); err != nil {
			return Result{}, err
		}
		select {
		case <-ctx.Done():
			return Result{}, ctx.Err()
		case <-time.After(countEvery):
		}
	}
	took, err := r.tooks(ctx, "half", "events.at", "first.started_at")
	if err == nil && len(took) != posted {
		err = fmt.Errorf("%d events were posted, and %d runs have begun", posted, len(took))
	}
	return result(r.name, took, all), err
}

// paced calls fn at a rate, however long it takes.
func (r *running) paced(ctx context.Context, perSecond float64, length time.Duration, fn func(ctx context.Context, n int, at time.Time) error) (n int, err error) {
	group, ctx := errgroup.WithContext(ctx)
	begin := time.Now()
	more := r.lasting(length, 0.5, 1)
	for ; n == 0 || more(n); n++ {
		at := begin.Add(time.Duration(float64(n) / perSecond * float64(time.Second)))
		if early := time.Until(at); early > 0 {
			select {
			case <-ctx.Done():
				return n, errors.Join(group.Wait(), ctx.Err())
			case <-time.After(early):
			}
		}
		one := n // n is a result, and so the same variable each time
		group.Go(func() error { return fn(ctx, one, at) })
	}
	return n, group.Wait()
}

// bare commits rows at a rate.
func (r *running) bare(ctx context.Context, perSecond float64) (res Result, err error) {
	into := r.core.DB
	if r.rawURL != r.url {
		if into, err = db.Open(ctx, r.rawURL, db.Options{}); err != nil {
			return res, err
		}
		defer func() { err = errors.Join(err, into.Close()) }()
	}
	execute := func(ctx context.Context, statement string, args ...any) error {
		return into.Write(ctx, func(ctx context.Context, tx bun.Tx) error {
			_, err := tx.ExecContext(ctx, statement, args...)
			return err
		})
	}
	if err := execute(ctx, "CREATE TABLE raw (id TEXT PRIMARY KEY, at BIGINT NOT NULL)"); err != nil {
		return res, err
	}
	begin := time.Now()
	took := make(chan time.Duration, 1024)
	var all []time.Duration
	var collecting errgroup.Group
	collecting.Go(func() error {
		for one := range took {
			all = append(all, one)
		}
		return nil
	})
	_, err = r.paced(ctx, perSecond, r.Length/4, func(ctx context.Context, n int, at time.Time) error {
		err := execute(ctx, "INSERT INTO raw VALUES (?, ?)", meterID(n), at.UnixMicro())
		took <- time.Since(at)
		return err
	})
	close(took)
	err = errors.Join(err, collecting.Wait(), execute(ctx, "DROP TABLE raw"))
	slices.Sort(all)
	return result("bare", all, time.Since(begin)), err
}
