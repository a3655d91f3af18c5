package app

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"golang.org/x/sync/errgroup"

	"github.com/flightrules/flightrules/internal/httpapi"
	"github.com/flightrules/flightrules/internal/web"
)

// shutdownTimeout bounds how long requests may take to end at shutdown.
const shutdownTimeout = 5 * time.Second

// ServeConfig is a Config with what serving it takes.
type ServeConfig struct {
	Config

	Data    string // folder of the admin token, and of the database by default
	Listen  string // host:port
	TLSCert string // with TLSKey: files of PEM; "": no TLS
	TLSKey  string
	Version string
	// DryRun tries a rule of the engine that is up, without effect. nil: nobody
	// can have that.
	DryRun func(ctx context.Context, live *Core, ask httpapi.DryRun) (*httpapi.DryRunResult, error)
	// Replay puts rules over the log of a database, for the API. May be nil.
	Replay func(ctx context.Context, url string, spec httpapi.ReplaySpec) ([]byte, error)
	// Started is called once everything is up. May be nil.
	Started func(*Serving)
}

// Serving is an engine that is up.
type Serving struct {
	*Core
	URL        string // "http://127.0.0.1:8080"
	TokenFile  string // where the admin token is
	NewToken   bool   // it was written by this start
	RulesCount int
}

// Serve runs an engine with everything around it until ctx ends, and returns
// when all of it has come down. Rules with problems at the start are a
// *yamlx.Error.
func Serve(ctx context.Context, c ServeConfig) (err error) {
	if err := os.MkdirAll(c.Data, 0o700); err != nil {
		return err
	}
	if c.DB == "" {
		c.DB = "sqlite:" + filepath.Join(c.Data, "flightrules.db")
	}
	if c.Metrics == nil {
		c.Metrics = NewMetrics()
	}
	core, err := Open(ctx, c.Config, httpapi.Migrations())
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, core.Close(context.WithoutCancel(ctx))) }()

	var dryRun func(ctx context.Context, ask httpapi.DryRun) (*httpapi.DryRunResult, error)
	if c.DryRun != nil {
		dryRun = func(ctx context.Context, ask httpapi.DryRun) (*httpapi.DryRunResult, error) {
			return c.DryRun(ctx, core, ask)
		}
	}
	var replay func(context.Context, httpapi.ReplaySpec) ([]byte, error)
	if c.Replay != nil {
		replay = func(ctx context.Context, spec httpapi.ReplaySpec) ([]byte, error) { return c.Replay(ctx, c.DB, spec) }
	}
	api := httpapi.New(httpapi.Config{
		DB: core.DB, Entities: core.Entities, Events: core.Events, Actions: core.Actions, Rules: core.Engine.Rules,
		Compiler: core.Compiler, LoadProblems: core.Problems, Emit: core.Engine.Emit,
		Pause: core.Engine.Pause, Resume: core.Engine.Resume, RunByHand: core.Engine.RunByHand, Explain: core.Engine.Explain, DryRun: dryRun,
		CancelRun: core.Engine.CancelRun, RetryRun: core.Engine.RetryRun,
		Silence: core.Engine.Silence, Unsilence: core.Engine.Unsilence, Prune: core.Engine.Prune, NextTick: core.Engine.NextTick, Replay: replay, Secret: core.secret, Ready: core.checks(),
		Operations: core.Plugins.Operations(), Mounts: core.Plugins.Mounts(),
		Version: c.Version, Now: core.Now, Log: core.Log, Registry: c.Metrics,
	})
	web.Mount(api)
	up := &Serving{Core: core, TokenFile: filepath.Join(c.Data, "admin.token"), RulesCount: len(core.Engine.Rules().Rules)}
	if up.NewToken, err = api.Tokens().EnsureAdmin(ctx, up.TokenFile); err != nil {
		return err
	}
	listener, err := net.Listen("tcp", c.Listen)
	if err != nil {
		return err
	}
	scheme := "http://"
	if c.TLSCert != "" {
		scheme = "https://"
	}
	up.URL = scheme + listener.Addr().String()

	if err := core.Plugins.Ready(ctx); err != nil {
		return errors.Join(err, listener.Close())
	}
	server := api.HTTPServer()
	group, running := errgroup.WithContext(ctx)
	group.Go(func() error { return core.DB.RunHints(running, core.Log) })
	group.Go(func() error { return core.Engine.Run(running) })
	group.Go(func() error { return core.Plugins.Run(running) })
	group.Go(func() error { return serveUntil(running, server, listener, c.TLSCert, c.TLSKey) })
	if c.Dir != "" {
		group.Go(func() error { return core.Watch(running) })
	}
	if c.Started != nil {
		c.Started(up)
	}
	return group.Wait()
}

// NewMetrics is a registry with the metrics of the process.
func NewMetrics() *prometheus.Registry {
	r := prometheus.NewRegistry()
	r.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	return r
}

// serveUntil serves until ctx ends, and then lets requests end.
func serveUntil(ctx context.Context, server *http.Server, listener net.Listener, cert, key string) error {
	ended := make(chan error, 1)
	go func() {
		if cert != "" {
			ended <- server.ServeTLS(listener, cert, key)
		} else {
			ended <- server.Serve(listener)
		}
	}()
	select {
	case err := <-ended:
		return fmt.Errorf("serve %s: %w", listener.Addr(), err)
	case <-ctx.Done():
	}
	stopping, cancel := context.WithTimeout(context.WithoutCancel(ctx), shutdownTimeout)
	defer cancel()
	err := server.Shutdown(stopping)
	if errors.Is(err, context.DeadlineExceeded) {
		err = server.Close() // sockets that outlast the patience are cut
	}
	<-ended
	return err
}

// checks are what /readyz asks.
func (c *Core) checks() []httpapi.Check {
	return []httpapi.Check{
		{Name: "database", Run: func(ctx context.Context) error { return c.DB.Read().PingContext(ctx) }},
		{Name: "rules", Run: func(context.Context) error {
			// Files with problems do not make a node unready: the rules from
			// before are in force. They are shown elsewhere.
			if !c.Engine.Loaded() {
				return errors.New("no rules have been loaded yet")
			}
			return nil
		}},
	}
}
