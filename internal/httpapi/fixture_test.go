package httpapi_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"testing/fstest"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/uptrace/bun"

	"github.com/flightrules/flightrules/engine"
	"github.com/flightrules/flightrules/engine/action"
	"github.com/flightrules/flightrules/engine/journal"
	"github.com/flightrules/flightrules/engine/outbox"
	"github.com/flightrules/flightrules/engine/timer"
	"github.com/flightrules/flightrules/entities"
	"github.com/flightrules/flightrules/internal/db"
	"github.com/flightrules/flightrules/internal/httpapi"
	"github.com/flightrules/flightrules/internal/yamlx"
	"github.com/flightrules/flightrules/plugins"
	"github.com/flightrules/flightrules/rules"
	"github.com/flightrules/flightrules/triggers"
)

// start is when the clock of every fixture begins.
var start = time.Date(2026, 11, 24, 5, 0, 45, 0, time.UTC)

// planet is a kind whose state the engine keeps.
type planet struct {
	Status string            `json:"status" enum:"unknown,charted" doc:"How far it is known."`
	Moons  int64             `json:"moons,omitempty"`
	Names  map[string]string `json:"names,omitempty"`
}

func (p planet) Validate() error {
	if p.Moons < 0 {
		return errors.New("a planet has no negative moons")
	}
	return nil
}

// probe is a kind whose state is in a table of its plugin.
type probe struct {
	Status string `json:"status"`
}

type probeRow struct {
	bun.BaseModel `bun:"table:probes"`

	ID     string `bun:"id,pk"`
	Status string `bun:"status"`
}

type probeLost struct {
	ProbeID string `json:"probe_id"`
}

type pingConfig struct {
	Host string `json:"host"`
}

type pingOutput struct {
	Millis float64 `json:"millis"`
}

// fixture is a server with all that it stands on.
type fixture struct {
	t       *testing.T
	db      *db.DB
	url     string
	decided int
	server  *httpapi.Server
	handler http.Handler
	planets *entities.Handle[planet]
	probes  *entities.Handle[probe]
	tokens  map[plugins.Role]string
	load    func(text string) // puts other rules in force
	engine  *engine.Engine
	pings   func(ctx context.Context, host string) (pingOutput, error) // what ping does
	down    error                                                      // what the check of readiness finds
	refused []yamlx.Problem
	dryRun  func(ask httpapi.DryRun) (*httpapi.DryRunResult, error)
	replay  func(ctx context.Context, spec httpapi.ReplaySpec) ([]byte, error)
	log     *syncBuffer

	mu  sync.Mutex
	now time.Time
}

