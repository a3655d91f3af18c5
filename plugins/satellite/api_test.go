package satellite_test

import (
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/flightrules/flightrules/internal/dbtest"
	"github.com/flightrules/flightrules/plugins/satellite"
)

func TestAPI(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, url string) {
		n := single(t, url)

		t.Run("shows a satellite before and after its first connection", func(t *testing.T) {
			k := n.create("edge-1", `"offline_threshold": "90s"`)
			var got map[string]any
			n.call(200, "GET", "/api/v1/satellites/edge-1", "", &got)
			delete(got, "$schema")
			want := map[string]any{
				"id": k.id, "name": "edge-1", "region": "eu", "tags": map[string]any{"tier": "1"}, "status": "never_connected", "last_event": nil,
				"last_seen_at": nil, "offline_threshold": "1m30s", "version": "", "created_at": start.Format(time.RFC3339), "session": nil,
				"capabilities": []any{}, "results": map[string]any{"buffered": 0.0, "refused": 0.0}, "source": "api", "token_issued": true, "files": nil, "work": []any{},
			}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Error(diff)
			}
			s := n.connect(k)
			n.call(200, "GET", "/api/v1/satellites/"+k.id, "", &got)
			delete(got, "$schema")
			want["status"], want["last_event"], want["last_seen_at"] = "online", "connected", start.Format(time.RFC3339)
			want["session"] = map[string]any{"node": "node-1", "connected_at": start.Format(time.RFC3339)}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Error(diff)
			}
			must(t, n.plugin.Disconnect(t.Context(), s))
			n.call(200, "GET", "/api/v1/satellites/"+k.id, "", &got)
			if got["status"] != "offline" || got["last_event"] != "disconnected" || got["session"] != nil {
				t.Errorf("got %v", got)
			}
		})

		t.Run("counts the satellites of each region", func(t *testing.T) {
			var before, after struct{ Items []satellite.RegionItem }
			n.call(200, "GET", "/api/v1/satellite-regions", "", &before)
			n.online("edge-r1")
			n.create("edge-r2")
			n.call(200, "GET", "/api/v1/satellite-regions", "", &after)
			if len(after.Items) != 1 || after.Items[0].Name != "eu" || after.Items[0].Statuses["online"] != before.Items[0].Statuses["online"]+1 ||
				after.Items[0].Statuses["never_connected"] != before.Items[0].Statuses["never_connected"]+1 {
				t.Errorf("%+v, before %+v", after, before)
			}
		})

		t.Run("stores no token", func(t *testing.T) {
			k := n.create("secret")
			if !strings.HasPrefix(k.token, "frs_") || len(k.token) != 4+43 {
				t.Errorf("the token is %q", k.token)
			}
			var stored string
			must(t, n.db.Read().NewSelect().Table("satellites").Column("token_hash").Where("id = ?", k.id).Scan(t.Context(), &stored))
			if strings.Contains(stored, k.token) || len(stored) != 64 {
				t.Errorf("stored is %q", stored)
			}
		})

		t.Run("changes what is given and nothing else", func(t *testing.T) {
			k, _ := n.online("edge-2")
			var got satellite.Item
			n.call(200, "PATCH", "/api/v1/satellites/edge-2", `{"name": "edge-two", "tags": {"a": "b"}, "offline_threshold": "1h"}`, &got)
			if got.Name != "edge-two" || got.Region != "eu" || got.OfflineThreshold != "1h" || !cmp.Equal(got.Tags, map[string]string{"a": "b"}) {
				t.Errorf("got %+v", got)
			}
			h := n.history(k)
			if fields := h[len(h)-1].Fields(); !cmp.Equal(fields, []string{"name", "tags"}) {
				t.Errorf("the history says that %v changed", fields)
			}
			n.call(200, "PATCH", "/api/v1/satellites/"+k.id, `{"offline_threshold": "default"}`, &got)
			if got.OfflineThreshold != "45s" {
				t.Errorf("got %+v", got)
			}
			n.call(200, "PATCH", "/api/v1/satellites/"+k.id, `{}`, nil)
			n.call(200, "PATCH", "/api/v1/satellites/"+n.create("unseen").id, `{"region": "us"}`, nil)
		})

		t.Run("refuses what it cannot do, and says why", func(t *testing.T) {
			n.create("taken")
			n.create("mine")
			for _, c := range []struct {
				status             int
				method, path, body string
				says               string
			}{
				{409, "POST", "", `{"name": "taken"}`, "name is taken"},
				{409, "PATCH", "/mine", `{"name": "taken"}`, "name is taken"},
				{404, "GET", "/nobody", "", "no such satellite"},
				{404, "GET", "/0192c0de-0000-7000-8000-000000000000", "", "no such satellite"},
				{404, "PATCH", "/nobody", `{}`, "no such satellite"},
				{404, "DELETE", "/nobody", "", "no such satellite"},
				{404, "POST", "/nobody/token", "", "no such satellite"},
				{422, "POST", "", `{"name": "x", "offline_threshold": "5 minutes"}`, "write a number and a unit"},
				{422, "POST", "", `{"name": "x", "offline_threshold": "14s"}`, "from 15s to 1d"},
				{422, "POST", "", `{"name": "x", "offline_threshold": "25h"}`, "from 15s to 1d"},
				{422, "PATCH", "/mine", `{"offline_threshold": "1s"}`, "from 15s to 1d"},
				{422, "POST", "", `{"name": "two words"}`, "letters, digits"},
				{422, "POST", "", `{"name": "connect"}`, "taken by the address"},
				{422, "PATCH", "/mine", `{"name": "0192c0de-0000-7000-8000-000000000000"}`, "look like an id"},
				{422, "POST", "", `{"name": "x", "region": "a\u0000b"}`, "one line"},
				{422, "POST", "", `{}`, "name"},
				{422, "POST", "", `{"name": "x", "colour": "red"}`, "unexpected"},
				{422, "GET", "?limit=1001", "", "1000"},
				{422, "GET", "?after=x", "", "as next"},
			} {
				var problem map[string]any
				n.call(c.status, c.method, "/api/v1/satellites"+c.path, c.body, &problem)
				if text := fmt.Sprint(problem); !strings.Contains(text, c.says) {
					t.Errorf("%s %s %s: %s", c.method, c.path, c.body, text)
				}
			}
		})
	})
}

