package agent_test

import (
	"context"
	"errors"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/coder/websocket"

	"github.com/flightrules/flightrules/plugins/satellite/agent"
	"github.com/flightrules/flightrules/plugins/satellite/protocol"
)

// core is a core of which the test says what it answers. Everything happens in
// the virtual time of a bubble.
type core struct {
	t        *testing.T
	accepted chan net.Conn
	server   *http.Server
	once     sync.Once
	done     sync.WaitGroup

	mu       sync.Mutex
	dialled  []time.Time
	refusing bool // no connection gets through
}

// newCore serves connections with what the test says of each.
func newCore(t *testing.T, serve func(s *socket)) *core {
	c := &core{t: t, accepted: make(chan net.Conn)}
	c.server = &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != protocol.Path {
			http.NotFound(w, r)
			return
		}
		c.done.Add(1)
		defer c.done.Done()
		conn, err := websocket.Accept(w, r, nil)
		if err != nil {
			t.Error(err)
			return
		}
		conn.SetReadLimit(protocol.MaxFrame)
		defer func() { _ = conn.CloseNow() }()
		serve(&socket{t: t, conn: conn})
	})}
	c.done.Go(func() { _ = c.server.Serve(listener{c}) })
	return c
}

type listener struct{ *core }

func (l listener) Accept() (net.Conn, error) {
	conn, ok := <-l.accepted
	if !ok {
		return nil, net.ErrClosed
	}
	return conn, nil
}
func (l listener) Close() error   { l.once.Do(func() { close(l.accepted) }); return nil }
func (l listener) Addr() net.Addr { return &net.TCPAddr{} }

func (c *core) dial(ctx context.Context, _, _ string) (net.Conn, error) {
	c.mu.Lock()
	c.dialled = append(c.dialled, time.Now())
	refusing := c.refusing
	c.mu.Unlock()
	if refusing {
		return nil, errors.New("connection refused")
	}
	client, server := net.Pipe()
	select {
	case c.accepted <- server:
		return client, nil
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// pauses are the times between attempts to connect.
func (c *core) pauses() (list []time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for i := 1; i < len(c.dialled); i++ {
		list = append(list, c.dialled[i].Sub(c.dialled[i-1]))
	}
	return list
}

func (c *core) run(ctx context.Context) error {
	return agent.Run(ctx, agent.Config{
		Core: "http://localhost/", ID: "the-id", Token: "the-token", Version: "1.2.3",
		HTTPClient: &http.Client{Transport: &http.Transport{DialContext: c.dial, DisableKeepAlives: true}},
	})
}

func (c *core) close() {
	_ = c.server.Close()
	c.done.Wait()
}

// socket is the core's end of a connection.
type socket struct {
	t      *testing.T
	conn   *websocket.Conn
	frames []string // as they came
}

func (s *socket) send(m protocol.Message) {
	frame, err := protocol.Encode(m)
	if err != nil {
		s.t.Error(err)
	}
	s.sendFrame(frame)
}

func (s *socket) sendFrame(frame []byte) {
	_ = s.conn.Write(context.Background(), websocket.MessageText, frame) // the agent may be gone
}

func (s *socket) read() (protocol.Message, error) {
	_, frame, err := s.conn.Read(context.Background())
	if err != nil {
		return nil, err
	}
	s.frames = append(s.frames, string(frame))
	return protocol.Decode(frame)
}

const interval = 10 * time.Second

// letIn reads what the agent says of itself and lets it in.
func (s *socket) letIn() protocol.Authenticate {
	m, err := s.read()
	if err != nil {
		s.t.Error(err)
	}
	s.send(protocol.Authenticated{SatelliteID: "the-id", Session: "s", Protocol: 1, HeartbeatInterval: protocol.Duration(interval)})
	hello, _ := m.(protocol.Authenticate)
	return hello
}

func ack(m protocol.Message) protocol.HeartbeatAck {
	return protocol.HeartbeatAck{SentAt: m.(protocol.Heartbeat).SentAt, Now: time.Now()}
}

func TestHeartbeats(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var hello protocol.Authenticate
		var beats []time.Time
		var closed error
		c := newCore(t, func(s *socket) {
			hello = s.letIn()
			for {
				m, err := s.read()
				if err != nil {
					closed = err
					return
				}
				beats = append(beats, time.Now())
				s.send(ack(m))
			}
		})
		ctx, stop := context.WithCancel(t.Context())
		ended := make(chan error, 1)
		began := time.Now()
		go func() { ended <- c.run(ctx) }()
		time.Sleep(30 * time.Minute)
		stop()
		if err := <-ended; err != nil {
			t.Error(err)
		}
		c.close()

		if hello.ClientID != "the-id" || hello.Token != "the-token" || hello.Protocol != protocol.Version || hello.Version != "1.2.3" {
			t.Errorf("it said of itself %+v", hello)
		}
		same := true
		for i, at := range beats {
			since := at.Sub(began)
			if since < 9*time.Second || since > 11*time.Second {
				t.Errorf("heartbeat %d came %s after the one before, want 10s ± 10%%", i, since)
			}
			same = same && i > 0 && since == beats[0].Sub(began)
			began = at
		}
		if len(beats) < 150 || same {
			t.Errorf("%d heartbeats, all alike: %v", len(beats), same)
		}
		if websocket.CloseStatus(closed) != websocket.StatusNormalClosure {
			t.Errorf("it left with %v, want a goodbye", closed)
		}
		if p := c.pauses(); len(p) != 0 {
			t.Errorf("it connected again after %v", p)
		}
	})
}

