package retention

import (
	"context"

	"github.com/uptrace/bun"

	"github.com/flightrules/flightrules/engine/journal"
	"github.com/flightrules/flightrules/internal/db"
)

func (p *Pruner) runs(ctx context.Context, idb bun.IDB, w *walk, page []db.Mark, dry bool, removed Counts) (int, error) {
	ids := make([]string, len(page))
	for i, m := range page {
		ids[i] = m.ID
	}
	done, runs, steps, err := journal.PruneRuns(ctx, idb, ids, p.Now().Add(-p.Recent(w.Of)), Batch, dry)
	removed.add("runs", runs)
	removed.add("steps", steps)
	return done, err
}

func (p *Pruner) decisions(ctx context.Context, idb bun.IDB, _ *walk, page []db.Mark, dry bool, removed Counts) (int, error) {
	n, err := journal.PruneDecisions(ctx, idb, db.Seqs(page), dry)
	removed.add("decisions", n)
	return len(page), err
}

func (p *Pruner) events(ctx context.Context, idb bun.IDB, w *walk, page []db.Mark, dry bool, removed Counts) (int, error) {
	n, err := journal.PruneEvents(ctx, idb, db.Seqs(page), dry, func(a db.Aged, rule string, at db.Mark) (bool, error) {
		if !w.dry {
			return false, nil // what was to go is gone
		}
		until, err := p.foreseen(ctx, w, a, rule)
		return !until.At.IsZero() && a.Before(at, until), err
	})
	removed.add("events", n)
	return len(page), err
}

func (p *Pruner) transitions(ctx context.Context, idb bun.IDB, w *walk, page []db.Mark, dry bool, removed Counts) (int, error) {
	transitions, forgotten, err := p.Entities.Prune(ctx, idb, w.Of, w.until, db.Seqs(page), journal.NeededTransitions, dry)
	removed.add("transitions", transitions)
	removed.add("entities", forgotten)
	return len(page), err
}

// foreseen is where the old decisions, or runs, of a rule end that a pass would
// have removed if it were not dry.
func (p *Pruner) foreseen(ctx context.Context, w *walk, a db.Aged, rule string) (db.Mark, error) {
	key := [2]string{a.Table, rule}
	if until, ok := w.bounds[key]; ok {
		return until, nil
	}
	if w.bounds == nil {
		w.bounds = map[[2]string]db.Mark{}
	}
	for _, s := range p.shelves() {
		if s.Table != a.Table {
			continue
		}
		until, err := p.bound(ctx, s, rule)
		if err != nil {
			return until, err
		}
		w.bounds[key] = until
	}
	return w.bounds[key], nil
}
