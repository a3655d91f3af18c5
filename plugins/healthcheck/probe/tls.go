package probe

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"time"

	"github.com/flightrules/flightrules/internal/duration"
)

// TLS looks at a certificate.
type TLS struct {
	Address       string        `json:"address" doc:"host:port"`
	ServerName    string        `json:"server_name,omitempty" doc:"Whose certificate is wanted; default: the host."`
	ExpiresWithin duration.Text `json:"expires_within,omitempty" doc:"It is degraded when the certificate lasts less; default: 14d."`
}

// TLSResult is what assertions see of a certificate.
type TLSResult struct {
	ExpiresIn duration.Text `json:"expires_in"`
	Issuer    string        `json:"issuer"`
	Subject   string        `json:"subject"`
	Names     []string      `json:"names"`
	Version   string        `json:"version" doc:"Of the protocol: TLS 1.3."`
	Latency   duration.Text `json:"latency"`
}

const expiresWithin = 14 * 24 * time.Hour

func (t *TLS) check() error {
	if t.ExpiresWithin < 0 {
		return errors.New("expires_within: it is less than nothing")
	}
	return checkAddress(t.Address)
}

func (*TLS) texts() []string { return nil }

func (*TLS) result() any { return TLSResult{} }

func (t *TLS) look(ctx context.Context, _ Environment) (finding, error) {
	name := t.ServerName
	if name == "" {
		host, _, err := net.SplitHostPort(t.Address)
		if err != nil {
			return finding{}, cannot("%w", err)
		}
		name = host
	}
	began := time.Now()
	// Versions that are too old for others are spoken: it is the certificate
	// that is looked at.
	dialer := tls.Dialer{Config: &tls.Config{ServerName: name, MinVersion: tls.VersionTLS10}}
	conn, err := dialer.DialContext(ctx, "tcp", t.Address)
	if err != nil {
		return finding{}, err
	}
	defer conn.Close()
	state := conn.(*tls.Conn).ConnectionState()
	leaf, left := state.PeerCertificates[0], time.Duration(0)
	f := finding{latency: time.Since(began)}
	for i, c := range state.VerifiedChains[0] {
		if l := time.Until(c.NotAfter); i == 0 || l < left {
			left = l
		}
	}
	f.result = TLSResult{
		ExpiresIn: duration.Text(left), Issuer: leaf.Issuer.String(), Subject: leaf.Subject.String(), Names: leaf.DNSNames,
		Version: tls.VersionName(state.Version), Latency: duration.Text(f.latency),
	}
	limit := time.Duration(t.ExpiresWithin)
	if limit == 0 {
		limit = expiresWithin
	}
	if left < limit {
		f.warning = fmt.Sprintf("the certificate ends in %s, less than %s", duration.Format(left.Truncate(time.Minute)), duration.Format(limit))
	}
	return f, nil
}
