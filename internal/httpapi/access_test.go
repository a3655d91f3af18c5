package httpapi_test

import (
	"encoding/json"
	"maps"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/flightrules/flightrules/internal/dbtest"
	"github.com/flightrules/flightrules/internal/httpapi"
	"github.com/flightrules/flightrules/plugins"
)

// anyone is a caller without a token.
const anyone plugins.Role = ""

// allowed is the least that may call each operation.
var allowed = map[string]plugins.Role{
	"GET /healthz":                                 anyone,
	"GET /readyz":                                  plugins.Viewer,
	"GET /api/v1/kinds":                            plugins.Viewer,
	"GET /api/v1/kinds/{kind}":                     plugins.Viewer,
	"GET /api/v1/entities":                         plugins.Viewer,
	"GET /api/v1/entities/{kind}/{id}":             plugins.Viewer,
	"PUT /api/v1/entities/{kind}/{id}":             plugins.Operator,
	"PATCH /api/v1/entities/{kind}/{id}":           plugins.Operator,
	"DELETE /api/v1/entities/{kind}/{id}":          plugins.Operator,
	"GET /api/v1/entities/{kind}/{id}/transitions": plugins.Viewer,
	"GET /api/v1/transitions":                      plugins.Viewer,
	"GET /api/v1/events":                           plugins.Viewer,
	"GET /api/v1/events/{id}":                      plugins.Viewer,
	"POST /api/v1/events":                          plugins.Operator,
	"GET /api/v1/decisions":                        plugins.Viewer,
	"GET /api/v1/events/{id}/decisions":            plugins.Viewer,
	"GET /api/v1/rules/{id}/decisions":             plugins.Viewer,
	"GET /api/v1/runs":                             plugins.Viewer,
	"GET /api/v1/runs/{id}":                        plugins.Viewer,
	"POST /api/v1/runs/{id}/cancel":                plugins.Operator,
	"POST /api/v1/runs/{id}/retry":                 plugins.Operator,
	"GET /api/v1/rules":                            plugins.Viewer,
	"GET /api/v1/rules/{id}":                       plugins.Viewer,
	"POST /api/v1/rules/validate":                  plugins.Viewer,
	"GET /api/v1/rules/{id}/explain":               plugins.Viewer,
	"POST /api/v1/rules/{id}/pause":                plugins.Operator,
	"POST /api/v1/rules/{id}/resume":               plugins.Operator,
	"POST /api/v1/rules/{id}/run":                  plugins.Operator,
	"POST /api/v1/replay":                          plugins.Operator,
	"POST /api/v1/rules/{id}/dry-run":              plugins.Operator,
	"GET /api/v1/silences":                         plugins.Viewer,
	"POST /api/v1/silences":                        plugins.Operator,
	"GET /api/v1/silences/{id}":                    plugins.Viewer,
	"DELETE /api/v1/silences/{id}":                 plugins.Operator,
	"GET /api/v1/triggers":                         plugins.Viewer,
	"GET /api/v1/actions":                          plugins.Viewer,
	"GET /api/v1/transitions/export":               plugins.Viewer,
	"GET /api/v1/stream":                           plugins.Viewer,
	"GET /api/v1/rules/{id}/activity":              plugins.Viewer,
	"GET /api/v1/overview":                         plugins.Viewer,
	"GET /api/v1/me":                               plugins.Viewer,
	"GET /api/v1/audit":                            plugins.Admin,
	"GET /api/v1/tokens":                           plugins.Admin,
	"POST /api/v1/tokens":                          plugins.Admin,
	"DELETE /api/v1/tokens/{id}":                   plugins.Admin,
	"POST /api/v1/prune":                           plugins.Admin,
	"GET /api/v1/fly":                              plugins.Operator,
	"GET /api/v1/forgot":                           plugins.Admin, // it does not say
	"GET /api/v1/fail":                             plugins.Viewer,
	"GET /api/v1/missing":                          plugins.Viewer,
	"POST /api/v1/big":                             plugins.Viewer,
	"POST /api/v1/panic":                           plugins.Viewer,
}

