package probe_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"golang.org/x/net/dns/dnsmessage"

	"github.com/flightrules/flightrules/internal/duration"
	"github.com/flightrules/flightrules/plugins"
	"github.com/flightrules/flightrules/plugins/healthcheck/probe"
)

// look looks once, with a second to do it and a secret in KEY.
func look(t *testing.T, s probe.Spec) (probe.Report, error) {
	t.Helper()
	if err := s.Check("KEY"); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Second)
	defer cancel()
	return s.Look(ctx, probe.Environment{Secrets: func(context.Context) (map[string]string, error) {
		return map[string]string{"KEY": "hunter2-key"}, nil
	}})
}

// wants looks, and compares the outcome and a part of the message.
func wants(t *testing.T, s probe.Spec, outcome probe.Outcome, message string) {
	t.Helper()
	r, err := look(t, s)
	if err != nil {
		t.Fatal(err)
	}
	if r.Outcome != outcome || !strings.Contains(r.Message, message) || (message == "") != (r.Message == "") {
		t.Errorf("it is %s: %s; want %s: %s", r.Outcome, r.Message, outcome, message)
	}
}

func serve(t *testing.T, fn http.HandlerFunc) *httptest.Server {
	s := httptest.NewServer(fn)
	t.Cleanup(s.Close)
	return s
}

func TestHTTP(t *testing.T) {
	other := serve(t, func(out http.ResponseWriter, r *http.Request) { fmt.Fprint(out, r.Header.Get("Key")) })
	s := serve(t, func(out http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/ok":
			out.Header().Set("X-Seen", r.Header.Get("Key"))
			fmt.Fprint(out, `{"queue": 3, "method": "`+r.Method+`"}`)
		case "/away":
			http.Redirect(out, r, other.URL, http.StatusFound)
		case "/here":
			http.Redirect(out, r, "/ok", http.StatusFound)
		case "/loop":
			http.Redirect(out, r, "/loop", http.StatusFound)
		case "/hang":
			<-r.Context().Done()
		default:
			http.Error(out, "not here", http.StatusNotFound)
		}
	})
	http := func(path string, change ...func(*probe.HTTP)) probe.Spec {
		h := &probe.HTTP{URL: s.URL + path}
		for _, c := range change {
			c(h)
		}
		return probe.Spec{Target: probe.Target{HTTP: h}}
	}
	asserting := func(s probe.Spec, texts ...string) probe.Spec { s.Assert = texts; return s }
	secret := func(h *probe.HTTP) { h.Headers = map[string]string{"Key": "${{ env.KEY }}"} }
	stay := false

	wants(t, http("/ok"), probe.Up, "")
	wants(t, http("/missing"), probe.Down, "status 404")
	wants(t, http("/missing", func(h *probe.HTTP) { h.Status = []int{404} }), probe.Up, "")
	wants(t, http("/ok", func(h *probe.HTTP) { h.Status = []int{201, 204} }), probe.Down, "status 200, expected 201, 204")
	wants(t, http("/here"), probe.Up, "")
	wants(t, http("/here", func(h *probe.HTTP) { h.FollowRedirects = &stay }), probe.Down, "status 302")
	wants(t, http("/loop"), probe.Down, "more than 10")
	wants(t, http("/away"), probe.Up, "")
	// A secret does not go to another host.
	wants(t, http("/away", secret), probe.Down, "status 302")
	wants(t, asserting(http("/here", secret), `result.headers["x-seen"] == "hunter2-key"`), probe.Up, "")
	wants(t, http("/hang"), probe.Down, "no answer within its time")
	wants(t, asserting(http("/ok"), "result.json.queue < 5", "result.latency < duration('5s')"), probe.Up, "")
	wants(t, asserting(http("/ok"), "result.json.queue < 5", "result.status == 204"), probe.Down, `"result.status == 204" does not hold`)
	wants(t, asserting(http("/ok"), "result.json.queue.depth < 5"), probe.Down, "cannot be evaluated")
	wants(t, asserting(http("/ok", func(h *probe.HTTP) { h.Method = "PUT" }), `result.json.method == "PUT"`), probe.Up, "")
	slow := http("/ok")
	slow.DegradedAbove = duration.Text(time.Nanosecond)
	wants(t, slow, probe.Degraded, "more than")

	gone := serve(t, nil)
	gone.Close()
	wants(t, probe.Spec{Target: probe.Target{HTTP: &probe.HTTP{URL: gone.URL}}}, probe.Down, "refused")
}

