package egress_test

import (
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"net/url"
	"strings"
	"testing"

	"github.com/flightrules/flightrules/internal/egress"
)

func TestAddresses(t *testing.T) {
	for _, tt := range []struct {
		what        string
		allow, deny []string
		passes      string
		refused     string
	}{
		{
			what:   "by default",
			passes: "127.0.0.1 ::1 10.0.0.1 192.168.1.1 172.16.0.1 100.64.0.1 fd12::1 8.8.8.8 2001:4860:4860::8888 64:ff9b::808:808 168.63.129.17",
			refused: "169.254.169.254 169.254.0.1 fe80::1 fe80::1%eth0 fd00:ec2::254 fd00:ec2::23 fd20:ce::254 100.100.100.200 168.63.129.16 192.0.0.192 " +
				"0.0.0.0 0.1.2.3 :: 224.0.0.1 ff02::1 255.255.255.255 ::ffff:169.254.169.254 64:ff9b::a9fe:a9fe",
		},
		{
			what: "with one network that is meant after all", allow: []string{"169.254.1.0/24", "fd00:ec2::254"},
			passes: "169.254.1.9 ::ffff:169.254.1.9 fd00:ec2::254", refused: "169.254.169.254 fd00:ec2::253",
		},
		{what: "allowed as it is refused", allow: []string{"169.254.0.0/16"}, passes: "169.254.169.254"},
		{
			what: "without the neighbours", deny: []string{"loopback", "private"},
			passes: "8.8.8.8", refused: "127.0.0.1 127.9.9.9 ::1 10.0.0.1 192.168.1.1 fd12::1 100.64.0.1 ::ffff:10.0.0.1",
		},
		{
			what: "with a list of what is allowed", deny: []string{"all"}, allow: []string{"10.0.0.0/8", "private"},
			passes: "10.1.2.3 192.168.1.1", refused: "8.8.8.8 2001:4860:4860::8888 127.0.0.1 169.254.169.254 fd00:ec2::254 100.100.100.200",
		},
		{what: "allowing everything opens no metadata", allow: []string{"all"}, passes: "8.8.8.8 127.0.0.1", refused: "169.254.169.254"},
		{what: "with a hole", allow: []string{"10.0.0.0/8"}, deny: []string{"all", "10.1.0.0/16"}, passes: "10.2.0.1", refused: "10.1.0.1"},
	} {
		t.Run(tt.what, func(t *testing.T) {
			g, err := egress.New(tt.allow, tt.deny)
			if err != nil {
				t.Fatal(err)
			}
			for addr := range strings.FieldsSeq(tt.passes) {
				if err := g.Addr(netip.MustParseAddr(addr)); err != nil {
					t.Error(err)
				}
			}
			for addr := range strings.FieldsSeq(tt.refused) {
				err := g.Addr(netip.MustParseAddr(addr))
				if err == nil || !strings.Contains(err.Error(), addr+" is refused: it is ") {
					t.Errorf("%s: %v", addr, err)
				}
				if g.Control("tcp", net.JoinHostPort(addr, "80"), nil) == nil {
					t.Errorf("%s may be dialled", addr)
				}
			}
		})
	}
	for _, text := range []string{"", "10.0.0.0/33", "example.com", "privat", "10.0.0"} {
		if _, err := egress.New([]string{text}, nil); err == nil || !strings.Contains(err.Error(), "is not a network") {
			t.Errorf("%q: %v", text, err)
		}
	}
	if err := (*egress.Guard)(nil).Addr(netip.MustParseAddr("169.254.169.254")); err == nil {
		t.Error("no guard refuses nothing")
	}
	if (*egress.Guard)(nil).Control("tcp", "no address", nil) == nil {
		t.Error("what is no address may be dialled")
	}
}

func TestHosts(t *testing.T) {
	g, err := egress.New(nil, []string{"loopback"})
	if err != nil {
		t.Fatal(err)
	}
	for host, refused := range map[string]bool{
		"example.com": false, "example.com.": false, "1.example.com": false, "8.8.8.8": false, "x1": false,
		"169.254.169.254": true, "169.254.169.254.": true, "fe80::1%25eth0": true, "::ffff:169.254.169.254": true,
		"2852039166": true, "0xa9fea9fe": true, "169.254.43518": true, "0251.0376.0251.0376": true,
		"localhost": true, "LocalHost.": true, "a.localhost": true,
	} {
		if err := g.Host(host); (err != nil) != refused {
			t.Errorf("%s: %v", host, err)
		}
	}
}

func TestTransport(t *testing.T) {
	server := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
	t.Cleanup(server.Close)
	at, err := url.Parse(server.URL)
	if err != nil {
		t.Fatal(err)
	}
	direct := func(*http.Request) (*url.URL, error) { return nil, nil }
	for _, tt := range []struct {
		what, url, want string
		deny            []string
		proxy           func(*http.Request) (*url.URL, error)
	}{
		{what: "a neighbour", url: server.URL},
		{what: "a name that resolves to what is denied", url: "http://localhost:" + at.Port(), deny: []string{"loopback"}, want: "is refused: it is denied by loopback"},
		{what: "metadata", url: "http://169.254.169.254/", want: "169.254.169.254 is refused: it is a link-local address"},
		{what: "over a proxy", url: "http://example.com/", proxy: http.ProxyURL(at)},
		{what: "metadata over a proxy", url: "http://169.254.169.254/", proxy: http.ProxyURL(at), want: "is refused"},
	} {
		t.Run(tt.what, func(t *testing.T) {
			g, err := egress.New(nil, tt.deny)
			if err != nil {
				t.Fatal(err)
			}
			if tt.proxy == nil {
				tt.proxy = direct
			}
			transport := g.Transport(tt.proxy)
			defer transport.CloseIdleConnections()
			res, err := (&http.Client{Transport: transport}).Get(tt.url)
			if err == nil {
				_ = res.Body.Close()
			}
			if (err == nil) != (tt.want == "") || err != nil && !strings.Contains(err.Error(), tt.want) {
				t.Errorf("%v, want %q", err, tt.want)
			}
		})
	}
}
