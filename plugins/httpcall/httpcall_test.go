package httpcall_test

import (
	"context"
	"encoding/json"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/flightrules/flightrules/engine/action"
	"github.com/flightrules/flightrules/plugins"
	"github.com/flightrules/flightrules/plugins/httpcall"
)

// call registers the plugin and calls its action.
func call(t *testing.T, ctx context.Context, config map[string]any) (any, error) {
	t.Helper()
	actions := action.NewSet()
	plugin := httpcall.New()
	if _, err := plugins.NewSet(plugins.Services{Actions: actions, Log: slog.New(slog.DiscardHandler)}, plugin); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = plugin.Close(context.Background()) })
	a, ok := actions.Lookup("http")
	if !ok {
		t.Fatal("there is no action http")
	}
	return a.Run(ctx, action.Call{IdempotencyKey: "run/actions[0]/0"}, config)
}

func TestRequest(t *testing.T) {
	type seen struct{ Method, Query, Key, Type, Extra, Body string }
	var got seen
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		got = seen{r.Method, r.URL.RawQuery, r.Header.Get("Idempotency-Key"), r.Header.Get("Content-Type"), r.Header.Get("X-Extra"), string(body)}
		w.Header().Set("Content-Type", "application/json")
		w.Header().Set("X-Answer", "yes")
		w.WriteHeader(http.StatusCreated)
		_, _ = io.WriteString(w, `{"n": 7}`)
	}))
	t.Cleanup(server.Close)
	for name, c := range map[string]struct {
		config map[string]any
		want   seen
	}{
		"a plain one is a GET": {map[string]any{}, seen{Method: "GET", Query: "a=1"}},
		"JSON is posted": {
			map[string]any{"json": map[string]any{"x": []any{1, "two"}}, "headers": map[string]any{"X-Extra": "e"}},
			seen{Method: "POST", Query: "a=1", Type: "application/json", Extra: "e", Body: `{"x":[1,"two"]}`},
		},
		"text is posted":             {map[string]any{"body": "hello"}, seen{Method: "POST", Query: "a=1", Type: "text/plain; charset=utf-8", Body: "hello"}},
		"a method is kept":           {map[string]any{"method": "delete"}, seen{Method: "DELETE", Query: "a=1"}},
		"a query is added":           {map[string]any{"query": map[string]any{"b": "2 3"}}, seen{Method: "GET", Query: "a=1&b=2+3"}},
		"a header of one's own wins": {map[string]any{"body": "x", "headers": map[string]any{"Content-Type": "text/csv"}}, seen{Method: "POST", Query: "a=1", Type: "text/csv", Body: "x"}},
	} {
		t.Run(name, func(t *testing.T) {
			c.config["url"] = server.URL + "/?a=1"
			c.want.Key = "run/actions[0]/0"
			out, err := call(t, t.Context(), c.config)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(c.want, got); diff != "" {
				t.Error(diff)
			}
			m := out.(map[string]any)
			if m["status"] != float64(201) || m["headers"].(map[string]any)["x-answer"] != "yes" || m["body"].(map[string]any)["n"] != float64(7) {
				t.Errorf("output %v", out)
			}
		})
	}
}

func TestAnswers(t *testing.T) {
	for name, c := range map[string]struct {
		status int
		text   string
		expect []any
		err    string
	}{
		"200 is a success":             {status: 200},
		"500 is none":                  {status: 500, err: "answered 500"},
		"404 is one where expected":    {status: 404, expect: []any{200, "404..410"}},
		"200 is none where another is": {status: 200, expect: []any{204}, err: "answered 200"},
		"a bad expectation":            {status: 200, expect: []any{"2xx"}, err: `"2xx" is neither a status nor a range`},
		"an endless answer":            {status: 200, text: strings.Repeat("x", 1<<20+1), err: "longer than 1048576 bytes"},
	} {
		t.Run(name, func(t *testing.T) {
			server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
				w.WriteHeader(c.status)
				_, _ = io.WriteString(w, c.text)
			}))
			t.Cleanup(server.Close)
			config := map[string]any{"url": server.URL}
			if c.expect != nil {
				config["expect"] = c.expect
			}
			_, err := call(t, t.Context(), config)
			if (err == nil) != (c.err == "") || (err != nil && !strings.Contains(err.Error(), c.err)) {
				t.Errorf("error %v, want %q", err, c.err)
			}
		})
	}
}

func TestItEndsWithItsContext(t *testing.T) {
	reached := make(chan struct{})
	release := make(chan struct{})
	server := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {
		close(reached)
		<-release
	}))
	t.Cleanup(server.Close)
	t.Cleanup(func() { close(release) })
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	go func() {
		<-reached
		cancel()
	}()
	if _, err := call(t, ctx, map[string]any{"url": server.URL}); err == nil {
		t.Error("it went on")
	}
}

func TestCheck(t *testing.T) {
	actions := action.NewSet()
	if _, err := plugins.NewSet(plugins.Services{Actions: actions, Log: slog.New(slog.DiscardHandler)}, httpcall.New()); err != nil {
		t.Fatal(err)
	}
	a, _ := actions.Lookup("http")
	for text, want := range map[string]string{
		`{"url": "https://example.org/x"}`:                       "",
		`{"url": "ftp://example.org"}`:                           "not an http:// or https:// address",
		`{"url": "example.org"}`:                                 "not an http:// or https:// address",
		`{"url": "http://example.org", "json": 1, "body": "x"}`:  "exclude each other",
		`{"url": "http://example.org", "expect": ["300..200"]}`:  "neither a status nor a range",
		`{"url": "http://example.org", "expect": [200, "2..3"]}`: "neither a status nor a range",
	} {
		var config any
		if err := json.Unmarshal([]byte(text), &config); err != nil {
			t.Fatal(err)
		}
		err := a.Check(config)
		if (err == nil) != (want == "") || (err != nil && !strings.Contains(err.Error(), want)) {
			t.Errorf("%s: %v, want %q", text, err, want)
		}
	}
}
