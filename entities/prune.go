package entities

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/uptrace/bun"

	"github.com/flightrules/flightrules/internal/db"
)

// ErrPruned is returned for what the log is asked about a time, or a change,
// that it does not go back to any more.
var ErrPruned = errors.New("the log does not go back so far")

// OldTransitions is the log by its age.
var OldTransitions = db.Aged{Table: "transitions", Of: "kind", At: "at", ID: "seq"}

// oldRow is a transition as Prune sees it.
type oldRow struct {
	Seq        int64
	EntityID   string
	Version    int64
	Removed    bool
	First      int64 // the least version of the entity that is there
	Superseded bool  // it was not the state any more at the time of until
	Newest     bool  // it has no successor
}

// Prune removes transitions of a page of the log, all of which are older than
// until, and says how many, and how many entities. Of each entity it removes
// the first ones, up to one that is needed or whose successor comes after
// until: so the log has no holes, and tells the state as of any time since. An
// entity whose removal is that old goes with it. With dry nothing goes, and it
// says how many would.
//
// needed says which of some transitions somebody will look at again, and so at
// what came after.
func (r *Registry) Prune(ctx context.Context, idb bun.IDB, kindName string, until db.Mark, page []int64,
	needed func(ctx context.Context, idb bun.IDB, seqs []int64) (map[int64]bool, error), dry bool,
) (transitions, forgotten int, err error) {
	rows, err := oldRows(ctx, idb, kindName, until, page)
	if err != nil {
		return 0, 0, err
	}
	stay, err := needed(ctx, idb, page)
	if err != nil {
		return 0, 0, err
	}
	next := map[string]int64{} // the version of each entity that may go next
	var seqs []int64
	gone := map[string]oldRow{} // removals
	for _, row := range rows {
		if _, seen := next[row.EntityID]; !seen {
			next[row.EntityID] = row.First
			if dry { // what an earlier page would have removed is still there
				next[row.EntityID] = row.Version
			}
		}
		switch {
		case row.Version != next[row.EntityID] || stay[row.Seq]:
			continue
		case row.Superseded:
			seqs = append(seqs, row.Seq)
		case row.Removed && row.Newest:
			gone[row.EntityID] = row
		default:
			continue
		}
		next[row.EntityID]++
	}
	if dry {
		return len(seqs) + len(gone), len(gone), nil
	}
	last, err := forget(ctx, idb, kindName, gone)
	if seqs = append(seqs, last...); err != nil || len(seqs) == 0 {
		return 0, 0, err
	}
	_, err = idb.NewDelete().Model((*transitionRow)(nil)).Where("seq IN (?)", bun.List(seqs)).Exec(ctx)
	return len(seqs), len(last), err
}

func oldRows(ctx context.Context, idb bun.IDB, kindName string, until db.Mark, page []int64) ([]oldRow, error) {
	var rows []oldRow
	err := idb.NewSelect().TableExpr("transitions AS t").
		ColumnExpr("t.seq AS seq, t.entity_id AS entity_id, t.version AS version, t.next IS NULL AS removed").
		ColumnExpr("(SELECT MIN(f.version) FROM transitions AS f WHERE f.kind = t.kind AND f.entity_id = t.entity_id) AS first").
		ColumnExpr("n.seq IS NULL AS newest, COALESCE(n.at <= ?, FALSE) AS superseded", until.At).
		Join("LEFT JOIN transitions AS n ON n.kind = t.kind AND n.entity_id = t.entity_id AND n.version = t.version + 1").
		Where("t.kind = ? AND t.seq IN (?)", kindName, bun.List(page)).Order("t.seq").Scan(ctx, &rows)
	return rows, err
}

// forget removes the rows of entities that are gone and gives their last
// transitions. One that has come back meanwhile stays.
func forget(ctx context.Context, idb bun.IDB, kindName string, gone map[string]oldRow) ([]int64, error) {
	if len(gone) == 0 {
		return nil, nil
	}
	ids := make([]string, 0, len(gone))
	for id := range gone {
		ids = append(ids, id)
	}
	var seqs []int64
	var rows []entityRow
	if err := idb.NewSelect().Model(&rows).Where("kind = ? AND id IN (?) AND state IS NULL", kindName, bun.List(ids)).Order("id").Scan(ctx); err != nil {
		return nil, err
	}
	for _, row := range rows {
		if row.Version != gone[row.ID].Version {
			continue
		}
		res, err := idb.NewDelete().Model((*entityRow)(nil)).
			Where("kind = ? AND id = ? AND version = ? AND state IS NULL", kindName, row.ID, row.Version).Exec(ctx)
		if err != nil {
			return nil, err
		}
		if n, err := res.RowsAffected(); err != nil {
			return nil, err
		} else if n == 1 {
			seqs = append(seqs, gone[row.ID].Seq)
		}
	}
	return seqs, nil
}

// pruned says whether an entity's log begins after a time, though the entity
// may have been there before.
func (r *Registry) pruned(ctx context.Context, idb bun.IDB, kindName, id string, at time.Time) error {
	var first []transitionRow
	if err := idb.NewSelect().Model(&first).Column("version", "at").Where("kind = ? AND entity_id = ?", kindName, id).
		Order("version").Limit(1).Scan(ctx, &first); err != nil {
		return err
	}
	if len(first) == 0 || first[0].Version == 1 {
		return nil
	}
	return fmt.Errorf("%w: that of %s %s begins at %s", ErrPruned, kindName, id, first[0].At.UTC().Format(time.RFC3339))
}
