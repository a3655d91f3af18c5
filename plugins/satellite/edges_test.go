package satellite_test

import (
	"errors"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/flightrules/flightrules/entities"
	"github.com/flightrules/flightrules/internal/dbtest"
	"github.com/flightrules/flightrules/plugins/satellite"
	"github.com/flightrules/flightrules/plugins/satellite/protocol"
)

func TestSessions(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, url string) {
		n := single(t, url)
		other := nodeAt(t, n.db, n.Manual)

		t.Run("a satellite that never connected has no state", func(t *testing.T) {
			k := n.create("new")
			if s := n.state(k); s != nil {
				t.Errorf("got %v", s)
			}
		})

		t.Run("a goodbye is offline at once and keeps when it was seen", func(t *testing.T) {
			k, s := n.online("polite")
			seen := n.Now()
			n.advance(listen)
			must(t, n.plugin.Disconnect(t.Context(), s))
			n.wantStatus(k, "offline", "disconnected")
			n.wantEvents(k, evConnected, evDisconnected)
			if got := n.state(k)["last_seen_at"]; got != seen.Format(time.RFC3339) {
				t.Errorf("seen last at %v, want %v", got, seen)
			}
			if got := n.history(k)[1].Cause.Actor; got != "satellite:polite" {
				t.Errorf("the actor is %q", got)
			}
			n.advance(2 * threshold)
			n.wantEvents(k, evConnected, evDisconnected)
		})

		t.Run("a late goodbye of an old session changes nothing", func(t *testing.T) {
			k, old := n.online("moved")
			_, err := other.plugin.Connect(t.Context(), k.id, k.token)
			must(t, err)
			must(t, n.plugin.Disconnect(t.Context(), old))
			n.wantStatus(k, "online", "connected")
			n.wantEvents(k, evConnected)
		})

		t.Run("a heartbeat of an old session is refused and ends it", func(t *testing.T) {
			k, old := n.online("doubled")
			_, err := other.plugin.Connect(t.Context(), k.id, k.token)
			must(t, err)
			seen := n.state(k)["last_seen_at"]
			n.advance(listen)
			n.heartbeat(old)
			if got := n.state(k)["last_seen_at"]; got != seen {
				t.Errorf("seen last at %v, want %v", got, seen)
			}
			if m, ended := old.Ended(); !ended || m.(protocol.Error).Code != protocol.CodeSuperseded {
				t.Errorf("ended %v with %v", ended, m)
			}
		})

		t.Run("a new session on the same node ends the old one at once", func(t *testing.T) {
			k, old := n.online("twice")
			fresh := n.connect(k)
			if _, ended := old.Ended(); !ended {
				t.Error("the old session goes on")
			}
			if _, ended := fresh.Ended(); ended {
				t.Error("the new session ended")
			}
		})

		t.Run("a heartbeat that was on its way does not undo a goodbye", func(t *testing.T) {
			k, s := n.online("hasty")
			n.advance(listen)
			n.plugin.Heartbeat(s, n.Now())
			must(t, n.plugin.Disconnect(t.Context(), s))
			must(t, n.plugin.Flush(t.Context()))
			n.wantStatus(k, "offline", "disconnected")
			n.wantEvents(k, evConnected, evDisconnected)
			if got := n.state(k)["last_seen_at"]; got != n.Now().Format(time.RFC3339) {
				t.Errorf("seen last at %v, want %v", got, n.Now())
			}
		})

		t.Run("a loss is one episode: a goodbye after it leaves the recovery to come", func(t *testing.T) {
			k, s := n.online("episode")
			n.advance(threshold + listen)
			must(t, n.plugin.Disconnect(t.Context(), s))
			n.wantStatus(k, "offline", "heartbeat_lost")
			n.connect(k)
			n.wantEvents(k, evConnected, evLost, evConnected)
		})

		t.Run("unknown satellites and wrong tokens are refused alike", func(t *testing.T) {
			k := n.create("guarded")
			for name, bad := range map[string]known{
				"wrong token": {id: k.id, token: k.token + "x"}, "no token": {id: k.id},
				"unknown":  {id: "0192c0de-0000-7000-8000-000000000000", token: k.token},
				"no name":  {id: "unguarded", token: k.token},
				"no text":  {id: "guarded\x00", token: k.token},
				"the hash": {id: "00000000-0000-0000-0000-000000000000", token: ""},
			} {
				if _, err := n.plugin.Connect(t.Context(), bad.id, bad.token); !errors.Is(err, satellite.Refused) {
					t.Errorf("%s: %v", name, err)
				}
			}
			if _, err := n.plugin.Connect(t.Context(), "guarded", k.token); err != nil {
				t.Errorf("by its name: %v", err)
			}
		})
	})
}

