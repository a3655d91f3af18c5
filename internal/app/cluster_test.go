//go:build unix

package app_test

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"testing/fstest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/flightrules/flightrules/internal/app"
	"github.com/flightrules/flightrules/internal/client"
	"github.com/flightrules/flightrules/internal/db"
	"github.com/flightrules/flightrules/internal/dbtest"
	"github.com/flightrules/flightrules/plugins"
	"github.com/flightrules/flightrules/plugins/healthcheck/probe"
	"github.com/flightrules/flightrules/plugins/satellite"
	"github.com/flightrules/flightrules/plugins/satellite/agent"
)

const (
	beatEvery = 2 * time.Second
	lostAfter = 12 * time.Second
	// moved are the satellites of the cluster that are alive all the time.
	moved = 3
	// victim is the one that is cut off.
	victim = "s3"
)

var clusterFiles = fstest.MapFS{"files.yaml": {Data: []byte(`
satellites: [{name: s0}, {name: s1}, {name: s2}, {name: s3}]
checks:
  - {id: seen, http: {url: "http://127.0.0.1:1/"}, interval: 1s, satellites: {}}
`)}}

// envCore has a process be a core of a cluster: the URL of its database, and the
// folder of its data.
const envCore = "FLIGHTRULES_CLUSTER_CORE"

// coreOf is a core, until its standard input ends. It tells its address.
func coreOf(text string) error {
	url, dir, _ := strings.Cut(text, " ")
	ctx, stop := context.WithCancel(context.Background())
	go func() {
		_, _ = io.Copy(io.Discard, os.Stdin)
		stop()
	}()
	return app.Serve(ctx, app.ServeConfig{
		Config: app.Config{
			DB: url, NoSync: true, Files: clusterFiles,
			Plugins: app.Plugins(app.PluginConfig{Satellites: satellite.Config{HeartbeatInterval: beatEvery, OfflineThreshold: lostAfter}}),
		},
		Data: dir, Listen: "127.0.0.1:0", Version: "test",
		Started: func(up *app.Serving) { fmt.Println(up.URL) },
	})
}

// clusterCore is a core in a process of its own.
type clusterCore struct {
	t   *testing.T
	cmd *exec.Cmd
	url string
	log strings.Builder
}

func startCore(t *testing.T, url, dir string) *clusterCore {
	t.Helper()
	c := &clusterCore{t: t, cmd: exec.Command(os.Args[0])}
	c.cmd.Env = append(os.Environ(), envCore+"="+url+" "+dir)
	c.cmd.Stderr = &c.log
	_, inErr := c.cmd.StdinPipe() // its end is the end of the process
	out, err := c.cmd.StdoutPipe()
	if err = errors.Join(err, inErr); err == nil {
		err = c.cmd.Start()
	}
	if err != nil {
		t.Fatal(err)
	}
	line, err := bufio.NewReader(out).ReadString('\n')
	if err != nil {
		t.Fatalf("the core did not come up: %v\n%s", c.cmd.Wait(), &c.log)
	}
	c.url = strings.TrimSpace(line)
	t.Cleanup(func() {
		_ = c.cmd.Process.Kill()
		_ = c.cmd.Wait() // it was killed
	})
	return c
}

func (c *clusterCore) signal(s syscall.Signal) {
	c.t.Helper()
	if err := c.cmd.Process.Signal(s); err != nil {
		c.t.Fatal(err)
	}
}

// relay is the network between a satellite and the cores.
type relay struct {
	listener net.Listener

	mu      sync.Mutex
	target  string
	blocked bool
	conns   []*relayed
}

type relayed struct {
	near, far net.Conn
	there     valve // to the core
	back      valve
}

// valve is one direction of a connection. Once it is shut, what comes is lost,
// and nobody is told.
type valve struct {
	shut chan struct{}
	once sync.Once
}

func (v *valve) close() { v.once.Do(func() { close(v.shut) }) }

func newRelay(t *testing.T, target string) *relay {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	r := &relay{listener: listener, target: target}
	t.Cleanup(func() {
		_ = listener.Close()
		r.reset()
	})
	go func() {
		for {
			near, err := listener.Accept()
			if err != nil {
				return
			}
			r.accept(near)
		}
	}()
	return r
}

