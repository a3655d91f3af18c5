package satellite_test

import (
	"context"
	"log/slog"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/flightrules/flightrules/engine/timer"
	"github.com/flightrules/flightrules/internal/db"
	"github.com/flightrules/flightrules/internal/dbtest"
	"github.com/flightrules/flightrules/internal/loop"
	"github.com/flightrules/flightrules/plugins"
	"github.com/flightrules/flightrules/plugins/satellite"
	"github.com/flightrules/flightrules/plugins/satellite/agent"
)

// wire is a network of pipes: a listener at a time, and clients that dial it.
// It can be cut so that nothing gets through and nobody is told, as when a
// cable is pulled.
type wire struct {
	mu       sync.Mutex
	listener *listener
	cuts     []*cuttable
	death    bool // new connections are cut from the beginning
}

func newWire() *wire { return &wire{listener: newListener()} }

func (w *wire) listen() net.Listener {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.listener = newListener()
	return w.listener
}

type listener struct {
	accepted chan net.Conn
	closed   chan struct{}
	once     sync.Once
}

func newListener() *listener {
	return &listener{accepted: make(chan net.Conn), closed: make(chan struct{})}
}

func (l *listener) Accept() (net.Conn, error) {
	select {
	case c := <-l.accepted:
		return c, nil
	case <-l.closed:
		return nil, net.ErrClosed
	}
}

func (l *listener) Close() error   { l.once.Do(func() { close(l.closed) }); return nil }
func (l *listener) Addr() net.Addr { return &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: 80} }

func (w *wire) dial(ctx context.Context, _, _ string) (net.Conn, error) {
	client, server := net.Pipe()
	c := &cuttable{Conn: client, cut: make(chan struct{})}
	w.mu.Lock()
	w.cuts = append(w.cuts, c)
	if w.death {
		c.once.Do(func() { close(c.cut) })
	}
	l := w.listener
	w.mu.Unlock()
	select {
	case l.accepted <- server:
		return c, nil
	case <-l.closed:
		return nil, net.ErrClosed
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// client makes connections over the wire.
func (w *wire) client() *http.Client {
	return &http.Client{Transport: &http.Transport{DialContext: w.dial, DisableKeepAlives: true}}
}

// cut pulls the cable of all connections there are.
func (w *wire) cut() {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, c := range w.cuts {
		c.once.Do(func() { close(c.cut) })
	}
}

// deafen lets all connections there are carry nothing to the agents.
func (w *wire) deafen() {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, c := range w.cuts {
		c.deaf.Store(true)
	}
}

// setDeath says whether new connections are of no use.
func (w *wire) setDeath(death bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.death = death
}

// cuttable is a connection whose cable can be pulled: writes go nowhere, reads
// get nothing.
type cuttable struct {
	net.Conn
	cut  chan struct{}
	once sync.Once
	deaf atomic.Bool // the agent hears nothing, and is heard
}

func (c *cuttable) Write(b []byte) (int, error) {
	select {
	case <-c.cut:
		return len(b), nil
	default:
		return c.Conn.Write(b)
	}
}

func (c *cuttable) Read(b []byte) (int, error) {
	for {
		n, err := c.Conn.Read(b)
		select {
		case <-c.cut:
			if err != nil {
				return 0, err
			}
		default:
			if err == nil && c.deaf.Load() {
				continue
			}
			return n, err
		}
	}
}

// whole is a core that runs by itself, in the virtual time of a bubble.
type whole struct {
	*node
	url  string
	wire *wire
	stop context.CancelFunc
	done sync.WaitGroup
	more func() []plugins.Plugin // of each process; nil: none
}

// inBubble runs a test in virtual time, with a core that runs by itself.
func inBubble(t *testing.T, test func(t *testing.T, w *whole), more ...func() []plugins.Plugin) {
	url := dbtest.SQLite(t)
	synctest.Test(t, func(t *testing.T) {
		w := &whole{node: &node{t: t}, url: url, wire: newWire()}
		if len(more) > 0 {
			w.more = more[0]
		}
		w.begin()
		test(t, w)
		w.end()
	})
}

// begin starts the core, as a new process would.
func (w *whole) begin() {
	w.t.Helper()
	ctx, stop := context.WithCancel(context.Background())
	w.stop = stop
	d, err := db.Open(ctx, w.url, db.Options{NoSync: true})
	must(w.t, err)
	var more []plugins.Plugin
	if w.more != nil {
		more = w.more()
	}
	w.node = newNode(w.t, d, time.Now, satellite.Config{}, more...)
	listener := w.wire.listen()
	server := &http.Server{Handler: w.api}
	hint, unsubscribe := d.Subscribe(timer.Topic)
	w.done.Go(func() { _ = server.Serve(listener) })
	w.done.Go(func() {
		defer unsubscribe()
		log := slog.New(slog.DiscardHandler)
		_ = loop.Loop{Name: "timers", Stepper: w.timers, Hint: hint, Now: time.Now, Longest: time.Minute, Log: log}.Run(ctx)
	})
	w.done.Go(func() {
		if err := w.set.Run(ctx); err != nil {
			w.t.Error(err)
		}
		_ = server.Close()
	})
}

// end brings the core down in good order.
func (w *whole) end() {
	w.stop()
	w.done.Wait()
	must(w.t, w.db.Close())
}

// runAgent runs an agent; its error comes when it has ended.
func (w *whole) runAgent(k known) (stop context.CancelFunc, ended <-chan error) {
	ctx, stop := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() {
		done <- agent.Run(ctx, agent.Config{
			Core: "http://127.0.0.1", ID: k.id, Token: k.token, Version: "1.2.3", HTTPClient: w.wire.client(),
		})
	}()
	return stop, done
}

// pass lets virtual time pass, and everything happen that is due.
func (w *whole) pass(d time.Duration) {
	time.Sleep(d) // in a bubble this takes no time
	synctest.Wait()
}

// reset breaks all connections so that both sides notice.
func (w *wire) reset() {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, c := range w.cuts {
		_ = c.Conn.Close()
	}
	w.cuts = nil
}
