package httpcall_test

import (
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestRedirects(t *testing.T) {
	other := record(t, nil)
	routes := map[string]http.HandlerFunc{
		"/301": to(301, "/end"), "/302": to(302, "/end"), "/307": to(307, "/end"),
		"/two": to(302, "/302"), "/circle": to(302, "/circle"), "/file": to(302, "file:///etc/passwd"),
		"/other": to(302, other.URL+"/x"), "/other307": to(307, other.URL+"/x"),
		"/metadata": to(302, "http://169.254.169.254/latest/meta-data/"),
	}
	home := record(t, routes)
	routes["/and-back"] = to(302, strings.Replace(home.URL, "127.0.0.1", "localhost", 1)+"/back")
	routes["/back"] = to(302, home.URL+"/end")
	f := open(t)

	for _, tt := range []struct {
		what      string
		config    map[string]any
		path      string
		want      []string // what home was asked
		elsewhere int      // how many the other was asked
		err       string
	}{
		{what: "a GET follows", path: "/302", want: []string{"GET /302", "GET /end"}},
		{what: "a HEAD follows", path: "/302", config: map[string]any{"method": "HEAD"}, want: []string{"HEAD /302", "HEAD /end"}},
		{
			what: "a POST does not", path: "/301", config: map[string]any{"body": "x"}, want: []string{"POST /301"},
			err: "answered 301 Moved Permanently, which leads to " + home.URL + "/end (say redirects: 1 to follow it)",
		},
		{what: "a POST that may is a GET afterwards", path: "/302", config: map[string]any{"body": "x", "redirects": 1}, want: []string{"POST /302", "GET /end"}},
		{what: "307 keeps a POST", path: "/307", config: map[string]any{"body": "x", "redirects": 1}, want: []string{"POST /307", "POST /end"}},
		{what: "none are followed on request", path: "/302", config: map[string]any{"redirects": 0}, want: []string{"GET /302"}, err: "answered 302 Found"},
		{what: "one that is expected is an answer", path: "/302", config: map[string]any{"redirects": 0, "expect": []any{302}}, want: []string{"GET /302"}},
		{what: "as many as allowed", path: "/two", config: map[string]any{"redirects": 2}, want: []string{"GET /two", "GET /302", "GET /end"}},
		{what: "no more than allowed", path: "/two", config: map[string]any{"redirects": 1}, want: []string{"GET /two", "GET /302"}, err: "there are more than 1 redirects"},
		{what: "a circle ends", path: "/circle", want: []string{"GET /circle", "GET /circle", "GET /circle", "GET /circle", "GET /circle", "GET /circle"}, err: "there are more than 5 redirects"},
		{what: "no other protocol", path: "/file", want: []string{"GET /file"}, err: "the redirect to file:///etc/passwd is not followed"},
		{what: "another host", path: "/other", want: []string{"GET /other"}, elsewhere: 1},
		{what: "no body for another host", path: "/other307", config: map[string]any{"body": "x", "redirects": 1}, want: []string{"POST /other307"}, err: "the redirect to " + other.URL + "/x is not followed: the request has a body"},
		{what: "not to metadata", path: "/metadata", want: []string{"GET /metadata"}, err: "redirected to http://169.254.169.254/latest/meta-data/: dial tcp 169.254.169.254:80: 169.254.169.254 is refused: it is a link-local address"},
		{what: "more than can be allowed", path: "/end", config: map[string]any{"redirects": 11}, err: "redirects must be 0 to 10"},
	} {
		t.Run(tt.what, func(t *testing.T) {
			config := map[string]any{"url": home.URL + tt.path}
			for key, v := range tt.config {
				config[key] = v
			}
			_, err := f.call(config)
			wantError(t, err, tt.err)
			var got []string
			for _, req := range home.requests() {
				got = append(got, req.Method+" "+req.URL.Path)
			}
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Error(diff)
			}
			if n := len(other.requests()); n != tt.elsewhere {
				t.Errorf("%d requests to another host, want %d", n, tt.elsewhere)
			}
		})
	}

	secrets := map[string]any{"Authorization": "Bearer s3cr3t", "X-Api-Key": "s3cr3t", "Cookie": "a=s3cr3t", "Accept": "text/plain"}
	told := func(req *http.Request) bool {
		return strings.Contains(fmt.Sprint(req.Header, req.URL), "s3cr3t") || req.Header.Get("Idempotency-Key") != ""
	}
	t.Run("headers stay on the host", func(t *testing.T) {
		if _, err := f.call(map[string]any{"url": home.URL + "/two", "headers": secrets}); err != nil {
			t.Fatal(err)
		}
		for _, req := range home.requests() {
			if req.Header.Get("Authorization") == "" || req.Header.Get("X-Api-Key") == "" {
				t.Errorf("%s lacks headers: %v", req.URL, req.Header)
			}
		}
	})
	t.Run("no header and no query goes to another host", func(t *testing.T) {
		if _, err := f.call(map[string]any{"url": home.URL + "/other", "headers": secrets, "query": map[string]any{"token": "s3cr3t"}}); err != nil {
			t.Fatal(err)
		}
		home.requests()
		seen := other.requests()
		if len(seen) != 1 || told(seen[0]) || seen[0].Header.Get("Accept") != "text/plain" {
			t.Errorf("another host got %v", seen[0].Header)
		}
	})
	t.Run("nor does it when another host sends the request back", func(t *testing.T) {
		if _, err := f.call(map[string]any{"url": home.URL + "/and-back", "headers": secrets}); err != nil {
			t.Fatal(err)
		}
		seen := home.requests()
		if len(seen) != 3 || !told(seen[0]) || told(seen[1]) || told(seen[2]) {
			t.Errorf("%d requests, with the headers %v", len(seen), seen)
		}
	})
}
