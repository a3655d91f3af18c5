package journal

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"

	"github.com/uptrace/bun"

	"github.com/flightrules/flightrules/internal/db"
)

// needs are the conditions under which an event will be read again; ? is the
// column of its id. A table that comes to refer to events is one more line.
//
// They are looked at in one statement, and so at one instant: what moves from
// one of these places to another in the meantime is in one of them.
var needs = []string{
	"? IN (SELECT event_id FROM outbox WHERE event_id IS NOT NULL)",                   // it is yet to be routed
	"EXISTS (SELECT 1 FROM timers WHERE event_id = ?)",                                // it is held, or opened a batch or an absence
	"EXISTS (SELECT 1 FROM window_items WHERE event_id = ?)",                          // a trigger gathers it
	"EXISTS (SELECT 1 FROM silenced WHERE event_id = ?)",                              // it is looked at again when a silence ends
	"EXISTS (SELECT 1 FROM mail WHERE event_id = ?)",                                  // a run hears of it
	"EXISTS (SELECT 1 FROM runs AS r WHERE r.event_id = ? AND r.finished_at IS NULL)", // a run goes on
}

// needed is the condition that an event is in any of these places; id is the
// column of its id.
func needed(id string) (query string, args []any) {
	args = make([]any, len(needs))
	for i := range args {
		args[i] = bun.Ident(id)
	}
	return "(" + strings.Join(needs, " OR ") + ")", args
}

// batched are the ids of the events of the groups that runs which go on have
// to do with. It is asked for after the places of needs: events come from there
// and end here.
func batched(ctx context.Context, idb bun.IDB) (map[string]bool, error) {
	var batches []db.JSON
	if err := idb.NewSelect().Model((*Run)(nil)).Column("batch").Where("finished_at IS NULL AND batch IS NOT NULL").Scan(ctx, &batches); err != nil {
		return nil, err
	}
	found := map[string]bool{}
	for _, text := range batches {
		var ids []string
		if err := json.Unmarshal(text, &ids); err != nil {
			return nil, fmt.Errorf("the batch of a run: %w", err)
		}
		for _, id := range ids {
			found[id] = true
		}
	}
	return found, nil
}

// NeededTransitions are those of some transitions that are still to be routed,
// or that an event is about which will be read again.
func NeededTransitions(ctx context.Context, idb bun.IDB, seqs []int64) (map[int64]bool, error) {
	if len(seqs) == 0 {
		return nil, nil
	}
	list := bun.List(seqs)
	condition, args := needed("e.id")
	of := func(column string) *bun.SelectQuery {
		return idb.NewSelect().TableExpr("events AS e").ColumnExpr("e.id AS id, ? AS seq, "+condition+" AS needed", append([]any{bun.Ident("e." + column)}, args...)...).
			Where("? IN (?)", bun.Ident("e."+column), list)
	}
	var rows []struct {
		ID     string
		Seq    int64
		Needed bool
	}
	q := of("transition_seq").UnionAll(of("about_seq")).
		UnionAll(idb.NewSelect().TableExpr("outbox AS o").ColumnExpr("'', o.transition_seq, o.id IS NOT NULL").Where("o.transition_seq IN (?)", list))
	if err := q.Scan(ctx, &rows); err != nil {
		return nil, err
	}
	inBatch, err := batched(ctx, idb)
	if err != nil {
		return nil, err
	}
	found := map[int64]bool{}
	for _, row := range rows {
		if row.Needed || inBatch[row.ID] {
			found[row.Seq] = true
		}
	}
	return found, nil
}