func newFixture(t *testing.T, url string) *fixture {
	t.Helper()
	f := &fixture{t: t, url: url, now: start, tokens: map[plugins.Role]string{}, log: &syncBuffer{}}
	f.pings = func(context.Context, string) (pingOutput, error) { return pingOutput{}, nil }
	log := slog.New(slog.NewTextHandler(f.log, nil))
	d, err := db.Open(t.Context(), url, db.Options{NoSync: true})
	f.no(err)
	f.db = d
	t.Cleanup(func() {
		if err := d.Close(); err != nil {
			t.Error(err)
		}
	})
	f.no(d.Migrate(t.Context(), timer.Migrations(), outbox.Migrations(), entities.Migrations(), journal.Migrations(), httpapi.Migrations(),
		db.Migrations{Owner: "probes", Files: fstest.MapFS{
			"0001_probes.sql": {Data: []byte("CREATE TABLE probes (id TEXT PRIMARY KEY, status TEXT NOT NULL)")},
		}}))

	timers := timer.New(d, f.clock, log, nil)
	registry := entities.NewRegistry(d, f.clock, log, timers)
	events, actions := triggers.NewCatalogue(registry), action.NewSet()
	f.planets, err = entities.Define(registry, entities.Spec[planet]{Name: "planet", Doc: "A planet."})
	f.no(err)
	f.probes, err = entities.Define(registry, entities.Spec[probe]{Name: "probe", Doc: "A probe.", Read: readProbes})
	f.no(err)
	lost, err := triggers.Define[probeLost](events, triggers.EventSpec{Name: "probe.lost", Doc: "A probe went silent.", Kind: "probe"})
	f.no(err)
	f.no(triggers.Derive(events, f.probes, lost, func(c entities.Change[probe]) (probeLost, bool) { return probeLost{c.ID}, false }))
	f.no(action.Register(actions, action.Spec[pingConfig, pingOutput]{
		Name: "ping", Doc: "Sends a ping.",
		Run: func(ctx context.Context, _ action.Call, c pingConfig) (pingOutput, error) {
			return f.pings(ctx, c.Host)
		},
	}))
	compiler := &rules.Compiler{Events: events, Actions: actions}

	e := engine.New(engine.Options{
		DB: d, Entities: registry, Events: events, Timers: timers, Compiler: compiler, Now: f.clock, Log: log, Node: "test", Inline: true,
	})
	f.engine = e
	f.load = func(text string) {
		set, err := compiler.Load(fstest.MapFS{"orbit.yaml": {Data: []byte(text)}}, "rules")
		f.no(err)
		e.SetRules(set)
	}
	f.load(orbit)

	f.server = httpapi.New(httpapi.Config{
		DB: d, Entities: registry, Events: events, Actions: actions, Compiler: compiler,
		Rules:        e.Rules,
		LoadProblems: func() []yamlx.Problem { return f.refused },
		Emit:         e.Emit,
		Pause:        e.Pause,
		Resume:       e.Resume,
		RunByHand:    e.RunByHand,
		CancelRun:    e.CancelRun,
		RetryRun:     e.RetryRun,
		Explain:      e.Explain,
		Replay: func(ctx context.Context, spec httpapi.ReplaySpec) ([]byte, error) {
			if f.replay == nil {
				return nil, engine.ErrNoRule
			}
			return f.replay(ctx, spec)
		},
		DryRun: func(_ context.Context, ask httpapi.DryRun) (*httpapi.DryRunResult, error) {
			if f.dryRun == nil {
				return nil, engine.ErrNoRule
			}
			return f.dryRun(ask)
		},
		Silence:   e.Silence,
		Unsilence: e.Unsilence,
		Prune:     e.Prune,
		NextTick:  e.NextTick,
		Secret: func(_ context.Context, name, _ string) (string, error) {
			if name != "HUB" {
				return "", fmt.Errorf("secret %s: there is none", name)
			}
			return hubSecret, nil
		},
		Ready:      []httpapi.Check{{Name: "database", Run: func(context.Context) error { return f.down }}},
		Operations: []func(huma.API){pluginOperations},
		Mounts: []plugins.Mount{
			{Pattern: "GET /mounted", Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "mounted") })},
			{Pattern: "GET /mounted/broken", Handler: http.HandlerFunc(func(http.ResponseWriter, *http.Request) { panic("broken mount") })},
		},
		Version: "1.2.3", Now: f.clock, Log: log, Registry: prometheus.NewRegistry(),
	})
	f.handler = f.server.Handler()
	for _, role := range []plugins.Role{plugins.Viewer, plugins.Operator, plugins.Admin, httpapi.Hook} {
		f.tokens[role], _, err = f.server.Tokens().Create(t.Context(), string(role), role, time.Time{})
		f.no(err)
	}
	return f
}

// hubSecret is the secret HUB.
const hubSecret = "it is a secret to everybody"

// orbit is the rule file of every fixture.
const orbit = `rules:
  - id: page-when-lost
    name: Page when a probe is lost
    description: Somebody should know.
    tags: [pager]
    triggers:
      - event: probe.lost
        where: event.payload.probe_id != "p1"
      - id: dwell
        state: planet.status
        from: unknown
        to: charted
        for: 5m
    actions:
      - log: lost
  - id: off
    enabled: false
    triggers:
      - event: custom.deployed
    actions:
      - log: deployed
`

func readProbes(ctx context.Context, idb bun.IDB, _ time.Time, ids []string) (map[string]probe, error) {
	var rows []probeRow
	if err := idb.NewSelect().Model(&rows).Where("id IN (?)", bun.List(ids)).Scan(ctx); err != nil {
		return nil, err
	}
	out := map[string]probe{}
	for _, row := range rows {
		out[row.ID] = probe{row.Status}
	}
	return out, nil
}

// token has the name of a type of the server's own.
type token struct {
	Text string `json:"text,omitempty"`
}

