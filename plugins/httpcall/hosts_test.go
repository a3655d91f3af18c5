package httpcall_test

import (
	"context"
	"crypto/tls"
	"encoding/base64"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/flightrules/flightrules/engine/action"
)

func TestGuard(t *testing.T) {
	server := record(t, nil)
	at, err := url.Parse(server.URL)
	if err != nil {
		t.Fatal(err)
	}
	byName := "http://localhost:" + at.Port()
	deny := map[string]any{"host": "localhost", "deny": []any{"loopback"}}
	for _, tt := range []struct {
		what  string
		items []map[string]any
		url   string
		err   string
	}{
		{what: "loopback is allowed", url: server.URL},
		{what: "by its name too", url: byName},
		{what: "a link-local address is refused", url: "http://169.254.1.1:1", err: "169.254.1.1 is refused: it is a link-local address"},
		{what: "so is one of IPv6", url: "http://[fe80::1]:1", err: "fe80::1 is refused: it is a link-local address"},
		{what: "a metadata address is refused", url: "http://[fd00:ec2::254]/", err: "fd00:ec2::254 is refused: it is a metadata address"},
		{what: "a name is as its addresses", url: byName, items: []map[string]any{deny}, err: "is refused: it is denied by loopback"},
		{what: "what holds for all hosts holds for those with an item", url: byName, items: []map[string]any{{"host": "*", "deny": []any{"all"}}, {"host": "localhost", "max_concurrent": 1}}, err: "denied by all"},
		{what: "an item says otherwise", url: byName, items: []map[string]any{{"host": "*", "deny": []any{"all"}}, {"host": "localhost", "allow": []any{"loopback"}}}},
	} {
		t.Run(tt.what, func(t *testing.T) {
			_, err := open(t, tt.items...).call(map[string]any{"url": tt.url})
			wantError(t, err, tt.err)
			if n := len(server.requests()); (n == 1) != (tt.err == "") {
				t.Errorf("%d requests", n)
			}
		})
	}
	t.Run("a redirect gets no further", func(t *testing.T) {
		home := record(t, map[string]http.HandlerFunc{"/": to(302, byName)})
		_, err := open(t, deny).call(map[string]any{"url": home.URL})
		wantError(t, err, "redirected to "+byName+": dial tcp")
		if len(server.requests()) != 0 {
			t.Error("it was reached")
		}
	})
}

func TestProxy(t *testing.T) {
	wide, narrow := record(t, nil), record(t, nil)
	f := open(t,
		map[string]any{"host": "*", "proxy": "http://user:${{ secrets.PROXY }}@" + strings.TrimPrefix(wide.URL, "http://"), "max_concurrent": 3},
		map[string]any{"host": "*.example.com", "proxy": narrow.URL},
		map[string]any{"host": "*.b.example.com", "max_concurrent": 2},
		map[string]any{"host": "127.0.0.1", "proxy": "direct"},
		map[string]any{"host": "broken.org", "proxy": "http://${{ secrets.NOBODY }}@127.0.0.1"},
	)
	for host, want := range map[string]*recorder{
		"example.com": wide, "www.example.org": wide, "www.example.com": narrow, "WWW.Example.COM.": narrow, "a.b.example.com": narrow,
	} {
		if _, err := f.call(map[string]any{"url": "http://" + host + "/x"}); err != nil {
			t.Errorf("%s: %v", host, err)
		}
		seen := want.requests()
		if len(seen) != 1 || !strings.EqualFold(seen[0].URL.Host, host) {
			t.Errorf("%s: the proxy saw %v", host, seen)
		}
		auth := "Basic " + base64.StdEncoding.EncodeToString([]byte("user:"+theSecret))
		if want == wide && seen[0].Header.Get("Proxy-Authorization") != auth {
			t.Errorf("%s: the proxy saw %v", host, seen[0].Header)
		}
		if len(wide.requests())+len(narrow.requests()) > 0 {
			t.Errorf("%s: the other proxy saw it too", host)
		}
	}
	for at, want := range map[string]string{
		"http://169.254.169.254/": "169.254.169.254 is refused", "http://2852039166/": "2852039166 is refused",
		"http://broken.org/": "there is no secret NOBODY",
	} {
		_, err := f.call(map[string]any{"url": at})
		wantError(t, err, want)
	}
	if _, err := f.call(map[string]any{"url": wide.URL}); err != nil || len(wide.requests()) != 1 || len(narrow.requests()) != 0 {
		t.Errorf("not directly: %v", err)
	}
}

