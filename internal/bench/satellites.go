package bench

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime/debug"
	"slices"
	"strconv"
	"strings"
	"testing/fstest"
	"time"

	"github.com/uptrace/bun"

	"github.com/flightrules/flightrules/internal/app"
	"github.com/flightrules/flightrules/internal/db"
	"github.com/flightrules/flightrules/plugins/satellite"
)

// CrowdCommand is the hidden command of the program that runs a crowd.
const CrowdCommand = "bench-crowd"

// crowds measures what satellites cost that send heartbeats over sockets, from
// another process: CPU, memory and heartbeats; how late the loss of one in ten is
// found; and how soon all of them are back after the core was restarted.
func crowds(ctx context.Context, o Options) (results []Result, err error) {
	url := "sqlite:" + filepath.Join(o.Dir, "satellites.db")
	m := &crowding{Options: o, url: url, name: fmt.Sprintf("satellites/%d", o.Satellites)}
	core, err := m.start(ctx, "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, m.core.stop()) }()
	m.core = core
	if err := m.register(ctx); err != nil {
		return nil, err
	}
	cmd := o.Crowd
	if cmd == nil {
		cmd = func() (*exec.Cmd, error) {
			self, err := os.Executable()
			return exec.Command(self, CrowdCommand), err
		}
	}
	command, err := cmd()
	if err != nil {
		return nil, err
	}
	if m.crowd, err = startCrowd(command); err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, m.crowd.end()) }()
	for _, measure := range []func(ctx context.Context) (Result, error){m.steady, m.loss, m.back} {
		r, err := measure(ctx)
		if err != nil {
			return results, err
		}
		results = append(results, r)
	}
	return results, nil
}

// crowding is a measurement of crowds.
type crowding struct {
	Options
	url, name string
	core      *served
	crowd     *remoteCrowd
}

// served is a core that serves.
type served struct {
	*app.Serving
	cancel context.CancelFunc
	ended  chan error
}

func (s *served) stop() error {
	s.cancel()
	return <-s.ended
}

func (m *crowding) start(ctx context.Context, listen string) (*served, error) {
	ctx, cancel := context.WithCancel(ctx)
	s := &served{cancel: cancel, ended: make(chan error, 1)}
	up := make(chan *app.Serving, 1)
	c := app.ServeConfig{
		Config: app.Config{DB: m.url, Node: "bench", Files: fstest.MapFS{"rules.yaml": {Data: []byte(lossRules)}}},
		Data:   m.Dir, Listen: listen, Version: "bench", Started: func(s *app.Serving) { up <- s },
	}
	c.Plugins = app.Plugins(app.PluginConfig{Satellites: satellite.Config{
		HeartbeatInterval: m.Heartbeat, OfflineThreshold: 3 * m.Heartbeat,
	}})
	go func() { s.ended <- app.Serve(ctx, c) }()
	select {
	case s.Serving = <-up:
		return s, nil
	case err := <-s.ended:
		cancel()
		return nil, err
	}
}

// unseenRow is a satellite that has never connected.
type unseenRow struct {
	bun.BaseModel `bun:"table:satellites"`

	ID, Name, Region, Tags, Capabilities, Version, TokenHash string
	ThresholdAt, CreatedAt                                   db.Time
	SessionEpoch                                             int64
}

// register writes the rows of the satellites.
func (m *crowding) register(ctx context.Context) error {
	now := db.At(m.core.Now())
	for numbers := range slices.Chunk(upTo(m.Satellites), rowsAtOnce) {
		var rows []unseenRow
		for _, n := range numbers {
			rows = append(rows, unseenRow{
				ID: satelliteID(n), Name: fmt.Sprintf("bench-%05d", n), Region: "eu-west", Tags: "{}", Capabilities: "[]",
				TokenHash: crowdHash(n), ThresholdAt: now, CreatedAt: now,
			})
		}
		if err := m.core.DB.Write(ctx, func(ctx context.Context, tx bun.Tx) error {
			_, err := tx.NewInsert().Model(&rows).Exec(ctx)
			return err
		}); err != nil {
			return err
		}
	}
	return nil
}

// until waits until that many rows fulfil a condition.
func (m *crowding) until(ctx context.Context, want int, where string, args ...any) error {
	for begin := time.Now(); ; {
		n, err := m.core.DB.Read().NewSelect().Table("satellites").Where(where, args...).Count(ctx)
		if err != nil || n >= int64(want) {
			return err
		}
		if time.Since(begin) > 5*time.Minute {
			return fmt.Errorf("after %s, of %d satellites %d fulfil %s", time.Since(begin).Round(time.Second), want, n, where)
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(20 * time.Millisecond):
		}
	}
}

