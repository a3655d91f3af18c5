package probe

import (
	"bytes"
	"context"
	"fmt"
	"net"
	"strings"
	"time"

	"github.com/flightrules/flightrules/internal/duration"
)

// TCP connects to a port.
type TCP struct {
	Address string `json:"address" doc:"host:port"`
	Send    string `json:"send,omitempty" doc:"What is sent first. ${{ env.NAME }} in it is a secret of secret_env."`
	Expect  string `json:"expect,omitempty" doc:"What must come then, in the first 4 KiB."`
}

// TCPResult is what assertions see of a connection.
type TCPResult struct {
	Received string        `json:"received" doc:"What came until expect had come; empty without expect."`
	Latency  duration.Text `json:"latency" doc:"Until it was connected."`
}

const maxReceived = 4 << 10

func (t *TCP) check() error { return checkAddress(t.Address) }

func checkAddress(address string) error {
	host, port, err := net.SplitHostPort(address)
	if err != nil || host == "" || port == "" {
		return fmt.Errorf("address: %q is not host:port", address)
	}
	if _, err := net.LookupPort("tcp", port); err != nil {
		return fmt.Errorf("address: %q is not a port", port)
	}
	return nil
}

func (t *TCP) texts() []string { return []string{t.Send} }

func (*TCP) result() any { return TCPResult{} }

func (t *TCP) look(ctx context.Context, e Environment) (finding, error) {
	var secrets map[string]string
	if asks(t.Send) {
		var err error
		if secrets, err = e.secrets(ctx); err != nil {
			return finding{}, err
		}
	}
	began := time.Now()
	conn, err := new(net.Dialer).DialContext(ctx, "tcp", t.Address)
	if err != nil {
		return finding{}, err
	}
	defer conn.Close()
	defer context.AfterFunc(ctx, func() { conn.Close() })()
	f := finding{latency: time.Since(began)}
	if t.Send != "" {
		if _, err := conn.Write([]byte(fill(t.Send, secrets))); err != nil {
			return f, fmt.Errorf("it cannot be written to: %w", err)
		}
	}
	received, err := t.receive(conn)
	f.result = TCPResult{Received: received, Latency: duration.Text(f.latency)}
	return f, err
}

func (t *TCP) receive(conn net.Conn) (string, error) {
	if t.Expect == "" {
		return "", nil
	}
	buffer := make([]byte, maxReceived)
	n := 0
	for n < len(buffer) {
		more, err := conn.Read(buffer[n:])
		n += more
		if bytes.Contains(buffer[:n], []byte(t.Expect)) {
			return strings.ToValidUTF8(string(buffer[:n]), ""), nil
		}
		if err != nil {
			return "", fmt.Errorf("%q did not come: %w", t.Expect, err)
		}
	}
	return "", fmt.Errorf("%q is not in the first %d bytes", t.Expect, maxReceived)
}
