// Package egress says to which addresses the engine connects on behalf of rules.
//
// What a rule requests may come from an event, and an answer may redirect
// anywhere. Whoever writes such a text must not reach what only this machine
// can reach and trusts it for that, of all things the metadata services of
// clouds, which hand out credentials. The decision is made on the address that
// is dialled, when it is dialled: a name that resolves to another address the
// second time (DNS rebinding), and a redirect, get no further than anybody else.
package egress

import (
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"slices"
	"strings"
	"syscall"
	"time"
)

// network is a range of addresses and what becomes of connections into it.
type network struct {
	prefix  netip.Prefix
	allowed bool
	what    string // of one that is refused
}

// refused are the networks that nobody means when calling a service.
var refused = []network{
	{netip.MustParsePrefix("0.0.0.0/8"), false, "an unspecified address"}, // Linux takes 0.0.0.0 for this machine
	{netip.MustParsePrefix("::/128"), false, "an unspecified address"},
	{netip.MustParsePrefix("169.254.0.0/16"), false, "a link-local address"}, // 169.254.169.254: metadata of most clouds
	{netip.MustParsePrefix("fe80::/10"), false, "a link-local address"},
	{netip.MustParsePrefix("224.0.0.0/4"), false, "a multicast address"},
	{netip.MustParsePrefix("ff00::/8"), false, "a multicast address"},
	{netip.MustParsePrefix("255.255.255.255/32"), false, "the broadcast address"},
	{netip.MustParsePrefix("fd00:ec2::/32"), false, "a metadata address"},      // Amazon
	{netip.MustParsePrefix("fd20:ce::254/128"), false, "a metadata address"},   // Google
	{netip.MustParsePrefix("168.63.129.16/32"), false, "a metadata address"},   // Azure
	{netip.MustParsePrefix("192.0.0.192/32"), false, "a metadata address"},     // Oracle
	{netip.MustParsePrefix("100.100.100.200/32"), false, "a metadata address"}, // Alibaba
}

// words are the names of networks for people.
var words = map[string][]string{
	"all":      {"0.0.0.0/0", "::/0"},
	"loopback": {"127.0.0.0/8", "::1/128"},
	"private":  {"10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "100.64.0.0/10", "fc00::/7"},
}

// Guard decides about addresses. The narrowest network that covers one decides,
// as in a table of routes; of two alike the one that allows it. nil and the zero
// value refuse link-local, multicast, unspecified and metadata addresses.
type Guard struct{ networks []network }

// New makes a guard that also allows and denies networks: prefixes such as
// 10.0.0.0/8, addresses, and the words all, loopback and private.
func New(allow, deny []string) (*Guard, error) {
	g := &Guard{}
	for _, list := range []struct {
		texts   []string
		allowed bool
	}{{allow, true}, {deny, false}} {
		for _, text := range list.texts {
			prefixes, err := parse(text)
			if err != nil {
				return nil, err
			}
			for _, p := range prefixes {
				g.networks = append(g.networks, network{p, list.allowed, "denied by " + text})
			}
		}
	}
	return g, nil
}

func parse(text string) ([]netip.Prefix, error) {
	texts, ok := words[text]
	if !ok {
		texts = []string{text}
	}
	var list []netip.Prefix
	for _, one := range texts {
		prefix, err := netip.ParsePrefix(one)
		if err != nil {
			var addr netip.Addr
			if addr, err = netip.ParseAddr(one); err == nil {
				prefix, err = addr.WithZone("").Prefix(addr.BitLen())
			}
		}
		if err != nil {
			return nil, fmt.Errorf("%q is not a network such as 10.0.0.0/8, an address, all, loopback or private", text)
		}
		list = append(list, prefix.Masked())
	}
	return list, nil
}

// Addr refuses an address with an error.
func (g *Guard) Addr(addr netip.Addr) error {
	plain := embedded(addr)
	list := refused
	if g != nil {
		list = slices.Concat(g.networks, refused)
	}
	best := network{allowed: true}
	found := -1
	for _, n := range list {
		if !n.prefix.Contains(plain) {
			continue
		}
		if bits := n.prefix.Bits(); bits > found || bits == found && n.allowed {
			best, found = n, bits
		}
	}
	if best.allowed {
		return nil
	}
	return fmt.Errorf("%s is refused: it is %s", addr, best.what)
}

var nat64 = netip.MustParsePrefix("64:ff9b::/96")

// embedded is the IPv4 address that an IPv6 address stands for, else the
// address itself without its zone.
func embedded(addr netip.Addr) netip.Addr {
	addr = addr.WithZone("").Unmap()
	if nat64.Contains(addr) {
		b := addr.As16()
		return netip.AddrFrom4([4]byte(b[12:]))
	}
	return addr
}

// Host refuses a host as it stands in a URL, as far as it can be known without
// looking the name up: for requests that a proxy makes, which does that itself.
func (g *Guard) Host(host string) error {
	host = strings.ToLower(strings.TrimSuffix(host, "."))
	if addr, err := netip.ParseAddr(host); err == nil {
		return g.Addr(addr)
	}
	last := host[strings.LastIndexByte(host, '.')+1:]
	switch {
	case last == "localhost":
		return g.Addr(netip.AddrFrom4([4]byte{127, 0, 0, 1}))
	case last != "" && last[0] >= '0' && last[0] <= '9':
		// 2852039166 and 0xa9fea9fe are 169.254.169.254 to many resolvers, and no
		// top-level domain begins with a digit.
		return fmt.Errorf("%s is refused: it is neither a name nor an address in its usual form", host)
	}
	return nil
}

// Control is for net.Dialer: it refuses an address when it is dialled.
func (g *Guard) Control(_, address string, _ syscall.RawConn) error {
	at, err := netip.ParseAddrPort(address)
	if err != nil {
		return fmt.Errorf("%s is refused: %w", address, err)
	}
	return g.Addr(at.Addr())
}

// Transport makes a transport that connects to nothing that the guard refuses,
// on its way to a proxy neither.
func (g *Guard) Transport(proxy func(*http.Request) (*url.URL, error)) *http.Transport {
	dialer := &net.Dialer{Timeout: 10 * time.Second, KeepAlive: 30 * time.Second, Control: g.Control}
	return &http.Transport{
		DialContext: dialer.DialContext,
		Proxy: func(req *http.Request) (*url.URL, error) {
			via, err := proxy(req)
			if err != nil || via == nil {
				return nil, err
			}
			return via, g.Host(req.URL.Hostname())
		},
		ForceAttemptHTTP2:      true, // off by default where there is a dialer of one's own
		MaxIdleConns:           256,
		MaxIdleConnsPerHost:    16,
		IdleConnTimeout:        90 * time.Second,
		TLSHandshakeTimeout:    10 * time.Second,
		MaxResponseHeaderBytes: 256 << 10,
	}
}
