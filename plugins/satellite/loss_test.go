package satellite_test

import (
	"encoding/json"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/flightrules/flightrules/engine/outbox"
	"github.com/flightrules/flightrules/engine/timer"
	"github.com/flightrules/flightrules/entities"
	"github.com/flightrules/flightrules/internal/clock"
	"github.com/flightrules/flightrules/internal/db"
	"github.com/flightrules/flightrules/internal/dbtest"
	"github.com/flightrules/flightrules/plugins/satellite"
)

func TestLoss(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, url string) {
		n := single(t, url)

		t.Run("is found at the threshold, with status and last_event in one transition", func(t *testing.T) {
			k, _ := n.online("silent")
			connectedAt := n.Now()
			n.advance(threshold)
			n.wantStatus(k, "online", "connected")
			n.advance(time.Microsecond)
			n.wantStatus(k, "offline", "heartbeat_lost")
			n.wantEvents(k, evConnected, evLost)
			got := n.history(k)[1]
			want := entities.Delta{"status": {"online", "offline"}, "last_event": {"connected", "heartbeat_lost"}}
			if diff := cmp.Diff(want, got.Delta); diff != "" {
				t.Error(diff)
			}
			if !got.At.Equal(n.Now()) || got.Cause.Actor != entities.System {
				t.Errorf("at %s by %s, want at %s by the system", got.At, got.Cause.Actor, n.Now())
			}
			if seen := n.state(k)["last_seen_at"]; seen != connectedAt.Format(time.RFC3339) {
				t.Errorf("seen last at %v, want %v: the loss touches no heartbeat", seen, connectedAt)
			}
		})

		t.Run("is found by a node that never saw the satellite", func(t *testing.T) {
			k, _ := n.online("orphan")
			other := n.restarted()
			other.advance(threshold + listen)
			other.wantEvents(k, evConnected, evLost)
		})

		t.Run("is put off by heartbeats, which record nothing and touch no timer", func(t *testing.T) {
			k, s := n.online("alive")
			armed, _, err := timer.Get(t.Context(), n.db.Read(), "entity.deadline", "satellite/"+k.id)
			must(t, err)
			for range 4 {
				n.Add(10 * time.Second)
				n.beat()
				n.heartbeat(s)
			}
			after, _, err := timer.Get(t.Context(), n.db.Read(), "entity.deadline", "satellite/"+k.id)
			must(t, err)
			if after.DueAt != armed.DueAt {
				t.Errorf("the timer moved from %s to %s", armed.DueAt, after.DueAt)
			}
			n.advance(4*threshold, s)
			n.wantStatus(k, "online", "connected")
			n.wantEvents(k, evConnected)
			n.advance(threshold + listen)
			n.wantEvents(k, evConnected, evLost)
		})

		t.Run("counts by the satellite's own threshold", func(t *testing.T) {
			k := n.create("patient", `"offline_threshold": "2m"`)
			n.connect(k)
			n.advance(2 * time.Minute)
			n.wantEvents(k, evConnected)
			n.advance(listen)
			n.wantEvents(k, evConnected, evLost)
		})

		t.Run("is seen again after a recovery without a reconnect", func(t *testing.T) {
			k, s := n.online("flaky")
			n.advance(threshold + listen)
			n.heartbeat(s)
			n.wantStatus(k, "online", "connected")
			n.advance(threshold, s)
			n.advance(threshold + listen)
			n.wantEvents(k, evConnected, evLost, evConnected, evLost)
			var payload struct{ Recovered bool }
			must(t, json.Unmarshal(n.events.Derive(n.history(k)[2])[0].Payload, &payload))
			if !payload.Recovered {
				t.Error("the recovery does not say that it is one")
			}
		})

		t.Run("ends with a reconnect, which is a recovery too", func(t *testing.T) {
			k, _ := n.online("returning")
			n.advance(threshold + listen)
			n.connect(k)
			n.wantStatus(k, "online", "connected")
			n.wantEvents(k, evConnected, evLost, evConnected)
		})
	})
}

