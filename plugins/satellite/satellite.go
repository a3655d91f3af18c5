// Package satellite is the plugin of satellites: remote agents that connect out
// to the core over a WebSocket and prove with heartbeats that they are alive.
//
// Whether a satellite is online follows from durable rows and the clock, and
// every node computes the same answer. A loss is found by a durable timer at
// the satellite's threshold, by any node, once, in the transaction that records
// it. Sessions are fenced by an epoch: what an old socket writes is refused.
//
// In simulations satellites are played: what they do are the verbs of the plugin
// (simulate.go), and their agents are those of outside.go.
package satellite

import (
	"cmp"
	"context"
	"embed"
	"errors"
	"fmt"
	"io/fs"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/flightrules/flightrules/entities"
	"github.com/flightrules/flightrules/plugins"
	"github.com/flightrules/flightrules/plugins/satellite/protocol"
)

// Config are the numbers of the plugin. Zero values mean the defaults.
type Config struct {
	// HeartbeatInterval is how far apart heartbeats are at most; a third of
	// the satellite's threshold when that is less. Default 15 s.
	HeartbeatInterval time.Duration
	// OfflineThreshold is the silence after which a satellite without a
	// threshold of its own is lost. Default 45 s.
	OfflineThreshold time.Duration
	// MinThreshold and MaxThreshold bound a satellite's own threshold.
	// Defaults 15 s, or OfflineThreshold if that is less, and 24 h.
	MinThreshold, MaxThreshold time.Duration
	// AuthTimeout is how long a new socket may take to authenticate. Default
	// 10 s.
	AuthTimeout time.Duration
	// PingInterval is how often a socket is pinged. Default 20 s.
	PingInterval time.Duration
	// FlushInterval is how long heartbeats are collected before they are
	// written together. Default 200 ms, or less with a small MinThreshold.
	FlushInterval time.Duration
	// ListenInterval is how often a node notes that the core is listening.
	// Three of them without a note are an outage of the core. Default 2 s, or
	// less with a small MinThreshold. The clocks of nodes must not differ by
	// more than those three.
	ListenInterval time.Duration
	// MassShare is the part of the connected satellites that must fall silent
	// together for a mass loss: more than this. 1: there is none. Default 0.3.
	MassShare float64
	// MassWindow is how far apart they may fall silent. Default 30 s.
	MassWindow time.Duration
	// Registerer gets the metrics. May be nil.
	Registerer prometheus.Registerer
}

func (c Config) withDefaults() Config {
	c.HeartbeatInterval = cmp.Or(c.HeartbeatInterval, 15*time.Second)
	c.OfflineThreshold = cmp.Or(c.OfflineThreshold, 45*time.Second)
	c.MinThreshold = cmp.Or(c.MinThreshold, min(15*time.Second, c.OfflineThreshold))
	c.MaxThreshold = cmp.Or(c.MaxThreshold, 24*time.Hour)
	c.AuthTimeout = cmp.Or(c.AuthTimeout, 10*time.Second)
	c.PingInterval = cmp.Or(c.PingInterval, 20*time.Second)
	c.FlushInterval = cmp.Or(c.FlushInterval, min(200*time.Millisecond, c.MinThreshold/50))
	c.ListenInterval = cmp.Or(c.ListenInterval, min(2*time.Second, c.MinThreshold/6))
	c.MassShare = cmp.Or(c.MassShare, 0.3)
	c.MassWindow = cmp.Or(c.MassWindow, 30*time.Second)
	return c
}

func (c Config) check() error {
	if c.OfflineThreshold < c.MinThreshold || c.OfflineThreshold > c.MaxThreshold {
		return fmt.Errorf("the offline threshold %s is not between %s and %s", c.OfflineThreshold, c.MinThreshold, c.MaxThreshold)
	}
	// A threshold must outlast the longest outage of the core that goes
	// unnoticed, or that outage could be taken for the satellites'.
	if c.gap() >= c.MinThreshold {
		return fmt.Errorf("three listen intervals (%s) are not less than the least threshold %s", c.gap(), c.MinThreshold)
	}
	if c.MassShare < 0 || c.MassShare > 1 || c.MassWindow < 0 {
		return fmt.Errorf("a mass loss is of a share from 0 to 1 and within some time, not of %g within %s", c.MassShare, c.MassWindow)
	}
	return nil
}

// Plugin is the plugin of satellites.
type Plugin struct {
	config   Config
	host     *plugins.Host
	kind     *entities.Handle[State]
	fleet    *entities.Handle[Fleet]
	metrics  *metrics
	sessions *sessions
	beats    *heartbeats
	failures *limiter
	remote   *remote
	outside  *outside // nil but in a simulation
}

// New makes the plugin.
func New(c Config) *Plugin {
	return &Plugin{
		config: c.withDefaults(), sessions: newSessions(), beats: newHeartbeats(), failures: newLimiter(),
		remote: &remote{capabilities: map[string]plugins.Capability{}},
	}
}

// Name implements plugins.Plugin.
func (*Plugin) Name() string { return "satellite" }

//go:embed migrations/*.sql
var files embed.FS

// Register implements plugins.Plugin.
func (p *Plugin) Register(h *plugins.Host) error {
	if err := p.config.check(); err != nil {
		return err
	}
	migrations, err := fs.Sub(files, "migrations")
	if err != nil {
		return err
	}
	p.host = h
	p.metrics = newMetrics(p.config.Registerer, p.sessions.count)
	h.Migrations(migrations)
	if err := p.defineKind(); err != nil {
		return err
	}
	if err := errors.Join(p.defineEvents(), p.defineFleet()); err != nil {
		return err
	}
	for table, note := range map[string]string{
		"satellite_listening":    "Until when the core has listened to satellites without a break, and since when.",
		"satellite_assignments":  "What satellites are to do; follows from what other plugins are told.",
		"satellite_streams":      "Up to where results of satellites were taken.",
		"satellite_statuses":     "What agents told last of how they do.",
		"satellite_declarations": "The satellites of the files; the satellites themselves follow from them.",
	} {
		if err := h.Entities().DeclareNonReactive(table, entities.Bookkeeping, note); err != nil {
			return err
		}
	}
	if err := h.OfferRemote(p); err != nil {
		return err
	}
	if err := errors.Join(p.addSection(), p.addVerbs(h)); err != nil {
		return err
	}
	h.Timers().HandleBatch(graceTimer, p.endGraces)
	h.Timers().HandleBatch(declareTimer, p.declareAll)
	h.API(p.operations)
	h.Mount("GET "+protocol.Path, p.socketHandler())
	h.Background("listening", p.listen)
	h.Background("heartbeats", p.flushHeartbeats)
	h.Background("sessions", p.watchSessions)
	return nil
}

// Init implements plugins.Initializer: whether the core was away is known
// before the first deadline is looked at.
func (p *Plugin) Init(ctx context.Context, _ *plugins.Host) error { return p.Beat(ctx) }
