package journal

import (
	"context"
	"time"

	"github.com/uptrace/bun"

	"github.com/flightrules/flightrules/internal/db"
)

// The tables that grow with time, by their age.
var (
	OldRuns      = db.Aged{Table: "runs", Of: "rule", At: "finished_at", ID: "id", TextID: true}
	OldDecisions = db.Aged{Table: "decisions", Of: "rule", At: "at", ID: "seq"}
	OldEvents    = db.Aged{Table: "events", Of: "kind", At: "at", ID: "seq"}
)

// PruneRuns removes runs of a page that have ended, with their steps, but for
// those created after young; no more than limit rows in all. done is how many
// of the page it has seen to, and 0 when the first has more steps than that:
// some of these are gone then. With dry nothing is, and done is all.
func PruneRuns(ctx context.Context, idb bun.IDB, page []string, young time.Time, limit int, dry bool) (done, runs, steps int, err error) {
	old, err := oldRuns(ctx, idb, page, young)
	if err != nil || len(old) == 0 {
		return len(page), 0, 0, err
	}
	var ids []string
	for _, id := range page {
		n, going := old[id]
		if going && !dry {
			if 1+n > limit && len(ids) == 0 {
				steps, err = cutSteps(ctx, idb, id, limit)
				return done, 0, steps, err
			}
			if len(ids)+steps+1+n > limit {
				break
			}
		}
		if done++; going {
			ids, steps = append(ids, id), steps+n
		}
	}
	if dry || len(ids) == 0 {
		return done, len(ids), steps, nil
	}
	if _, err := idb.NewDelete().Model((*Step)(nil)).Where("run_id IN (?)", bun.List(ids)).Exec(ctx); err != nil {
		return 0, 0, 0, err
	}
	_, err = idb.NewDelete().Model((*Run)(nil)).Where("id IN (?)", bun.List(ids)).Exec(ctx)
	return done, len(ids), steps, err
}

// oldRuns are those of a page that may go, with how many steps they have.
func oldRuns(ctx context.Context, idb bun.IDB, page []string, young time.Time) (map[string]int, error) {
	var rows []struct {
		ID    string
		Steps int
	}
	err := idb.NewSelect().TableExpr("runs AS r").ColumnExpr("r.id AS id, (SELECT COUNT(*) FROM steps AS s WHERE s.run_id = r.id) AS steps").
		Where("r.id IN (?) AND r.finished_at IS NOT NULL AND r.created_at <= ?", bun.List(page), db.At(young)).Scan(ctx, &rows)
	old := make(map[string]int, len(rows))
	for _, row := range rows {
		old[row.ID] = row.Steps
	}
	return old, err
}

// cutSteps removes the last steps of a run that has more than go at once.
func cutSteps(ctx context.Context, idb bun.IDB, run string, limit int) (int, error) {
	var steps []Step
	if err := idb.NewSelect().Model(&steps).Column("run_id", "path", "iteration").Where("run_id = ?", run).Order("position DESC").Limit(int64(limit)).Scan(ctx); err != nil {
		return 0, err
	}
	_, err := idb.NewDelete().Model(&steps).WherePK().Exec(ctx)
	return len(steps), err
}

// PruneDecisions removes the decisions of a page, but for those about events
// that will be read again, and says how many. With dry it only says so.
func PruneDecisions(ctx context.Context, idb bun.IDB, page []int64, dry bool) (int, error) {
	condition, args := needed("d.event_id")
	var rows []struct {
		Seq     int64
		EventID string
	}
	if err := idb.NewSelect().TableExpr("decisions AS d").ColumnExpr("d.seq AS seq, d.event_id AS event_id").
		Where("d.seq IN (?)", bun.List(page)).Where("NOT "+condition, args...).Scan(ctx, &rows); err != nil || len(rows) == 0 {
		return 0, err
	}
	inBatch, err := batched(ctx, idb)
	if err != nil {
		return 0, err
	}
	var seqs []int64
	for _, row := range rows {
		if !inBatch[row.EventID] {
			seqs = append(seqs, row.Seq)
		}
	}
	return remove(ctx, idb, (*Decision)(nil), seqs, dry)
}

// PruneEvents removes the events of a page that nobody will read again and that
// no decision and no run is about, and says how many. With dry it only says so.
// It passes over the decisions and runs that going says will be gone by then.
func PruneEvents(ctx context.Context, idb bun.IDB, page []int64, dry bool, going func(of db.Aged, rule string, at db.Mark) (bool, error)) (int, error) {
	condition, args := needed("e.id")
	var rows []struct {
		Seq int64
		ID  string
	}
	if err := idb.NewSelect().TableExpr("events AS e").ColumnExpr("e.seq AS seq, e.id AS id").
		Where("e.seq IN (?)", bun.List(page)).Where("NOT "+condition, args...).Scan(ctx, &rows); err != nil || len(rows) == 0 {
		return 0, err
	}
	inBatch, err := batched(ctx, idb)
	if err != nil {
		return 0, err
	}
	ids := make([]string, len(rows))
	for i, row := range rows {
		ids[i] = row.ID
	}
	told, err := told(ctx, idb, ids, going)
	if err != nil {
		return 0, err
	}
	var seqs []int64
	for _, row := range rows {
		if !inBatch[row.ID] && !told[row.ID] {
			seqs = append(seqs, row.Seq)
		}
	}
	return remove(ctx, idb, (*Event)(nil), seqs, dry)
}

// told are those of some events that a decision or a run is about which is not
// going.
func told(ctx context.Context, idb bun.IDB, ids []string, going func(of db.Aged, rule string, at db.Mark) (bool, error)) (map[string]bool, error) {
	found := map[string]bool{}
	for _, a := range []db.Aged{OldDecisions, OldRuns} {
		var rows []struct {
			EventID, Rule, ID string
			At                db.Time
		}
		if err := idb.NewSelect().Table(a.Table).ColumnExpr("event_id, rule, CAST(? AS TEXT) AS id, ? AS at", bun.Ident(a.ID), bun.Ident(a.At)).
			Where("event_id IN (?)", bun.List(ids)).Scan(ctx, &rows); err != nil {
			return nil, err
		}
		for _, row := range rows {
			goes, err := going(a, row.Rule, db.Mark{At: row.At, ID: row.ID})
			if err != nil {
				return nil, err
			}
			found[row.EventID] = found[row.EventID] || !goes
		}
	}
	return found, nil
}

func remove(ctx context.Context, idb bun.IDB, model any, seqs []int64, dry bool) (int, error) {
	if dry || len(seqs) == 0 {
		return len(seqs), nil
	}
	res, err := idb.NewDelete().Model(model).Where("seq IN (?)", bun.List(seqs)).Exec(ctx)
	if err != nil {
		return 0, err
	}
	n, err := res.RowsAffected()
	return int(n), err
}