// pages are no operations of the document.
var pages = map[string]plugins.Role{
	"GET /openapi.json": plugins.Viewer,
	"GET /docs":         plugins.Viewer,
	"GET /metrics":      plugins.Viewer,
	"GET /":             plugins.Viewer,
	"GET /nowhere":      plugins.Viewer,
	"DELETE /readyz":    plugins.Viewer,
}

func TestEveryOperationIsForItsRole(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, url string) {
		f := newFixture(t, url)
		var doc struct {
			Paths map[string]map[string]struct {
				Role string `json:"x-role"`
			} `json:"paths"`
		}
		f.as(plugins.Viewer, "GET", "/openapi.json", "").want(200).into(&doc)
		documented := map[string]plugins.Role{}
		for path, methods := range doc.Paths {
			for method, op := range methods {
				role := plugins.Role(op.Role)
				if role == "none" {
					role = anyone
				}
				documented[strings.ToUpper(method)+" "+path] = role
			}
		}
		if !maps.Equal(documented, allowed) {
			t.Errorf("the document has\n%v\nwant\n%v", documented, allowed)
		}

		callers := []plugins.Role{anyone, plugins.Viewer, plugins.Operator, plugins.Admin}
		all := maps.Clone(allowed)
		maps.Copy(all, pages)
		for operation, least := range all {
			method, path, _ := strings.Cut(operation, " ")
			target := strings.NewReplacer("{kind}", "planet", "{id}", "none").Replace(path)
			if path == "/api/v1/stream" {
				target += "?after=none" // one that is let in would go on for ever
			}
			reached := false
			for _, caller := range callers {
				reached = reached || caller == least
				got := f.as(caller, method, target, "{}").Code
				turnedAway := got == http.StatusUnauthorized || got == http.StatusForbidden
				switch {
				case reached && turnedAway:
					t.Errorf("%s as %q: status %d, want it to be allowed", operation, caller, got)
				case !reached && caller == anyone && got != http.StatusUnauthorized:
					t.Errorf("%s without a token: status %d, want 401", operation, got)
				case !reached && caller != anyone && got != http.StatusForbidden:
					t.Errorf("%s as %s: status %d, want 403", operation, caller, got)
				}
				if got := f.as(httpapi.Hook, method, target, "{}").Code; least != anyone && got != http.StatusForbidden {
					t.Errorf("%s as hook: status %d, want 403", operation, got)
				}
				f.pass(time.Minute) // so that nobody is told to wait
			}
		}
	})
}

func TestRefusals(t *testing.T) {
	f := newFixture(t, dbtest.SQLite(t))

	t.Run("a caller without a token is told what is wanted", func(t *testing.T) {
		a := f.do("GET", "/api/v1/kinds", "")
		a.problem(401, "unauthorized")
		if got := a.Header().Get("WWW-Authenticate"); got != `Bearer realm="flightrules"` {
			t.Errorf("WWW-Authenticate %q", got)
		}
	})

	t.Run("a token that is none, expired or revoked gets one and the same answer", func(t *testing.T) {
		expired, _, err := f.server.Tokens().Create(t.Context(), "short", plugins.Admin, f.clock().Add(time.Minute))
		f.no(err)
		revoked, token, err := f.server.Tokens().Create(t.Context(), "gone", plugins.Admin, time.Time{})
		f.no(err)
		for _, good := range []string{expired, revoked} {
			f.do("GET", "/api/v1/kinds", "", "Authorization", "Bearer "+good).want(200)
		}
		f.pass(time.Minute)
		f.no(f.server.Tokens().Revoke(t.Context(), token.ID))
		for _, header := range []string{"Bearer " + expired, "Bearer " + revoked, "Bearer frt_x", "Bearer ", "Basic " + f.tokens[plugins.Admin], f.tokens[plugins.Admin]} {
			a := f.do("GET", "/api/v1/kinds", "", "Authorization", header)
			if p := a.problem(401, "unauthorized"); p.Detail != "the token is unknown, was revoked or has expired" {
				t.Errorf("%q: %q", header, p.Detail)
			}
			if got := a.Header().Get("WWW-Authenticate"); !strings.Contains(got, `error="invalid_token"`) {
				t.Errorf("WWW-Authenticate %q", got)
			}
		}
	})

	t.Run("the scheme is written in any case", func(t *testing.T) {
		f.do("GET", "/api/v1/kinds", "", "Authorization", "bearer "+f.tokens[plugins.Viewer]).want(200)
	})

	t.Run("an address that fails too often has to wait, and good tokens from it do not", func(t *testing.T) {
		f.pass(time.Hour)
		for i := range 20 {
			if got := f.do("GET", "/api/v1/kinds", "").Code; got != 401 {
				t.Fatalf("failure %d: status %d", i+1, got)
			}
		}
		a := f.do("GET", "/api/v1/kinds", "")
		a.problem(429, "too_many_requests")
		if got := a.Header().Get("Retry-After"); got != "4" {
			t.Errorf("Retry-After %q", got)
		}
		f.as(plugins.Viewer, "GET", "/api/v1/kinds", "").want(200)
		f.pass(3 * time.Second)
		f.do("GET", "/api/v1/kinds", "").want(401)
		f.do("GET", "/api/v1/kinds", "").want(429)
	})

	t.Run("no token stands in the log", func(t *testing.T) {
		for _, token := range f.tokens {
			if strings.Contains(f.log.String(), token) {
				t.Error("a token stands in the log")
			}
		}
	})
}