// steady measures a crowd that sends heartbeats, and nothing else happens.
func (m *crowding) steady(ctx context.Context) (Result, error) {
	name := m.name + "/steady"
	m.tell(name, 0)
	before := rss()
	began := time.Now()
	if _, err := m.crowd.tell(order{Core: m.core.URL, Count: m.Satellites}); err != nil {
		return Result{}, err
	}
	if err := m.until(ctx, m.Satellites, "last_connection_event = 'connected'"); err != nil {
		return Result{}, err
	}
	connecting := time.Since(began)
	d := &detection{Options: m.Options, core: m.core.Core}
	// The first heartbeats of all come within an interval.
	if err := d.wait(ctx, name, m.Heartbeat, 0, 0.3); err != nil {
		return Result{}, err
	}
	if _, err := m.crowd.tell(order{Forget: true}); err != nil {
		return Result{}, err
	}
	cpu, began := cpuTime(), time.Now()
	if err := d.wait(ctx, name, 2*m.Heartbeat, 0.3, 1); err != nil {
		return Result{}, err
	}
	used, took := cpuTime()-cpu, time.Since(began)
	s, err := m.crowd.tell(order{})
	if err != nil {
		return Result{}, err
	}
	if s.Connected != m.Satellites {
		return Result{}, fmt.Errorf("%d of %d satellites are connected", s.Connected, m.Satellites)
	}
	each := float64(rss()-before) / float64(m.Satellites)
	return Result{
		Name: name, Ops: s.Acks, Seconds: took.Seconds(), PerSecond: float64(s.Acks) / took.Seconds(),
		P50: float64(s.P50) / 1000, P99: float64(s.P99) / 1000, PeakRSS: float64(rss()) / 1024,
		Detail: fmt.Sprintf("ops are heartbeats, one in %s of each of %d satellites, over sockets from another process; p50 and p99 are from a heartbeat to the acknowledgement that it is in the database. "+
			"It took %.2f of a core and %.1f KiB for each connection, garbage collected; all were connected after %.1f s",
			m.Heartbeat, m.Satellites, used.Seconds()/took.Seconds(), each, connecting.Seconds()),
	}, nil
}

// loss measures how late it is found that one in ten is silent.
func (m *crowding) loss(ctx context.Context) (Result, error) {
	name := m.name + "/loss"
	m.tell(name, 0)
	silent, threshold := max(1, m.Satellites/10), 3*m.Heartbeat
	d := &detection{Options: m.Options, core: m.core.Core}
	var last int64
	if err := m.core.DB.Read().NewSelect().Table("transitions").ColumnExpr("COALESCE(MAX(seq), 0)").Scan(ctx, &last); err != nil {
		return Result{}, err
	}
	if _, err := m.crowd.tell(order{Silence: silent}); err != nil {
		return Result{}, err
	}
	if err := d.wait(ctx, name, threshold-m.Heartbeat/2, 0, 0.9); err != nil {
		return Result{}, err
	}
	var seen []struct {
		ID              string
		LastHeartbeatAt db.Time
	}
	if err := m.core.DB.Read().NewSelect().Table("satellites").Column("id", "last_heartbeat_at").Where("id < ?", satelliteID(silent)).Scan(ctx, &seen); err != nil {
		return Result{}, err
	}
	due := map[string]time.Time{}
	first := time.Now().Add(threshold)
	for _, s := range seen {
		at := s.LastHeartbeatAt.Add(threshold)
		due[s.ID] = at
		if at.Before(first) {
			first = at
		}
	}
	var took []time.Duration
	if _, err := d.await(ctx, "lost", silent, last, func(id string, at time.Time) error {
		deadline, ok := due[id]
		if !ok {
			return fmt.Errorf("satellite %s was found lost, and it was not silent: this machine is too slow for so many", id)
		}
		took = append(took, at.Sub(deadline))
		return nil
	}); err != nil {
		return Result{}, err
	}
	m.tell(name, 1)
	r := result(name, took, time.Since(first))
	r.Detail = fmt.Sprintf("p50 and p99 are delays from the threshold of %s to the committed transition, of %d satellites that went silent together while the others sent heartbeats; ops/s counts from the first threshold to the last loss",
		threshold, silent)
	return r, nil
}

// back measures how soon all are there again after the core was restarted, those
// that were silent too.
func (m *crowding) back(ctx context.Context) (Result, error) {
	name := m.name + "/back"
	m.tell(name, 0)
	if _, err := m.crowd.tell(order{Speak: true}); err != nil {
		return Result{}, err
	}
	listen := strings.TrimPrefix(m.core.URL, "http://")
	if err := m.core.stop(); err != nil {
		return Result{}, err
	}
	core, err := m.start(ctx, listen)
	if err != nil {
		m.core = &served{cancel: func() {}, ended: make(chan error, 1)}
		m.core.ended <- nil // it has ended
		return Result{}, err
	}
	m.core = core
	up := m.core.Now()
	if err := m.until(ctx, m.Satellites, "last_connection_event = 'connected' AND connected_at >= ?", db.At(up)); err != nil {
		return Result{}, err
	}
	all := time.Since(up)
	var rows []struct{ ConnectedAt db.Time }
	if err := m.core.DB.Read().NewSelect().Table("satellites").Column("connected_at").Scan(ctx, &rows); err != nil {
		return Result{}, err
	}
	var took []time.Duration
	for _, r := range rows {
		took = append(took, r.ConnectedAt.Sub(up))
	}
	m.tell(name, 1)
	r := result(name, took, all)
	r.Detail = "p50 and p99 are from when the core listened again until a satellite was connected again; agents try again after one second, then two, and so on, each a quarter more or less; ops/s counts until the last of them"
	return r, nil
}

// rss is the memory that this process holds once its garbage is collected, in
// KiB; zero where the system does not say.
func rss() int64 {
	debug.FreeOSMemory()
	text, err := os.ReadFile("/proc/self/statm")
	if err != nil {
		return 0
	}
	fields := strings.Fields(string(text))
	if len(fields) < 2 {
		return 0
	}
	pages, err := strconv.ParseInt(fields[1], 10, 64)
	if err != nil {
		return 0
	}
	return pages * int64(os.Getpagesize()) / 1024
}