func TestTLS(t *testing.T) {
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if len(r.TLS.PeerCertificates) > 0 {
			w.Header().Set("X-Client", r.TLS.PeerCertificates[0].Subject.CommonName)
		}
	}))
	server.Config.ErrorLog = quiet
	server.TLS = &tls.Config{ClientAuth: tls.RequestClientCert, MaxVersion: tls.VersionTLS12}
	server.StartTLS()
	t.Cleanup(server.Close)
	dir := t.TempDir()
	ca := writePEM(t, dir, "ca.pem", "CERTIFICATE", server.Certificate().Raw)
	cert, key := clientCertificate(t, dir, "the engine")

	for _, tt := range []struct {
		what   string
		tls    map[string]any
		err    string
		client string
	}{
		{what: "a certificate of nobody is refused", err: "certificate signed by unknown authority"},
		{what: "an authority of one's own", tls: map[string]any{"ca": ca}},
		{what: "no verification", tls: map[string]any{"insecure_skip_verify": true}},
		{what: "a certificate of the client", tls: map[string]any{"ca": ca, "cert": cert, "key": key}, client: "the engine"},
		{what: "a newer version than the server has", tls: map[string]any{"ca": ca, "min_version": "1.3"}, err: "protocol version"},
	} {
		t.Run(tt.what, func(t *testing.T) {
			item := map[string]any{"host": "127.0.0.1"}
			if tt.tls != nil {
				item["tls"] = tt.tls
			}
			f := open(t, item)
			out, err := f.call(map[string]any{"url": server.URL})
			wantError(t, err, tt.err)
			if err == nil && tt.client != "" && out["headers"].(map[string]any)["x-client"] != tt.client {
				t.Errorf("the server saw no certificate: %v", out)
			}
			if warned := strings.Contains(f.log.String(), "its certificates are not verified"); warned != (tt.tls["insecure_skip_verify"] != nil) {
				t.Errorf("log: %s", f.log.String())
			}
		})
	}

	t.Run("a file that went after it was checked lets nothing through", func(t *testing.T) {
		f := open(t)
		list, err := f.check(map[string]any{"host": "127.0.0.1", "tls": map[string]any{"ca": ca}})
		if err != nil {
			t.Fatal(err)
		}
		if err := os.Remove(ca); err != nil {
			t.Fatal(err)
		}
		if err := f.set.Apply(map[string][]any{"http": list}); err != nil {
			t.Fatal(err)
		}
		_, err = f.call(map[string]any{"url": server.URL})
		wantError(t, err, "section http, host 127.0.0.1: tls: ca: open "+ca)
	})
}