func TestOpenPages(t *testing.T) {
	f := newFixture(t, dbtest.SQLite(t))

	t.Run("what is alive says so to anybody", func(t *testing.T) {
		f.down = http.ErrServerClosed
		if got := f.do("GET", "/healthz", "").want(200).Body.String(); got != "{\"status\":\"ok\"}\n" {
			t.Errorf("body %q", got)
		}
	})

	t.Run("a mount of a plugin keeps its own gate", func(t *testing.T) {
		if got := f.do("GET", "/mounted", "").want(200).Body.String(); got != "mounted" {
			t.Errorf("body %q", got)
		}
	})

	t.Run("a mount that panics ends its connection, and is in the log", func(t *testing.T) {
		defer func() {
			if p := recover(); p != http.ErrAbortHandler {
				t.Errorf("panic %v", p)
			}
			if !strings.Contains(f.log.String(), "broken mount") {
				t.Error("the panic is not in the log")
			}
		}()
		f.do("GET", "/mounted/broken", "")
	})
}

func TestDocument(t *testing.T) {
	f := newFixture(t, dbtest.SQLite(t))

	t.Run("the document is OpenAPI 3.1 with bearer tokens", func(t *testing.T) {
		var doc struct {
			OpenAPI    string `json:"openapi"`
			Info       struct{ Version string }
			Security   []map[string][]string
			Components struct {
				SecuritySchemes map[string]struct{ Type, Scheme string } `json:"securitySchemes"`
				Schemas         map[string]json.RawMessage
			}
		}
		f.as(plugins.Viewer, "GET", "/openapi.json", "").want(200).into(&doc)
		scheme := doc.Components.SecuritySchemes["token"]
		if doc.OpenAPI != "3.1.0" || doc.Info.Version != "1.2.3" || scheme.Type != "http" || scheme.Scheme != "bearer" || len(doc.Security) != 1 {
			t.Errorf("document %+v", doc)
		}
		if _, ok := doc.Components.Schemas["Problem"]; !ok {
			t.Error("no schema of problems")
		}
	})

	t.Run("the page lists every operation, and loads and runs nothing", func(t *testing.T) {
		a := f.as(plugins.Viewer, "GET", "/docs", "").want(200)
		page := a.Body.String()
		for operation := range allowed {
			if !strings.Contains(page, "<code>"+operation+"</code>") {
				t.Errorf("%s is not on the page", operation)
			}
		}
		for _, banned := range []string{"<script", "http://", "https://", "<style", "<link", "<img"} {
			if strings.Contains(page, banned) {
				t.Errorf("the page has %s", banned)
			}
		}
		if csp := a.Header().Get("Content-Security-Policy"); !strings.HasPrefix(csp, "default-src 'none'") {
			t.Errorf("Content-Security-Policy %q", csp)
		}
	})
}
