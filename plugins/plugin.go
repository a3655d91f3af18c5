// Package plugins is what a plugin is, what it is given, and the order in
// which plugins come up and go down: all register, all migrate, each is
// initialised after those it needs, all are told that everything is ready, and
// at the end they close in reverse.
package plugins

import (
	"context"
	"errors"
	"io/fs"
	"log/slog"
	"net/http"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"github.com/uptrace/bun"

	"github.com/flightrules/flightrules/engine/action"
	"github.com/flightrules/flightrules/engine/timer"
	"github.com/flightrules/flightrules/entities"
	"github.com/flightrules/flightrules/internal/db"
	"github.com/flightrules/flightrules/triggers"
)

// Plugin extends the engine. Register declares what it brings and does nothing
// else: the database has not been migrated yet.
//
// It may also be an Initializer, a Readier, a Closer, a Needer and Simulated.
type Plugin interface {
	// Name is lower case letters, digits and underscores.
	Name() string
	Register(*Host) error
}

// Initializer is called when the database is migrated, after the plugins that
// this one needs.
type Initializer interface {
	Init(ctx context.Context, h *Host) error
}

// Readier is called when every plugin is initialised; background work that
// was declared starts right after.
type Readier interface {
	Ready(ctx context.Context) error
}

// Closer is called at the end, when background work has stopped.
type Closer interface {
	Close(ctx context.Context) error
}

// Needer names the plugins that must be initialised before this one.
type Needer interface {
	Needs() []string
}

// Role is what a caller of the HTTP API may do. Each includes those before it.
type Role string

// The roles, in rising order.
const (
	Viewer   Role = "viewer"   // read
	Operator Role = "operator" // also run, pause and cancel
	Admin    Role = "admin"    // everything
)

// RoleKey is the key in the Metadata of a huma.Operation under which the Role
// stands that it wants.
const RoleKey = "role"

// Services are the parts of the engine that plugins work with.
type Services struct {
	DB       *db.DB
	Entities *entities.Registry
	Events   *triggers.Catalogue
	Timers   *timer.Timers
	Actions  *action.Set
	Now      func() time.Time
	Log      *slog.Logger
	Node     string // name of this node, unique in the cluster and new at each start
	// Secret is what ${{ secrets.NAME }} stands for now, and by is who is given
	// it. nil: what the plugin says that offers secrets.
	Secret func(ctx context.Context, name, by string) (string, error)
}

// Host is what one plugin is given, and what it declares itself on.
type Host struct {
	services   Services
	log        *slog.Logger
	plugin     string
	migrations fs.FS
	operations []func(huma.API)
	mounts     []Mount
	background []background
	sections   []Section
	functions  []Function
	verbs      []Verb
	shared     *shared
}

// Mount is an HTTP handler outside of the API, with its own access control.
type Mount struct {
	Pattern string // as http.ServeMux takes it
	Handler http.Handler
}

type background struct {
	name string
	run  func(ctx context.Context) error
}

// Entities is where kinds are defined.
func (h *Host) Entities() *entities.Registry { return h.services.Entities }

// Events is where types of events and derivers are defined.
func (h *Host) Events() *triggers.Catalogue { return h.services.Events }

// Timers is where handlers of durable timers are registered.
func (h *Host) Timers() *timer.Timers { return h.services.Timers }

// SetTimers sets timers in a transaction of Write, and has them looked at when it
// has committed.
func (h *Host) SetTimers(ctx context.Context, tx bun.Tx, timers ...timer.Timer) error {
	db.HintAfter(ctx, timer.Topic)
	return timer.Set(ctx, tx, timers...)
}

// Actions is where actions are registered.
func (h *Host) Actions() *action.Set { return h.services.Actions }

// Now is the engine's clock.
func (h *Host) Now() time.Time { return h.services.Now() }

// Log is the plugin's logger.
func (h *Host) Log() *slog.Logger { return h.log }

// Node is the name of this node, unique in the cluster and new at each start.
func (h *Host) Node() string { return h.services.Node }

// Secret is what ${{ secrets.NAME }} stands for now; an error when there is no
// such secret. It is looked up when it is used, outside of transactions, and
// must not be kept or written. by is who is given it, such as "check:shop",
// which is on record.
func (h *Host) Secret(ctx context.Context, name, by string) (string, error) {
	if h.services.Secret != nil {
		return h.services.Secret(ctx, name, by)
	}
	return h.shared.lookUp(ctx, name, by)
}

// OfferSecrets makes this plugin the one that says what secrets are.
func (h *Host) OfferSecrets(secret func(ctx context.Context, name, by string) (string, error)) error {
	if h.shared.secret != nil {
		return errors.New("another plugin has secrets already")
	}
	h.shared.secret = secret
	return nil
}

// Read is the database for reading outside of transactions.
func (h *Host) Read() bun.IDB { return h.services.DB.Read() }

// Write runs fn in one transaction; see db.DB.Write.
func (h *Host) Write(ctx context.Context, fn func(ctx context.Context, tx bun.Tx) error) error {
	return h.services.DB.Write(ctx, fn)
}

// ForUpdate locks the rows of a query inside a transaction, where the database
// has row locks.
func (h *Host) ForUpdate(q *bun.SelectQuery) *bun.SelectQuery {
	return h.services.DB.ForUpdate(q, false)
}

// Hint tells subscribers of the topic on every node to look at the tables. It
// may be lost; the tables are the truth.
func (h *Host) Hint(topic string) { h.services.DB.Hint(h.plugin + "." + topic) }

// HintAfter is a Hint once the transaction of ctx has committed.
func (h *Host) HintAfter(ctx context.Context, topic string) {
	db.HintAfter(ctx, h.plugin+"."+topic)
}

// Subscribe gives a channel that is filled at each Hint of this plugin's topic.
func (h *Host) Subscribe(topic string) (hint <-chan struct{}, cancel func()) {
	return h.services.DB.Subscribe(h.plugin + "." + topic)
}

// Migrations declares the plugin's tables; see db.Migrations for the names of
// the files.
func (h *Host) Migrations(files fs.FS) { h.migrations = files }

// API declares operations of the HTTP API. Each states the Role it wants in its
// Metadata under RoleKey.
func (h *Host) API(register func(api huma.API)) { h.operations = append(h.operations, register) }

// Mount declares an HTTP handler with access control of its own, such as a
// WebSocket.
func (h *Host) Mount(pattern string, handler http.Handler) {
	h.mounts = append(h.mounts, Mount{pattern, handler})
}

// Background declares work that runs from Ready until ctx ends. An error
// before that is fatal to the engine.
func (h *Host) Background(name string, run func(ctx context.Context) error) {
	h.background = append(h.background, background{name, run})
}