// Whatever is done to a satellite between its deadline and the moment at which
// somebody notices, its loss is on record whole.
func TestNothingHidesALoss(t *testing.T) {
	for name, c := range map[string]struct {
		do   func(n *node, k known, s *satellite.Session)
		want []string
	}{
		"a heartbeat":      {func(n *node, _ known, s *satellite.Session) { n.heartbeat(s) }, []string{evConnected, evLost, evConnected}},
		"a new connection": {func(n *node, k known, _ *satellite.Session) { n.connect(k) }, []string{evConnected, evLost, evConnected}},
		"a goodbye":        {func(n *node, _ known, s *satellite.Session) { must(n.t, n.plugin.Disconnect(n.t.Context(), s)) }, []string{evConnected, evLost}},
		"a removal": {func(n *node, k known, _ *satellite.Session) {
			n.call(204, "DELETE", "/api/v1/satellites/"+k.id, "", nil)
		}, []string{evConnected, evLost, evRemoved}},
		"another region":    {func(n *node, k known, _ *satellite.Session) { n.patch(k, `{"region": "us"}`) }, []string{evConnected, evLost}},
		"another threshold": {func(n *node, k known, _ *satellite.Session) { n.patch(k, `{"offline_threshold": "24h"}`) }, []string{evConnected, evLost}},
		"another token": {func(n *node, k known, _ *satellite.Session) {
			n.call(200, "POST", "/api/v1/satellites/"+k.id+"/token", "", nil)
		}, []string{evConnected, evLost}},
	} {
		t.Run(name, func(t *testing.T) {
			n := single(t, dbtest.SQLite(t))
			k, s := n.online("s")
			for n.Now().Before(start.Add(threshold)) {
				n.Add(listen)
				n.beat()
			}
			c.do(n, k, s)
			n.wantEvents(k, c.want...)
			want := entities.Delta{"status": {"online", "offline"}, "last_event": {"connected", "heartbeat_lost"}}
			if diff := cmp.Diff(want, n.history(k)[1].Delta); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func (n *node) patch(k known, body string) {
	n.t.Helper()
	n.call(200, "PATCH", "/api/v1/satellites/"+k.id, body, nil)
}

func TestThresholdChanges(t *testing.T) {
	n := single(t, dbtest.SQLite(t))
	k := n.create("tuned", `"offline_threshold": "24h"`)
	s := n.connect(k)
	n.advance(time.Minute)
	n.patch(k, `{"offline_threshold": "15s"}`)
	must(t, n.plugin.CheckSessions(t.Context()))
	told := s.Told()
	if ack, ok := told[len(told)-1].(protocol.HeartbeatAck); !ok || ack.HeartbeatInterval != protocol.Duration(5*time.Second) {
		t.Errorf("the agent was told %v, want to send heartbeats each 5s", told)
	}
	n.advance(15*time.Second - time.Millisecond)
	n.wantEvents(k, evConnected)
	n.advance(listen)
	n.wantEvents(k, evConnected, evLost)
}

func TestRemoval(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, url string) {
		n := single(t, url)
		other := nodeAt(t, n.db, n.Manual)

		t.Run("leaves a tombstone and ends the session on another node", func(t *testing.T) {
			k, s := n.online("removed")
			other.call(204, "DELETE", "/api/v1/satellites/removed", "", nil)
			n.wantEvents(k, evConnected, evRemoved)
			if h := n.history(k); !h[len(h)-1].Removed() {
				t.Error("the last transition is no tombstone")
			}
			must(t, n.plugin.CheckSessions(t.Context()))
			if m, ended := s.Ended(); !ended || m.(protocol.AuthFailed).Reason == "" {
				t.Errorf("ended %v with %v", ended, m)
			}
			if _, err := n.plugin.Connect(t.Context(), k.id, k.token); !errors.Is(err, satellite.Refused) {
				t.Errorf("it may connect again: %v", err)
			}
			n.advance(2 * threshold)
			n.wantEvents(k, evConnected, evRemoved)
		})

		t.Run("is found out by a heartbeat when the hint is lost", func(t *testing.T) {
			_, s := n.online("removed")
			other.call(204, "DELETE", "/api/v1/satellites/removed", "", nil)
			n.heartbeat(s)
			if _, ended := s.Ended(); !ended {
				t.Error("the session goes on")
			}
		})

		t.Run("of one that never connected leaves nothing", func(t *testing.T) {
			k := n.create("unseen")
			n.call(204, "DELETE", "/api/v1/satellites/unseen", "", nil)
			n.call(404, "GET", "/api/v1/satellites/"+k.id, "", nil)
			n.wantEvents(k)
		})
	})
}

func TestTokenReplaced(t *testing.T) {
	n := single(t, dbtest.SQLite(t))
	k, s := n.online("rotated")
	var out struct{ ID, Token string }
	n.call(200, "POST", "/api/v1/satellites/rotated/token", "", &out)
	n.wantStatus(k, "offline", "disconnected")
	must(t, n.plugin.CheckSessions(t.Context()))
	if m, ended := s.Ended(); !ended || m.(protocol.AuthFailed).Reason == "" {
		t.Errorf("ended %v with %v", ended, m)
	}
	if _, err := n.plugin.Connect(t.Context(), k.id, k.token); !errors.Is(err, satellite.Refused) {
		t.Errorf("the old token: %v", err)
	}
	if err := n.plugin.Begin(t.Context(), k.id, k.token); !errors.Is(err, satellite.Refused) {
		t.Errorf("the old token, checked just before it was replaced: %v", err)
	}
	n.connect(known{id: k.id, token: out.Token})
	n.wantStatus(k, "online", "connected")
	n.wantEvents(k, evConnected, evDisconnected, evConnected)
}

func TestTokenReplacedWithGrace(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, url string) {
		n := single(t, url)
		rotate := func(k known, grace string) known {
			t.Helper()
			var out struct{ Token string }
			n.call(200, "POST", "/api/v1/satellites/"+k.name+"/token", `{"grace": "`+grace+`"}`, &out)
			return known{k.id, k.name, out.Token}
		}
		lets := func(want bool, k known) {
			t.Helper()
			if _, err := n.plugin.Connect(t.Context(), k.id, k.token); want != (err == nil) || err != nil && !errors.Is(err, satellite.Refused) {
				t.Errorf("%v, want let in %t", err, want)
			}
		}
		ended := func(s *satellite.Session) bool {
			t.Helper()
			must(t, n.plugin.CheckSessions(t.Context()))
			_, over := s.Ended()
			return over
		}

		t.Run("both are good until it ends, and then the sessions of the old one end", func(t *testing.T) {
			k, s := n.online("both")
			fresh := rotate(k, "1m")
			n.advance(time.Minute-time.Second, s)
			if ended(s) {
				t.Error("the old token's session ended before its time")
			}
			n.wantEvents(k, evConnected)
			hint, cancel := n.db.Subscribe("satellite.sessions")
			defer cancel()
			n.advance(2*time.Second, s)
			select {
			case <-hint:
			default:
				t.Error("no node was told to look")
			}
			m, over := s.Ended()
			if _, forGood := m.(protocol.AuthFailed); !ended(s) || over && !forGood {
				t.Errorf("ended with %v", m)
			}
			n.wantEvents(k, evConnected, evDisconnected)
			lets(false, k)
			lets(true, fresh)
		})
		t.Run("a session of the new one goes on", func(t *testing.T) {
			k, _ := n.online("moved")
			fresh := rotate(k, "1m")
			lets(true, k)
			s := n.connect(fresh)
			n.advance(2*time.Minute, s)
			if ended(s) {
				t.Error("it ended")
			}
			n.wantEvents(k, evConnected)
			lets(false, k)
		})
		t.Run("ends the old one also where nobody has looked yet", func(t *testing.T) {
			k := n.create("unlooked")
			rotate(k, "1m")
			lets(true, k)
			n.Add(time.Minute)
			lets(false, k)
			n.step()
		})
		t.Run("survives a restart", func(t *testing.T) {
			k, _ := n.online("restarted")
			rotate(k, "1m")
			n = n.restarted()
			n.advance(2 * time.Minute)
			lets(false, k)
		})
		t.Run("of another replacement ends the one before it", func(t *testing.T) {
			first, s := n.online("twice")
			second := rotate(first, "1m")
			third := rotate(second, "1m")
			if !ended(s) {
				t.Error("the first token's session goes on")
			}
			lets(false, first)
			lets(true, second)
			lets(true, third)
			fourth := rotate(third, "")
			lets(false, second)
			lets(false, third)
			lets(true, fourth)
		})
		t.Run("of no use is refused", func(t *testing.T) {
			n.create("refused")
			for _, grace := range []string{"soon", "1ms", "31d"} {
				n.call(422, "POST", "/api/v1/satellites/refused/token", `{"grace": "`+grace+`"}`, nil)
			}
		})
	})
}

