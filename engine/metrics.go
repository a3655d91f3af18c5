package engine

import (
	"context"
	"math"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/flightrules/flightrules/engine/journal"
)

// Metrics count what the engine does.
type Metrics struct {
	routed    prometheus.Counter
	decisions *prometheus.CounterVec // by rule and outcome
	runs      *prometheus.CounterVec // ended, by rule and status
	failures  *prometheus.CounterVec // of background work, by part
	pruned    *prometheus.CounterVec // rows, by table
}

// NewMetrics makes the counters and registers them, unless in is nil.
func NewMetrics(in prometheus.Registerer) *Metrics {
	m := &Metrics{
		routed: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "flightrules_routed_total", Help: "Transitions and emitted events that were routed to the rules.",
		}),
		decisions: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "flightrules_decisions_total", Help: "Decisions about matches.",
		}, []string{"rule", "outcome"}),
		runs: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "flightrules_runs_total", Help: "Runs that have ended.",
		}, []string{"rule", "status"}),
		failures: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "flightrules_background_failures_total", Help: "Failures of background work, which is tried again.",
		}, []string{"part"}),
		pruned: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "flightrules_pruned_rows_total", Help: "Rows of old history that were removed.",
		}, []string{"table"}),
	}
	if in != nil {
		in.MustRegister(m.routed, m.decisions, m.runs, m.failures, m.pruned)
	}
	return m
}

// Failed counts a failure of a part of the background work.
func (m *Metrics) Failed(part string, _ error) { m.failures.WithLabelValues(part).Inc() }

// lookTimeout bounds how long a metric that is looked up may keep whoever asks.
const lookTimeout = 5 * time.Second

// Measure registers what is looked up in the database when it is asked for, so
// that each node says the same. What cannot be looked up is not a number.
func (e *Engine) Measure(in prometheus.Registerer) {
	in.MustRegister(prometheus.NewGaugeFunc(prometheus.GaugeOpts{
		Name: "flightrules_runs_dead", Help: "Runs that failed for good and that nobody has retried.",
	}, func() float64 {
		ctx, cancel := context.WithTimeout(context.Background(), lookTimeout)
		defer cancel()
		n, err := journal.DeadRuns(ctx, e.DB.Read())
		if err != nil {
			e.Metrics.Failed("metrics", err)
			return math.NaN()
		}
		return float64(n)
	}))
}
