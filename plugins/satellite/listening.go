package satellite

import (
	"context"
	"database/sql"
	"errors"
	"time"

	"github.com/uptrace/bun"
	"golang.org/x/sync/errgroup"

	"github.com/flightrules/flightrules/internal/db"
)

// listening says that the core, on any of its nodes, has listened to
// satellites from Since to LastAt without a break. A silence before Since says
// nothing about a satellite: nobody was there to hear it.
type listening struct {
	bun.BaseModel `bun:"table:satellite_listening,alias:satellite_listening"`

	ID     int     `bun:"id,pk"`
	Since  db.Time `bun:"since"`
	LastAt db.Time `bun:"last_at"`
}

// gap is how old a note of listening may be, and how far clocks may differ.
func (c Config) gap() time.Duration { return 3 * c.ListenInterval }

// since is since when the core has listened, as of at: just now, if the newest
// note is older than gap or as far in the future. Then the core was down, or
// frozen, or its clock jumped. Whoever looks at a deadline asks this and not
// the row, since after a freeze that may happen before the next note.
func (l listening) since(at time.Time, gap time.Duration) time.Time {
	if at.Sub(l.LastAt.Time).Abs() > gap {
		return at
	}
	return l.Since.Time
}

func (p *Plugin) readListening(ctx context.Context, idb bun.IDB) (listening, error) {
	var l listening
	err := idb.NewSelect().Model(&l).Where("id = 1").Scan(ctx)
	if errors.Is(err, sql.ErrNoRows) {
		err = nil // nobody has ever listened
	}
	return l, err
}

// Beat notes that the core is listening, and notices when it was not. The
// plugin does it by itself in the background; who drives an engine by hand
// calls it at least every three ListenIntervals, or no loss is ever declared.
func (p *Plugin) Beat(ctx context.Context) error {
	before, err := p.readListening(ctx, p.host.Read())
	if err != nil {
		return err
	}
	now := p.host.Now()
	if !before.LastAt.IsZero() && before.LastAt.Sub(now) > p.config.gap() {
		// Before the note, so that whoever comes after a crash does it again.
		if err := p.rebase(ctx, now); err != nil {
			return err
		}
	}
	var after listening
	if err := p.host.Write(ctx, func(ctx context.Context, tx bun.Tx) error {
		now = p.host.Now()
		note := listening{ID: 1, Since: db.At(now), LastAt: db.At(now)}
		gap := p.config.gap().Microseconds()
		return tx.NewInsert().Model(&note).On("CONFLICT (id) DO UPDATE").
			Set(`since = CASE WHEN ABS(EXCLUDED.last_at - satellite_listening.last_at) > ?
				THEN EXCLUDED.since ELSE satellite_listening.since END`, gap).
			// A node whose clock is a little behind does not set it back.
			Set(`last_at = CASE WHEN satellite_listening.last_at - EXCLUDED.last_at BETWEEN 0 AND ?
				THEN satellite_listening.last_at ELSE EXCLUDED.last_at END`, gap).
			Returning("*").Scan(ctx, &after)
	}); err != nil {
		return err
	}
	if !before.LastAt.IsZero() && !after.Since.Equal(before.Since.Time) {
		p.metrics.breaks.Inc()
		p.host.Log().Warn("the core was not listening to satellites, or its clock jumped: their thresholds count from now",
			"last_heard", before.LastAt.Time, "now", now)
	}
	return nil
}

// listened is what Beat comes to where it was called all the time: the core has
// listened from its newest note until now.
func (p *Plugin) listened(ctx context.Context, now time.Time) error {
	return p.host.Write(ctx, func(ctx context.Context, tx bun.Tx) error {
		_, err := tx.NewUpdate().Model((*listening)(nil)).Set("last_at = ?", db.At(now)).Where("id = 1 AND last_at < ?", db.At(now)).Exec(ctx)
		return err
	})
}

// rebase is for a clock that was set back: heartbeats must not lie in the
// future, nor deadlines further away than a threshold, or a satellite that is
// dead would not be found for as long.
func (p *Plugin) rebase(ctx context.Context, now time.Time) error {
	if err := p.host.Write(ctx, func(ctx context.Context, tx bun.Tx) error {
		for _, column := range []string{"last_heartbeat_at", "threshold_at"} {
			if _, err := tx.NewUpdate().Model((*row)(nil)).Set("? = ?", bun.Ident(column), db.At(now)).
				Where("? > ?", bun.Ident(column), db.At(now)).Exec(ctx); err != nil {
				return err
			}
		}
		return nil
	}); err != nil {
		return err
	}
	var ids []string
	if err := p.host.Read().NewSelect().Model((*row)(nil)).Column("id").Where("last_connection_event = ?", connected).Scan(ctx, &ids); err != nil {
		return err
	}
	var group errgroup.Group // many at once share a transaction
	group.SetLimit(256)
	for _, id := range ids {
		group.Go(func() error {
			if err := p.declare(ctx, id); err != nil {
				p.failed("rebase", id, err)
			}
			return nil
		})
	}
	return group.Wait()
}

// listen beats until ctx ends.
func (p *Plugin) listen(ctx context.Context) error {
	tick := time.NewTicker(p.config.ListenInterval)
	defer tick.Stop()
	for {
		if err := p.Beat(ctx); err != nil && ctx.Err() == nil {
			p.failed("listen", "", err)
		}
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
	}
}
