package engine

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/uptrace/bun"

	"github.com/flightrules/flightrules/engine/journal"
	"github.com/flightrules/flightrules/engine/timer"
	"github.com/flightrules/flightrules/internal/db"
	"github.com/flightrules/flightrules/rules"
)

// report is what a walk writes in each of its transactions: how its run changes,
// what is dirty, and a few things that many runs want. Several walks may share a
// transaction for it. What a walk does to entities or to other runs is not among
// it: those locks would be taken in no order.
type report struct {
	*walk
	set   string // of the run; reports with the same text and args share a statement
	args  []any
	stamp string        // the column of the run that gets the time; "": none
	after time.Duration // added to that time

	lane  string    // where the next run may begin; "": nowhere
	deaf  bool      // nothing is waited for any more
	wake  time.Time // of the run's timer; zero: none is set
	awake bool      // the run has no timer any more
	again bool      // the run may be ready already

	wrote map[place]int // by revision what was dirty and is written
	err   error
}

// share writes a report in a transaction with those of other walks.
func (w *walk) share(ctx context.Context, r *report) error {
	if w.queues() {
		return w.alone(ctx, r, func(context.Context, bun.Tx) error { return nil })
	}
	r.walk = w
	err := w.reports.Write(ctx, r)
	if err == nil {
		err = r.err
	}
	if err == nil {
		w.clean(r.wrote)
	}
	return err
}

// queues says whether the router may lock the run for what waits behind it: it
// does so lane by lane, in the order of the events, and would meet somebody who
// holds several lanes in a deadlock. SQLite has a single writer and no locks.
func (w *walk) queues() bool {
	if !w.DB.Postgres() {
		return false
	}
	for _, r := range []*rules.Rule{w.rule, w.Rules().Rule(w.run.Rule)} {
		if r != nil && locksLane(r.Mode) {
			return true
		}
	}
	return false
}

// writeReports writes the reports of several walks, but for those that have
// lost their leases.
func (e *Engine) writeReports(ctx context.Context, tx bun.Tx, all []*report) error {
	held, err := e.setRuns(ctx, tx, all)
	if err != nil {
		return err
	}
	var steps []journal.Step
	var deaf, awake, lanes []string
	var timers []timer.Timer
	seen := map[*walk]bool{} // its branches write reports of their own, and steps of each other
	for _, r := range all {
		if r.err = nil; !held[r] {
			r.err = errLeaseLost
			continue
		}
		// What is dirty is looked at under the lock of the run, so that nothing
		// older is written over it.
		var rows []journal.Step
		if rows, r.wrote = r.unwritten(); seen[r.walk] {
			rows, r.wrote = nil, nil
		}
		seen[r.walk] = true
		steps = append(steps, rows...)
		if r.deaf {
			deaf = append(deaf, r.run.ID)
		}
		if r.awake {
			awake = append(awake, r.run.ID)
		}
		if !r.wake.IsZero() {
			timers = append(timers, timer.Timer{Kind: wakeTimer, Key: r.run.ID, DueAt: db.At(r.wake)})
			db.HintAfter(ctx, timer.Topic)
		}
		if r.again {
			db.HintAfter(ctx, journal.Topic)
		}
		if r.lane != "" {
			lanes = append(lanes, r.lane)
		}
	}
	if err := upsert(ctx, tx, steps...); err != nil {
		return err
	}
	if err := journal.Deaf(ctx, tx, deaf...); err != nil {
		return err
	}
	if _, err := timer.Cancel(ctx, tx, wakeTimer, awake...); err != nil {
		return err
	}
	if err := timer.Set(ctx, tx, timers...); err != nil {
		return err
	}
	return promoteAll(ctx, tx, lanes)
}

// setRuns changes the runs that this node still holds, which is the first write
// of every transaction of a walk, and says which reports are about those.
func (e *Engine) setRuns(ctx context.Context, tx bun.Tx, all []*report) (map[*report]bool, error) {
	alike := map[string][]*report{}
	ids := make([]string, len(all))
	for i, r := range all {
		ids[i] = r.run.ID
		key := fmt.Sprintf("%s %q %s %s %d %v", r.set, r.args, r.stamp, r.after, r.run.Epoch, r.recovered())
		alike[key] = append(alike[key], r)
	}
	if err := e.lockRuns(ctx, tx, ids); err != nil {
		return nil, err
	}
	held := make(map[*report]bool, len(all))
	for _, key := range slices.Sorted(maps.Keys(alike)) {
		some := alike[key]
		ids := make([]string, len(some))
		for i, r := range some {
			ids[i] = r.run.ID
		}
		q := tx.NewUpdate().Model((*journal.Run)(nil)).
			Where("id IN (?) AND epoch = ? AND lease_node = ?", bun.List(ids), some[0].run.Epoch, e.Node)
		if some[0].set != "" {
			q = q.Set(some[0].set, some[0].args...)
		}
		if some[0].stamp != "" {
			q = q.Set("? = ?", bun.Ident(some[0].stamp), db.At(e.Now().Add(some[0].after)))
		}
		if some[0].recovered() {
			q = q.Set("recoveries = 0")
		}
		var changed []string
		if err := q.Returning("id").Scan(ctx, &changed); err != nil {
			return nil, err
		}
		there := make(map[string]bool, len(changed))
		for _, id := range changed {
			there[id] = true
		}
		for _, r := range some {
			held[r] = there[r.run.ID]
		}
	}
	return held, nil
}

// lockRuns locks several runs in one order, as all do that change several.
func (e *Engine) lockRuns(ctx context.Context, tx bun.Tx, ids []string) error {
	if len(ids) < 2 || !e.DB.Postgres() {
		return nil
	}
	return e.DB.ForUpdate(tx.NewSelect().Model((*journal.Run)(nil)).Column("id").Where("id IN (?)", bun.List(ids)).Order("id"), false).
		Scan(ctx, new([]string))
}

// recovered says whether the run was broken off and gets further now.
func (w *walk) recovered() bool {
	if w.run.Recoveries == 0 {
		return false
	}
	rows, _ := w.unwritten()
	return slices.ContainsFunc(rows, func(s journal.Step) bool { return s.Status.Final() })
}

// promoteAll is promote for several lanes, in which hardly ever anybody waits.
func promoteAll(ctx context.Context, tx bun.Tx, lanes []string) error {
	if len(lanes) == 0 {
		return nil
	}
	var waiting []string
	if err := tx.NewSelect().Model((*journal.Run)(nil)).Column("lane").
		Where("lane IN (?) AND finished_at IS NULL AND status = ? AND NOT ready", bun.List(lanes), journal.RunQueued).Scan(ctx, &waiting); err != nil {
		return err
	}
	slices.Sort(waiting)
	for _, lane := range slices.Compact(waiting) {
		if err := promote(ctx, tx, lane); err != nil {
			return err
		}
	}
	return nil
}
