// Package timer keeps deadlines that outlive the process: every dwell, wait,
// retry and heartbeat threshold is a row in one table.
//
// A timer is set and cancelled in the transaction of the change that wants it.
// When it is due its handler takes it in the transaction that does the work,
// so a timer fires exactly once, on one node, and late rather than never.
// Locks are taken in one order everywhere (entities and runs before timers),
// so a handler takes its timer only after it has locked what it is about.
package timer

import (
	"context"
	"database/sql"
	"embed"
	"errors"
	"time"

	"github.com/uptrace/bun"

	"github.com/flightrules/flightrules/internal/db"
)

//go:embed migrations/*.sql
var files embed.FS

// Migrations is the table of timers.
func Migrations() db.Migrations { return db.MigrationsIn("timer", files) }

// Timer is a deadline. Kind says who handles it; Kind and Key together name it.
type Timer struct {
	bun.BaseModel `bun:"table:timers"`

	ID       int64   `bun:"id,pk,autoincrement"`
	Kind     string  `bun:"kind"`
	Key      string  `bun:"key"`
	DueAt    db.Time `bun:"due_at"`
	Payload  db.JSON `bun:"payload"`           // what the handler wants to know again; may be nil
	Attempts int     `bun:"attempts"`          // how often its handler has failed
	EventID  string  `bun:"event_id,nullzero"` // the event that its handler will read, which is kept until then; "": none
}

// Set arms timers, replacing the ones of the same kind and key.
func Set(ctx context.Context, tx bun.IDB, timers ...Timer) error {
	if len(timers) == 0 {
		return nil
	}
	_, err := tx.NewInsert().Model(&timers).ExcludeColumn("id").
		On("CONFLICT (kind, key) DO UPDATE").
		Set("due_at = EXCLUDED.due_at, payload = EXCLUDED.payload, attempts = EXCLUDED.attempts, event_id = EXCLUDED.event_id").
		Returning("NULL").Exec(ctx)
	return err
}

// Cancel removes timers and says how many there were.
func Cancel(ctx context.Context, tx bun.IDB, kind string, keys ...string) (int, error) {
	if len(keys) == 0 {
		return 0, nil
	}
	res, err := tx.NewDelete().Model((*Timer)(nil)).Where("kind = ? AND key IN (?)", kind, bun.List(keys)).Exec(ctx)
	if err != nil {
		return 0, err
	}
	n, err := res.RowsAffected()
	return int(n), err
}

// Take removes a timer that was found due. It is false when the timer was
// moved, cancelled or taken since: then there is nothing to do.
func Take(ctx context.Context, tx bun.IDB, t Timer) (bool, error) {
	res, err := tx.NewDelete().Model((*Timer)(nil)).Where("id = ? AND due_at = ?", t.ID, t.DueAt).Exec(ctx)
	if err != nil {
		return false, err
	}
	n, err := res.RowsAffected()
	return n == 1, err
}

// TakeAll is Take for timers that were found due by now, where it does not
// matter which of them were there still.
func TakeAll(ctx context.Context, tx bun.IDB, now time.Time, timers []Timer) error {
	if len(timers) == 0 {
		return nil
	}
	ids := make([]int64, len(timers))
	for i, t := range timers {
		ids[i] = t.ID
	}
	_, err := tx.NewDelete().Model((*Timer)(nil)).Where("id IN (?) AND due_at <= ?", bun.List(ids), db.At(now)).Exec(ctx)
	return err
}

// Get finds a timer by its name; false when there is none.
func Get(ctx context.Context, idb bun.IDB, kind, key string) (Timer, bool, error) {
	var t Timer
	err := idb.NewSelect().Model(&t).Where("kind = ? AND key = ?", kind, key).Scan(ctx)
	if errors.Is(err, sql.ErrNoRows) {
		return Timer{}, false, nil
	}
	return t, err == nil, err
}

// Due lists timers of a kind that are due at now, the earliest first.
func Due(ctx context.Context, idb bun.IDB, kind string, now time.Time, limit int) ([]Timer, error) {
	var due []Timer
	err := idb.NewSelect().Model(&due).Where("kind = ? AND due_at <= ?", kind, db.At(now)).
		Order("due_at", "id").Limit(int64(limit)).Scan(ctx)
	return due, err
}

// DueOf is Due for several kinds together.
func DueOf(ctx context.Context, idb bun.IDB, kinds []string, now time.Time, limit int) ([]Timer, error) {
	// Each kind is looked up in the index by itself: together they would be
	// sorted.
	of := func(kind string) *bun.SelectQuery {
		one := idb.NewSelect().Model((*Timer)(nil)).Where("kind = ? AND due_at <= ?", kind, db.At(now)).
			Order("due_at", "id").Limit(int64(limit))
		return idb.NewSelect().TableExpr("(?) AS timer", one)
	}
	all := idb.NewSelect().Model((*Timer)(nil)).ModelTableExpr("(?) AS timer", union(kinds, of))
	var due []Timer
	err := all.Order("due_at", "id").Limit(int64(limit)).Scan(ctx, &due)
	return due, err
}

// union puts together what a query gives for each of some kinds.
func union(kinds []string, of func(kind string) *bun.SelectQuery) *bun.SelectQuery {
	all := of(kinds[0])
	for _, kind := range kinds[1:] {
		all = all.UnionAll(of(kind))
	}
	return all
}

// Next is when the first timer of the kinds comes due; zero when there is none.
func Next(ctx context.Context, idb bun.IDB, kinds ...string) (time.Time, error) {
	if len(kinds) == 0 {
		return time.Time{}, nil
	}
	var first db.Time
	err := idb.NewSelect().ColumnExpr("MIN(due)").TableExpr("(?) AS earliest", union(kinds, func(kind string) *bun.SelectQuery {
		return idb.NewSelect().Model((*Timer)(nil)).ColumnExpr("MIN(due_at) AS due").Where("kind = ?", kind)
	})).Scan(ctx, &first)
	return first.Time, err
}
