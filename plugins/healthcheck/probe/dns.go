package probe

import (
	"context"
	"errors"
	"fmt"
	"net"
	"slices"
	"time"

	"github.com/flightrules/flightrules/internal/duration"
)

// DNS resolves a name.
type DNS struct {
	Name   string `json:"name"`
	Type   string `json:"type,omitempty" enum:"A,AAAA,CNAME,MX,NS,TXT" doc:"Default: A."`
	Server string `json:"server,omitempty" doc:"host or host:port; default: the system's."`
}

// DNSResult is what assertions see of an answer.
type DNSResult struct {
	Records []string      `json:"records" doc:"Sorted; of MX the names alone."`
	Latency duration.Text `json:"latency"`
}

func (d *DNS) check() error {
	if d.Name == "" {
		return errors.New("name: a name is wanted")
	}
	if d.Server == "" {
		return nil
	}
	return checkAddress(d.server())
}

func (d *DNS) server() string {
	if _, _, err := net.SplitHostPort(d.Server); err == nil {
		return d.Server
	}
	return net.JoinHostPort(d.Server, "53")
}

func (*DNS) texts() []string { return nil }

func (*DNS) result() any { return DNSResult{} }

func (d *DNS) look(ctx context.Context, _ Environment) (finding, error) {
	resolver := net.DefaultResolver
	if d.Server != "" {
		resolver = &net.Resolver{PreferGo: true, Dial: func(ctx context.Context, network, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, network, d.server())
		}}
	}
	began := time.Now()
	records, err := d.resolve(ctx, resolver)
	f := finding{latency: time.Since(began)}
	var failed *net.DNSError
	if errors.As(err, &failed) && d.Server != "" {
		failed.Server = d.server() // it names the system's
	}
	if err != nil {
		return f, err
	}
	if len(records) == 0 {
		return f, fmt.Errorf("%s has no such record", d.Name)
	}
	slices.Sort(records)
	f.result = DNSResult{Records: records, Latency: duration.Text(f.latency)}
	return f, nil
}

func (d *DNS) resolve(ctx context.Context, r *net.Resolver) (records []string, err error) {
	switch d.Type {
	case "", "A", "AAAA":
		network := "ip4"
		if d.Type == "AAAA" {
			network = "ip6"
		}
		addresses, err := r.LookupIP(ctx, network, d.Name)
		for _, a := range addresses {
			records = append(records, a.String())
		}
		return records, err
	case "CNAME":
		name, err := r.LookupCNAME(ctx, d.Name)
		return []string{name}, err
	case "MX":
		list, err := r.LookupMX(ctx, d.Name)
		for _, mx := range list {
			records = append(records, mx.Host)
		}
		return records, err
	case "NS":
		list, err := r.LookupNS(ctx, d.Name)
		for _, ns := range list {
			records = append(records, ns.Host)
		}
		return records, err
	case "TXT":
		return r.LookupTXT(ctx, d.Name)
	}
	return nil, cannot("there is no type %s", d.Type)
}
