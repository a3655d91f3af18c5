package satellite

import "github.com/prometheus/client_golang/prometheus"

// metrics count what the plugin does.
type metrics struct {
	heartbeats prometheus.Counter
	failures   *prometheus.CounterVec // by edge
	refused    *prometheus.CounterVec // by reason
	breaks     prometheus.Counter
	results    *prometheus.CounterVec // by what became of them
	requests   *prometheus.CounterVec // for secrets, by answer
}

func newMetrics(in prometheus.Registerer, live func() int) *metrics {
	m := &metrics{
		heartbeats: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "flightrules_satellite_heartbeats_total", Help: "Heartbeats that were written.",
		}),
		failures: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "flightrules_satellite_edge_failures_total", Help: "Changes of satellites that failed; all but removals are tried again.",
		}, []string{"edge"}),
		refused: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "flightrules_satellite_refused_total", Help: "Sockets that were not let in.",
		}, []string{"reason"}),
		breaks: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "flightrules_satellite_listening_breaks_total",
			Help: "How often the core found that it had not been listening, or that its clock had jumped.",
		}),
	}
	m.results = prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "flightrules_satellite_results_total",
		Help: "Results of satellites: taken, refused since they were not assigned to it, or lost by its agent for want of room.",
	}, []string{"outcome"})
	m.requests = prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "flightrules_satellite_secret_requests_total", Help: "Requests of satellites for secrets, by answer.",
	}, []string{"answer"})
	if in != nil {
		in.MustRegister(m.heartbeats, m.failures, m.refused, m.breaks, m.results, m.requests, prometheus.NewGaugeFunc(prometheus.GaugeOpts{
			Name: "flightrules_satellite_sessions", Help: "Satellites that are connected to this node.",
		}, func() float64 { return float64(live()) }))
	}
	return m
}

// failed logs and counts an edge of one satellite that failed.
func (p *Plugin) failed(edge, id string, err error) {
	p.metrics.failures.WithLabelValues(edge).Inc()
	p.host.Log().Error("a change of a satellite failed", "edge", edge, "satellite", id, "error", err)
}
