package engine

import (
	"context"
	"fmt"
	"time"

	"github.com/uptrace/bun"

	"github.com/flightrules/flightrules/engine/journal"
	"github.com/flightrules/flightrules/engine/timer"
	"github.com/flightrules/flightrules/internal/db"
	"github.com/flightrules/flightrules/rules"
)

// admit is where a match meets the runs that its rule's mode counts. It is one
// short transaction: nothing is held while a run goes on.
func (b *batch) admit(ctx context.Context, tx bun.Tx, m match, env map[string]any) error {
	lane := m.rule.ID + " " + m.per
	active, err := b.active(ctx, tx, lane, m.rule.Mode)
	if err != nil {
		return err
	}
	switch m.rule.Mode {
	case rules.Parallel:
		if len(active) >= m.rule.Max {
			b.decision(m, journal.Dropped, fmt.Sprintf("%d runs are active, and %d may be", len(active), m.rule.Max), "")
			return nil
		}
		b.start(m, env, lane, journal.Started, "")
	case rules.Queued:
		b.queue(m, env, lane, active)
	case rules.Restart:
		return b.restart(ctx, tx, m, env, lane, active)
	default:
		if len(active) > 0 {
			b.decision(m, journal.Blocked, "a run is active", active[0].ID)
			return nil
		}
		b.start(m, env, lane, journal.Started, "")
	}
	return nil
}

// active are the runs of a lane that have not ended, oldest first. Modes that
// wait for one to end lock them: it ends before this, and is not among them, or
// after this, and finds who waits for it.
func (b *batch) active(ctx context.Context, tx bun.Tx, lane string, mode rules.Mode) ([]*journal.Run, error) {
	if list, ok := b.lanes[lane]; ok {
		return list, nil
	}
	var list []*journal.Run
	q := tx.NewSelect().Model(&list).Where("lane = ? AND finished_at IS NULL", lane).Order("created_at", "id")
	if locksLane(mode) {
		q = b.DB.ForUpdate(q, false)
	}
	if err := q.Scan(ctx); err != nil {
		return nil, err
	}
	b.lanes[lane] = list
	return list, nil
}

// locksLane says whether a match locks the runs of its lane.
func locksLane(mode rules.Mode) bool { return mode == rules.Queued || mode == rules.Restart }

// start makes a run that begins at once.
func (b *batch) start(m match, env map[string]any, lane string, outcome journal.Outcome, detail string) *journal.Run {
	run := b.newRun(m, env, lane)
	run.Ready = true
	if !shares(m.rule) {
		run.Slot = lane
	}
	b.decision(m, outcome, detail, run.ID)
	return run
}

// await makes a run that begins when the one before it in its lane has ended.
func (b *batch) await(m match, env map[string]any, lane string, outcome journal.Outcome, detail string) {
	run := b.newRun(m, env, lane)
	b.decision(m, outcome, detail, run.ID)
}

func (b *batch) newRun(m match, env map[string]any, lane string) *journal.Run {
	run := &journal.Run{
		ID: b.NewID(), Rule: m.rule.ID, Version: m.rule.Version, Trigger: m.trigger.ID, EventID: m.event.ID, Key: m.key(),
		Lane: lane, Status: journal.RunQueued, Depth: m.event.Cause.Depth + 1, Attempt: 1, CreatedAt: b.at(),
	}
	if m.rule.Variables != nil {
		run.Variables = db.ToJSON(env["vars"])
	}
	if m.batch != nil {
		run.Batch = db.ToJSON(m.batch)
	}
	b.runs = append(b.runs, run)
	b.lanes[lane] = append(b.lanes[lane], run)
	b.starts[startKey(m)]++
	b.versions[m.rule.Version] = m.rule
	b.listening(run, m.rule.Awaits())
	return run
}

// shares says whether several runs of a lane may go on at once.
func shares(r *rules.Rule) bool { return r.Mode == rules.Parallel }

// waits says whether a run waits for another one of its lane to end.
func waits(run *journal.Run) bool { return run.Status == journal.RunQueued && !run.Ready }

func (b *batch) queue(m match, env map[string]any, lane string, active []*journal.Run) {
	waiting := 0
	for _, run := range active {
		if waits(run) {
			waiting++
		}
	}
	switch {
	case len(active) == 0:
		b.start(m, env, lane, journal.Started, "")
	case waiting >= m.rule.Max:
		b.decision(m, journal.Dropped, fmt.Sprintf("%d runs wait, and %d may", waiting, m.rule.Max), "")
	default:
		b.await(m, env, lane, journal.RunWaits, fmt.Sprintf("behind %d", len(active)))
	}
}