func TestList(t *testing.T) {
	n := single(t, dbtest.SQLite(t))
	for i := range 5 {
		n.create(fmt.Sprintf("s%d", i))
	}
	var names []string
	for after, pages := "", 0; ; pages++ {
		if pages > 5 {
			t.Fatal("the list does not end")
		}
		var page struct {
			Items []satellite.Item
			Next  *string
		}
		n.call(http.StatusOK, "GET", "/api/v1/satellites?limit=2&after="+after, "", &page)
		for _, item := range page.Items {
			names = append(names, item.Name)
		}
		if page.Next == nil {
			break
		}
		after = *page.Next
	}
	if want := []string{"s4", "s3", "s2", "s1", "s0"}; !cmp.Equal(names, want) {
		t.Errorf("got %v, want the newest first", names)
	}
}

func TestConfig(t *testing.T) {
	for name, c := range map[string]satellite.Config{
		"a default threshold below the least":                   {OfflineThreshold: time.Second, MinThreshold: time.Minute},
		"a default threshold above the most":                    {OfflineThreshold: 48 * time.Hour},
		"listening so seldom that an outage could go unnoticed": {ListenInterval: 5 * time.Second},
	} {
		t.Run("refuses "+name, func(t *testing.T) {
			if err := registered(t, nil, time.Now, c).err; err == nil || !strings.HasPrefix(err.Error(), "plugin satellite: ") {
				t.Errorf("got %v", err)
			}
		})
	}
	t.Run("takes short times, and fits the others to them", func(t *testing.T) {
		must(t, registered(t, nil, time.Now, satellite.Config{OfflineThreshold: time.Second}).err)
	})
}

func TestQueriesUseIndexes(t *testing.T) {
	n := single(t, dbtest.SQLite(t))
	for _, query := range []string{
		"SELECT * FROM satellites WHERE id IN ('a', 'b') ORDER BY id",
		"SELECT * FROM satellites WHERE name = 'a'",
		"SELECT * FROM satellites WHERE id < 'a' ORDER BY id DESC LIMIT 50",
		"UPDATE satellites SET last_connection_event = 'heartbeat_lost' WHERE id IN ('a', 'b') AND last_connection_event = 'connected'",
	} {
		var plan []struct {
			ID, Parent, Notused int
			Detail              string
		}
		must(t, n.db.Read().NewRaw("EXPLAIN QUERY PLAN "+query).Scan(t.Context(), &plan))
		for _, line := range plan {
			if strings.HasPrefix(line.Detail, "SCAN") || strings.Contains(line.Detail, "TEMP B-TREE") {
				t.Errorf("%s: %s", query, line.Detail)
			}
		}
	}
}