func TestIntervalChanges(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var after time.Duration
		ctx, stop := context.WithCancel(t.Context())
		c := newCore(t, func(s *socket) {
			s.letIn()
			time.Sleep(3 * time.Second)
			told := time.Now()
			s.send(protocol.HeartbeatAck{Now: told, HeartbeatInterval: protocol.Duration(time.Second)})
			for i := range 11 {
				m, err := s.read()
				if err != nil {
					t.Error(err)
					return
				}
				if i == 0 && time.Since(told) > time.Second {
					t.Errorf("the first heartbeat came %s after the change", time.Since(told))
				}
				s.send(ack(m))
			}
			after = time.Since(told)
			stop()
		})
		_ = c.run(ctx)
		c.close()
		if after < 9*time.Second || after > 11*time.Second {
			t.Errorf("ten heartbeats took %s, want 10s ± 10%%", after)
		}
	})
}

func TestReconnect(t *testing.T) {
	wantPauses := func(t *testing.T, got []time.Duration, nominal ...time.Duration) {
		t.Helper()
		if len(got) < len(nominal) {
			t.Fatalf("%d pauses: %v", len(got), got)
		}
		for i, want := range nominal {
			if got[i] < want*3/4 || got[i] > want*5/4 {
				t.Errorf("pause %d is %s, want %s ± 25%%", i, got[i], want)
			}
		}
	}

	t.Run("pauses double from a second to thirty", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			c := newCore(t, func(*socket) {})
			c.refusing = true
			ctx, stop := context.WithTimeout(t.Context(), 5*time.Minute)
			defer stop()
			if err := c.run(ctx); err != nil {
				t.Error(err)
			}
			c.close()
			s := time.Second
			wantPauses(t, c.pauses(), s, 2*s, 4*s, 8*s, 16*s, 30*s, 30*s)
		})
	})

	t.Run("begin anew after a connection that was well, and only then", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			connections := 0
			c := newCore(t, func(s *socket) {
				s.letIn()
				if connections++; connections != 3 {
					return
				}
				m, err := s.read()
				if err != nil {
					t.Error(err)
					return
				}
				s.send(ack(m))
				time.Sleep(time.Second)
			})
			ctx, stop := context.WithTimeout(t.Context(), time.Minute)
			defer stop()
			_ = c.run(ctx)
			c.close()
			got := c.pauses()
			if len(got) > 2 {
				got[2] -= min(got[2], interval) // it stayed for a heartbeat
			}
			wantPauses(t, got[:2], time.Second, 2*time.Second)
			if got[2] > 4*time.Second {
				t.Errorf("after a good connection it waited %s", got[2])
			}
		})
	})

	t.Run("when nothing is heard for two heartbeats", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			c := newCore(t, func(s *socket) {
				s.letIn()
				for {
					if _, err := s.read(); err != nil {
						return
					}
				}
			})
			ctx, stop := context.WithTimeout(t.Context(), 40*time.Second)
			defer stop()
			_ = c.run(ctx)
			c.close()
			wantPauses(t, c.pauses(), 2*interval+3*time.Second)
		})
	})

	t.Run("not while pings are heard", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			c := newCore(t, func(s *socket) {
				s.letIn()
				ctx, over := context.WithCancel(context.Background())
				defer over()
				go func() {
					for s.conn.Ping(ctx) == nil {
						select {
						case <-ctx.Done():
						case <-time.After(interval):
						}
					}
				}()
				for {
					if _, err := s.read(); err != nil {
						return
					}
				}
			})
			ctx, stop := context.WithTimeout(t.Context(), 10*time.Minute)
			defer stop()
			_ = c.run(ctx)
			c.close()
			if p := c.pauses(); len(p) != 0 {
				t.Errorf("it connected again after %v", p)
			}
		})
	})

	t.Run("when the core goes down", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			c := newCore(t, func(s *socket) {
				s.letIn()
				s.send(protocol.Shutdown{Reason: "maintenance"})
				_ = s.conn.Close(websocket.StatusGoingAway, "")
			})
			ctx, stop := context.WithTimeout(t.Context(), 10*time.Second)
			defer stop()
			if err := c.run(ctx); err != nil {
				t.Error(err)
			}
			c.close()
			wantPauses(t, c.pauses(), time.Second)
		})
	})
}

