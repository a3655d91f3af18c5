package httpcall_test

import (
	"context"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/flightrules/flightrules/engine/action"
)

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
			m, err := open(t).call(c.config)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(c.want, got); diff != "" {
				t.Error(diff)
			}
			if m["status"] != float64(201) || m["headers"].(map[string]any)["x-answer"] != "yes" || m["body"].(map[string]any)["n"] != float64(7) {
				t.Errorf("output %v", m)
			}
		})
	}
}

func TestAnswers(t *testing.T) {
	for name, c := range map[string]struct {
		status int
		text   string
		expect []any
		config map[string]any
		err    string
	}{
		"200 is a success":             {status: 200},
		"500 is none":                  {status: 500, err: "answered 500"},
		"404 is one where expected":    {status: 404, expect: []any{200, "404..410"}},
		"200 is none where another is": {status: 200, expect: []any{204}, err: "answered 200"},
		"a bad expectation":            {status: 200, expect: []any{"2xx"}, err: `"2xx" is neither a status nor a range`},
		"a short answer is told":       {status: 422, text: "no such\n\tchannel", err: "answered 422 Unprocessable Entity: no such channel"},
		"as long as allowed":           {status: 200, text: "12345", config: map[string]any{"max_body": 5}},
		"longer than allowed":          {status: 200, text: "123456", config: map[string]any{"max_body": 5}, err: "longer than 5 bytes"},
		"longer, and a failure":        {status: 500, text: "123456", config: map[string]any{"max_body": 5}, err: "longer than 5 bytes"},
		"more than can be allowed":     {status: 200, config: map[string]any{"max_body": 16<<20 + 1}, err: "max_body must be 1 to 16777216"},
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
			for key, v := range c.config {
				config[key] = v
			}
			_, err := open(t).call(config)
			wantError(t, err, c.err)
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
	if _, err := open(t).action.Run(ctx, action.Call{}, map[string]any{"url": server.URL}); err == nil {
		t.Error("it went on")
	}
}

func TestCheck(t *testing.T) {
	f := open(t)
	for text, want := range map[string]string{
		`{"url": "https://example.org/x"}`:                       "",
		`{"url": "ftp://example.org"}`:                           "not an http:// or https:// address",
		`{"url": "example.org"}`:                                 "not an http:// or https:// address",
		`{"url": "http://example.org", "json": 1, "body": "x"}`:  "exclude each other",
		`{"url": "http://example.org", "expect": ["300..200"]}`:  "neither a status nor a range",
		`{"url": "http://example.org", "decode": "xml"}`:         "decode is one of",
		`{"url": "http://example.org", "max_body": -1}`:          "max_body must be",
		`{"url": "http://example.org", "redirects": -1}`:         "redirects must be",
		`{"url": "http://example.org", "expect": [200, "2..3"]}`: "neither a status nor a range",
	} {
		var config any
		if err := json.Unmarshal([]byte(text), &config); err != nil {
			t.Fatal(err)
		}
		wantError(t, f.action.Check(config), want)
	}
}

func TestDecode(t *testing.T) {
	for _, tt := range []struct {
		as, contentType, text string
		want                  any
		err                   string
	}{
		{contentType: "application/json", text: `{"a": [1]}`, want: map[string]any{"a": []any{1.0}}},
		{contentType: "application/problem+json; charset=utf-8", text: `"x"`, want: "x"},
		{contentType: "application/json", text: "{", want: "{"},
		{contentType: "text/plain", text: "[1]", want: "[1]"},
		{as: "auto", contentType: "application/json", text: "[1]", want: []any{1.0}},
		{as: "json", contentType: "text/plain", text: "[1]", want: []any{1.0}},
		{as: "json", contentType: "application/json", text: "<html>", err: "the answer is not JSON"},
		{as: "json", text: "", err: "the answer is not JSON"},
		{as: "text", contentType: "application/json", text: "[1]", want: "[1]"},
		{as: "base64", contentType: "image/png", text: "\x89PNG\xff", want: "iVBOR/8="},
	} {
		server := record(t, map[string]http.HandlerFunc{"/": func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", tt.contentType)
			_, _ = io.WriteString(w, tt.text)
		}})
		config := map[string]any{"url": server.URL + "/"}
		if tt.as != "" {
			config["decode"] = tt.as
		}
		out, err := open(t).call(config)
		wantError(t, err, tt.err)
		if err == nil {
			if diff := cmp.Diff(tt.want, out["body"]); diff != "" {
				t.Errorf("%+v: %s", tt, diff)
			}
		}
	}
}

func TestErrorsDoNotTellTheQuery(t *testing.T) {
	gone := httptest.NewServer(nil)
	gone.Close()
	server := record(t, map[string]http.HandlerFunc{
		"/302": to(302, gone.URL+"/end?back=s3cr3t"),
		"/long": func(w http.ResponseWriter, r *http.Request) {
			w.WriteHeader(http.StatusBadRequest)
			_, _ = io.WriteString(w, strings.Repeat("x", 505)+r.URL.Query().Get("token"))
		},
	})
	at := strings.TrimPrefix(server.URL, "http://")
	for _, tt := range []struct{ url, want string }{
		{gone.URL + "/x?a=s3cr3t", "GET " + gone.URL + "/x: dial tcp"},
		{server.URL + "/302", "GET " + server.URL + "/302, redirected to " + gone.URL + "/end: dial tcp"},
		{server.URL + "/long", "GET " + server.URL + "/long answered 400 Bad Request"},
		{"http://me:s3cr3t@" + at + "/long", "GET " + server.URL + "/long answered 400 Bad Request"},
		{"http://me:s3cr3t@" + at + "/\n", "url is not an http:// or https:// address"},
	} {
		_, err := open(t).call(map[string]any{"url": tt.url, "query": map[string]any{"token": "s3cr3t!?"}, "headers": map[string]any{"X-Key": "s3cr3t"}})
		wantError(t, err, tt.want)
		if err != nil && strings.Contains(err.Error(), "s3cr3t") {
			t.Errorf("it tells: %v", err)
		}
	}
}
