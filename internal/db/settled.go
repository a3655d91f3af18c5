package db

import "context"

// Horizon is a moment in the life of a database.
type Horizon struct {
	next int64 // the transactions before this one had begun
}

// Horizon is now. On PostgreSQL a transaction that has begun by then may still
// commit rows with lower numbers than some that can be seen: who follows a log
// by its numbers waits for what is missing until Settled.
func (d *DB) Horizon(ctx context.Context) (h Horizon, err error) {
	if d.Postgres() {
		err = d.read.NewRaw("SELECT pg_snapshot_xmax(pg_current_snapshot())::text::bigint").Scan(ctx, &h.next)
	}
	return h, err
}

// Settled says whether every transaction that had begun by the horizon has
// ended. On SQLite there is one at a time, whose numbers come in their order.
func (d *DB) Settled(ctx context.Context, h Horizon) (bool, error) {
	if !d.Postgres() {
		return true, nil
	}
	var oldest int64
	err := d.read.NewRaw("SELECT pg_snapshot_xmin(pg_current_snapshot())::text::bigint").Scan(ctx, &oldest)
	return oldest >= h.next, err
}