// The core records a satellite as connected before the agent knows that it is
// let in. One that is told to stop in between must not look as if it had died.
func TestGoodbyeWhileBeingLetIn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, stop := context.WithCancel(t.Context())
		var end error
		c := newCore(t, func(s *socket) {
			if _, err := s.read(); err != nil {
				t.Error(err)
			}
			stop()
			synctest.Wait()
			s.send(protocol.Authenticated{SatelliteID: "the-id", Session: "s", Protocol: 1, HeartbeatInterval: protocol.Duration(interval)})
			for end == nil {
				_, end = s.read()
			}
		})
		if err := c.run(ctx); err != nil {
			t.Error(err)
		}
		c.close()
		if websocket.CloseStatus(end) != websocket.StatusNormalClosure {
			t.Errorf("the connection ended with %v", end)
		}
	})
	t.Run("but it does not wait for a core that does not answer", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			ctx, stop := context.WithCancel(t.Context())
			c := newCore(t, func(s *socket) {
				_, _ = s.read()
				stop()
				_, _ = s.read()
			})
			begin := time.Now()
			if err := c.run(ctx); err != nil {
				t.Error(err)
			}
			c.close()
			if took := time.Since(begin); took > 5*time.Second { // of virtual time
				t.Errorf("it took %s", took)
			}
		})
	})
}

func TestRefused(t *testing.T) {
	for name, serve := range map[string]func(s *socket){
		"at the door": func(s *socket) { _, _ = s.read() },
		"later":       func(s *socket) { s.letIn() },
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				c := newCore(t, func(s *socket) {
					serve(s)
					s.send(protocol.AuthFailed{Reason: "wrong token"})
					_ = s.conn.Close(websocket.StatusPolicyViolation, "")
				})
				err := c.run(t.Context())
				c.close()
				if !errors.Is(err, agent.ErrAuthFailed) || !strings.Contains(err.Error(), "wrong token") {
					t.Errorf("got %v", err)
				}
				if p := c.pauses(); len(p) != 0 {
					t.Errorf("it tried again after %v", p)
				}
			})
		})
	}

	t.Run("an error is no refusal: it tries again", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			c := newCore(t, func(s *socket) {
				_, _ = s.read()
				s.send(protocol.Error{Code: protocol.CodeRateLimited, Message: "later"})
				_ = s.conn.Close(websocket.StatusTryAgainLater, "")
			})
			ctx, stop := context.WithTimeout(t.Context(), 10*time.Second)
			defer stop()
			if err := c.run(ctx); err != nil || len(c.pauses()) == 0 {
				t.Errorf("%v after %v", err, c.pauses())
			}
			c.close()
		})
	})
}

