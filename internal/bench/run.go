package bench

import (
	"context"
	"fmt"
	"time"
)

// runRules is a rule of three steps and a condition; %[1]s is its name and that
// of its event.
const runRules = `
  - id: %[1]s
    triggers: [{event: custom.%[1]s, where: event.payload.value > 10}]
    conditions: [event.payload.value < 1000]
    actions:
      - set: {half: "${{ event.payload.value / 2 }}"}
      - choose:
          - when: vars.half > 10
            do: [{log: "${{ event.payload.meter }} is at ${{ vars.half }}"}]
`

// run measures how many runs per second end, from posted events on. The
// baseline writes the rows that this leaves, and nothing else.
func run(ctx context.Context, o Options) ([]Result, error) {
	return eachDatabase(o, "run", func(r *running) (result Result, err error) {
		err = r.with(ctx, "rules:"+fmt.Sprintf(runRules, "run"), func(ctx context.Context) error {
			result, err = r.full(ctx, "run", r.Length, 1)
			return err
		}, func(ctx context.Context) error {
			result, err = r.compareRuns(ctx, result)
			return err
		})
		return result, err
	})
}

// full posts events of a rule as fast as it goes, and stops the time when the
// last run has ended. part is how much of the work's progress that is.
func (r *running) full(ctx context.Context, rule string, length time.Duration, part float64) (Result, error) {
	resetPeak()
	begin := time.Now()
	posted, err := r.post(ctx, reading(rule), r.lasting(length, 0, part))
	if err != nil {
		return Result{}, err
	}
	all := time.Since(begin)
	took, err := r.tooks(ctx, rule, "events.at", "runs.finished_at")
	if err == nil && len(took) != posted {
		err = fmt.Errorf("%d events were posted, and %d runs have ended", posted, len(took))
	}
	return result(r.name, took, all), err
}

// compareRuns checks that each event made one run with its steps, and compares
// with the baseline.
func (r *running) compareRuns(ctx context.Context, result Result) (Result, error) {
	tables := []*rawTable{rawEvents("run"), rawDecisions("run"), rawRuns("run"), rawSteps("run", "")}
	tables[2].then = []string{claimRaw, finishRaw}
	perRow, err := insertRaw(ctx, r.core.DB, r.url, r.rawURL, r.Length/4, tables...)
	if err != nil {
		return result, err
	}
	perRun := time.Duration(0)
	for i, rows := range []int{1, 1, 1, 3} {
		perRun += perRow[i] * time.Duration(rows)
		if len(tables[i].rows) != result.Ops*rows {
			return result, fmt.Errorf("%d events left %d rows of %s, not %d for each", result.Ops, len(tables[i].rows), tables[i].like, rows)
		}
	}
	result = result.against(1 / perRun.Seconds())
	result.Detail = fmt.Sprintf("%d posters and at most %d runs under way; p50 and p99 are from the event to the end of its run, most of which is waiting its turn; a run has a condition and three steps (set, choose, log); the baseline writes the same rows (an event, a decision, a run that is claimed and ends, three steps) in statements of %d and nothing else",
		posters, atOnce, rawBatch)
	return result, nil
}
