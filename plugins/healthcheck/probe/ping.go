package probe

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"syscall"
	"time"

	probing "github.com/prometheus-community/pro-bing"

	"github.com/flightrules/flightrules/internal/duration"
)

// Ping sends ICMP echoes.
type Ping struct {
	Host  string `json:"host"`
	Count int    `json:"count,omitempty" doc:"How many echoes, 1 to 20; default: 3."`
}

// PingResult is what assertions see of the answers.
type PingResult struct {
	Sent     int           `json:"sent"`
	Received int           `json:"received"`
	Loss     float64       `json:"loss" doc:"In percent."`
	Latency  duration.Text `json:"latency" doc:"On average."`
}

const (
	defaultEchoes = 3
	maxEchoes     = 20
)

func (p *Ping) check() error {
	switch {
	case p.Host == "":
		return errors.New("host: a host is wanted")
	case p.Count < 0 || p.Count > maxEchoes:
		return fmt.Errorf("count: 1 to %d are possible", maxEchoes)
	}
	return nil
}

func (*Ping) texts() []string { return nil }

func (*Ping) result() any { return PingResult{} }

func (p *Ping) look(ctx context.Context, _ Environment) (finding, error) {
	pinger := probing.New(p.Host)
	if err := pinger.Resolve(); err != nil {
		return finding{}, err
	}
	pinger.SetPrivileged(false)
	pinger.Count = p.Count
	if pinger.Count == 0 {
		pinger.Count = defaultEchoes
	}
	// The echoes share the time that there is.
	pinger.Interval = 200 * time.Millisecond
	if end, ok := ctx.Deadline(); ok {
		pinger.Interval = min(pinger.Interval, time.Until(end)/time.Duration(2*pinger.Count))
		pinger.Timeout = time.Until(end) - time.Until(end)/10
	}
	if err := pinger.RunWithContext(ctx); err != nil {
		if errors.Is(err, fs.ErrPermission) || errors.Is(err, syscall.EPROTONOSUPPORT) {
			return finding{}, cannot("the system does not allow to send echoes: %w", err)
		}
		return finding{}, err
	}
	s := pinger.Statistics()
	f := finding{latency: s.AvgRtt}
	f.result = PingResult{Sent: s.PacketsSent, Received: s.PacketsRecv, Loss: s.PacketLoss, Latency: duration.Text(s.AvgRtt)}
	switch {
	case s.PacketsRecv == 0:
		return f, fmt.Errorf("none of %d echoes came back", s.PacketsSent)
	case s.PacketsRecv < s.PacketsSent:
		f.warning = fmt.Sprintf("%d of %d echoes came back", s.PacketsRecv, s.PacketsSent)
	}
	return f, nil
}
