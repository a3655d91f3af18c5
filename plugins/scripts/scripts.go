// Package scripts is the plugin of files for satellites: folders that an
// operator publishes, and that satellites keep a copy of, such as the programs of
// checks.
//
// A published folder is a version, known by the hash of its manifest
// (publish.go). The files say which satellites are to have which (section.go);
// what a satellite is to have, each in a folder of its name, is one bundle
// (assign.go), which its agent fetches by way of plugins.Bundles (serve.go).
package scripts

import (
	"embed"
	"errors"
	"io/fs"

	"github.com/flightrules/flightrules/entities"
	"github.com/flightrules/flightrules/plugins"
)

// Plugin is the plugin of scripts.
type Plugin struct {
	host   *plugins.Host
	remote plugins.Remote
}

// New makes the plugin.
func New() *Plugin { return &Plugin{} }

// Name implements plugins.Plugin.
func (*Plugin) Name() string { return "scripts" }

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
	for table, note := range map[string]string{
		"script_versions": "What was published for satellites.", "script_files": "Which contents each version needs.",
		"script_blobs": "The contents of files for satellites.", "script_targets": "Which satellites are to have which scripts.",
		"script_bundles": "What satellites are to have, all of it together.", "script_satellites": "Which of it each satellite is to have.",
	} {
		if err := h.Entities().DeclareNonReactive(table, entities.Bookkeeping, note); err != nil {
			return err
		}
	}
	h.Timers().HandleBatch(assignTimer, p.assign)
	h.API(p.operations)
	return errors.Join(p.addSection(), p.remote.Bundles(p))
}
