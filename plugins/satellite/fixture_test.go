package satellite_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"slices"
	"testing"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/adapters/humago"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/uptrace/bun"

	"github.com/flightrules/flightrules/engine/action"
	"github.com/flightrules/flightrules/engine/outbox"
	"github.com/flightrules/flightrules/engine/timer"
	"github.com/flightrules/flightrules/entities"
	"github.com/flightrules/flightrules/internal/clock"
	"github.com/flightrules/flightrules/internal/db"
	"github.com/flightrules/flightrules/plugins"
	"github.com/flightrules/flightrules/plugins/satellite"
	"github.com/flightrules/flightrules/triggers"
)

var start = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

// The default numbers, which most tests use.
const (
	threshold = 45 * time.Second
	listen    = 2 * time.Second
)

// node is one node of the core. Nothing runs by itself.
type node struct {
	*clock.Manual
	t       *testing.T
	db      *db.DB
	kinds   *entities.Registry
	timers  *timer.Timers
	events  *triggers.Catalogue
	set     *plugins.Set
	err     error // of registering
	plugin  *satellite.Plugin
	api     *http.ServeMux
	metrics *prometheus.Registry
}

func openDB(t *testing.T, url string) *db.DB {
	t.Helper()
	d, err := db.Open(t.Context(), url, db.Options{NoSync: true})
	must(t, err)
	t.Cleanup(func() { must(t, d.Close()) })
	return d
}

// registered makes a node up to where the plugin is registered, with the error
// of that.
func registered(t *testing.T, d *db.DB, now func() time.Time, config satellite.Config, more ...plugins.Plugin) *node {
	n := &node{t: t, db: d, metrics: prometheus.NewRegistry()}
	config.Registerer = n.metrics
	log := slog.New(slog.DiscardHandler)
	n.timers = timer.New(d, now, log, nil)
	n.kinds = entities.NewRegistry(d, now, log, n.timers)
	n.events = triggers.NewCatalogue(n.kinds)
	n.plugin = satellite.New(config)
	n.set, n.err = plugins.NewSet(plugins.Services{
		DB: d, Entities: n.kinds, Events: n.events, Timers: n.timers, Actions: action.NewSet(), Now: now, Log: log, Node: "node-1", Secret: secretOf,
	}, append([]plugins.Plugin{n.plugin}, more...)...)
	return n
}

// newNode makes a node and brings its database up to date.
func newNode(t *testing.T, d *db.DB, now func() time.Time, config satellite.Config, more ...plugins.Plugin) *node {
	t.Helper()
	n := registered(t, d, now, config, more...)
	must(t, n.err)
	must(t, d.Migrate(t.Context(), append([]db.Migrations{timer.Migrations(), outbox.Migrations(), entities.Migrations()}, n.set.Migrations()...)...))
	must(t, n.set.Init(t.Context()))
	n.api = n.routes()
	return n
}

// routes is what the plugin serves.
func (n *node) routes() *http.ServeMux {
	mux := http.NewServeMux()
	api := humago.New(mux, huma.DefaultConfig("test", "1"))
	for _, register := range n.set.Operations() {
		register(api)
	}
	for _, m := range n.set.Mounts() {
		mux.Handle(m.Pattern, m.Handler)
	}
	return mux
}

// nodeAt makes a node with a clock that the test moves.
func nodeAt(t *testing.T, d *db.DB, c *clock.Manual) *node {
	t.Helper()
	n := newNode(t, d, c.Now, satellite.Config{})
	n.Manual = c
	return n
}

// secretOf is a store with one secret.
func secretOf(_ context.Context, name, _ string) (string, error) {
	if name != "DB_PASSWORD" {
		return "", fmt.Errorf("there is no secret %s", name)
	}
	return "hunter2", nil
}

// single is a core of one node on a fresh database.
func single(t *testing.T, url string) *node {
	t.Helper()
	return nodeAt(t, openDB(t, url), clock.At(start))
}