func TestBusyHosts(t *testing.T) {
	reached, release := make(chan struct{}), make(chan struct{})
	slow := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		select {
		case reached <- struct{}{}:
		case <-r.Context().Done():
		}
		select {
		case <-release:
		case <-r.Context().Done():
		}
	}))
	t.Cleanup(slow.Close)
	other := record(t, nil)
	f := open(t, map[string]any{"host": "*", "max_concurrent": 2}, map[string]any{"host": "127.0.0.1", "proxy": "direct"})
	done := make(chan error)
	for range 2 {
		go func() {
			_, err := f.call(map[string]any{"url": slow.URL})
			done <- err
		}()
		<-reached
	}
	busy := func() {
		t.Helper()
		ctx, cancel := context.WithTimeout(t.Context(), 3*time.Second) // it does not answer
		defer cancel()
		_, err := f.action.Run(ctx, action.Call{}, map[string]any{"url": slow.URL})
		var later *action.Later
		if !errors.As(err, &later) || later.After != time.Second || !strings.Contains(later.Reason, "2 requests to "+slow.Listener.Addr().String()) {
			t.Errorf("%v", err)
		}
	}
	busy()
	if _, err := f.call(map[string]any{"url": other.URL}); err != nil {
		t.Errorf("another host is held up: %v", err)
	}
	if err := f.load(map[string]any{"host": "*", "max_concurrent": 2}); err != nil {
		t.Error(err)
	}
	busy() // also after the files were loaded again
	close(release)
	for range 2 {
		if err := <-done; err != nil {
			t.Error(err)
		}
	}
	go func() { <-reached }()
	if _, err := f.call(map[string]any{"url": slow.URL}); err != nil {
		t.Errorf("a host that is free again: %v", err)
	}
}

func TestMistakesInItems(t *testing.T) {
	f := open(t)
	dir := t.TempDir()
	nothing := filepath.Join(dir, "empty.pem")
	if err := os.WriteFile(nothing, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		item map[string]any
		want string
	}{
		{map[string]any{"host": "Example.com"}, `host "Example.com" is neither`},
		{map[string]any{"host": "example.com:80"}, "is neither"},
		{map[string]any{"host": "a.*.com"}, "is neither"},
		{map[string]any{"host": "fd00::1"}, ""},
		{map[string]any{"host": "*.example.com"}, ""},
		{map[string]any{"host": "*", "max_concurrent": -1}, "max_concurrent must be"},
		{map[string]any{"host": "*", "allow": []any{"10.0.0.0/40"}}, `allow: "10.0.0.0/40" is not a network`},
		{map[string]any{"host": "*", "deny": []any{"lan"}}, `deny: "lan" is not a network`},
		{map[string]any{"host": "*", "proxy": "proxy:3128"}, "proxy: it is neither"},
		{map[string]any{"host": "*", "proxy": "${{ event.id }}"}, "proxy: only ${{ secrets.NAME }} can stand here"},
		{map[string]any{"host": "*", "proxy": "socks5://${{ secrets.A }}:1080"}, ""},
		{map[string]any{"host": "*", "tls": map[string]any{"ca": filepath.Join(dir, "none.pem")}}, "tls: ca: open"},
		{map[string]any{"host": "*", "tls": map[string]any{"ca": nothing}}, "tls: ca: there is no certificate in"},
		{map[string]any{"host": "*", "tls": map[string]any{"cert": nothing}}, "tls: cert and key go together"},
		{map[string]any{"host": "*", "tls": map[string]any{"cert": nothing, "key": nothing}}, "tls: cert: "},
		{map[string]any{"host": "*", "tls": map[string]any{"min_version": "1.1"}}, "min_version"},
	} {
		_, err := f.check(tt.item)
		wantError(t, err, tt.want)
	}
}

func TestConnectionsAreReused(t *testing.T) {
	connections := 0
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/bad" {
			w.WriteHeader(http.StatusTeapot)
		}
		_, _ = io.WriteString(w, strings.Repeat("x", 1000))
	}))
	server.Config.ConnState = func(_ net.Conn, state http.ConnState) {
		if state == http.StateNew {
			connections++ // before the requests over it
		}
	}
	server.Start()
	t.Cleanup(server.Close)
	f := open(t)
	for _, path := range []string{"/", "/bad", "/", "/"} {
		if _, err := f.call(map[string]any{"url": server.URL + path}); (err != nil) != (path == "/bad") {
			t.Error(err)
		}
	}
	if connections != 1 {
		t.Errorf("%d connections", connections)
	}
}
