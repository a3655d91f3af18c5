package httpapi_test

import (
	"compress/gzip"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/flightrules/flightrules/internal/dbtest"
	"github.com/flightrules/flightrules/plugins"
)

type auditEntry struct {
	Actor, Method, Path, Remote string
	Status                      int
}

// audited is the audit table from its beginning.
func audited(f *fixture) []auditEntry {
	f.t.Helper()
	var list []auditEntry
	f.no(f.db.Read().NewSelect().Table("audit").Column("actor", "method", "path", "remote").ColumnExpr("COALESCE(status, 0) AS status").
		Order("seq").Scan(f.t.Context(), &list))
	return list
}

func TestAudit(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, url string) {
		f := newFixture(t, url)
		const remote = "192.0.2.1:1234"
		f.as(plugins.Operator, "PUT", mars, `{"status":"unknown"}`).want(201)
		f.as(plugins.Operator, "PUT", mars, `{"status":"no"}`).want(422)
		f.as(plugins.Viewer, "DELETE", mars, "").want(403)
		f.as(plugins.Viewer, "POST", "/api/v1/panic", "").want(500)
		f.as(plugins.Viewer, "GET", mars, "").want(200)
		f.do("DELETE", mars, "").want(401)
		want := []auditEntry{
			{"token:operator", "PUT", mars, remote, 201},
			{"token:operator", "PUT", mars, remote, 422},
			{"token:viewer", "DELETE", mars, remote, 403},
			{"token:viewer", "POST", "/api/v1/panic", remote, 500},
		}
		if diff := cmp.Diff(want, audited(f)); diff != "" {
			t.Errorf("audit (-want +got):\n%s", diff)
		}
	})
}

func TestProblems(t *testing.T) {
	f := newFixture(t, dbtest.SQLite(t))

	t.Run("an error that nobody foresaw is in the log and not in the answer", func(t *testing.T) {
		a := f.as(plugins.Viewer, "GET", "/api/v1/fail", "")
		a.problem(500, "internal_server_error")
		if strings.Contains(a.Body.String(), "42") || !strings.Contains(f.log.String(), "the secret is 42") {
			t.Errorf("answer %s, log %s", a.Body, f.log)
		}
	})

	t.Run("so is a panic", func(t *testing.T) {
		a := f.as(plugins.Viewer, "POST", "/api/v1/panic", "")
		a.problem(500, "internal_server_error")
		if strings.Contains(a.Body.String(), "43") || !strings.Contains(f.log.String(), "the secret is 43") {
			t.Errorf("answer %s, log %s", a.Body, f.log)
		}
	})

	t.Run("a body that is no JSON is refused and not sent back", func(t *testing.T) {
		a := f.as(plugins.Operator, "PUT", mars, `{"status": hush`)
		p := a.problem(400, "bad_request")
		if len(p.Errors) != 1 || p.Errors[0].Location != "body" || strings.Contains(a.Body.String(), "hush") {
			t.Errorf("answer %s", a.Body)
		}
	})

	t.Run("a body that is missing is asked for", func(t *testing.T) {
		f.as(plugins.Operator, "PUT", mars, "").problem(400, "bad_request")
	})

	t.Run("a body of another kind is refused", func(t *testing.T) {
		f.as(plugins.Operator, "PUT", mars, "status: unknown", "Content-Type", "application/yaml").problem(415, "unsupported_media_type")
	})

	t.Run("a body that is too long is refused", func(t *testing.T) {
		long := `{"status":"` + strings.Repeat("x", 1<<20) + `"}`
		f.as(plugins.Operator, "PUT", mars, long).problem(413, "request_entity_too_large")
		f.as(plugins.Viewer, "POST", "/api/v1/rules/validate", long).problem(413, "request_entity_too_large")
		f.as(plugins.Viewer, "POST", "/api/v1/big", `{"text":"`+strings.Repeat("x", 1<<20)+`"}`).problem(413, "request_entity_too_large")
	})

	t.Run("an address that no row could hold is refused", func(t *testing.T) {
		for _, target := range []string{"/api/v1/entities/planet/a%00", "/api/v1/entities/planet/%ff", "/api/v1/runs?rule=%00", "/api/v1/runs?rule=%fe"} {
			f.as(plugins.Viewer, "GET", target, "").problem(400, "bad_request")
		}
	})

	t.Run("another method says which there are", func(t *testing.T) {
		a := f.as(plugins.Viewer, "POST", mars, "{}")
		a.problem(405, "method_not_allowed")
		if got := a.Header().Get("Allow"); got != "GET, PUT, PATCH, DELETE" {
			t.Errorf("Allow %q", got)
		}
	})
}