// restarted is a new process on the same database.
func (n *node) restarted() *node {
	n.t.Helper()
	return nodeAt(n.t, n.db, n.Manual)
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// step fires the timers that are due.
func (n *node) step() {
	n.t.Helper()
	for more := true; more; {
		var err error
		more, err = n.timers.Step(n.t.Context())
		must(n.t, err)
	}
}

// advance moves the clock, and does what a node does meanwhile: it beats, and
// fires timers at the instant at which they come due. The sessions given send
// heartbeats all the time.
func (n *node) advance(d time.Duration, alive ...*satellite.Session) {
	n.t.Helper()
	for end := n.Now().Add(d); n.Now().Before(end); {
		next := n.Now().Add(listen)
		due, err := n.timers.Next(n.t.Context())
		must(n.t, err)
		if !due.IsZero() && due.After(n.Now()) && due.Before(next) {
			next = due
		}
		if next.After(end) {
			next = end
		}
		n.Add(next.Sub(n.Now()))
		n.beat()
		n.heartbeat(alive...)
		n.step()
	}
}

func (n *node) beat() {
	n.t.Helper()
	must(n.t, n.plugin.Beat(n.t.Context()))
}

// heartbeat is a heartbeat of each of the sessions, right now.
func (n *node) heartbeat(sessions ...*satellite.Session) {
	n.t.Helper()
	for _, s := range sessions {
		s.Told()
		n.plugin.Heartbeat(s, n.Now())
	}
	must(n.t, n.plugin.Flush(n.t.Context()))
}

// known is a satellite as its operator knows it.
type known struct{ id, name, token string }

// create makes a satellite through the API.
func (n *node) create(name string, more ...string) known {
	n.t.Helper()
	body := fmt.Sprintf(`{"name": %q, "region": "eu", "tags": {"tier": "1"}`, name)
	for _, m := range more {
		body += ", " + m
	}
	var out struct{ ID, Token string }
	n.call(http.StatusCreated, "POST", "/api/v1/satellites", body+"}", &out)
	return known{out.ID, name, out.Token}
}

// call makes a request that is to be answered with that status.
func (n *node) call(want int, method, path, body string, out any) {
	n.t.Helper()
	w := httptest.NewRecorder()
	r := httptest.NewRequestWithContext(n.t.Context(), method, path, bytes.NewReader([]byte(body)))
	if body != "" {
		r.Header.Set("Content-Type", "application/json")
	}
	n.api.ServeHTTP(w, r)
	if w.Code != want {
		n.t.Fatalf("%s %s: %d, want %d: %s", method, path, w.Code, want, w.Body)
	}
	if out != nil {
		must(n.t, json.Unmarshal(w.Body.Bytes(), out))
	}
}

func (n *node) connect(k known) *satellite.Session {
	n.t.Helper()
	s, err := n.plugin.Connect(n.t.Context(), k.id, k.token)
	must(n.t, err)
	return s
}

// online makes a satellite and connects it.
func (n *node) online(name string) (known, *satellite.Session) {
	n.t.Helper()
	k := n.create(name)
	return k, n.connect(k)
}

// state is a satellite's state as everybody reads it.
func (n *node) state(k known) entities.View {
	n.t.Helper()
	v, err := n.kinds.State(n.t.Context(), n.db.Read(), "satellite", k.id)
	must(n.t, err)
	return v
}

func (n *node) wantStatus(k known, status, lastEvent string) {
	n.t.Helper()
	if s := n.state(k); s["status"] != status || s["last_event"] != lastEvent {
		n.t.Errorf("%s is %v after %v, want %s after %s", k.name, s["status"], s["last_event"], status, lastEvent)
	}
}

// history is a satellite's transitions, oldest first.
func (n *node) history(k known) []entities.Transition {
	n.t.Helper()
	list, err := n.kinds.Transitions(n.t.Context(), n.db.Read(), entities.Filter{Kind: "satellite", ID: k.id})
	must(n.t, err)
	slices.Reverse(list)
	return list
}

// happened are the events that a satellite's history means, oldest first.
func (n *node) happened(k known) []string {
	n.t.Helper()
	names := []string{}
	for _, transition := range n.history(k) {
		for _, e := range n.events.Derive(transition) {
			names = append(names, e.Name)
		}
	}
	return names
}

func (n *node) wantEvents(k known, want ...string) {
	n.t.Helper()
	if got := n.happened(k); !slices.Equal(got, want) {
		n.t.Errorf("events of %s: %v, want %v", k.name, got, want)
	}
}

// sql writes to the tables behind the plugin's back.
func (n *node) sql(query string, args ...any) {
	n.t.Helper()
	must(n.t, n.db.Write(n.t.Context(), func(ctx context.Context, tx bun.Tx) error {
		_, err := tx.ExecContext(ctx, query, args...)
		return err
	}))
}

// counted is the sum of a counter over its labels.
func (n *node) counted(name string) float64 {
	n.t.Helper()
	families, err := n.metrics.Gather()
	must(n.t, err)
	sum := 0.0
	for _, f := range families {
		if f.GetName() == name {
			for _, m := range f.GetMetric() {
				sum += m.GetCounter().GetValue()
			}
		}
	}
	return sum
}

// The names of the events.
const (
	evConnected    = "satellite.connected"
	evDisconnected = "satellite.disconnected"
	evLost         = "satellite.heartbeat_lost"
	evRemoved      = "satellite.removed"
)