func (r *relay) accept(near net.Conn) {
	r.mu.Lock()
	defer r.mu.Unlock()
	c := &relayed{near: near}
	c.there.shut, c.back.shut = make(chan struct{}), make(chan struct{})
	r.conns = append(r.conns, c)
	if r.blocked {
		return // it is never answered
	}
	far, err := net.Dial("tcp", strings.TrimPrefix(r.target, "http://"))
	if err != nil {
		_ = near.Close()
		return
	}
	c.far = far
	go c.there.pass(far, near)
	go c.back.pass(near, far)
}

// pass copies until one side ends, and ends the other, unless it is shut.
func (v *valve) pass(to, from net.Conn) {
	buffer := make([]byte, 32<<10)
	for {
		n, err := from.Read(buffer)
		select {
		case <-v.shut:
			if err != nil {
				return
			}
			continue
		default:
		}
		if err == nil {
			_, err = to.Write(buffer[:n])
		}
		if err != nil {
			_ = to.Close()
			_ = from.Close()
			return
		}
	}
}

// route has new connections go to another core.
func (r *relay) route(c *clusterCore) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.target = c.url
}

// deafen has a satellite hear nothing any more, while it is heard.
func (r *relay) deafen() {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, c := range r.conns {
		c.back.close()
	}
}

// block cuts a satellite off, without a close; or lets it through again.
func (r *relay) block(blocked bool) {
	r.mu.Lock()
	r.blocked = blocked
	for _, c := range r.conns {
		c.there.close()
		c.back.close()
	}
	r.mu.Unlock()
	if !blocked {
		r.reset()
	}
}

// reset closes all connections.
func (r *relay) reset() {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, c := range r.conns {
		_ = c.near.Close()
		if c.far != nil {
			_ = c.far.Close()
		}
	}
	r.conns = nil
}

// counting is a runner whose results are numbered by their latencies.
type counting struct {
	mu sync.Mutex
	n  int64
}

func (c *counting) Run(context.Context, plugins.Job) (json.RawMessage, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.n++
	return json.Marshal(probe.Report{Outcome: probe.Up, LatencyUS: c.n})
}

func (c *counting) count() int64 {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.n
}

// TestTwoCores has two processes on one database. Satellites move from one to the
// other, by closed connections and by such that nobody closes; one process is
// frozen for longer than the threshold, and one is killed. Nobody who is alive is
// lost, who is cut off is lost once, and every result arrives once.
func TestTwoCores(t *testing.T) {
	t.Parallel()
	url, dir := dbtest.Postgres(t), t.TempDir()
	a := startCore(t, url, dir)
	b := startCore(t, url, dir)
	source, err := db.OpenReadOnly(t.Context(), url)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := source.Close(); err != nil {
			t.Error(err)
		}
	})
	token, err := client.ReadToken(filepath.Join(dir, "admin.token"))
	if err != nil {
		t.Fatal(err)
	}
	c := &cluster{t: t, source: source}
	for i := range moved + 1 {
		c.start(fmt.Sprintf("s%d", i), client.New(a.url, token), a)
	}
	c.until("all are online", func() bool { return c.online() == moved+1 })

	// By a close, and by a connection that nobody closes.
	c.relays[0].route(b)
	c.relays[0].reset()
	c.relays[1].route(b)
	c.relays[1].deafen() // and hears no acknowledgement of what is taken
	c.until("two have moved", func() bool { return c.sessions("s0") >= 2 && c.sessions("s1") >= 2 })

	// One core is frozen for longer than the threshold. Those that it has go to
	// the other in time, and one that is cut off then is found by the other.
	for _, r := range c.relays {
		r.route(b)
	}
	c.relays[moved].block(true)
	a.signal(syscall.SIGSTOP)
	time.Sleep(lostAfter + beatEvery)
	c.until("the one that was cut off is lost", func() bool { return c.losses(victim) == 1 })
	a.signal(syscall.SIGCONT)
	for _, r := range c.relays {
		r.route(a)
	}
	c.relays[moved].block(false)
	c.until("it is back", func() bool { return c.online() == moved+1 })

	// The other is killed, and the first has all of them again.
	b.signal(syscall.SIGKILL)
	c.until("those of the killed core have moved", func() bool { return c.together() == moved+1 })
	time.Sleep(lostAfter)

	for i := range moved {
		if n := c.losses(fmt.Sprintf("s%d", i)); n != 0 {
			t.Errorf("s%d was alive, and was lost %d times", i, n)
		}
		if n := c.became(fmt.Sprintf("s%d", i), "disconnected"); n != 0 {
			t.Errorf("s%d has not said goodbye, and %d times it was taken for that", i, n)
		}
	}
	if n := c.losses(victim); n != 1 {
		t.Errorf("the one that was cut off once was lost %d times", n)
	}
	c.wantAllResults()
	if t.Failed() {
		t.Logf("the frozen core:\n%s\nthe killed core:\n%s", &a.log, &b.log)
	}
}

