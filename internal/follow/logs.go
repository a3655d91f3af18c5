package follow

import (
	"context"
	"slices"
	"time"

	"github.com/flightrules/flightrules/internal/db"
)

// settleAfter is how long it takes at most from the moment that a transaction has
// taken a number to the one from which the database counts it as under way.
const settleAfter = 200 * time.Millisecond

// logs is how far the logs have been read. Numbers are given before the commit,
// so on PostgreSQL one can appear after a higher one: where numbers are missing
// it is waited until nobody can bring them any more. On SQLite they appear in
// their order.
type logs struct {
	db      *db.DB
	reached Place
	gaps    [topics]gap
}

// gap is numbers that are missing in a log.
type gap struct {
	below   int64 // the highest number that was seen when it was found; 0: nothing is missing
	since   time.Time
	horizon *db.Horizon
	settled int64 // below this nothing comes any more
}

// newest are the highest numbers that there are.
func newest(ctx context.Context, d *db.DB) (p Place, err error) {
	for i := range topics {
		if err := d.Read().NewSelect().Table(tables[i]).ColumnExpr("COALESCE(MAX(seq), 0)").Scan(ctx, &p[i]); err != nil {
			return p, err
		}
	}
	return p, nil
}

// start finds the end of the logs, below which nothing will come any more.
func (l *logs) start(ctx context.Context) error {
	var err error
	if l.reached, err = newest(ctx, l.db); err != nil || !l.db.Postgres() {
		return err
	}
	if err := sleep(ctx, settleAfter); err != nil {
		return err
	}
	horizon, err := l.db.Horizon(ctx)
	for settled := false; err == nil && !settled; {
		if settled, err = l.db.Settled(ctx, horizon); err == nil && !settled {
			err = sleep(ctx, restBetween)
		}
	}
	return err
}

func sleep(ctx context.Context, d time.Duration) error {
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(d):
		return nil
	}
}

// waiting says whether something is missing that is to be looked for soon.
func (l *logs) waiting() bool {
	return slices.ContainsFunc(l.gaps[:], func(g gap) bool { return g.below != 0 })
}

// settle finds out which of the numbers that are missing can still come. Call it
// before reading.
func (l *logs) settle(ctx context.Context) error {
	for i := range l.gaps {
		g := &l.gaps[i]
		if g.below == 0 || time.Since(g.since) < settleAfter {
			continue
		}
		if g.horizon == nil {
			h, err := l.db.Horizon(ctx)
			if err != nil {
				return err
			}
			g.horizon = &h
		}
		settled, err := l.db.Settled(ctx, *g.horizon)
		if err != nil {
			return err
		}
		if settled {
			*g = gap{settled: g.below}
		}
	}
	return nil
}

// take is the part of what was read of a log before which nothing comes any more.
func (l *logs) take(of Topic, list []Message) []Message {
	g := &l.gaps[of]
	for i, m := range list {
		if m.Seq != l.reached[of]+1 && m.Seq > g.settled && l.db.Postgres() {
			if g.below == 0 {
				g.below, g.since = list[len(list)-1].Seq, time.Now()
			}
			return list[:i]
		}
		l.reached[of] = m.Seq
	}
	g.below, g.horizon = 0, nil
	return list
}
