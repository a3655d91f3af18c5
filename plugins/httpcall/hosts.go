package httpcall

import (
	"cmp"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"regexp"
	"strings"

	"github.com/flightrules/flightrules/internal/egress"
	"github.com/flightrules/flightrules/internal/secret"
)

// Host is an item of the section `http`.
type Host struct {
	Host          string   `json:"host" doc:"A name or an address without a port, *.example.com for all below it, or * for all. What an item does not say is as in the next wider one."`
	Proxy         string   `json:"proxy,omitempty" secret:"true" doc:"An http://, https:// or socks5:// address, which may hold ${{ secrets.NAME }}, or direct. Default: what HTTP_PROXY, HTTPS_PROXY and NO_PROXY of the environment say."`
	TLS           *TLS     `json:"tls,omitempty" doc:"How it proves who it is, and this engine to it."`
	MaxConcurrent int      `json:"max_concurrent,omitempty" doc:"How many requests to one host and port are under way at once, on each node; a step beyond that begins later. Default: 16."`
	Allow         []string `json:"allow,omitempty" doc:"Networks that may be connected to: prefixes such as 169.254.1.0/24, addresses, all, loopback, private. The narrowest network that covers an address decides."`
	Deny          []string `json:"deny,omitempty" doc:"Networks that may not, besides the link-local, multicast, unspecified and metadata addresses, which never may unless allow says so."`
}

// defaultConcurrent leaves most of the workers to others when a host is slow.
const defaultConcurrent = 16

var hostName = regexp.MustCompile(`^(\*|(\*\.)?[a-z0-9_]([a-z0-9_.-]*[a-z0-9_])?|[0-9a-f:]*:[0-9a-f:.]*)$`)

// checkHost looks at an item, also at the files that it names.
func (p *Plugin) checkHost(h Host) error {
	if !hostName.MatchString(h.Host) {
		return fmt.Errorf("host %q is neither a name or an address in lower case, nor *.NAME, nor *", h.Host)
	}
	if h.MaxConcurrent < 0 {
		return errors.New("max_concurrent must be at least 1")
	}
	_, err := p.profile(h)
	return err
}

// profile is how a host is reached.
type profile struct {
	transport *http.Transport
	most      int   // of requests at once
	err       error // why no host is reached this way
}

// profile makes that of an item whose gaps are filled. Its errors begin with
// the name of the field that is to blame.
func (p *Plugin) profile(h Host) (*profile, error) {
	proxy, err := p.proxy(h.Proxy)
	if err != nil {
		return nil, fmt.Errorf("proxy: %w", err)
	}
	if _, err := egress.New(h.Allow, nil); err != nil {
		return nil, fmt.Errorf("allow: %w", err)
	}
	guard, err := egress.New(h.Allow, h.Deny)
	if err != nil {
		return nil, fmt.Errorf("deny: %w", err)
	}
	made := &profile{transport: guard.Transport(proxy), most: cmp.Or(h.MaxConcurrent, defaultConcurrent)}
	if made.transport.TLSClientConfig, err = h.TLS.config(); err != nil {
		return nil, fmt.Errorf("tls: %w", err)
	}
	return made, nil
}

// proxy is what a transport asks. The address is not kept filled in.
func (p *Plugin) proxy(text string) (func(*http.Request) (*url.URL, error), error) {
	switch text {
	case "":
		return http.ProxyFromEnvironment, nil
	case "direct":
		return func(*http.Request) (*url.URL, error) { return nil, nil }, nil
	}
	// With any value in the place of its secrets it must be an address.
	try, _, err := secret.Fill(text, func(string) (string, error) { return "x", nil })
	if err != nil {
		return nil, err
	}
	if _, err := proxyURL(try); err != nil {
		return nil, err
	}
	return func(r *http.Request) (*url.URL, error) {
		filled, _, err := secret.Fill(text, func(name string) (string, error) {
			return p.host.Secret(r.Context(), name, "proxy:"+r.URL.Host)
		})
		if err != nil {
			return nil, err
		}
		return proxyURL(filled)
	}, nil
}

func proxyURL(text string) (*url.URL, error) {
	u, err := url.Parse(text)
	if err != nil || u.Host == "" || !oneOf([]string{"http", "https", "socks5", "socks5h"}, u.Scheme) {
		return nil, errors.New("it is neither an http://, https:// or socks5:// address nor direct")
	}
	return u, nil
}

// hosts are the profiles in force, by the Host of their items. They are one
// transport for all hosts.
type hosts map[string]*profile

// compile makes the profiles of all items. One that cannot be made, since a
// file went after checkHost had seen it, lets no request through.
func (p *Plugin) compile(items []Host) *hosts {
	byHost := map[string]Host{}
	for _, item := range items {
		byHost[item.Host] = item
	}
	if _, ok := byHost["*"]; !ok {
		byHost["*"] = Host{Host: "*"}
	}
	made := hosts{}
	for name, item := range byHost {
		for _, wider := range wider(name) {
			item = item.filled(byHost[wider])
		}
		one, err := p.profile(item)
		if err != nil {
			one = &profile{err: fmt.Errorf("section http, host %s: %w", name, err)}
		}
		made[name] = one
	}
	return &made
}

// filled has what the item does not say from a wider one.
func (h Host) filled(from Host) Host {
	h.Proxy = cmp.Or(h.Proxy, from.Proxy)
	h.TLS = cmp.Or(h.TLS, from.TLS)
	h.MaxConcurrent = cmp.Or(h.MaxConcurrent, from.MaxConcurrent)
	if h.Allow == nil {
		h.Allow = from.Allow
	}
	if h.Deny == nil {
		h.Deny = from.Deny
	}
	return h
}

// wider are the names of items that a host falls under, narrowest first:
// *.example.com, *.com and * of www.example.com.
func wider(host string) []string {
	var list []string
	host = strings.TrimPrefix(host, "*.")
	for {
		_, above, ok := strings.Cut(host, ".")
		if !ok {
			return append(list, "*")
		}
		list = append(list, "*."+above)
		host = above
	}
}

// of is the profile of a host.
func (h hosts) of(host string) *profile {
	host = strings.ToLower(strings.TrimSuffix(host, "."))
	for _, name := range append([]string{host}, wider(host)...) {
		if one, ok := h[name]; ok {
			return one
		}
	}
	return h["*"]
}

// RoundTrip implements http.RoundTripper.
func (h *hosts) RoundTrip(req *http.Request) (*http.Response, error) {
	one := h.of(req.URL.Hostname())
	if one.err != nil {
		return nil, one.err
	}
	return one.transport.RoundTrip(req)
}

// close ends the connections that nobody uses.
func (h hosts) close() {
	for _, one := range h {
		if one.transport != nil {
			one.transport.CloseIdleConnections()
		}
	}
}

// apply puts the items of the section in force.
func (p *Plugin) apply(items []Host) {
	for _, h := range items {
		if h.TLS != nil && h.TLS.InsecureSkipVerify {
			p.host.Log().Warn("nobody knows who answers in the name of a host: its certificates are not verified", "host", h.Host)
		}
	}
	old := p.hosts.Swap(p.compile(items))
	old.close()
}
