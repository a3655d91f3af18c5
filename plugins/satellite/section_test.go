package satellite_test

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/uptrace/bun"

	"github.com/flightrules/flightrules/internal/dbtest"
	"github.com/flightrules/flightrules/internal/duration"
	"github.com/flightrules/flightrules/plugins"
	"github.com/flightrules/flightrules/plugins/satellite"
)

// declare loads files with these satellites, and lets follow what follows.
func (n *node) declare(list ...satellite.Declaration) {
	n.t.Helper()
	n.load(list...)
	n.step()
}

func (n *node) load(list ...satellite.Declaration) {
	n.t.Helper()
	var items []any
	for _, d := range list {
		items = append(items, d)
	}
	must(n.t, n.db.Write(n.t.Context(), func(ctx context.Context, tx bun.Tx) error {
		return n.set.Reconcile(ctx, tx, map[string][]any{"satellites": items})
	}))
}

// shown is a satellite as the API shows it.
func (n *node) shown(name string) (item satellite.Item) {
	n.t.Helper()
	n.call(200, "GET", "/api/v1/satellites/"+name, "", &item)
	return item
}

func TestDeclaredSatellites(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, url string) {
		n := single(t, url)
		berlin := satellite.Declaration{Name: "berlin", Region: "eu", Tags: map[string]string{"tier": "1"}, OfflineThreshold: duration.Text(90 * time.Second)}
		paris := satellite.Declaration{Name: "paris"}
		n.declare(berlin, paris)
		got := n.shown("berlin")
		want := satellite.Item{
			ID: got.ID, Name: "berlin", Region: "eu", Tags: map[string]string{"tier": "1"}, Status: "never_connected", OfflineThreshold: "1m30s",
			CreatedAt: start, Source: "file", Capabilities: []string{}, Work: []satellite.WorkItem{},
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Error(diff)
		}

		// Its token is made on demand, and it connects with it.
		var minted struct {
			ID, Token   string
			TokenIssued bool `json:"token_issued"`
		}
		n.call(200, "POST", "/api/v1/satellites/berlin/token", "", &minted)
		if minted.ID != got.ID || !minted.TokenIssued {
			t.Errorf("got %+v", minted)
		}
		k := known{minted.ID, "berlin", minted.Token}
		session := n.connect(k)

		// The same files again change nothing.
		before := len(n.history(k))
		n.declare(paris, berlin)
		n.heartbeat(session)
		n.wantEvents(k, evConnected)
		if h := n.history(k); len(h) != before {
			t.Errorf("the same files made %d transitions", len(h)-before)
		}

		// What changes is changed, and the connection goes on.
		berlin.Region, berlin.Tags = "us", nil
		n.declare(berlin, paris)
		h := n.history(k)
		if fields := h[len(h)-1].Fields(); len(h) != before+1 || !cmp.Equal(fields, []string{"region", "tags"}) || h[len(h)-1].Cause.Actor != "system" {
			t.Errorf("%d transitions, of %v by %s", len(h)-before, fields, h[len(h)-1].Cause.Actor)
		}
		if got := n.shown("berlin"); got.Session == nil || got.Status != "online" || len(got.Tags) != 0 {
			t.Errorf("got %+v", got)
		}

		// A restart in between loses nothing: the declaration is a row, and so is
		// what is still to be done.
		n.load(paris)
		n = n.restarted()
		n.step()
		n.call(404, "GET", "/api/v1/satellites/berlin", "", nil)
		n.wantEvents(k, evConnected, evRemoved)
		n.declare()
		n.call(404, "GET", "/api/v1/satellites/paris", "", nil)
	})
}

func TestADeclaredSatelliteIsChangedInItsFile(t *testing.T) {
	n := single(t, dbtest.SQLite(t))
	n.declare(satellite.Declaration{Name: "berlin"})
	for _, c := range []struct{ method, body string }{{"PATCH", `{"region": "us"}`}, {"DELETE", ""}} {
		var problem struct{ Detail string }
		n.call(409, c.method, "/api/v1/satellites/berlin", c.body, &problem)
		if !strings.Contains(problem.Detail, "written in a file") {
			t.Errorf("%s: %s", c.method, problem.Detail)
		}
	}
	if got := n.shown("berlin"); got.Region != "" {
		t.Errorf("got %+v", got)
	}
}

