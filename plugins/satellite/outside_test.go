package satellite_test

import (
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/flightrules/flightrules/internal/dbtest"
	"github.com/flightrules/flightrules/plugins"
	"github.com/flightrules/flightrules/plugins/satellite"
)

// interval is how far apart heartbeats are.
const interval = 15 * time.Second

// played is a core whose satellite is the one of simulations.
type played struct {
	*node
	worlds *plugins.Worlds
	id     known
}

func newPlayed(t *testing.T) *played {
	n := single(t, dbtest.SQLite(t))
	worlds, err := n.set.Worlds(nil)
	must(t, err)
	must(t, worlds.Given(t.Context(), "satellite", map[string]any{
		"id": "s1", "region": "eu", "tags": map[string]any{"tier": "1"}, "connected": false, // as node.create makes it
	}))
	return &played{n, worlds, known{id: "s1", name: "s1"}}
}

// pass lets time pass, stopping only where it has to.
func (p *played) pass(d time.Duration) {
	p.t.Helper()
	for end := p.Now().Add(d); ; {
		_, err := p.worlds.Step(p.t.Context())
		must(p.t, err)
		p.step()
		if !p.Now().Before(end) {
			return
		}
		next := end
		for _, due := range []func() (time.Time, error){
			func() (time.Time, error) { return p.timers.Next(p.t.Context()) },
			func() (time.Time, error) { return p.worlds.Next(p.t.Context()) },
		} {
			at, err := due()
			must(p.t, err)
			if !at.IsZero() && at.Before(next) {
				next = at
			}
		}
		p.Set(next)
	}
}

func (p *played) do(what string) error {
	return p.worlds.Happen(p.t.Context(), "satellite", map[string]any{what: "s1"})
}

// real is a core that hears each heartbeat and notes all the time that it is
// listening, with a satellite that is driven by hand.
type real struct {
	*node
	id      known
	session *satellite.Session
	beats   bool
	next    time.Time // of its heartbeats
}

func newReal(t *testing.T) *real {
	n := single(t, dbtest.SQLite(t))
	return &real{node: n, id: n.create("s1")}
}

func (r *real) pass(d time.Duration) {
	r.t.Helper()
	for end := r.Now().Add(d); r.Now().Before(end); {
		next := r.Now().Add(time.Second)
		due, err := r.timers.Next(r.t.Context())
		must(r.t, err)
		if due.After(r.Now()) && due.Before(next) {
			next = due
		}
		if r.beats && r.next.Before(next) {
			next = r.next
		}
		if next.After(end) {
			next = end
		}
		r.Set(next)
		r.beat()
		if r.beats && !r.Now().Before(r.next) {
			r.send()
		}
		r.step()
	}
}

func (r *real) send() {
	r.heartbeat(r.session)
	r.next = r.Now().Add(interval)
}

func (r *real) do(what string) error {
	if what != "connect" && r.session == nil || what == "silence" && !r.beats {
		return fmt.Errorf("it cannot %s", what)
	}
	switch what {
	case "connect":
		r.session, r.beats, r.next = r.connect(r.id), true, r.Now().Add(interval)
	case "beat":
		r.send()
	case "silence":
		r.send()
		r.beats = false
	case "drop":
		if r.beats {
			r.send()
		}
		r.session, r.beats = nil, false
	case "disconnect":
		must(r.t, r.plugin.Disconnect(r.t.Context(), r.session))
		r.session, r.beats = nil, false
	}
	return nil
}

// seen is all that rules could see of a satellite.
func seen(n *node, k known) (lines []string) {
	for _, transition := range n.history(k) {
		lines = append(lines, fmt.Sprint(transition.At.Sub(start), transition.Delta, transition.Cause.Actor))
	}
	if s := n.state(k); s != nil {
		lines = append(lines, fmt.Sprint(s["status"], s["last_event"], s["last_seen_at"]))
	}
	return lines
}

func TestSimulatedSatellitesAreLikeRealOnes(t *testing.T) {
	for seed := range uint64(5) {
		t.Run(fmt.Sprint("seed ", seed), func(t *testing.T) {
			p, r := newPlayed(t), newReal(t)
			random := rand.New(rand.NewPCG(seed, 0))
			var log []string
			for range 12 {
				// Heartbeats are whole seconds after a connection: never at the
				// instant of a deadline.
				pause := time.Duration(random.IntN(240)) * time.Second
				what := []string{"connect", "connect", "beat", "silence", "drop", "disconnect"}[random.IntN(6)]
				log = append(log, fmt.Sprint(pause, " ", what))
				p.pass(pause)
				r.pass(pause)
				if played, actual := p.do(what), r.do(what); (played == nil) != (actual == nil) {
					t.Fatalf("%v: %v in the simulation, %v in fact", log, played, actual)
				}
				if diff := cmp.Diff(seen(r.node, r.id), seen(p.node, p.id)); diff != "" {
					t.Fatalf("%v: real -, simulated +\n%s", log, diff)
				}
			}
			if len(p.history(p.id)) < 3 {
				t.Errorf("hardly anything happened: %v", log)
			}
		})
	}
}

func TestSimulatedSatellitesHeedTheirCore(t *testing.T) {
	t.Run("a shorter threshold is met by shorter pauses", func(t *testing.T) {
		p := newPlayed(t)
		must(t, p.do("connect"))
		p.pass(10 * time.Minute)
		p.call(200, "PATCH", "/api/v1/satellites/s1", `{"offline_threshold": "15s"}`, nil)
		p.pass(time.Hour + time.Second)
		p.wantEvents(p.id, evConnected)
		p.wantStatus(p.id, "online", "connected")
		if seen := p.state(p.id)["last_seen_at"]; seen != p.Now().Add(-time.Second).Format(time.RFC3339) {
			t.Errorf("it was seen last at %v, at %v", seen, p.Now())
		}
		must(t, p.do("silence"))
		p.pass(15*time.Second + time.Microsecond)
		p.wantEvents(p.id, evConnected, evLost)
	})

	t.Run("one whose token was replaced stops", func(t *testing.T) {
		p := newPlayed(t)
		must(t, p.do("connect"))
		p.pass(time.Minute)
		p.call(200, "POST", "/api/v1/satellites/s1/token", "", nil)
		p.pass(time.Hour)
		p.wantEvents(p.id, evConnected, evDisconnected)
		if err := p.do("beat"); err == nil {
			t.Error("it goes on")
		}
	})

	t.Run("one whose session another took connects again", func(t *testing.T) {
		p := newPlayed(t)
		must(t, p.do("connect"))
		p.pass(time.Minute)
		p.sql("UPDATE satellites SET session_epoch = session_epoch + 1, session_id = 'another' WHERE id = 's1'")
		p.db.Hint("satellite.sessions")
		p.pass(time.Hour)
		p.wantEvents(p.id, evConnected)
		must(t, p.do("silence"))
		p.pass(threshold + time.Microsecond)
		p.wantEvents(p.id, evConnected, evLost)
	})
}
