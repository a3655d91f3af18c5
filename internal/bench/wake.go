package bench

import (
	"context"
	"fmt"
	"slices"
	"sync/atomic"
	"time"

	"github.com/flightrules/flightrules/engine"
	"github.com/flightrules/flightrules/engine/timer"
	"github.com/flightrules/flightrules/internal/app"
	"github.com/flightrules/flightrules/internal/db"
)

// wakeRules wait until a time of the event and then do one thing more.
const wakeRules = `
rules:
  - id: wake
    triggers: [{event: custom.wake}]
    actions:
      - wait: {until: "${{ event.payload.until }}"}
      - log: "${{ event.entity.id }} goes on"
`

// wake measures how soon the last of many runs has gone on and ended that all
// wait for the very same instant. That is an hour away while they begin, and
// then the engine's clock is put there. The baseline writes the rows that follow
// from it, and nothing else.
func wake(ctx context.Context, o Options) ([]Result, error) {
	return eachDatabase(o, "wake", func(r *running) (result Result, err error) {
		var ahead atomic.Int64
		r.clock = func() time.Time { return app.Clock().Add(time.Duration(ahead.Load())) }
		due := app.Clock().Add(time.Hour)
		err = r.with(ctx, wakeRules, func(ctx context.Context) error {
			if err := r.wait(ctx, due); err != nil {
				return err
			}
			resetPeak()
			ahead.Store(int64(due.Sub(app.Clock())))
			r.core.DB.Hint(timer.Topic)
			result, err = r.woken(ctx)
			return err
		}, func(ctx context.Context) error {
			result, err = r.compareWaits(ctx, result)
			return err
		})
		return result, err
	})
}

// wait starts the runs, and returns when all of them wait.
func (r *running) wait(ctx context.Context, due time.Time) error {
	payload := db.ToJSON(map[string]any{"until": due})
	n, err := r.post(ctx, func(n int) engine.Emitted {
		return engine.Emitted{Name: "custom.wake", Kind: "meter", EntityID: meterID(n), Payload: payload}
	}, func(n int) bool {
		if n%100 == 0 {
			r.tell(r.name, float64(n)/float64(r.Waits)/2)
		}
		return n < r.Waits
	})
	if err != nil {
		return err
	}
	waiting, err := r.waiting(ctx)
	if err == nil && (waiting != n || n != r.Waits) {
		err = fmt.Errorf("%d runs wait of %d", waiting, r.Waits)
	}
	return err
}

// woken returns when no run waits any more.
func (r *running) woken(ctx context.Context) (Result, error) {
	tick := time.NewTicker(progressEvery)
	defer tick.Stop()
	for {
		waiting, err := r.waiting(ctx)
		if err != nil {
			return Result{}, err
		}
		left, err := r.unfinished(ctx)
		if err != nil {
			return Result{}, err
		}
		if waiting+left == 0 {
			break
		}
		r.tell(r.name, 0.5+0.5*float64(r.Waits-waiting)/float64(r.Waits))
		select {
		case <-ctx.Done():
			return Result{}, ctx.Err()
		case <-tick.C:
		}
	}
	took, err := r.tooks(ctx, "wake", "first.due_at", "runs.finished_at")
	if err != nil {
		return Result{}, err
	}
	return result(r.name, took, slices.Max(took)), nil
}

func (r *running) waiting(ctx context.Context) (n int, err error) {
	err = r.core.DB.Read().QueryRowContext(ctx, "SELECT COUNT(*) FROM runs WHERE status = 'waiting'").Scan(&n)
	return n, err
}

// compareWaits compares with the baseline.
func (r *running) compareWaits(ctx context.Context, result Result) (Result, error) {
	runs, timers := rawRuns("wake"), rawTimers("wake")
	waits, logs := rawSteps("wake", "actions[0]"), rawSteps("wake", "actions[1]")
	runs.then, runs.untimed = []string{"UPDATE raw SET ready = TRUE WHERE id IN (%s)", claimRaw, finishRaw}, true
	waits.then, waits.untimed = []string{"UPDATE raw SET status = 'succeeded', output = '{}', finished_at = 1 WHERE run_id IN (%s)"}, true
	timers.then, timers.untimed = []string{"DELETE FROM raw WHERE key IN (%s)"}, true
	perRow, err := insertRaw(ctx, r.core.DB, r.url, r.rawURL, r.Length/4, runs, timers, waits, logs)
	if err != nil {
		return result, err
	}
	perRun := time.Duration(0)
	for _, took := range perRow {
		perRun += took
	}
	if result.Ops != r.Waits || len(logs.rows) != r.Waits {
		return result, fmt.Errorf("%d runs waited, %d have ended and %d have logged", r.Waits, result.Ops, len(logs.rows))
	}
	result = result.against(1 / perRun.Seconds())
	result.Detail = fmt.Sprintf("%d runs wait for one instant; p50 and p99 are from then to the end of the run, after one step more, and the time stops with the last; the baseline writes the same rows (the run made ready, claimed and ended, its timer removed, a step changed and one added) in statements of %d and nothing else",
		r.Waits, rawBatch)
	return result, nil
}
