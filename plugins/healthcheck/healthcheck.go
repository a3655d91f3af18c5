// Package healthcheck is the plugin of checks: things that satellites, or the
// core itself, look at again and again, and what follows from what they see.
//
// Each observer of a check has an opinion, which changes when enough of his
// results in a row say so (judge.go). The state of the check is put together of
// the opinions of those who are there to observe (kind.go): it follows from rows,
// and every node computes the same. Satellites are told what to look at, and
// report, by way of a plugins.Capability (assign.go, results.go).
//
// In simulations nothing is looked at: results are a verb (simulate.go).
package healthcheck

import (
	"embed"
	"errors"
	"io/fs"
	"sync/atomic"
	"time"

	"github.com/flightrules/flightrules/entities"
	"github.com/flightrules/flightrules/plugins"
)

// capability is what checks are called among the work of satellites.
const capability = "check"

// Config are the numbers of the plugin. Zero values mean the defaults.
type Config struct {
	// KeepResults is how long each result is kept. Default 2 days.
	KeepResults time.Duration
	// KeepHours is how long the sums of hours are kept. Default 400 days.
	KeepHours time.Duration
	// LocalRuns is how many checks of its own a node looks at at once. Default 64.
	LocalRuns int
}

// Plugin is the plugin of checks.
type Plugin struct {
	config    Config
	host      *plugins.Host
	remote    plugins.Remote
	kind      *entities.Handle[State]
	local     *local
	simulated atomic.Bool
}

// New makes the plugin.
func New(c Config) *Plugin {
	if c.KeepResults <= 0 {
		c.KeepResults = 48 * time.Hour
	}
	if c.KeepHours <= 0 {
		c.KeepHours = 400 * 24 * time.Hour
	}
	if c.LocalRuns <= 0 {
		c.LocalRuns = 64
	}
	return &Plugin{config: c, local: newLocal(c.LocalRuns)}
}

// Name implements plugins.Plugin.
func (*Plugin) Name() string { return "healthcheck" }

// Needs implements plugins.Needer.
func (*Plugin) Needs() []string { return []string{"satellite"} }

//go:embed migrations/*.sql
var files embed.FS

// Register implements plugins.Plugin.
func (p *Plugin) Register(h *plugins.Host) (err error) {
	p.host = h
	migrations, err := fs.Sub(files, "migrations")
	if err != nil {
		return err
	}
	h.Migrations(migrations)
	if p.remote, err = h.Remote(); err != nil {
		return err
	}
	for table, why := range map[string]struct {
		reason entities.Reason
		note   string
	}{
		"check_observers": {entities.Bookkeeping, "What each observer thinks of a check; the state of the check is made of it."},
		"check_results":   {entities.RawSample, "Each result of a check, for a while."},
		"check_hours":     {entities.RawSample, "The results of checks by the hour, for long."},
	} {
		if err := h.Entities().DeclareNonReactive(table, why.reason, why.note); err != nil {
			return err
		}
	}
	h.Timers().HandleBatch(settleTimer, p.settle)
	h.Timers().HandleBatch(assignTimer, p.assign)
	h.Timers().HandleBatch(localTimer, p.startLocal)
	h.Background("local checks", p.runLocal)
	h.API(p.operations)
	return errors.Join(
		p.defineKind(), p.defineEvents(), p.addSection(), p.addVerbs(),
		p.remote.Capability(plugins.Capability{
			Name: capability, Doc: "Looks at addresses, names and certificates.", Results: p.results, Changed: p.satellitesChanged,
		}),
	)
}
