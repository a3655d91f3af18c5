package engine

import (
	"context"
	"time"

	"github.com/flightrules/flightrules/engine/retention"
	"github.com/flightrules/flightrules/rules"
)

func (e *Engine) newPruner() *retention.Pruner {
	return retention.New(retention.Options{
		DB: e.DB, Entities: e.Entities, Now: e.Now, Log: e.Log,
		Rules: func() *rules.Set { return e.set.Load() }, Recent: e.recent,
		Removed: func(table string, rows int) { e.Metrics.pruned.WithLabelValues(table).Add(float64(rows)) },
	})
}

// Pruner is the part that keeps the history bounded. Run drives it too.
func (e *Engine) Pruner() *retention.Pruner { return e.pruner }

// recent is how far back the gates look for runs of a rule: those of a cooldown
// and of what trips a rule.
func (e *Engine) recent(rule string) time.Duration {
	if r := e.Rules().Rule(rule); r != nil {
		return max(r.Cooldown, tripWindow)
	}
	return tripWindow
}

// Prune removes old history now; see retention.Pruner.
func (e *Engine) Prune(ctx context.Context, cursor string, batches int, dry bool) (removed retention.Counts, next string, err error) {
	return e.pruner.Prune(ctx, cursor, batches, dry)
}