func TestSlowReaderIsLeftBehind(t *testing.T) {
	n := single(t, dbtest.SQLite(t))
	k, s := n.online("slow")
	for range 100 { // nobody takes the acknowledgements
		n.plugin.Heartbeat(s, n.Now())
		must(t, n.plugin.Flush(t.Context()))
	}
	if m, ended := s.Ended(); !ended || m.(protocol.Error).Code != protocol.CodeSlowConsumer {
		t.Errorf("ended %v with %v", ended, m)
	}
	n.wantStatus(k, "online", "connected")
}

func TestLimiter(t *testing.T) {
	const a, b = "0192c0de-0000-7000-8000-00000000000a", "0192c0de-0000-7000-8000-00000000000b"
	spend := func(l interface {
		Allow(time.Time, string, string) bool
	}, remote, client string) (answered int) {
		for range 30 {
			if l.Allow(start, remote, client) {
				answered++
			}
		}
		return answered
	}
	t.Run("answers a burst for each client, whatever its address", func(t *testing.T) {
		l := satellite.NewLimiter()
		first := spend(l, "192.0.2.1:1", a)
		if first == 0 || first == 30 {
			t.Fatalf("%d of 30 answered", first)
		}
		if l.Allow(start, "192.0.2.2:1", a) {
			t.Error("the same client from another address was answered")
		}
		if !l.Allow(start, "192.0.2.3:1", b) {
			t.Error("another client was not answered")
		}
	})
	t.Run("answers a burst for each address, whatever the client", func(t *testing.T) {
		l := satellite.NewLimiter()
		spend(l, "192.0.2.1:1", a)
		if l.Allow(start, "192.0.2.1:2", b) {
			t.Error("another client from the same address was answered")
		}
		spend(l, "[2001:db8::1]:1", a)
		if l.Allow(start, "[2001:db8::2]:1", b) {
			t.Error("a neighbour in the same /64 was answered")
		}
	})
	t.Run("answers again after a while", func(t *testing.T) {
		l := satellite.NewLimiter()
		spend(l, "192.0.2.1:1", a)
		if !l.Allow(start.Add(time.Minute), "192.0.2.1:1", a) {
			t.Error("it was not answered")
		}
	})
}
