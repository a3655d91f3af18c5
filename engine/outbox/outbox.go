// Package outbox notes what has been recorded and is still to be routed: one
// row for each transition and each emitted event, written in the transaction
// that records it and deleted in the transaction that routes it. A row that is
// there has not been routed; one that is gone has been, once.
package outbox

import (
	"context"
	"embed"
	"fmt"

	"github.com/uptrace/bun"

	"github.com/flightrules/flightrules/internal/db"
)

// Topic is the hint that there is something to route.
const Topic = "outbox"

//go:embed migrations/*.sql
var files embed.FS

// Migrations is the table of notes.
func Migrations() db.Migrations { return db.MigrationsIn("outbox", files) }

// Note is one thing to route: a transition or an emitted event.
//
// Notes are read by being there and not by a cursor over their ids, since on
// PostgreSQL a smaller id may become visible later. For one entity the ids do
// follow the versions: its row is locked until the commit.
type Note struct {
	bun.BaseModel `bun:"table:outbox"`

	ID            int64  `bun:"id,pk,autoincrement"`
	TransitionSeq int64  `bun:"transition_seq,nullzero"`
	EventID       string `bun:"event_id,nullzero"`
}

// Add writes notes in the transaction at hand and wakes the router after its
// commit. ctx is the one that db.Write gave.
func Add(ctx context.Context, tx bun.IDB, notes ...Note) error {
	if len(notes) == 0 {
		return nil
	}
	if _, err := tx.NewInsert().Model(&notes).ExcludeColumn("id").Returning("NULL").Exec(ctx); err != nil {
		return err
	}
	db.HintAfter(ctx, Topic)
	return nil
}

// Oldest lists what has waited longest.
func Oldest(ctx context.Context, idb bun.IDB, limit int) ([]Note, error) {
	var notes []Note
	err := idb.NewSelect().Model(&notes).Order("id").Limit(int64(limit)).Scan(ctx)
	return notes, err
}

// Any says whether one of some transitions is still to be routed.
func Any(ctx context.Context, idb bun.IDB, seqs []int64) (bool, error) {
	return idb.NewSelect().Model((*Note)(nil)).Where("transition_seq IN (?)", bun.List(seqs)).Exists(ctx)
}

// Done removes notes that were routed. It is an error when one is gone
// already: somebody else has routed it.
func Done(ctx context.Context, tx bun.IDB, notes []Note) error {
	if len(notes) == 0 {
		return nil
	}
	ids := make([]int64, len(notes))
	for i, n := range notes {
		ids[i] = n.ID
	}
	res, err := tx.NewDelete().Model((*Note)(nil)).Where("id IN (?)", bun.List(ids)).Exec(ctx)
	if err != nil {
		return err
	}
	gone, err := res.RowsAffected()
	if err == nil && int(gone) != len(ids) {
		err = fmt.Errorf("only %d of %d notes were still there", gone, len(ids))
	}
	return err
}
