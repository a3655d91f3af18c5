package satellite_test

import (
	"encoding/json"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/flightrules/flightrules/entities"
	"github.com/flightrules/flightrules/internal/clock"
	"github.com/flightrules/flightrules/internal/dbtest"
	"github.com/flightrules/flightrules/plugins/satellite"
)

const evMassLoss = "satellite.mass_loss"

// group is satellites that are connected.
type group struct {
	known    []known
	sessions []*satellite.Session
}

func (n *node) group(count int, name, settings string) (g group) {
	n.t.Helper()
	for i := range count {
		var out struct{ ID, Token string }
		k := known{name: fmt.Sprintf("%s-%d", name, i)}
		n.call(201, "POST", "/api/v1/satellites", fmt.Sprintf(`{"name": %q%s}`, k.name, settings), &out)
		k.id, k.token = out.ID, out.Token
		g.known, g.sessions = append(g.known, k), append(g.sessions, n.connect(k))
	}
	return g
}

// all is what happened, oldest first: the events by their names, those of
// single satellites with the mass loss that they name.
func (n *node) all() (names []string, masses []map[string]any) {
	n.t.Helper()
	list, err := n.kinds.Transitions(n.t.Context(), n.db.Read(), entities.Filter{Limit: 1000})
	must(n.t, err)
	slices.Reverse(list)
	for _, transition := range list {
		for _, e := range n.events.Derive(transition) {
			var payload map[string]any
			must(n.t, json.Unmarshal(e.Payload, &payload))
			if e.Name == evMassLoss {
				masses = append(masses, payload)
			}
			if e.Name == evMassLoss || e.Name == evLost {
				names = append(names, fmt.Sprint(e.Name, " ", payload["mass_loss"]))
			}
		}
	}
	return names, masses
}

func TestMassLoss(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, url string) {
		n := single(t, url)
		eu := n.group(4, "eu", `, "region": "eu", "tags": {"tier": "1"}`)
		us := n.group(6, "us", `, "region": "us", "tags": {"tier": "1"}`)
		alive := slices.Clone(us.sessions)
		// They fall silent within some seconds.
		for _, s := range eu.sessions {
			n.advance(2*time.Second, alive...)
			n.heartbeat(s)
		}
		n.advance(time.Minute, alive...)
		names, masses := n.all()
		if len(masses) != 1 {
			t.Fatalf("%d mass losses in %v", len(masses), names)
		}
		id := masses[0]["mass_loss"]
		want := []string{fmt.Sprint(evMassLoss, " ", id)}
		for range eu.known {
			want = append(want, fmt.Sprint(evLost, " ", id))
		}
		if diff := cmp.Diff(want, names); diff != "" {
			t.Error(diff)
		}
		if diff := cmp.Diff(map[string]any{
			"mass_loss": start.Add(2*time.Second + threshold + time.Microsecond).Format(time.RFC3339Nano), "count": 4.0, "total": 10.0,
			"regions": map[string]any{"eu": 4.0}, "probable_cause": "region", "shared": "eu",
		}, masses[0]); diff != "" {
			t.Error(diff)
		}
		if got := n.state(eu.known[0])["mass_loss"]; got != id {
			t.Errorf("the state says %v, want %v", got, id)
		}

		// One that is lost later is lost by itself, and one that came back does not
		// belong any more.
		n.connect(eu.known[0])
		n.heartbeat(eu.sessions[1])
		for _, k := range eu.known[:2] {
			if s := n.state(k); s["mass_loss"] != "" || s["status"] != "online" {
				t.Errorf("%s came back, and its state is %v", k.name, s)
			}
		}
		n.advance(2*time.Minute, alive...)
		if names, _ = n.all(); names[len(names)-1] != evLost+" " || len(names) != 7 {
			t.Errorf("after another loss: %v", names)
		}
	})
}

func TestNoMassLoss(t *testing.T) {
	for name, play := range map[string]func(n *node){
		"too few": func(n *node) {
			alive := n.group(1, "alive", "")
			n.group(2, "dead", "")
			n.advance(2*time.Minute, alive.sessions...)
		},
		"not more than the share": func(n *node) {
			alive := n.group(7, "alive", "")
			n.group(3, "dead", "")
			n.advance(2*time.Minute, alive.sessions...)
		},
		"one after the other": func(n *node) {
			alive := n.group(1, "alive", "")
			dying := n.group(6, "dying", "")
			for i := range dying.sessions {
				n.advance(32*time.Second, append(alive.sessions, dying.sessions[i:]...)...)
			}
			n.advance(2*time.Minute, alive.sessions...)
		},
		"some said goodbye": func(n *node) {
			alive := n.group(7, "alive", "")
			gone := n.group(7, "gone", "")
			for _, s := range gone.sessions[1:] {
				must(n.t, n.plugin.Disconnect(n.t.Context(), s))
			}
			n.advance(2*time.Minute, alive.sessions...)
		},
		"others are late by less than half an interval": func(n *node) {
			dead := n.group(1, "dead", `, "offline_threshold": "20s"`)
			late := n.group(3, "late", "")
			n.advance(20*time.Second+time.Microsecond, n.group(1, "alive", "").sessions...)
			n.wantEvents(dead.known[0], evConnected, evLost)
			n.heartbeat(late.sessions...)
		},
	} {
		t.Run(name, func(t *testing.T) {
			n := single(t, dbtest.SQLite(t))
			play(n)
			names, masses := n.all()
			if len(masses) > 0 || len(names) == 0 || slices.ContainsFunc(names, func(s string) bool { return s != evLost+" " }) {
				t.Errorf("got %v", names)
			}
		})
	}
}

