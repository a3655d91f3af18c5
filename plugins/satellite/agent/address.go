package agent

import (
	"fmt"
	"net"
	"net/url"
	"strings"

	"github.com/flightrules/flightrules/plugins/satellite/protocol"
)

// socketAddress makes the address of the socket from that of the core. One
// without TLS must be this machine, unless that is allowed.
func socketAddress(core string, allowInsecure bool) (string, error) {
	u, err := url.Parse(core)
	if err != nil || u.Host == "" {
		return "", fmt.Errorf("the address of the core %q does not parse: write https://HOST[:PORT]", core)
	}
	secure := false
	switch u.Scheme {
	case "http", "ws":
		u.Scheme = "ws"
	case "https", "wss":
		u.Scheme, secure = "wss", true
	default:
		return "", fmt.Errorf("the address of the core %q begins with none of https, http, wss and ws", core)
	}
	if !secure && !allowInsecure && !loopback(u.Hostname()) {
		return "", fmt.Errorf("the address of the core %q has no TLS, and the token could be read on the way: use https, or allow it explicitly", core)
	}
	u.User, u.RawQuery, u.Fragment = nil, "", ""
	u.Path = strings.TrimSuffix(u.Path, "/") + protocol.Path
	return u.String(), nil
}

func loopback(host string) bool {
	ip := net.ParseIP(host)
	return host == "localhost" || ip != nil && ip.IsLoopback()
}
