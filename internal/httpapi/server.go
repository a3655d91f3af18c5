// Package httpapi is the HTTP side of the engine: the API with its OpenAPI
// document, inbound webhooks, access by bearer tokens, the audit table, and what machines ask
// about health.
//
// Every operation, those of plugins included, passes the same gates in the
// same order: who is it, note the write, may they. Nothing but /healthz answers
// without a token or, where a webhook has a secret, a signature.
package httpapi

import (
	"context"
	"embed"
	"fmt"
	"log/slog"
	"net/http"
	"strings"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/adapters/humago"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/flightrules/flightrules/engine"
	"github.com/flightrules/flightrules/engine/action"
	"github.com/flightrules/flightrules/engine/journal"
	"github.com/flightrules/flightrules/engine/retention"
	"github.com/flightrules/flightrules/entities"
	"github.com/flightrules/flightrules/internal/db"
	"github.com/flightrules/flightrules/internal/follow"
	"github.com/flightrules/flightrules/internal/refusal"
	"github.com/flightrules/flightrules/internal/yamlx"
	"github.com/flightrules/flightrules/plugins"
	"github.com/flightrules/flightrules/rules"
	"github.com/flightrules/flightrules/triggers"
)

// Config is what a Server shows and works on. All of it is wanted but
// LoadProblems, DryRun, Replay, Ready, Operations, Mounts and Registry.
type Config struct {
	DB       *db.DB
	Entities *entities.Registry
	Events   *triggers.Catalogue
	Actions  *action.Set
	Rules    func() *rules.Set // the set in force
	Compiler *rules.Compiler
	// LoadProblems are those of the last load that was refused; none when the
	// set in force is what the files say.
	LoadProblems func() []yamlx.Problem
	// Emit writes a custom event to the log and has it routed. An event with
	// an ID that is there already is left as it is and comes back with created
	// false.
	Emit func(ctx context.Context, e engine.Emitted) (event journal.Event, created bool, err error)
	// Pause, Resume, RunByHand, CancelRun, RetryRun, Silence and Unsilence are
	// those of the engine.
	Pause     func(ctx context.Context, rule, reason string) (journal.RuleState, error)
	Resume    func(ctx context.Context, rule string) (journal.RuleState, error)
	RunByHand func(ctx context.Context, rule string, inputs map[string]any) (journal.Event, error)
	CancelRun func(ctx context.Context, id, why string) (journal.Run, error)
	RetryRun  func(ctx context.Context, id string) (journal.Run, error)
	Silence   func(ctx context.Context, spec engine.SilenceSpec) (journal.Silence, error)
	Unsilence func(ctx context.Context, id string) (journal.Silence, error)
	// NextTick is that of the engine.
	NextTick func(ctx context.Context, rule string) (time.Time, error)
	// Prune removes old history; see retention.Pruner.
	Prune func(ctx context.Context, cursor string, batches int, dry bool) (removed retention.Counts, next string, err error)
	// DryRun tries a rule; its errors are those of the engine and of DryRun. nil:
	// there is no such operation.
	DryRun func(ctx context.Context, ask DryRun) (*DryRunResult, error)
	// Explain is that of the engine.
	Explain func(ctx context.Context, rule, event string) (*engine.Explanation, error)
	// Replay puts rules over the recorded log, and gives the report as JSON or as
	// SVG; nil: there is no such operation. Errors: a *yamlx.Error, ErrNoRule of
	// the engine.
	Replay func(ctx context.Context, spec ReplaySpec) ([]byte, error)
	// Secret is what ${{ secrets.NAME }} stands for, and by is who is given it.
	Secret func(ctx context.Context, name, by string) (string, error)

	Ready      []Check          // for /readyz
	Operations []func(huma.API) // of plugins
	Mounts     []plugins.Mount  // of plugins; their access is their own

	Version  string
	Now      func() time.Time
	Log      *slog.Logger
	Registry *prometheus.Registry // for /metrics; nil: there is no such page
}

// Check is one thing that must be well for the engine to do its work.
type Check struct {
	Name string
	Run  func(ctx context.Context) error
}

// Server answers HTTP requests. It is safe for concurrent use.
type Server struct {
	Config

	tokens       *Tokens
	refusals     *refusal.Limiter
	mux          *http.ServeMux
	handler      http.Handler // the mux, with compression
	api          huma.API
	follow       *follow.Follower
	readers      chan struct{} // a place for each stream
	patience     time.Duration // of streams
	ping         time.Duration // of streams
	requestLimit time.Duration
	lost         http.Handler // nil: browsers get what others get
}