func TestTags(t *testing.T) {
	f := newFixture(t, dbtest.SQLite(t))
	history(f)
	for _, target := range []string{mars, "/api/v1/kinds", "/api/v1/runs/r1", "/api/v1/events", "/openapi.json"} {
		t.Run(target+" is sent once to who has it", func(t *testing.T) {
			first := f.as(plugins.Viewer, "GET", target, "").want(200)
			tag := first.Header().Get("ETag")
			if tag == "" {
				t.Fatal("no ETag")
			}
			second := f.as(plugins.Viewer, "GET", target, "", "If-None-Match", `"other", `+tag)
			if second.want(304).Body.Len() != 0 || second.Header().Get("ETag") != tag {
				t.Errorf("headers %v, body %q", second.Header(), second.Body)
			}
			f.as(plugins.Viewer, "GET", target, "", "If-None-Match", `"other"`).want(200)
		})
	}

	t.Run("a change changes it", func(t *testing.T) {
		before := f.as(plugins.Viewer, "GET", mars, "").Header().Get("ETag")
		f.as(plugins.Operator, "PATCH", mars, `{"moons":5}`).want(200)
		f.as(plugins.Viewer, "GET", mars, "", "If-None-Match", before).want(200)
	})
}

func TestHealth(t *testing.T) {
	f := newFixture(t, dbtest.SQLite(t))

	t.Run("an engine that lacks something is not ready and says what", func(t *testing.T) {
		f.down = errors.New("no connection")
		a := f.as(plugins.Viewer, "GET", "/readyz", "").want(503)
		if want := `{"status":"failing","checks":[{"name":"database","ok":false,"error":"no connection"}]}` + "\n"; a.Body.String() != want {
			t.Errorf("body %s", a.Body)
		}
	})

	t.Run("the server bounds headers and idle connections, and leaves writing alone", func(t *testing.T) {
		s := f.server.HTTPServer()
		if s.ReadHeaderTimeout == 0 || s.IdleTimeout == 0 || s.MaxHeaderBytes == 0 || s.WriteTimeout != 0 || s.ReadTimeout != 0 {
			t.Errorf("server %+v", s)
		}
	})

	t.Run("it serves over a socket", func(t *testing.T) {
		s := httptest.NewServer(f.server.HTTPServer().Handler)
		defer s.Close()
		resp, err := http.Get(s.URL + "/healthz")
		f.no(err)
		f.no(resp.Body.Close())
		if resp.StatusCode != 200 || resp.Header.Get("X-Content-Type-Options") != "nosniff" {
			t.Errorf("answer %+v", resp)
		}
	})
}

func TestValidate(t *testing.T) {
	f := newFixture(t, dbtest.SQLite(t))
	if got := f.as(plugins.Viewer, "POST", "/api/v1/rules/validate", orbit).want(200).Body.String(); got != `{"ok":true,"problems":[]}`+"\n" {
		t.Errorf("body %s", got)
	}
}

func TestCompression(t *testing.T) {
	f := newFixture(t, dbtest.SQLite(t))
	for i := range 50 {
		f.planet(fmt.Sprintf("p%d", i), "unknown")
	}
	plain := f.as(plugins.Viewer, "GET", "/api/v1/entities?kind=planet", "").want(200).Body.String()
	a := f.as(plugins.Viewer, "GET", "/api/v1/entities?kind=planet", "", "Accept-Encoding", "gzip").want(200)
	if a.Header().Get("Content-Encoding") != "gzip" || a.Body.Len() > len(plain)/3 || a.Header().Get("ETag") == "" {
		t.Errorf("%d bytes of %d, %v", a.Body.Len(), len(plain), a.Header())
	}
	unzipped, err := gzip.NewReader(a.Body)
	f.no(err)
	text, err := io.ReadAll(unzipped)
	f.no(err)
	if string(text) != plain {
		t.Error("it is another answer")
	}
	if a := f.as(plugins.Viewer, "GET", "/api/v1/entities?kind=planet", "", "Accept-Encoding", "gzip", "If-None-Match", a.Header().Get("ETag")); a.Code != 304 {
		t.Errorf("status %d, want 304", a.Code)
	}
}

func TestWhatTakesTooLong(t *testing.T) {
	f := newFixture(t, dbtest.SQLite(t))
	f.server.SetLimit(time.Nanosecond)
	f.as(plugins.Viewer, "GET", "/api/v1/transitions", "").problem(504, "gateway_timeout")
	f.server.SetLimit(time.Minute)
	f.as(plugins.Viewer, "GET", "/api/v1/transitions", "").want(200)
}