// pluginOperations are what a plugin might add: one with a role, one that
// forgot to say which, and some that fail.
func pluginOperations(api huma.API) {
	add := func(id, path string, metadata map[string]any, do func() error) {
		huma.Register(api, huma.Operation{OperationID: id, Method: http.MethodGet, Path: path, Metadata: metadata},
			func(context.Context, *struct{}) (*struct{}, error) { return nil, do() })
	}
	add("fly", "/api/v1/fly", map[string]any{plugins.RoleKey: plugins.Operator}, func() error { return nil })
	add("forgot", "/api/v1/forgot", nil, func() error { return nil })
	add("fail", "/api/v1/fail", map[string]any{plugins.RoleKey: plugins.Viewer}, func() error { return errors.New("the secret is 42") })
	add("missing", "/api/v1/missing", map[string]any{plugins.RoleKey: plugins.Viewer}, func() error { return entities.ErrNotFound })
	huma.Register(api, huma.Operation{
		OperationID: "big", Method: http.MethodPost, Path: "/api/v1/big", MaxBodyBytes: -1, Metadata: map[string]any{plugins.RoleKey: plugins.Viewer},
	}, func(context.Context, *struct{ Body token }) (*struct{}, error) { return nil, nil })
	huma.Register(api, huma.Operation{
		OperationID: "panic", Method: http.MethodPost, Path: "/api/v1/panic", Metadata: map[string]any{plugins.RoleKey: plugins.Viewer},
	}, func(context.Context, *struct{}) (*struct{}, error) { panic("the secret is 43") })
}

func (f *fixture) clock() time.Time {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.now
}

// pass moves the clock.
func (f *fixture) pass(d time.Duration) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.now = f.now.Add(d)
}

func (f *fixture) no(err error) {
	f.t.Helper()
	if err != nil {
		f.t.Fatal(err)
	}
}

// settle has the engine do all that can be done now.
func (f *fixture) settle() {
	f.t.Helper()
	for idle := false; !idle; {
		idle = true
		for _, stepper := range f.engine.Steppers() {
			more, err := stepper.Step(f.t.Context())
			f.no(err)
			idle = idle && !more
		}
	}
}

// insert writes rows as the engine would.
func (f *fixture) insert(rows ...any) {
	f.t.Helper()
	f.no(f.db.Write(f.t.Context(), func(ctx context.Context, tx bun.Tx) error {
		for _, row := range rows {
			if _, err := tx.NewInsert().Model(row).Returning("NULL").Exec(ctx); err != nil {
				return err
			}
		}
		return nil
	}))
}

// answer is what came back.
type answer struct {
	*httptest.ResponseRecorder
	t *testing.T
}

// as makes a request with the token of a role; "" has none. Headers are pairs.
func (f *fixture) as(role plugins.Role, method, target, body string, headers ...string) answer {
	f.t.Helper()
	if role != "" {
		headers = append(headers, "Authorization", "Bearer "+f.tokens[role])
	}
	return f.do(method, target, body, headers...)
}

func (f *fixture) do(method, target, body string, headers ...string) answer {
	f.t.Helper()
	r := httptest.NewRequest(method, target, strings.NewReader(body))
	for i := 0; i < len(headers); i += 2 {
		r.Header.Set(headers[i], headers[i+1])
	}
	w := httptest.NewRecorder()
	f.handler.ServeHTTP(w, r)
	return answer{w, f.t}
}

// want fails the test unless the answer has the status.
func (a answer) want(status int) answer {
	a.t.Helper()
	if a.Code != status {
		a.t.Fatalf("status %d, want %d: %s", a.Code, status, a.Body)
	}
	return a
}

// problem fails the test unless the answer is a problem with the status and
// the code.
func (a answer) problem(status int, code string) httpapi.Problem {
	a.t.Helper()
	a.want(status)
	var p httpapi.Problem
	a.into(&p)
	if p.Code != code || p.Status != status || p.Title != http.StatusText(status) {
		a.t.Errorf("problem %+v, want code %q and status %d", p, code, status)
	}
	if got := a.Header().Get("Content-Type"); got != "application/problem+json" {
		a.t.Errorf("Content-Type %q", got)
	}
	return p
}

func (a answer) into(v any) {
	a.t.Helper()
	if err := json.Unmarshal(a.Body.Bytes(), v); err != nil {
		a.t.Fatalf("%v: %s", err, a.Body)
	}
}

// syncBuffer is a log that several goroutines write.
type syncBuffer struct {
	mu   sync.Mutex
	text strings.Builder
}

func (b *syncBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.text.Write(p)
}

func (b *syncBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.text.String()
}