func TestASatelliteOfTheAPIBecomesTheFiles(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, url string) {
		n := single(t, url)
		k, session := n.online("berlin")
		other := n.create("other")
		n.declare(satellite.Declaration{Name: "berlin", Region: "us"})
		got := n.shown("berlin")
		if got.ID != k.id || got.Source != "file" || got.Region != "us" || got.Session == nil || len(got.Tags) != 0 {
			t.Errorf("got %+v", got)
		}
		n.heartbeat(session)
		n.wantStatus(k, "online", "connected")
		n.declare()
		n.wantEvents(k, evConnected, evRemoved)
		// One that left the files before it could follow them stays the API's.
		n.load(satellite.Declaration{Name: "other"})
		n.declare()
		if got := n.shown("other"); got.ID != other.id || got.Source != "api" {
			t.Errorf("got %+v", got)
		}
	})
}

// A new threshold counts from when it is set; one that stays does not count
// anew, however often the files are loaded.
func TestADeclaredThresholdCountsFromWhenItChanges(t *testing.T) {
	n := single(t, dbtest.SQLite(t))
	k, _ := n.online("berlin")
	long := satellite.Declaration{Name: "berlin", OfflineThreshold: duration.Text(2 * time.Minute)}
	n.declare(long)
	n.advance(100 * time.Second)
	long.Region = "eu-2"
	n.declare(long)
	n.advance(21 * time.Second)
	n.wantEvents(k, evConnected, evLost)

	k, _ = n.online("paris")
	n.advance(40 * time.Second)
	n.declare(long, satellite.Declaration{Name: "paris", OfflineThreshold: duration.Text(30 * time.Second)})
	n.advance(29 * time.Second)
	n.wantEvents(k, evConnected)
	n.advance(3 * time.Second)
	n.wantEvents(k, evConnected, evLost)
}

// A loss that nobody has noticed comes before what the files change.
func TestALossComesBeforeWhatTheFilesChange(t *testing.T) {
	n := single(t, dbtest.SQLite(t))
	n.declare(satellite.Declaration{Name: "berlin"})
	var minted struct{ ID, Token string }
	n.call(200, "POST", "/api/v1/satellites/berlin/token", "", &minted)
	k := known{minted.ID, "berlin", minted.Token}
	n.connect(k)
	for range 30 {
		n.Add(listen)
		n.beat()
	}
	n.declare()
	n.wantEvents(k, evConnected, evLost, evRemoved)
}

// One satellite that cannot follow does not keep the others waiting, and is
// tried again.
func TestOneDeclarationThatFails(t *testing.T) {
	n := single(t, dbtest.SQLite(t))
	n.sql("CREATE TRIGGER broken BEFORE INSERT ON satellites WHEN NEW.name = 'b' BEGIN SELECT RAISE(ABORT, 'broken'); END")
	n.declare(satellite.Declaration{Name: "a"}, satellite.Declaration{Name: "b"}, satellite.Declaration{Name: "c"})
	n.shown("a")
	n.shown("c")
	n.call(404, "GET", "/api/v1/satellites/b", "", nil)
	n.sql("DROP TRIGGER broken")
	n.advance(time.Minute)
	n.shown("b")
}

func TestBadDeclarations(t *testing.T) {
	n := single(t, dbtest.SQLite(t))
	sections := n.set.Sections()
	section := sections[slices.IndexFunc(sections, func(s plugins.Section) bool { return s.Name == "satellites" })]
	many := map[string]string{}
	for i := range 65 {
		many[fmt.Sprint(i)] = ""
	}
	for _, c := range []struct {
		d    satellite.Declaration
		says string
	}{
		{satellite.Declaration{Name: "two words"}, "name: write letters"},
		{satellite.Declaration{Name: "connect"}, "name: this name is taken"},
		{satellite.Declaration{Name: "a", Region: "x\ny"}, "region: write a text in one line"},
		{satellite.Declaration{Name: "a", Tags: many}, "tags: there are 65, and 64 are possible"},
		{satellite.Declaration{Name: "a", OfflineThreshold: duration.Text(time.Second)}, "offline_threshold: it must be from 15s to 1d"},
		{satellite.Declaration{Name: "a", OfflineThreshold: -duration.Text(time.Minute)}, "offline_threshold: it must be from 15s to 1d"},
	} {
		if err := section.Check(c.d); err == nil || !strings.HasPrefix(err.Error(), c.says) {
			t.Errorf("%+v: %v, want %s", c.d, err, c.says)
		}
	}
	if err := section.Check(satellite.Declaration{Name: "edge-1", Region: "eu", OfflineThreshold: duration.Text(time.Minute)}); err != nil {
		t.Error(err)
	}
}