func TestTLS(t *testing.T) {
	s := httptest.NewTLSServer(nil)
	t.Cleanup(s.Close)
	wants(t, probe.Spec{Target: probe.Target{TLS: &probe.TLS{Address: s.Listener.Addr().String()}}}, probe.Down, "certificate")
	wants(t, probe.Spec{Target: probe.Target{HTTP: &probe.HTTP{URL: s.URL}}}, probe.Down, "certificate")
	insecure := probe.Spec{
		Target: probe.Target{HTTP: &probe.HTTP{URL: s.URL, Insecure: true, Status: []int{404}}}, Assert: []string{"result.tls_expires_in > duration('1d')"},
	}
	wants(t, insecure, probe.Up, "")
}

func TestTCP(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer conn.Close()
				buffer := make([]byte, 100)
				n, err := conn.Read(buffer)
				if err != nil {
					return
				}
				fmt.Fprintf(conn, "got %s", buffer[:n])
			}()
		}
	}()
	tcp := func(send, expect string) probe.Spec {
		return probe.Spec{Target: probe.Target{TCP: &probe.TCP{Address: l.Addr().String(), Send: send, Expect: expect}}}
	}
	wants(t, tcp("", ""), probe.Up, "")
	wants(t, tcp("PING ${{ env.KEY }}", "got PING hunter2-key"), probe.Up, "")
	wants(t, tcp("PING", "PONG"), probe.Down, `"PONG" did not come`)
	wants(t, tcp("", "a greeting"), probe.Down, "no answer within its time")
}

// nameServer answers for web.test alone.
func nameServer(t *testing.T) string {
	conn, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	go func() {
		buffer := make([]byte, 1500)
		for {
			n, from, err := conn.ReadFrom(buffer)
			if err != nil {
				return
			}
			var m dnsmessage.Message
			if m.Unpack(buffer[:n]) != nil || len(m.Questions) != 1 {
				continue
			}
			m.Response, m.RecursionAvailable, m.Additionals = true, true, nil
			q := m.Questions[0]
			header := dnsmessage.ResourceHeader{Name: q.Name, Class: q.Class, Type: q.Type}
			switch {
			case q.Name.String() != "web.test.":
				m.RCode = dnsmessage.RCodeNameError
			case q.Type == dnsmessage.TypeA:
				m.Answers = []dnsmessage.Resource{{Header: header, Body: &dnsmessage.AResource{A: [4]byte{192, 0, 2, 7}}}}
			case q.Type == dnsmessage.TypeTXT:
				m.Answers = []dnsmessage.Resource{{Header: header, Body: &dnsmessage.TXTResource{TXT: []string{"v=1"}}}}
			}
			if out, err := m.Pack(); err == nil {
				_, _ = conn.WriteTo(out, from)
			}
		}
	}()
	return conn.LocalAddr().String()
}

func TestDNS(t *testing.T) {
	server := nameServer(t)
	dns := func(name, typ string, assert ...string) probe.Spec {
		return probe.Spec{Target: probe.Target{DNS: &probe.DNS{Name: name, Type: typ, Server: server}}, Assert: assert}
	}
	wants(t, dns("web.test.", "", `result.records == ["192.0.2.7"]`), probe.Up, "")
	wants(t, dns("web.test.", "TXT", `"v=1" in result.records`), probe.Up, "")
	wants(t, dns("web.test.", "A", `"192.0.2.8" in result.records`), probe.Down, "does not hold")
	wants(t, dns("web.test.", "AAAA"), probe.Down, server)
	wants(t, dns("other.test.", "A"), probe.Down, "no such host")
}