func TestPayload(t *testing.T) {
	n := single(t, dbtest.SQLite(t))
	k, _ := n.online("told")
	n.advance(threshold + listen)
	n.call(204, "DELETE", "/api/v1/satellites/told", "", nil)
	var got []map[string]any
	for _, transition := range n.history(k) {
		for _, e := range n.events.Derive(transition) {
			var payload map[string]any
			must(t, json.Unmarshal(e.Payload, &payload))
			got = append(got, payload)
		}
	}
	base := map[string]any{
		"satellite_id": k.id, "name": "told", "region": "eu", "tags": map[string]any{"tier": "1"}, "last_seen_at": start.Format(time.RFC3339),
	}
	with := func(more map[string]any) map[string]any {
		for key, v := range base {
			more[key] = v
		}
		return more
	}
	want := []map[string]any{
		with(map[string]any{"status": "online", "recovered": false}),
		with(map[string]any{"status": "offline", "mass_loss": ""}),
		with(map[string]any{"status": "offline"}),
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

func TestTwentyNodes(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, url string) {
		d, c := openDB(t, url), clock.At(start)
		nodes := make([]*node, 20)
		for i := range nodes {
			nodes[i] = nodeAt(t, d, c)
		}
		var lost []known
		for i := range 3 {
			k, _ := nodes[i].online(fmt.Sprintf("s%d", i))
			lost = append(lost, k)
		}
		for c.Now().Before(start.Add(threshold)) {
			c.Add(listen)
			nodes[0].beat()
		}
		var wg sync.WaitGroup
		for _, n := range nodes {
			wg.Go(func() {
				if _, err := n.timers.Step(t.Context()); err != nil {
					t.Error(err)
				}
			})
		}
		wg.Wait()
		for _, k := range lost {
			nodes[0].wantEvents(k, evConnected, evLost)
		}
	})
}

func TestPoisonedSatellite(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, url string) {
		n := single(t, url)
		poisoned, bad := n.online("poisoned")
		var healthy []known
		var sessions []*satellite.Session
		for i := range 20 {
			k, s := n.online(fmt.Sprintf("healthy-%d", i))
			healthy, sessions = append(healthy, k), append(sessions, s)
		}
		n.sql("UPDATE satellites SET tags = '{' WHERE id = ?", poisoned.id)
		n.advance(threshold + listen)
		for _, k := range healthy {
			n.wantEvents(k, evConnected, evLost)
		}

		n.sql("UPDATE satellites SET last_connection_event = 'heartbeat_lost' WHERE id = ?", poisoned.id)
		n.heartbeat(append(sessions, bad)...) // all of them are edges, made together
		for _, k := range healthy {
			n.wantEvents(k, evConnected, evLost, evConnected)
		}
		if got := n.counted("flightrules_satellite_edge_failures_total"); got != 1 {
			t.Errorf("%v failures counted, want 1", got)
		}
		if m := bad.Told(); len(m) != 0 {
			t.Errorf("the agent was told %v of a heartbeat that could not be written", m)
		}
		n.sql("UPDATE satellites SET tags = '{}' WHERE id = ?", poisoned.id)
		n.heartbeat(append(sessions, bad)...)
		n.wantStatus(poisoned, "online", "connected")
	})
}

func TestManyAreDueAtOnce(t *testing.T) {
	const many = 1000
	n := single(t, dbtest.Postgres(t)) // there, rows tell which transaction wrote them
	n.sql(`INSERT INTO satellites (id, name, region, tags, capabilities, version, token_hash, threshold_at, last_heartbeat_at,
			last_connection_event, session_epoch, created_at)
		SELECT 'id-' || i, 'name-' || i, '', '{}', '[]', '', '', 0, ?0, 'connected', 1, 0 FROM generate_series(1, ?1) AS i`, db.At(start), many)
	n.sql(`INSERT INTO entities (kind, id, version, state, since, updated_at)
		SELECT 'satellite', 'id-' || i, 1, '{"status":"online","name":"name-' || i || '","region":"","tags":{},"last_event":"connected"}', '{}', ?0
		FROM generate_series(1, ?1) AS i`, db.At(start), many)
	n.sql(`INSERT INTO timers (kind, key, due_at, attempts) SELECT 'entity.deadline', 'satellite/id-' || i, ?0, 0 FROM generate_series(1, ?1) AS i`,
		db.At(start.Add(threshold+1000)), many)
	for n.Now().Before(start.Add(threshold + listen)) {
		n.Add(listen)
		n.beat()
	}
	n.step()
	notes, err := outbox.Oldest(t.Context(), n.db.Read(), 2*many)
	must(t, err)
	if len(notes) != 1+many {
		t.Errorf("%d changes, want a mass loss and %d losses", len(notes), many)
	}
	var transactions int
	must(t, n.db.Read().NewRaw(`SELECT COUNT(DISTINCT xmin::text) FROM (
		SELECT xmin FROM satellites UNION ALL SELECT xmin FROM entities WHERE kind = 'satellite'
		UNION ALL SELECT xmin FROM transitions WHERE kind = 'satellite') AS written`).Scan(t.Context(), &transactions))
	if transactions > 4 {
		t.Errorf("%d transactions, want one for each 256 satellites", transactions)
	}
}
