package bench

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"testing/fstest"
	"time"

	"github.com/uptrace/bun"
	"golang.org/x/sync/errgroup"

	"github.com/flightrules/flightrules/engine/timer"
	"github.com/flightrules/flightrules/internal/app"
	"github.com/flightrules/flightrules/internal/db"
	"github.com/flightrules/flightrules/plugins"
	"github.com/flightrules/flightrules/plugins/satellite"
)

const (
	// flushEvery is how often heartbeats are written, as the plugin does.
	flushEvery = 200 * time.Millisecond
	// lookEvery is how often detect looks for transitions; it is how exactly it
	// tells when one was committed.
	lookEvery = 2 * time.Millisecond
	// rowsAtOnce is how many rows are written with one statement.
	rowsAtOnce = 500
)

const lossRules = `
rules:
  - id: lost
    triggers: [{event: satellite.heartbeat_lost}]
    actions: [{log: "${{ event.payload.name }} is lost"}]
`

// detect measures how long after their threshold satellites are found lost, when
// one in ten goes silent at the very same instant. There are no sockets: the
// rows of sessions and their heartbeats are written as the plugin would.
func detect(ctx context.Context, o Options) (results []Result, err error) {
	d := &detection{Options: o, silent: o.Satellites / 10, cut: make(chan time.Time, 1)}
	d.core, err = app.Open(ctx, app.Config{
		DB: "sqlite:" + filepath.Join(o.Dir, "detect.db"), Node: "bench",
		Plugins: []plugins.Plugin{satellite.New(satellite.Config{OfflineThreshold: o.Threshold})},
		Files:   fstest.MapFS{"rules.yaml": {Data: []byte(lossRules)}},
	})
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, d.core.Close(context.WithoutCancel(ctx))) }()
	if err := d.core.Plugins.Ready(ctx); err != nil {
		return nil, err
	}
	working, stop := context.WithCancel(ctx)
	defer stop()
	group, running := errgroup.WithContext(working)
	group.Go(func() error { return d.core.Engine.Run(running) })
	group.Go(func() error { return d.core.Plugins.Run(running) })
	group.Go(func() error { return d.beat(running) })
	var r Result
	group.Go(func() error {
		defer stop()
		var err error
		r, err = d.measure(running)
		return err
	})
	if err := group.Wait(); err != nil {
		return nil, err
	}
	return []Result{r}, nil
}

// detection is a measurement of detect. Satellites with small numbers are the
// ones that go silent.
type detection struct {
	Options
	silent int
	core   *app.Core
	cut    chan time.Time // gets the time of the last heartbeat of the silent ones
}

// satelliteRow is a satellite as its plugin stores it.
type satelliteRow struct {
	bun.BaseModel `bun:"table:satellites"`

	ID, Name, Region, Tags, Capabilities, Version, TokenHash string
	ThresholdAt, LastHeartbeatAt, ConnectedAt, CreatedAt     db.Time
	LastConnectionEvent, SessionID, NodeID                   string
	SessionEpoch                                             int64
}

func satelliteID(n int) string { return fmt.Sprintf("00000000-0000-7000-8000-%012d", n) }

func (d *detection) measure(ctx context.Context) (Result, error) {
	if err := d.connectAll(ctx); err != nil {
		return Result{}, err
	}
	last, err := d.await(ctx, "connected", d.Satellites, 0, func(string, time.Time) error { return nil })
	if err != nil {
		return Result{}, err
	}
	// The first looks at all satellites come together; after a threshold they
	// have spread out, as they are in an engine that has been up for a while.
	if err := d.wait(ctx, "detect", d.Threshold, 0, 0.5); err != nil {
		return Result{}, err
	}
	resetPeak()
	cut := d.core.Now()
	d.cut <- cut
	if err := d.wait(ctx, "detect", d.Threshold, 0.5, 1); err != nil {
		return Result{}, err
	}
	var took []time.Duration
	deadline := cut.Add(d.Threshold)
	if _, err := d.await(ctx, "lost", d.silent, last, func(id string, at time.Time) error {
		took = append(took, at.Sub(deadline))
		if id >= satelliteID(d.silent) {
			return fmt.Errorf("satellite %s was found lost, and it was not silent: this machine is too slow for so many", id)
		}
		return nil
	}); err != nil {
		return Result{}, err
	}
	all := slices.Max(took)
	r := result("detect", took, all)
	r.Detail = fmt.Sprintf("p50 and p99 are delays from the threshold to the committed transition, of %d satellites that went silent at one instant, out of %d with a threshold of %s; ops/s counts from the threshold to the last loss",
		d.silent, d.Satellites, d.Threshold)
	return r, nil
}

