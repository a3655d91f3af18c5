package engine

import (
	"context"
	"maps"
	"slices"

	"github.com/uptrace/bun"

	"github.com/flightrules/flightrules/engine/journal"
	"github.com/flightrules/flightrules/internal/db"
	"github.com/flightrules/flightrules/rules"
	"github.com/flightrules/flightrules/triggers"
)

// readLanes reads at once what admission will most likely ask about the events
// of a batch: which runs of their lanes are active, and how many were started of
// late. What is not read here is read when it is asked for.
func (b *batch) readLanes(ctx context.Context, tx bun.Tx, events []triggers.Event) error {
	lanes, keys := map[string]bool{}, map[string]map[string]bool{} // keys by rule
	for _, e := range events {
		if !b.set.Listens(e.Name) {
			continue
		}
		value, err := b.Events.Value(e)
		if err != nil {
			continue // it is reported where it is routed
		}
		for _, c := range b.set.Candidates(e.Name, value) {
			if !admitsByEntity(c) {
				continue
			}
			entity := match{event: e}.entity()
			lanes[c.Rule.ID+" "+entity] = true
			if keys[c.Rule.ID] == nil {
				keys[c.Rule.ID] = map[string]bool{}
			}
			keys[c.Rule.ID][entity] = true
		}
	}
	if len(lanes) < 2 {
		return nil
	}
	var active []*journal.Run
	if err := tx.NewSelect().Model(&active).Where("lane IN (?) AND finished_at IS NULL", bun.List(slices.Sorted(maps.Keys(lanes)))).
		Order("created_at", "id").Scan(ctx); err != nil {
		return err
	}
	for lane := range lanes {
		b.lanes[lane] = nil
	}
	for _, run := range active {
		b.lanes[run.Lane] = append(b.lanes[run.Lane], run)
	}
	for rule, some := range keys {
		if err := b.readStarts(ctx, tx, rule, slices.Sorted(maps.Keys(some))); err != nil {
			return err
		}
	}
	return nil
}

// admitsByEntity says whether a candidate that matches is admitted at once, in
// the lane of its entity, which is not locked.
func admitsByEntity(c rules.Candidate) bool {
	t, r := c.Trigger, c.Rule
	return c.Role == rules.Match && t.Hold.IsZero() && t.Count == nil && t.Unless == nil && t.Group == nil && t.Absent == nil &&
		!r.Per.Rule && r.Per.Expr == nil && !locksLane(r.Mode)
}

// readStarts counts the recent runs of a rule for some keys.
func (b *batch) readStarts(ctx context.Context, tx bun.Tx, rule string, keys []string) error {
	var counts []struct {
		Key string
		N   int
	}
	if err := tx.NewSelect().Model((*journal.Run)(nil)).Column("key").ColumnExpr("COUNT(*) AS n").
		Where("rule = ? AND key IN (?) AND created_at > ?", rule, bun.List(keys), db.At(b.now.Add(-tripWindow))).
		Group("key").Scan(ctx, &counts); err != nil {
		return err
	}
	for _, key := range keys {
		b.starts[rule+" "+key] = 0
	}
	for _, c := range counts {
		b.starts[rule+" "+c.Key] = c.N
	}
	return nil
}
