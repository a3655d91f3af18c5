// Package secrets is the plugin that says what ${{ secrets.NAME }} stands for:
// a variable of the environment, a file, or an encrypted row of the database.
//
// A value is looked up when it is used (resolve.go), and each use is on record
// (uses.go), but never the value. Rows are encrypted with a key that is not in
// the database (keys.go).
package secrets

import (
	"context"
	"embed"
	"errors"
	"io/fs"
	"sync/atomic"
	"time"

	"github.com/flightrules/flightrules/entities"
	"github.com/flightrules/flightrules/plugins"
)

// Config says where secrets are.
type Config struct {
	// Keys encrypt the rows of the database: the first of them new ones, the
	// others are for what was encrypted before. None: nothing can be stored.
	Keys []Key
	// Dir is the folder of secrets that are files. "": there are none.
	Dir string
	// KeepUses is how long it is on record who used a secret. Default 90 days.
	KeepUses time.Duration
}

// Plugin is the plugin of secrets.
type Plugin struct {
	config   Config
	host     *plugins.Host
	declared atomic.Pointer[map[string]Declaration]
	pruned   atomic.Int64 // when old uses were removed last, in nanoseconds
}

// New makes the plugin.
func New(c Config) *Plugin {
	if c.KeepUses <= 0 {
		c.KeepUses = 90 * 24 * time.Hour
	}
	p := &Plugin{config: c}
	p.declared.Store(&map[string]Declaration{})
	return p
}

// Name implements plugins.Plugin.
func (*Plugin) Name() string { return "secrets" }

//go:embed migrations/*.sql
var files embed.FS

// Register implements plugins.Plugin.
func (p *Plugin) Register(h *plugins.Host) error {
	p.host = h
	migrations, err := fs.Sub(files, "migrations")
	if err != nil {
		return err
	}
	h.Migrations(migrations)
	h.API(p.operations)
	return errors.Join(
		h.OfferSecrets(p.Secret), p.addSection(),
		h.Entities().DeclareNonReactive("stored_secrets", entities.Sensitive, "Secrets, encrypted; who wrote them is in the audit of the API."),
		h.Entities().DeclareNonReactive("secret_uses", entities.Bookkeeping, "Who was given which secret, and when."),
	)
}

// Init implements plugins.Initializer: what cannot be read is told before it is
// wanted.
func (p *Plugin) Init(ctx context.Context, _ *plugins.Host) error {
	lost, err := p.unreadable(ctx)
	if err == nil && len(lost) > 0 {
		p.host.Log().Error("stored secrets cannot be read: their key is not among those that were given", "secrets", lost)
	}
	return err
}
