// Package app wires the parts into one whole and brings it up and down: the
// database, the registries, the plugins, the engine, the rules, and what is
// served of them.
package app

import (
	"context"
	"errors"
	"io/fs"
	"log/slog"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"github.com/google/uuid"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/uptrace/bun"

	"github.com/flightrules/flightrules/engine"
	"github.com/flightrules/flightrules/engine/action"
	"github.com/flightrules/flightrules/engine/timer"
	"github.com/flightrules/flightrules/entities"
	"github.com/flightrules/flightrules/internal/db"
	"github.com/flightrules/flightrules/internal/yamlx"
	"github.com/flightrules/flightrules/plugins"
	"github.com/flightrules/flightrules/rules"
	"github.com/flightrules/flightrules/triggers"
)

// Config says what an engine is made of. DB is wanted; the rest has defaults.
type Config struct {
	DB      string // sqlite:PATH or postgres://...
	NoSync  bool   // see db.Options
	Dir     string // of the rules; "": none
	Files   fs.FS  // the rules, where they are not in Dir
	Node    string // prefix of the node's name; default: the host's name
	Plugins []plugins.Plugin
	// Set is put in force instead of what the files say: one that was loaded by
	// an engine with the same plugins.
	Set *rules.Set

	Now func() time.Time // default: the wall clock
	// Secret is what ${{ secrets.NAME }} stands for, and by is who is given it;
	// default: what the plugin says that offers secrets.
	Secret func(ctx context.Context, name, by string) (string, error)
	Log    *slog.Logger  // default: discard
	Lease  time.Duration // see engine.Options
	Inline bool          // see engine.Options
	NewID  func() string // see engine.Options
	Shadow bun.IDB       // see engine.Options
	Twin   engine.Twin   // see engine.Options
	// Act is put in the place of every action of the plugins, where nothing
	// outside may happen; see action.Set.Wrap.
	Act func(action.Action) action.Action

	Metrics *prometheus.Registry // may be nil
}

// Core is an engine with its plugins on a migrated database, ready to be
// driven. Nothing runs by itself yet.
type Core struct {
	DB       *db.DB
	Entities *entities.Registry
	Events   *triggers.Catalogue
	Actions  *action.Set
	Timers   *timer.Timers
	Compiler *rules.Compiler
	Engine   *engine.Engine
	Plugins  *plugins.Set
	Now      func() time.Time
	Log      *slog.Logger
	Node     string

	config   Config
	applying sync.Mutex
	problems atomic.Pointer[[]yamlx.Problem]
	refused  prometheus.Gauge // how many there are
}

// Clock is the wall clock in the precision of the database.
func Clock() time.Time { return time.Now().UTC().Truncate(time.Microsecond) }

// Open opens and migrates the database and brings up the plugins. With rules
// that have problems the error is a *yamlx.Error. Close it in any case but an
// error. migrations are those of whoever serves the engine.
func Open(ctx context.Context, c Config, migrations ...db.Migrations) (core *Core, err error) {
	core = assemble(c)
	if core.DB, err = db.Open(ctx, c.DB, db.Options{NoSync: c.NoSync}); err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, core.DB.Close())
			core = nil
		}
	}()
	if err := core.wire(); err != nil {
		return core, err
	}
	sets := append(engine.Migrations(), migrations...)
	if err := core.DB.Migrate(ctx, append(sets, core.Plugins.Migrations()...)...); err != nil {
		return core, err
	}
	if err := core.Plugins.Init(ctx); err != nil {
		return core, err
	}
	if err := core.Load(ctx); err != nil {
		return core, err
	}
	return core, core.Engine.Recover(ctx)
}

func assemble(c Config) *Core {
	if c.Now == nil {
		c.Now = Clock
	}
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	if c.Node == "" {
		c.Node, _ = os.Hostname() // without one the random part is enough
	}
	return &Core{
		Now: c.Now, Log: c.Log, config: c,
		// The name is new at each start, so that what an earlier process left
		// leased is never taken for this one's.
		Node: c.Node + "-" + uuid.NewString()[:8],
	}
}

// wire makes the parts, in the order of their layers.
func (c *Core) wire() error {
	var in prometheus.Registerer
	if c.config.Metrics != nil {
		in = c.config.Metrics
	}
	metrics := engine.NewMetrics(in)
	c.refused = prometheus.NewGauge(prometheus.GaugeOpts{
		Name: "flightrules_rules_problems", Help: "Problems of the rules' files for which they were refused; 0 when they are in force.",
	})
	if in != nil {
		in.MustRegister(c.refused)
	}
	c.Timers = timer.New(c.DB, c.Now, c.Log, metrics.Failed)
	c.Entities = entities.NewRegistry(c.DB, c.Now, c.Log, c.Timers)
	c.Events = triggers.NewCatalogue(c.Entities)
	c.Actions = action.NewSet()
	c.Compiler = &rules.Compiler{Events: c.Events, Actions: c.Actions}
	c.Engine = engine.New(engine.Options{
		DB: c.DB, Entities: c.Entities, Events: c.Events, Timers: c.Timers, Compiler: c.Compiler,
		Now: c.Now, Log: c.Log, Node: c.Node, Lease: c.config.Lease, Inline: c.config.Inline, Metrics: metrics,
		Secret: c.secret, NewID: c.config.NewID, Shadow: c.config.Shadow, Twin: c.config.Twin,
	})
	if in != nil {
		c.Engine.Measure(in)
	}
	for table, note := range map[string]string{
		"timers": "deadlines of every kind", "outbox": "what is still to be routed",
		"events": "what changes meant; follows from the transitions", "decisions": "what became of matches",
		"runs": "what is being done", "run_changes": "which statuses they have had", "steps": "how far runs are", "rule_versions": "texts of rules",
		"migrations": "which migrations were applied", "rule_states": "which rules are in force, and which are paused", "rule_changes": "which were at any time",
		"window_items": "events that triggers gather", "latches": "what triggers remember",
		"listeners": "which events runs wait for", "mail": "events that came for runs", "watches": "entities that runs watch",
		"silences": "times in which matches do not run", "silenced": "matches to be looked at again",
	} {
		if err := c.Entities.DeclareNonReactive(table, entities.Bookkeeping, note); err != nil {
			return err
		}
	}
	var err error
	c.Plugins, err = plugins.NewSet(plugins.Services{
		DB: c.DB, Entities: c.Entities, Events: c.Events, Timers: c.Timers, Actions: c.Actions,
		Now: c.Now, Log: c.Log, Node: c.Node, Secret: c.config.Secret,
	}, c.config.Plugins...)
	if err != nil {
		return err
	}
	if c.config.Act != nil {
		c.Actions.Wrap(c.config.Act)
	}
	c.extend()
	return nil
}

// secret is what ${{ secrets.NAME }} stands for.
func (c *Core) secret(ctx context.Context, name, by string) (string, error) {
	if c.config.Secret != nil {
		return c.config.Secret(ctx, name, by)
	}
	return c.Plugins.Secret(ctx, name, by)
}

// Close closes the plugins and the database.
func (c *Core) Close(ctx context.Context) error {
	return errors.Join(c.Plugins.Close(ctx), c.DB.Close())
}
