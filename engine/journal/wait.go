package journal

import (
	"context"
	"slices"

	"github.com/uptrace/bun"
)

// Listener is an event that a run waits for, now or later.
type Listener struct {
	bun.BaseModel `bun:"table:listeners"`

	Event string `bun:"event,pk"` // its name, or all below one that ends in ".*"
	RunID string `bun:"run_id,pk"`
}

// Mail is an event that has come for a run.
type Mail struct {
	bun.BaseModel `bun:"table:mail"`

	Seq     int64  `bun:"seq,pk,autoincrement"`
	RunID   string `bun:"run_id"`
	EventID string `bun:"event_id"`
}

// Watch is an entity on which it depends whether a run goes on.
type Watch struct {
	bun.BaseModel `bun:"table:watches"`

	Kind     string `bun:"kind,pk"`
	EntityID string `bun:"entity_id,pk"` // "": all of the kind
	RunID    string `bun:"run_id,pk"`
}

// MailOf is what has come for a run, in the order in which it did.
func MailOf(ctx context.Context, idb bun.IDB, run string) ([]Mail, error) {
	var list []Mail
	err := idb.NewSelect().Model(&list).Where("run_id = ?", run).Order("seq").Scan(ctx)
	return list, err
}

// SetWatches makes these the entities that a run watches, and says whether they
// were others before.
func SetWatches(ctx context.Context, tx bun.Tx, run string, watches []Watch) (changed bool, err error) {
	var before []Watch
	if err := tx.NewSelect().Model(&before).Where("run_id = ?", run).Scan(ctx); err != nil {
		return false, err
	}
	missing := func(list, from []Watch) bool {
		return slices.ContainsFunc(list, func(w Watch) bool { return !slices.Contains(from, w) })
	}
	added := missing(watches, before)
	if !added && !missing(before, watches) {
		return false, nil
	}
	if _, err := tx.NewDelete().Model((*Watch)(nil)).Where("run_id = ?", run).Exec(ctx); err != nil {
		return false, err
	}
	if len(watches) > 0 {
		_, err = tx.NewInsert().Model(&watches).Returning("NULL").Exec(ctx)
	}
	return added, err
}

// Deaf takes away all that runs wait for.
func Deaf(ctx context.Context, tx bun.Tx, runs ...string) error {
	if len(runs) == 0 {
		return nil
	}
	for _, model := range []any{(*Listener)(nil), (*Mail)(nil), (*Watch)(nil)} {
		if _, err := tx.NewDelete().Model(model).Where("run_id IN (?)", bun.List(runs)).Exec(ctx); err != nil {
			return err
		}
	}
	return nil
}