// connectAll writes the rows of sessions that have just begun, and has the
// engine look at them.
func (d *detection) connectAll(ctx context.Context) error {
	now := db.At(d.core.Now())
	for numbers := range slices.Chunk(upTo(d.Satellites), rowsAtOnce) {
		var rows []satelliteRow
		var timers []timer.Timer
		for _, n := range numbers {
			id := satelliteID(n)
			rows = append(rows, satelliteRow{
				ID: id, Name: fmt.Sprintf("bench-%05d", n), Region: "eu-west", Tags: "{}", Capabilities: "[]", Version: "bench",
				TokenHash: id, ThresholdAt: now, LastHeartbeatAt: now, LastConnectionEvent: "connected",
				SessionID: id, SessionEpoch: 1, NodeID: d.core.Node, ConnectedAt: now, CreatedAt: now,
			})
			timers = append(timers, timer.Timer{Kind: "entity.deadline", Key: "satellite/" + id, DueAt: now})
		}
		if err := d.core.DB.Write(ctx, func(ctx context.Context, tx bun.Tx) error {
			if _, err := tx.NewInsert().Model(&rows).Exec(ctx); err != nil {
				return err
			}
			db.HintAfter(ctx, timer.Topic)
			return timer.Set(ctx, tx, timers...)
		}); err != nil {
			return err
		}
	}
	return nil
}

func upTo(n int) []int {
	list := make([]int, n)
	for i := range list {
		list[i] = i
	}
	return list
}

// beat writes heartbeats until ctx ends: of each satellite three in a
// threshold, spread evenly.
func (d *detection) beat(ctx context.Context) error {
	tick := time.NewTicker(flushEvery)
	defer tick.Stop()
	next, first, cut := 0, 0, d.cut
	perFlush := max(1, int(float64(d.Satellites)*3*flushEvery.Seconds()/d.Threshold.Seconds()))
	for {
		select {
		case <-ctx.Done():
			return nil
		case at := <-cut:
			if err := d.heard(ctx, at, upTo(d.silent)); err != nil {
				return err
			}
			first, cut = d.silent, nil
			continue
		case <-tick.C:
		}
		var numbers []int
		for range perFlush {
			if next++; next >= d.Satellites {
				next = first
			}
			numbers = append(numbers, max(next, first))
		}
		if err := d.heard(ctx, d.core.Now(), numbers); err != nil {
			return err
		}
	}
}

// heard writes a heartbeat of some satellites.
func (d *detection) heard(ctx context.Context, at time.Time, numbers []int) error {
	for chunk := range slices.Chunk(numbers, rowsAtOnce) {
		ids := make([]string, len(chunk))
		for i, n := range chunk {
			ids[i] = satelliteID(n)
		}
		err := d.core.DB.Write(ctx, func(ctx context.Context, tx bun.Tx) error {
			_, err := tx.NewUpdate().Table("satellites").Set("last_heartbeat_at = ?", db.At(at)).Where("id IN (?)", bun.List(ids)).Exec(ctx)
			return err
		})
		if err != nil {
			if ctx.Err() != nil {
				return nil
			}
			return err
		}
	}
	return nil
}

// await returns when so many transitions have come after one, and gives the
// number of the last. seen is told of which satellite each is and when it was
// first seen committed.
func (d *detection) await(ctx context.Context, what string, want int, after int64, seen func(id string, at time.Time) error) (int64, error) {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	tick := time.NewTicker(lookEvery)
	defer tick.Stop()
	for found := 0; found < want; {
		var rows []struct {
			Seq      int64
			EntityID string
		}
		if err := d.core.DB.Read().NewSelect().Table("transitions").Column("seq", "entity_id").Where("seq > ?", after).Order("seq").Scan(ctx, &rows); err != nil {
			return 0, fmt.Errorf("%d of %d satellites are %s: %w", found, want, what, err)
		}
		now := d.core.Now()
		for _, row := range rows {
			after = row.Seq
			found++
			if err := seen(row.EntityID, now); err != nil {
				return 0, err
			}
		}
		select {
		case <-ctx.Done():
			return 0, fmt.Errorf("%d of %d satellites are %s: %w", found, want, what, ctx.Err())
		case <-tick.C:
		}
	}
	return after, nil
}

// wait waits, and tells the progress from one part to another.
func (d *detection) wait(ctx context.Context, name string, length time.Duration, from, to float64) error {
	tick := time.NewTicker(progressEvery)
	defer tick.Stop()
	for begin := time.Now(); time.Since(begin) < length; {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-tick.C:
			d.tell(name, from+(to-from)*min(1, float64(time.Since(begin))/float64(length)))
		}
	}
	return nil
}
