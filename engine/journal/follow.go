package journal

import (
	"context"

	"github.com/uptrace/bun"
)

// RunChange is a status that a run has taken. The database writes it.
type RunChange struct {
	bun.BaseModel `bun:"table:run_changes"`

	Seq    int64     `bun:"seq,pk,autoincrement"`
	RunID  string    `bun:"run_id"`
	Rule   string    `bun:"rule"`
	Status RunStatus `bun:"status"`
}

// EventsAfter are up to limit events after one seq and up to another, oldest
// first. DecisionsAfter and RunChangesAfter likewise.
func EventsAfter(ctx context.Context, idb bun.IDB, after, until int64, limit int) ([]Event, error) {
	return following[Event](ctx, idb, after, until, limit)
}

// DecisionsAfter is EventsAfter for decisions.
func DecisionsAfter(ctx context.Context, idb bun.IDB, after, until int64, limit int) ([]Decision, error) {
	return following[Decision](ctx, idb, after, until, limit)
}

// RunChangesAfter is EventsAfter for the statuses of runs.
func RunChangesAfter(ctx context.Context, idb bun.IDB, after, until int64, limit int) ([]RunChange, error) {
	return following[RunChange](ctx, idb, after, until, limit)
}

func following[R any](ctx context.Context, idb bun.IDB, after, until int64, limit int) ([]R, error) {
	var list []R
	err := idb.NewSelect().Model(&list).Where("seq > ? AND seq <= ?", after, until).Order("seq").Limit(int64(limit)).Scan(ctx)
	return list, err
}
