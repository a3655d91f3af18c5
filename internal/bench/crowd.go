package bench

import (
	"bufio"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"os/exec"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/coder/websocket"
	"golang.org/x/sync/semaphore"

	"github.com/flightrules/flightrules/plugins/satellite/agent"
	"github.com/flightrules/flightrules/plugins/satellite/protocol"
)

// A crowd is many satellites in a process of its own, each with a socket, so that
// what they cost is not counted as the core's. It is told what to do by lines of
// JSON, and tells how it is in the same way.

// order is what a crowd is told.
type order struct {
	Core  string `json:"core,omitempty"`  // its address; so many connect to it
	Count int    `json:"count,omitempty"` // how many
	// Silence has the first so many send one heartbeat more, and then none.
	Silence int `json:"silence,omitempty"`
	// Speak has those that are silent send heartbeats again, once they have
	// connected anew.
	Speak bool `json:"speak,omitempty"`
	// Forget begins to count acknowledgements anew.
	Forget bool `json:"forget,omitempty"`
}

// crowdState is what a crowd tells after an order, and whenever it is asked with
// an empty one.
type crowdState struct {
	Connected int   `json:"connected"`
	Acks      int   `json:"acks"`   // of heartbeats
	P50       int64 `json:"p50_us"` // from a heartbeat to its acknowledgement, in microseconds
	P99       int64 `json:"p99_us"`
}

// crowdToken is the token of a satellite of a crowd.
func crowdToken(n int) string { return fmt.Sprintf("frs_bench-%d", n) }

func crowdHash(n int) string {
	sum := sha256.Sum256([]byte(crowdToken(n)))
	return hex.EncodeToString(sum[:])
}

const (
	// dialsAtOnce is how many of a crowd connect at the same time.
	dialsAtOnce = 200
	// perAddress is how many connect from one address of the loopback network: a
	// pair of addresses has some 28,000 ports, and that of a connection that has
	// ended is not free for a minute.
	perAddress = 10_000
)

// crowd is the satellites of a process.
type crowd struct {
	core      string
	dials     *semaphore.Weighted
	silent    atomic.Int64 // those with smaller numbers are
	hush      chan struct{}
	connected atomic.Int64

	mu   sync.Mutex
	acks []time.Duration
}

// RunCrowd is a crowd, until in ends.
func RunCrowd(ctx context.Context, in io.Reader, out io.Writer) error {
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	c := &crowd{dials: semaphore.NewWeighted(dialsAtOnce), hush: make(chan struct{})}
	var satellites sync.WaitGroup
	defer satellites.Wait()
	defer stop()
	for lines := bufio.NewScanner(in); lines.Scan(); {
		var o order
		if err := json.Unmarshal(lines.Bytes(), &o); err != nil {
			return err
		}
		if o.Core != "" {
			c.core = o.Core
			for n := range o.Count {
				satellites.Go(func() { c.live(ctx, n) })
			}
		}
		if o.Silence > 0 {
			c.silent.Store(int64(o.Silence))
			close(c.hush)
		}
		if o.Speak {
			c.silent.Store(0)
		}
		if err := json.NewEncoder(out).Encode(c.state(o.Forget)); err != nil {
			return err
		}
	}
	return nil
}

func (c *crowd) state(forget bool) crowdState {
	c.mu.Lock()
	defer c.mu.Unlock()
	acks := slices.Sorted(slices.Values(c.acks))
	s := crowdState{Connected: int(c.connected.Load()), Acks: len(acks)}
	if len(acks) > 0 {
		s.P50, s.P99 = acks[len(acks)/2].Microseconds(), acks[len(acks)*99/100].Microseconds()
	}
	if forget {
		c.acks = nil
	}
	return s
}

// live is a satellite, with connections one after the other.
func (c *crowd) live(ctx context.Context, n int) {
	pause := agent.FirstPause
	for ctx.Err() == nil {
		if c.connection(ctx, n) {
			pause = agent.FirstPause
		}
		wait := time.Duration(float64(pause) * (0.75 + rand.Float64()/2))
		pause = min(2*pause, agent.LongestPause)
		select {
		case <-ctx.Done():
		case <-time.After(wait):
		}
	}
}