func TestUnderstandsLaterCores(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var answer protocol.Message
		c := newCore(t, func(s *socket) {
			if _, err := s.read(); err != nil {
				t.Error(err)
			}
			_ = s.conn.Write(context.Background(), websocket.MessageText, []byte(`{"type": "welcome"}`))
			s.send(protocol.Authenticated{HeartbeatInterval: protocol.Duration(interval)})
			_ = s.conn.Write(context.Background(), websocket.MessageText, []byte(`{"type": "teapots", "items": []}`))
			answer, _ = s.read()
			for {
				m, err := s.read()
				if err != nil {
					return
				}
				s.send(ack(m))
			}
		})
		ctx, stop := context.WithTimeout(t.Context(), time.Minute)
		defer stop()
		_ = c.run(ctx)
		c.close()
		if e, ok := answer.(protocol.Error); !ok || e.Code != protocol.CodeUnknownType {
			t.Errorf("an unknown type was answered with %v", answer)
		}
		if p := c.pauses(); len(p) != 0 {
			t.Errorf("it connected again after %v", p)
		}
	})
}

func TestAddress(t *testing.T) {
	never := &http.Client{Transport: roundTripper(func(r *http.Request) (*http.Response, error) {
		return nil, errors.New("dialled " + r.URL.String())
	})}
	for core, want := range map[string]string{
		"http://core.example.org":    "has no TLS",
		"ws://192.0.2.1:80":          "has no TLS",
		"http://localhost.evil.test": "has no TLS",
		"ftp://core.example.org":     "begins with none of",
		"core.example.org:8080":      "begins with none of",
		"":                           "does not parse",
		"https://":                   "does not parse",
	} {
		t.Run("refuses "+core, func(t *testing.T) {
			err := agent.Run(t.Context(), agent.Config{Core: core, HTTPClient: never})
			if err == nil || !strings.Contains(err.Error(), want) && !strings.Contains(err.Error(), "does not parse") {
				t.Errorf("got %v", err)
			}
		})
	}
	for core, want := range map[string]string{
		"https://core.example.org":       "https://core.example.org/api/v1/satellites/connect",
		"wss://core.example.org/base/":   "https://core.example.org/base/api/v1/satellites/connect",
		"http://127.0.0.1:8080":          "http://127.0.0.1:8080/api/v1/satellites/connect",
		"http://[::1]:8080":              "http://[::1]:8080/api/v1/satellites/connect",
		"ws://localhost":                 "http://localhost/api/v1/satellites/connect",
		"https://core.example.org?x=1#y": "https://core.example.org/api/v1/satellites/connect",
	} {
		t.Run("takes "+core, func(t *testing.T) {
			if got := firstAddress(t, agent.Config{Core: core}); got != want {
				t.Errorf("dialled %s, want %s", got, want)
			}
		})
	}
	t.Run("takes one without TLS when that is allowed", func(t *testing.T) {
		if got := firstAddress(t, agent.Config{Core: "http://core.example.org", AllowInsecure: true}); got != "http://core.example.org"+protocol.Path {
			t.Errorf("dialled %s", got)
		}
	})
}

func TestRedirectsAreNotFollowed(t *testing.T) {
	ctx, stop := context.WithCancel(t.Context())
	var asked []string
	err := agent.Run(ctx, agent.Config{Core: "https://core.example.org", HTTPClient: &http.Client{Transport: roundTripper(func(r *http.Request) (*http.Response, error) {
		asked = append(asked, r.URL.Host)
		stop()
		return &http.Response{StatusCode: http.StatusFound, Header: http.Header{"Location": {"http://evil.test"}}, Body: http.NoBody, Request: r}, nil
	})}})
	if err != nil || len(asked) != 1 {
		t.Errorf("%v, asked %v", err, asked)
	}
}

// firstAddress is the first address that an agent asks.
func firstAddress(t *testing.T, c agent.Config) (address string) {
	t.Helper()
	ctx, stop := context.WithCancel(t.Context())
	c.HTTPClient = &http.Client{Transport: roundTripper(func(r *http.Request) (*http.Response, error) {
		address = r.URL.String()
		stop()
		return nil, errors.New("enough")
	})}
	if err := agent.Run(ctx, c); err != nil {
		t.Error(err)
	}
	return address
}

type roundTripper func(*http.Request) (*http.Response, error)

func (f roundTripper) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }
