package satellite_test

import (
	"context"
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/coder/websocket"

	"github.com/flightrules/flightrules/plugins/satellite/agent"
	"github.com/flightrules/flightrules/plugins/satellite/protocol"
)

// These tests run a whole core and real agents in virtual time, with the
// numbers of production.

func TestAgentAndCore(t *testing.T) {
	t.Run("a satellite is online for as long as its agent runs, and says goodbye", func(t *testing.T) {
		inBubble(t, func(t *testing.T, w *whole) {
			k := w.create("edge")
			stop, ended := w.runAgent(k)
			w.pass(time.Second)
			w.wantStatus(k, "online", "connected")
			w.pass(time.Hour)
			w.wantEvents(k, evConnected)
			stop()
			if err := <-ended; err != nil {
				t.Error(err)
			}
			w.pass(time.Second)
			w.wantEvents(k, evConnected, evDisconnected)
		})
	})

	t.Run("a cable that is pulled is a loss at the threshold, and a recovery when it is back", func(t *testing.T) {
		inBubble(t, func(t *testing.T, w *whole) {
			k := w.create("edge")
			stop, ended := w.runAgent(k)
			w.pass(time.Minute)
			w.wire.setDeath(true)
			w.wire.cut()
			w.pass(2 * threshold)
			w.wantEvents(k, evConnected, evLost)
			seen, err := time.Parse(time.RFC3339, w.state(k)["last_seen_at"].(string))
			must(t, err)
			if late := w.history(k)[1].At.Sub(seen) - threshold; late < 0 || late > time.Millisecond {
				t.Errorf("the loss was found %s after the threshold", late)
			}
			w.wire.setDeath(false)
			w.wire.cut()
			w.pass(time.Minute)
			w.wantEvents(k, evConnected, evLost, evConnected)
			stop()
			<-ended
		})
	})

	t.Run("a socket that breaks and is back at once is no event", func(t *testing.T) {
		inBubble(t, func(t *testing.T, w *whole) {
			k := w.create("edge")
			stop, ended := w.runAgent(k)
			w.pass(time.Minute)
			w.wire.reset()
			w.pass(time.Minute)
			w.wantEvents(k, evConnected)
			w.wantStatus(k, "online", "connected")
			stop()
			<-ended
		})
	})

	t.Run("an agent with a wrong token gives up", func(t *testing.T) {
		inBubble(t, func(t *testing.T, w *whole) {
			k := w.create("edge")
			k.token += "x"
			_, ended := w.runAgent(k)
			if err := <-ended; !errors.Is(err, agent.ErrAuthFailed) {
				t.Errorf("got %v", err)
			}
		})
	})

	t.Run("an agent whose satellite is removed gives up at once", func(t *testing.T) {
		inBubble(t, func(t *testing.T, w *whole) {
			k := w.create("edge")
			_, ended := w.runAgent(k)
			w.pass(time.Second)
			removed := time.Now()
			w.call(204, "DELETE", "/api/v1/satellites/edge", "", nil)
			if err := <-ended; !errors.Is(err, agent.ErrAuthFailed) || !strings.Contains(err.Error(), "removed") {
				t.Errorf("got %v", err)
			}
			if took := time.Since(removed); took > time.Second {
				t.Errorf("it took %s: it waited for a heartbeat", took)
			}
		})
	})

	t.Run("a core that restarts finds its satellites as they were", func(t *testing.T) {
		inBubble(t, func(t *testing.T, w *whole) {
			k := w.create("edge")
			stop, ended := w.runAgent(k)
			w.pass(time.Minute)
			w.end()
			time.Sleep(10 * time.Minute)
			w.begin()
			w.pass(5 * time.Minute)
			w.wantEvents(k, evConnected)
			w.wantStatus(k, "online", "connected")
			stop()
			<-ended
			w.pass(time.Second)
			w.wantEvents(k, evConnected, evDisconnected)
		})
	})
}

// raw is a connection without an agent.
type raw struct {
	t    *testing.T
	conn *websocket.Conn
}

func (w *whole) connectRaw() *raw {
	w.t.Helper()
	conn, _, err := websocket.Dial(context.Background(), "ws://127.0.0.1"+protocol.Path, &websocket.DialOptions{HTTPClient: w.wire.client()})
	must(w.t, err)
	conn.SetReadLimit(protocol.MaxFrame)
	return &raw{w.t, conn}
}

func (r *raw) send(frame string) {
	r.t.Helper()
	must(r.t, r.conn.Write(context.Background(), websocket.MessageText, []byte(frame)))
}

func (r *raw) authenticate(k known) {
	r.t.Helper()
	frame, err := protocol.Encode(protocol.Authenticate{ClientID: k.id, Token: k.token, Protocol: protocol.Version})
	must(r.t, err)
	r.send(string(frame))
}

// want reads a message of that type.
func (r *raw) want(kind string) protocol.Message {
	r.t.Helper()
	_, frame, err := r.conn.Read(context.Background())
	must(r.t, err)
	m, err := protocol.Decode(frame)
	must(r.t, err)
	if m.Type() != kind {
		r.t.Fatalf("got %s %v, want %s", m.Type(), m, kind)
	}
	return m
}

// wantClosed reads until the connection is closed.
func (r *raw) wantClosed(code websocket.StatusCode) {
	r.t.Helper()
	for {
		if _, _, err := r.conn.Read(context.Background()); err != nil {
			if got := websocket.CloseStatus(err); got != code {
				r.t.Errorf("closed with %v, want %v", err, code)
			}
			return
		}
	}
}

const beatFrame = `{"type": "heartbeat", "sent_at": "2026-03-01T12:00:00Z", "uptime": "1s", "buffered": 0, "later": true}`

func TestSocket(t *testing.T) {
	t.Run("a heartbeat is acknowledged", func(t *testing.T) {
		inBubble(t, func(t *testing.T, w *whole) {
			k := w.create("edge")
			r := w.connectRaw()
			r.authenticate(k)
			in := r.want("authenticated").(protocol.Authenticated)
			if in.SatelliteID != k.id || in.Session == "" || in.Protocol != protocol.Version || in.HeartbeatInterval != protocol.Duration(15*time.Second) {
				t.Errorf("got %+v", in)
			}
			r.send(beatFrame)
			ack := r.want("heartbeat_ack").(protocol.HeartbeatAck)
			if !ack.SentAt.Equal(time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)) || ack.Now.IsZero() {
				t.Errorf("got %+v", ack)
			}
			must(t, r.conn.CloseNow())
		})
	})

	t.Run("what is not understood is answered, and the session goes on", func(t *testing.T) {
		inBubble(t, func(t *testing.T, w *whole) {
			r := w.connectRaw()
			r.authenticate(w.create("edge"))
			r.want("authenticated")
			for frame, code := range map[string]string{
				`{"type": "from_the_future"}`: protocol.CodeUnknownType,
				`{`:                           protocol.CodeMalformed,
				`{"type": "shutdown"}`:        protocol.CodeUnexpected,
			} {
				r.send(frame)
				if got := r.want("error").(protocol.Error).Code; got != code {
					t.Errorf("%s: %s, want %s", frame, got, code)
				}
			}
			r.send(beatFrame)
			r.want("heartbeat_ack")
			must(t, r.conn.CloseNow())
		})
	})

	t.Run("a frame that is too long ends that session alone", func(t *testing.T) {
		inBubble(t, func(t *testing.T, w *whole) {
			k, other := w.create("edge"), w.create("other")
			r, bystander := w.connectRaw(), w.connectRaw()
			r.authenticate(k)
			r.want("authenticated")
			bystander.authenticate(other)
			bystander.want("authenticated")
			go func() {
				long := []byte(`{"type": "heartbeat", "x": "` + strings.Repeat("x", protocol.MaxFrame) + `"}`)
				_ = r.conn.Write(context.Background(), websocket.MessageText, long) // it may be cut off
			}()
			r.wantClosed(websocket.StatusMessageTooBig)
			bystander.send(beatFrame)
			bystander.want("heartbeat_ack")
			w.wantEvents(k, evConnected) // it is no goodbye
			must(t, bystander.conn.CloseNow())
		})
	})

	t.Run("whoever does not authenticate is cut off", func(t *testing.T) {
		inBubble(t, func(t *testing.T, w *whole) {
			r := w.connectRaw()
			began := time.Now()
			_, _, err := r.conn.Read(context.Background())
			if err == nil || time.Since(began) != 10*time.Second {
				t.Errorf("after %s: %v", time.Since(began), err)
			}
		})
	})

	t.Run("the first message must be authenticate", func(t *testing.T) {
		inBubble(t, func(t *testing.T, w *whole) {
			r := w.connectRaw()
			r.send(beatFrame)
			r.want("error")
			r.wantClosed(websocket.StatusPolicyViolation)
		})
	})

	t.Run("unknown satellites and wrong tokens get the same answer, and after a burst none", func(t *testing.T) {
		inBubble(t, func(t *testing.T, w *whole) {
			k := w.create("edge")
			wrong, unknown := known{id: k.id, token: "frs_x"}, known{id: "0192c0de-0000-7000-8000-000000000000", token: k.token}
			try := func(k known, want string) protocol.Message {
				r := w.connectRaw()
				r.authenticate(k)
				m := r.want(want)
				must(t, r.conn.CloseNow())
				return m
			}
			if a, b := try(wrong, "auth_failed"), try(unknown, "auth_failed"); a != b {
				t.Errorf("a wrong token is told %v, an unknown satellite %v", a, b)
			}
			for range 8 {
				try(wrong, "auth_failed")
			}
			if code := try(wrong, "error").(protocol.Error).Code; code != protocol.CodeRateLimited {
				t.Errorf("got %s", code)
			}
			try(k, "authenticated")
			w.pass(time.Minute)
			try(wrong, "auth_failed")
		})
	})

	t.Run("an agent that does not answer pings is cut off, and lost only at its threshold", func(t *testing.T) {
		inBubble(t, func(t *testing.T, w *whole) {
			k := w.create("edge")
			r := w.connectRaw()
			r.authenticate(k)
			r.want("authenticated") // and from here on nobody reads
			w.pass(threshold)
			if w.plugin.Live(k.id) {
				t.Error("the session goes on")
			}
			w.wantEvents(k, evConnected)
			w.pass(time.Second)
			w.wantEvents(k, evConnected, evLost)
			must(t, r.conn.CloseNow())
		})
	})

	t.Run("a core that goes down says so, and leaves the satellite as it was", func(t *testing.T) {
		inBubble(t, func(t *testing.T, w *whole) {
			k := w.create("edge")
			r := w.connectRaw()
			r.authenticate(k)
			r.want("authenticated")
			w.stop()
			r.want("shutdown")
			r.wantClosed(websocket.StatusGoingAway)
			synctest.Wait()
			w.wantStatus(k, "online", "connected")
		})
	})
}