func TestProbableCause(t *testing.T) {
	for name, c := range map[string]struct {
		play          func(n *node)
		cause, shared string
	}{
		"core": {func(n *node) {
			n.group(5, "a", `, "region": "eu"`)
			n.group(5, "b", `, "region": "us"`)
			n.advance(time.Minute)
		}, "core", ""},
		"tag": {func(n *node) {
			alive := n.group(5, "alive", `, "region": "eu", "tags": {"provider": "one", "tier": "1"}`)
			n.group(3, "a", `, "region": "eu", "tags": {"provider": "two", "tier": "1"}`)
			n.group(3, "b", `, "region": "us", "tags": {"provider": "two"}`)
			n.advance(time.Minute, alive.sessions...)
		}, "tag", "provider=two"},
		"unknown": {func(n *node) {
			alive := n.group(5, "alive", `, "region": "eu"`)
			n.group(3, "a", `, "region": "eu"`)
			n.group(3, "b", `, "region": "us"`)
			n.advance(time.Minute, alive.sessions...)
		}, "unknown", ""},
		"core_outage": {func(n *node) {
			alive := n.group(4, "alive", `, "region": "eu"`)
			n.group(4, "dead", `, "region": "us"`)
			n.Add(10 * time.Minute)
			again := n.restarted()
			alive.sessions = nil
			for _, k := range alive.known {
				alive.sessions = append(alive.sessions, again.connect(k))
			}
			again.advance(time.Minute, alive.sessions...)
		}, "core_outage", ""},
	} {
		t.Run(name, func(t *testing.T) {
			n := single(t, dbtest.SQLite(t))
			c.play(n)
			_, masses := n.all()
			if len(masses) != 1 || masses[0]["probable_cause"] != c.cause || masses[0]["shared"] != c.shared {
				t.Errorf("got %v", masses)
			}
		})
	}
}

// Satellites that were connected to one node of the core, which is gone with
// all that could be heard there.
func TestProbableCauseNode(t *testing.T) {
	n := single(t, dbtest.SQLite(t))
	n.group(3, "here", "")
	n.sql("UPDATE satellites SET node_id = 'node-2'")
	alive := n.group(5, "alive", "")
	n.advance(time.Minute, alive.sessions...)
	if _, masses := n.all(); len(masses) != 1 || masses[0]["probable_cause"] != "node" || masses[0]["shared"] != "node-2" {
		t.Errorf("got %v", masses)
	}
}

// The first to be lost is not always the first that fell silent: its threshold
// may be shorter. Those whose heartbeat was due later belong as well.
func TestMassLossWithThresholdsThatDiffer(t *testing.T) {
	n := single(t, dbtest.SQLite(t))
	slow := n.group(3, "slow", "")
	quick := n.group(1, "quick", `, "offline_threshold": "15s"`)
	other := n.group(1, "other", `, "offline_threshold": "20s"`)
	n.advance(9*time.Second, append(quick.sessions, other.sessions...)...)
	n.advance(time.Minute)
	names, masses := n.all()
	if len(masses) != 1 || masses[0]["count"] != 5.0 || len(names) != 1+len(slow.known)+2 || slices.Contains(names, evLost+" ") {
		t.Errorf("got %v", names)
	}
}

// A second mass loss is another one.
func TestTwoMassLosses(t *testing.T) {
	n := single(t, dbtest.SQLite(t))
	alive := n.group(5, "alive", "")
	first, second := n.group(4, "first", ""), n.group(4, "second", "")
	n.advance(time.Minute, append(alive.sessions, second.sessions...)...)
	n.advance(time.Minute, alive.sessions...)
	names, masses := n.all()
	if len(masses) != 2 || len(names) != 2+len(first.known)+len(second.known) {
		t.Fatalf("got %v", names)
	}
	for i, g := range []group{first, second} {
		for _, k := range g.known {
			if got := n.state(k)["mass_loss"]; got != masses[i]["mass_loss"] {
				t.Errorf("%s belongs to %v, want %v", k.name, got, masses[i]["mass_loss"])
			}
		}
	}
	if masses[1]["total"] != 9.0 {
		t.Errorf("the second is of %v satellites; those of the first are not connected any more", masses[1]["total"])
	}
}

// Two nodes that find losses of one mass loss at the same time record it once.
func TestMassLossOnTwoNodes(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, url string) {
		c := clock.At(start)
		a := nodeAt(t, openDB(t, url), c)
		b := nodeAt(t, a.db, c)
		a.group(40, "dead", "")
		for range 25 {
			c.Add(listen)
			a.beat()
		}
		done := make(chan error, 2)
		for _, n := range []*node{a, b} {
			go func() {
				for {
					if more, err := n.timers.Step(t.Context()); err != nil || !more {
						done <- err
						return
					}
				}
			}()
		}
		for range 2 {
			must(t, <-done)
		}
		names, masses := a.all()
		if len(masses) != 1 || len(names) != 41 || names[0] != fmt.Sprint(evMassLoss, " ", masses[0]["mass_loss"]) {
			t.Errorf("got %v", names)
		}
	})
}