// cluster is the satellites, and what the database knows of them.
type cluster struct {
	t      *testing.T
	source *db.DB
	names  []string
	relays []*relay
	runs   []*counting
}

// start runs the agent of a satellite of the files.
func (c *cluster) start(name string, api *client.Client, first *clusterCore) {
	c.t.Helper()
	var s client.Satellite
	c.until("it is there", func() (ok bool) {
		var err error
		s, err = api.SatelliteToken(c.t.Context(), client.NewSatellite{Name: name}, "")
		return err == nil
	})
	r, runs := newRelay(c.t, first.url), &counting{}
	c.names, c.relays, c.runs = append(c.names, name), append(c.relays, r), append(c.runs, runs)
	ctx, stop := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() {
		done <- agent.Run(ctx, agent.Config{
			Core: "http://" + r.listener.Addr().String(), ID: name, Token: s.Token, Dir: c.t.TempDir(), Runners: map[string]plugins.Runner{"check": runs},
		})
	}()
	c.t.Cleanup(func() {
		stop()
		if err := <-done; err != nil {
			c.t.Error(err)
		}
	})
}

// until waits for something, for a minute at most.
func (c *cluster) until(what string, is func() bool) {
	c.t.Helper()
	for begin := time.Now(); !is(); time.Sleep(50 * time.Millisecond) {
		if time.Since(begin) > time.Minute {
			c.t.Fatalf("%s: not after a minute", what)
		}
	}
}

func (c *cluster) number(query string, args ...any) (n int) {
	c.t.Helper()
	if err := c.source.Read().NewRaw(query, args...).Scan(c.t.Context(), &n); err != nil {
		c.t.Fatal(err)
	}
	return n
}

func (c *cluster) online() int {
	return c.number("SELECT COUNT(*) FROM satellites WHERE last_connection_event = 'connected' AND session_id IS NOT NULL AND last_heartbeat_at > ?",
		db.At(time.Now().Add(-2*beatEvery)))
}

// sessions is how many a satellite that is heard now has had. The first number
// went with its token.
func (c *cluster) sessions(name string) int {
	return c.number("SELECT COALESCE(MAX(session_epoch), 0) FROM satellites WHERE name = ? AND last_heartbeat_at > ?", name, db.At(time.Now().Add(-2*beatEvery))) - 1
}

// together is how many are connected to the core that the victim has, and heard
// there.
func (c *cluster) together() int {
	return c.number(`SELECT COUNT(*) FROM satellites WHERE last_connection_event = 'connected' AND last_heartbeat_at > ? AND node_id = (
		SELECT node_id FROM satellites WHERE name = ?)`, db.At(time.Now().Add(-2*beatEvery)), victim)
}

// losses are how often a satellite was lost.
func (c *cluster) losses(name string) int { return c.became(name, "heartbeat_lost") }

// became is how often something happened to the connection of a satellite.
func (c *cluster) became(name, event string) int {
	return c.number(`SELECT COUNT(*) FROM transitions AS t JOIN satellites AS s ON s.id = t.entity_id
		WHERE t.kind = 'satellite' AND s.name = ? AND t.delta LIKE ?`, name, `%"`+event+`"]%`)
}

// wantAllResults says that what each agent did has arrived, once and in order, but
// for what is still under way.
func (c *cluster) wantAllResults() {
	c.t.Helper()
	const underWay = 5
	for i, name := range c.names {
		var got []int64
		done := c.runs[i].count()
		c.until("its results arrive", func() bool {
			got = nil
			if err := c.source.Read().NewRaw("SELECT r.latency FROM check_results AS r JOIN satellites AS s ON s.id = r.observer WHERE s.name = ? ORDER BY r.id", name).
				Scan(c.t.Context(), &got); err != nil {
				c.t.Fatal(err)
			}
			return int64(len(got)) >= done-1
		})
		var want []int64
		for n := range int64(len(got)) {
			want = append(want, n+1)
		}
		if diff := cmp.Diff(want, got); diff != "" {
			c.t.Errorf("%s: %s", name, diff)
		}
		if c.runs[i].count()-int64(len(got)) > underWay || len(got) < 20 {
			c.t.Errorf("%s has done %d, and %d have arrived", name, c.runs[i].count(), len(got))
		}
	}
}