// endBound is how long a cancelled run has to end by itself.
const endBound = 30 * time.Second

// restart ends the active run and starts another. A run that is being executed
// is asked to end, and the new one begins when it has; after endBound it is
// ended in any case.
func (b *batch) restart(ctx context.Context, tx bun.Tx, m match, env map[string]any, lane string, active []*journal.Run) error {
	var ends *journal.Run
	var going []*journal.Run
	for _, run := range active {
		detail := "restarted by a newer match"
		if run.Status == journal.RunRunning {
			if err := askToEnd(ctx, tx, run, detail, b.now); err != nil {
				return err
			}
			going, ends = append(going, run), run
			continue
		}
		if err := b.cancelIdle(ctx, tx, run, detail); err != nil {
			return err
		}
		if !waits(run) {
			ends = run
		}
	}
	b.lanes[lane] = going
	detail := ""
	if ends != nil {
		detail = "restarts run " + ends.ID
	}
	if len(going) > 0 {
		b.await(m, env, lane, journal.Started, detail)
		return nil
	}
	b.start(m, env, lane, journal.Started, detail)
	return nil
}

// cancelIdle ends a run that nobody executes.
func (b *batch) cancelIdle(ctx context.Context, tx bun.Tx, run *journal.Run, why string) error {
	for _, fresh := range b.runs {
		if fresh == run { // it is yet to be written
			run.Status, run.Error, run.Ready, run.Slot, run.FinishedAt = journal.RunCancelled, why, false, "", b.at()
			return nil
		}
	}
	return endRun(ctx, tx, run.ID, why, b.now)
}

// endRun makes a run cancelled, whoever has it: what that one still wants to
// write is fenced off.
func endRun(ctx context.Context, tx bun.Tx, id, why string, now time.Time) error {
	if _, err := tx.NewUpdate().Model((*journal.Run)(nil)).
		Set("status = ?, error = ?, ready = ?, slot = NULL, lease_node = NULL, lease_until = NULL, finished_at = ?, epoch = epoch + 1",
			journal.RunCancelled, why, false, db.At(now)).Where("id = ? AND finished_at IS NULL", id).Exec(ctx); err != nil {
		return err
	}
	if err := endSteps(ctx, tx, id, now); err != nil {
		return err
	}
	if err := journal.Deaf(ctx, tx, id); err != nil {
		return err
	}
	_, err := timer.Cancel(ctx, tx, wakeTimer, id)
	return err
}

// endSteps makes the steps of a run cancelled that have not ended.
func endSteps(ctx context.Context, tx bun.Tx, run string, now time.Time) error {
	_, err := tx.NewUpdate().Model((*journal.Step)(nil)).Set("status = ?, finished_at = ?", journal.StepCancelled, db.At(now)).
		Where("run_id = ? AND status IN (?, ?)", run, journal.StepRunning, journal.StepWaiting).Exec(ctx)
	return err
}

// endOverdue ends a run that was asked to and did not, and lets the next one of
// its lane begin.
func (e *Engine) endOverdue(ctx context.Context, tx bun.Tx, t timer.Timer) error {
	run, err := journal.RunByID(ctx, tx, t.Key)
	if err != nil || run.Status.Final() {
		return ignoreGone(err)
	}
	e.Log.Warn("a run did not end when it was cancelled, and was given up", "run", run.ID, "rule", run.Rule)
	if err := endRun(ctx, tx, run.ID, run.CancelWhy, e.Now()); err != nil {
		return err
	}
	return promote(ctx, tx, run.Lane)
}

// promote lets the run begin that has waited longest in a lane, when none is
// active there.
func promote(ctx context.Context, tx bun.Tx, lane string) error {
	if lane == "" {
		return nil
	}
	var next journal.Run
	var waiting []journal.Run
	if err := tx.NewSelect().Model(&waiting).Where("lane = ? AND finished_at IS NULL", lane).Order("created_at", "id").Limit(2).Scan(ctx); err != nil || len(waiting) == 0 {
		return err
	}
	if next = waiting[0]; !waits(&next) {
		return nil
	}
	db.HintAfter(ctx, journal.Topic)
	// What came while it waited its turn was for the run before it.
	if _, err := tx.NewDelete().Model((*journal.Mail)(nil)).Where("run_id = ?", next.ID).Exec(ctx); err != nil {
		return err
	}
	_, err := tx.NewUpdate().Model(&next).Set("slot = lane, ready = ?", true).Where("id = ?", next.ID).Exec(ctx)
	return err
}