func TestPing(t *testing.T) {
	r, err := look(t, probe.Spec{Target: probe.Target{Ping: &probe.Ping{Host: "127.0.0.1"}}})
	var cannot *probe.CannotError
	switch {
	case errors.As(err, &cannot):
		if !strings.Contains(err.Error(), "does not allow") {
			t.Errorf("it cannot look: %v", err)
		}
	case err != nil || r.Outcome != probe.Up:
		t.Errorf("got %+v, %v", r, err)
	}
}

func TestMistakes(t *testing.T) {
	http := func(h probe.HTTP) probe.Spec { return probe.Spec{Target: probe.Target{HTTP: &h}} }
	for want, s := range map[string]probe.Spec{
		"one of http, tcp, dns, tls, ping and script is wanted; there are 0": {},
		"there are 2": {Target: probe.Target{HTTP: &probe.HTTP{}, TCP: &probe.TCP{}}},
		`http: url: "example.org" is not an address`:              http(probe.HTTP{URL: "example.org"}),
		"http: url: a password does not belong":                   http(probe.HTTP{URL: "https://a:b@example.org"}),
		"http: status: 99 is not a status":                        http(probe.HTTP{URL: "https://x", Status: []int{99}}),
		`http: ${{ env.KEi }} is not in secret_env, did you mean`: http(probe.HTTP{URL: "https://x", Body: "${{ env.KEi }}"}),
		"http: ${{ secrets.KEY }}: only ${{ env.NAME }} can":      http(probe.HTTP{URL: "https://x", Body: "${{ secrets.KEY }}"}),
		`tcp: address: "db" is not host:port`:                     {Target: probe.Target{TCP: &probe.TCP{Address: "db"}}},
		"dns: name: a name is wanted":                             {Target: probe.Target{DNS: &probe.DNS{}}},
		"ping: count: 1 to 20":                                    {Target: probe.Target{Ping: &probe.Ping{Host: "x", Count: 21}}},
		"assert[0]: ":                                             {Target: probe.Target{DNS: &probe.DNS{Name: "x"}}, Assert: []string{"result.status == 200"}},
		"degraded_above: ":                                        {Target: probe.Target{DNS: &probe.DNS{Name: "x"}}, DegradedAbove: -1},
	} {
		if err := s.Check("KEY"); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("got %v, want %s", err, want)
		}
	}
}

func TestARunnerReports(t *testing.T) {
	s := serve(t, func(out http.ResponseWriter, r *http.Request) { out.WriteHeader(http.StatusTeapot) })
	run := func(secretErr error) (json.RawMessage, error) {
		return probe.Runner{}.Run(t.Context(), plugins.Job{
			Assignment: plugins.Assignment{Spec: json.RawMessage(`{"http": {"url": "` + s.URL + `", "headers": {"Key": "${{ env.KEY }}"}}}`)},
			Env: func(_ context.Context, collector string) (map[string]string, error) {
				if collector != "http" {
					t.Errorf("it asked for the secrets of %s", collector)
				}
				return map[string]string{"KEY": "x"}, secretErr
			},
		})
	}
	payload, err := run(nil)
	var r probe.Report
	if err != nil || json.Unmarshal(payload, &r) != nil || r.Outcome != probe.Down || r.Message != "status 418" || r.LatencyUS <= 0 {
		t.Errorf("got %s, %v", payload, err)
	}
	if _, err := run(errors.New("it cannot be had")); err == nil || err.Error() != "it cannot be had" {
		t.Errorf("without its secrets it says %v", err)
	}
}
