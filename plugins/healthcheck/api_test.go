package healthcheck_test

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/adapters/humago"
)

// call calls the API, and gives the status and the answer.
func (w *watched) call(method, path, body string) (int, map[string]any) {
	w.t.Helper()
	mux := http.NewServeMux()
	api := humago.New(mux, huma.DefaultConfig("test", "1"))
	w.plugin.Operations(api)
	req := httptest.NewRequest(method, "/api/v1/checks"+path, strings.NewReader(body))
	req.Header.Set("Content-Type", "application/json")
	out := httptest.NewRecorder()
	mux.ServeHTTP(out, req)
	answer := map[string]any{}
	if out.Body.Len() > 0 {
		must(w.t, json.Unmarshal(out.Body.Bytes(), &answer))
	}
	w.Settle()
	return out.Code, answer
}

func TestChecksOverTheAPI(t *testing.T) {
	w := watch(t, "", on("any"), true)
	w.given("eu-1", "eu")
	w.see("", "up", 2)
	wants := func(method, path, body string, status int, part string) map[string]any {
		t.Helper()
		got, answer := w.call(method, path, body)
		text, err := json.Marshal(answer)
		must(t, err)
		if got != status || !strings.Contains(string(text), part) {
			t.Errorf("%s %s: %d %s; want %d and %s", method, path, got, text, status, part)
		}
		return answer
	}
	wants("PUT", "/api-check", `{"dns": {"name": "example.org"}, "interval": "30s", "satellites": {"names": ["eu-1"]}}`, 200, `"source":"api"`)
	wants("GET", "", "", 200, `"next":null`)
	if next := wants("GET", "?limit=1", "", 200, `"id":"api-check"`)["next"]; next != "api-check" {
		t.Errorf("the next page is after %v", next)
	}
	wants("GET", "?limit=1&after=api-check", "", 200, `"id":"web"`)
	wants("GET", "/web", "", 200, `"status":"up"`)
	wants("GET", "/web/results?limit=1", "", 200, `"latency_ms":120`)
	wants("GET", "/web/results?observer=nobody", "", 200, `{"$schema":`)
	wants("GET", "/web/hours", "", 200, `"up":2`)
	wants("GET", "/web/results?since=2030-01-01T00:00:00Z", "", 200, `"items":[]`)
	wants("GET", "/none", "", 404, "no such check")
	wants("GET", "/none/results", "", 404, "no such check")
	wants("PUT", "/web", `{"local": true, "dns": {"name": "x"}}`, 409, "written in a file")
	wants("DELETE", "/web", "", 409, "written in a file")
	wants("PUT", "/bad", `{"local": true, "dns": {"name": "x"}, "timeout": "2m"}`, 422, "body.timeout")
	wants("PUT", "/bad", `{"local": true}`, 422, "one of http, tcp")
	wants("PUT", "/bad", `{"dns": {"name": "x"}}`, 422, "body.satellites")
	must(t, w.Happen(t.Context(), "check", map[string]any{"id": "api-check", "status": "up"}))
	w.Settle()
	wants("GET", "/api-check", "", 200, `"status":"up"`)
	// A reload of the files leaves it; a file that has it takes it over.
	w.Reload(on("any"))
	wants("GET", "/api-check", "", 200, `"source":"api"`)
	wants("DELETE", "/api-check", "", 204, "")
	wants("GET", "/api-check", "", 404, "")
	if _, err := w.Core.Entities.Get(t.Context(), w.Core.DB.Read(), "check", "api-check"); err == nil {
		t.Error("its entity is there after it was removed")
	}
}