// connection is one of them, and whether it was let in.
func (c *crowd) connection(ctx context.Context, n int) bool {
	conn, interval, err := c.connect(ctx, n)
	if err != nil {
		return false
	}
	c.connected.Add(1)
	defer c.connected.Add(-1)
	defer func() { _ = conn.CloseNow() }()
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	go func() {
		defer stop()
		c.read(ctx, conn)
	}()
	hush := c.hush
	timer := time.NewTimer(time.Duration(rand.Int64N(int64(interval))))
	defer timer.Stop()
	for {
		last := false
		select {
		case <-ctx.Done():
			return true
		case <-hush:
			hush, last = nil, int64(n) < c.silent.Load()
			if !last {
				continue
			}
		case <-timer.C:
			timer.Reset(time.Duration(float64(interval) * (0.9 + rand.Float64()/5)))
		}
		frame, err := protocol.Encode(protocol.Heartbeat{SentAt: time.Now().UTC()})
		if err != nil || conn.Write(ctx, websocket.MessageText, frame) != nil {
			return true
		}
		if last {
			<-ctx.Done()
			return true
		}
	}
}

func (c *crowd) connect(ctx context.Context, n int) (conn *websocket.Conn, interval time.Duration, err error) {
	if err := c.dials.Acquire(ctx, 1); err != nil {
		return nil, 0, err
	}
	defer c.dials.Release(1)
	ctx, cancel := context.WithTimeout(ctx, 15*time.Second)
	defer cancel()
	dialer := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.IPv4(127, 0, 0, byte(1+n/perAddress))}}
	transport := &http.Transport{DialContext: dialer.DialContext}
	conn, _, err = websocket.Dial(ctx, c.core+protocol.Path, &websocket.DialOptions{HTTPClient: &http.Client{Transport: transport}})
	if err != nil {
		return nil, 0, err
	}
	defer func() {
		if err != nil {
			_ = conn.CloseNow()
		}
	}()
	frame, err := protocol.Encode(protocol.Authenticate{ClientID: satelliteID(n), Token: crowdToken(n), Protocol: protocol.Version, Version: "bench", Capabilities: []string{}})
	if err == nil {
		err = conn.Write(ctx, websocket.MessageText, frame)
	}
	if err != nil {
		return nil, 0, err
	}
	_, frame, err = conn.Read(ctx)
	if err != nil {
		return nil, 0, err
	}
	m, err := protocol.Decode(frame)
	in, ok := m.(protocol.Authenticated)
	if err != nil || !ok {
		return nil, 0, errors.Join(err, fmt.Errorf("the core answered %s", frame))
	}
	return conn, time.Duration(in.HeartbeatInterval), nil
}

// read takes what the core sends until the connection ends.
func (c *crowd) read(ctx context.Context, conn *websocket.Conn) {
	for {
		_, frame, err := conn.Read(ctx)
		if err != nil {
			return
		}
		if m, err := protocol.Decode(frame); err == nil {
			if ack, ok := m.(protocol.HeartbeatAck); ok && !ack.SentAt.IsZero() {
				c.mu.Lock()
				c.acks = append(c.acks, time.Since(ack.SentAt))
				c.mu.Unlock()
			}
		}
	}
}

// remoteCrowd is a crowd in another process.
type remoteCrowd struct {
	cmd  *exec.Cmd
	in   io.WriteCloser
	out  *json.Decoder
	once sync.Once
}

func startCrowd(cmd *exec.Cmd) (*remoteCrowd, error) {
	c := &remoteCrowd{cmd: cmd}
	cmd.Stderr = os.Stderr
	var err error
	if c.in, err = cmd.StdinPipe(); err != nil {
		return nil, err
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	c.out = json.NewDecoder(out)
	return c, cmd.Start()
}

func (c *remoteCrowd) tell(o order) (s crowdState, err error) {
	if err := json.NewEncoder(c.in).Encode(o); err != nil {
		return s, fmt.Errorf("the satellites' process: %w", err)
	}
	if err := c.out.Decode(&s); err != nil {
		return s, fmt.Errorf("the satellites' process: %w", err)
	}
	return s, nil
}

func (c *remoteCrowd) end() (err error) {
	c.once.Do(func() { err = errors.Join(c.in.Close(), c.cmd.Wait()) })
	return err
}
