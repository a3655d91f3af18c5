// Package agent is the satellite's side: it connects out to the core, proves
// who it is, and sends heartbeats, for as long as it is told to.
//
// It connects again whenever a connection ends or falls silent, with growing
// pauses, and stops by itself only when the core refuses its token.
package agent

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"github.com/flightrules/flightrules/plugins"
	"github.com/flightrules/flightrules/plugins/satellite/protocol"
)

// ErrAuthFailed is returned when the core does not let the agent in. Trying
// again would not help.
var ErrAuthFailed = errors.New("the core refused this satellite")

// An agent whose connection ended waits for FirstPause until it connects again,
// and after each attempt that fails twice as long, up to LongestPause; each of
// them a little more or less, by chance.
const (
	FirstPause   = time.Second
	LongestPause = 30 * time.Second
)

const (
	pauseJitter    = 0.25
	beatJitter     = 0.1
	connectTimeout = 15 * time.Second // to connect and to be let in
	writeTimeout   = 10 * time.Second

	// goodbyePatience is how long an agent that is told to stop waits to hear
	// whether it was let in.
	goodbyePatience = 2 * time.Second
)

// Config says which satellite this is and where its core is.
type Config struct {
	// Core is the address of the core: https://core.example.org, or with
	// http, ws or wss.
	Core string
	// ID is the id of the satellite, or its name; Token is what the core gave
	// for it.
	ID, Token string
	// AllowInsecure permits an address without TLS that is not this machine.
	// The token can then be read on the way.
	AllowInsecure bool
	// Version is the version of the agent's program, for the core to show.
	Version string
	// Dir is the folder where results are kept until the core has taken them.
	// Only one agent may have it. Wanted with Runners.
	Dir string
	// Runners do what the satellite is told to, by capability; none: it only
	// proves that it is alive.
	Runners map[string]plugins.Runner
	// HTTPClient makes the connections. nil: a client that takes the proxy
	// from the environment. Redirects are never followed.
	HTTPClient *http.Client
	// Log may be nil.
	Log *slog.Logger
}

type agent struct {
	Config
	address  string
	began    time.Time
	memory   *memory                 // nil without Runners
	schedule *schedule               // likewise
	bundles  *bundles                // likewise
	fresh    chan struct{}           // a result waits to be delivered
	current  atomic.Pointer[session] // nil while the agent is not connected
}

// Run is the satellite until ctx ends; then it says goodbye, so that the core
// knows at once, and returns nil. What was not delivered is delivered when it
// runs again. The errors are ErrAuthFailed, an address that is not usable, and a
// Dir that is not.
func Run(ctx context.Context, c Config) (err error) {
	address, err := socketAddress(c.Core, c.AllowInsecure)
	if err != nil {
		return err
	}
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	c.HTTPClient = withoutRedirects(c.HTTPClient)
	a := &agent{Config: c, address: address, began: time.Now(), fresh: make(chan struct{}, 1)}
	if len(c.Runners) > 0 {
		// Opening and closing are done also when ctx has ended.
		if err := a.beginWork(context.WithoutCancel(ctx)); err != nil {
			return err
		}
		syncing, stop := context.WithCancel(ctx)
		var background sync.WaitGroup
		background.Go(func() { a.bundles.sync(syncing) })
		defer func() {
			stop()
			a.schedule.stop()
			background.Wait()
			err = errors.Join(err, a.memory.close())
		}()
	}
	return a.stayConnected(ctx)
}

// stayConnected has one session after the other, until ctx ends or the core
// refuses the agent.
func (a *agent) stayConnected(ctx context.Context) error {
	pause := FirstPause
	for {
		proven, err := a.session(ctx)
		switch {
		case ctx.Err() != nil:
			return nil
		case errors.Is(err, ErrAuthFailed):
			return err
		case proven:
			pause = FirstPause
		}
		wait := jittered(pause, pauseJitter)
		a.Log.Warn("the connection to the core ended; connecting again", "error", err, "pause", wait.Round(time.Millisecond))
		if !sleep(ctx, wait) {
			return nil
		}
		pause = min(2*pause, LongestPause)
	}
}

// withoutRedirects keeps the token from going where an answer points.
func withoutRedirects(c *http.Client) *http.Client {
	var own http.Client
	if c != nil {
		own = *c
	}
	own.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	return &own
}

// jittered is d, more or less by up to a part of it, so that agents that begin
// together do not go on together.
func jittered(d time.Duration, part float64) time.Duration {
	return time.Duration(float64(d) * (1 + part*(2*rand.Float64()-1)))
}

func sleep(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-timer.C:
		return true
	}
}

// refused is the error for a core that does not let the agent in.
func refused(m protocol.AuthFailed) error { return fmt.Errorf("%w: %s", ErrAuthFailed, m.Reason) }