const (
	// refusalBurst is how many failures in a row an address is answered for.
	refusalBurst = 20
	// refusalPause is after how long it is answered for one more.
	refusalPause = 3 * time.Second
)

//go:embed migrations/*.sql
var files embed.FS

// Migrations are the tables of tokens and of the audit.
func Migrations() db.Migrations { return db.MigrationsIn("httpapi", files) }

// New makes a server on a migrated database. It declares its tables to the
// registry, so there is one for each registry; mistakes in the wiring panic.
func New(c Config) *Server {
	installProblems()
	s := &Server{
		Config: c, tokens: NewTokens(c.DB, c.Now, c.Log), refusals: refusal.New(refusalBurst, refusalPause), mux: http.NewServeMux(),
		follow: follow.New(c.DB, c.Entities, c.Log, encode), readers: make(chan struct{}, maxReaders), patience: streamPatience, ping: streamPing, requestLimit: requestLimit,
	}
	for table, note := range map[string]string{
		"tokens":   "Who may use the HTTP API.",
		"audit":    "Every write that came in by HTTP.",
		"sessions": "Who is signed in with a browser.",
	} {
		if err := c.Entities.DeclareNonReactive(table, entities.Bookkeeping, note); err != nil {
			panic(fmt.Sprintf("httpapi: %v", err))
		}
	}
	s.api = humago.New(routes{s}, document(c.Version))
	s.api.UseMiddleware(s.limit, s.identify, s.audit, s.permit)
	s.operations()
	for _, register := range c.Operations {
		register(s.api)
	}
	nullable(s.api.OpenAPI().Components.Schemas)
	s.pages()
	s.handler = compressed(s.mux)
	return s
}

// Tokens are the tokens by which the server knows its callers.
func (s *Server) Tokens() *Tokens { return s.tokens }

// Page adds a handler that answers for itself who may see it. Call it before the
// server serves.
func (s *Server) Page(pattern string, h http.Handler) {
	s.mux.HandleFunc(pattern, s.contain(h.ServeHTTP))
}

// Lost says what a browser is shown where there is nothing. Call it before the
// server serves.
func (s *Server) Lost(h http.Handler) { s.lost = h }

// Handler answers every request.
func (s *Server) Handler() http.Handler { return s.handler }

// HTTPServer is an http.Server around Handler with bounds on headers and on
// idle connections. It has none on writing, which would end WebSockets; bodies
// are bounded where they are read.
func (s *Server) HTTPServer() *http.Server {
	server := &http.Server{
		Handler:           s.handler,
		ReadHeaderTimeout: 10 * time.Second,
		IdleTimeout:       2 * time.Minute,
		MaxHeaderBytes:    64 << 10,
		ErrorLog:          slog.NewLogLogger(s.Log.Handler(), slog.LevelWarn),
	}
	server.RegisterOnShutdown(s.follow.End)
	return server
}

// operations registers what the engine itself offers.
func (s *Server) operations() {
	s.healthOperations()
	s.kindOperations()
	s.entityOperations()
	s.transitionOperations()
	s.exportOperations()
	s.streamOperations()
	s.eventOperations()
	s.decisionOperations()
	s.runOperations()
	s.runWrites()
	s.ruleOperations()
	s.explainOperations()
	s.ruleWrites()
	s.dryRunOperations()
	s.silenceOperations()
	s.catalogueOperations()
	s.tokenOperations()
	s.auditOperations()
	s.overviewOperations()
	s.activityOperations()
	s.pruneOperations()
	s.replayOperations()
}

// pages adds what is no operation of the API.
func (s *Server) pages() {
	s.mux.HandleFunc("GET /openapi.json", s.guard(plugins.Viewer, s.openapi()))
	s.mux.HandleFunc("GET /docs", s.guard(plugins.Viewer, s.docs()))
	s.mux.HandleFunc("/hooks/{name}", s.contain(s.hook))
	if s.Registry != nil {
		metrics := promhttp.HandlerFor(s.Registry, promhttp.HandlerOpts{ErrorLog: slog.NewLogLogger(s.Log.Handler(), slog.LevelError)})
		s.mux.HandleFunc("GET /metrics", s.guard(plugins.Viewer, metrics.ServeHTTP))
	}
	for _, m := range s.Mounts {
		s.mux.Handle(m.Pattern, s.mounted(m.Handler))
	}
	nothing := s.guard(plugins.Viewer, s.nothing)
	s.mux.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
		if s.lost != nil && r.Method == http.MethodGet && strings.Contains(r.Header.Get("Accept"), "text/html") {
			s.contain(s.lost.ServeHTTP)(w, r)
			return
		}
		nothing(w, r)
	})
}
