package engine

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"runtime/debug"
	"slices"
	"sync"
	"time"

	"github.com/uptrace/bun"

	"github.com/flightrules/flightrules/engine/journal"
	"github.com/flightrules/flightrules/engine/timer"
	"github.com/flightrules/flightrules/internal/db"
)

// errLeaseLost ends the execution of a run that another node has taken over:
// whatever this one still wanted to write about it is not written.
var errLeaseLost = errors.New("the lease of the run was lost")

// worker claims runs that are ready, and executes each in its own goroutine.
type worker struct {
	*Engine
	slots chan struct{}
	busy  sync.WaitGroup

	mu     sync.Mutex
	active map[string]execution // runs that are being executed here
}

// execution is a run that is being executed.
type execution struct {
	epoch  int64 // of its claim
	cancel context.CancelCauseFunc
	walk   *walk
}

func (w *worker) init(e *Engine) {
	w.Engine = e
	w.slots = make(chan struct{}, e.Workers)
	w.active = map[string]execution{}
}

// begin gives the context of the execution of a run.
func (w *worker) begin(ctx context.Context, run journal.Run) (context.Context, context.CancelCauseFunc, *walk) {
	ctx, cancel := context.WithCancelCause(ctx)
	w.mu.Lock()
	defer w.mu.Unlock()
	at := w.newWalk(run)
	w.active[run.ID] = execution{run.Epoch, cancel, at}
	return ctx, cancel, at
}

func (w *worker) end(run journal.Run) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.active[run.ID].epoch == run.Epoch {
		delete(w.active, run.ID)
	}
}

// ours are the runs that are being executed here.
func (w *worker) ours() []string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return slices.Collect(maps.Keys(w.active))
}

// wait returns when no run is being executed.
func (w *worker) wait() { w.busy.Wait() }

// Step claims as many runs as there are free workers.
func (w *worker) Step(ctx context.Context) (more bool, err error) {
	if err := w.tell(ctx); err != nil {
		return false, err
	}
	if w.free() == 0 {
		return false, nil // the worker that becomes free looks again
	}
	runs, err := w.claim(ctx)
	if err != nil {
		return false, err
	}
	ahead := w.readAhead(ctx, runs)
	for _, run := range runs {
		w.slots <- struct{}{}
		running, cancel, at := w.begin(ctx, run)
		at.ahead = ahead[run.ID]
		work := func() {
			defer func() {
				w.end(run)
				cancel(nil)
				<-w.slots
				w.DB.Hint(journal.Topic)
			}()
			w.execute(running, run, at)
		}
		if w.Inline {
			work()
		} else {
			w.busy.Go(work)
		}
	}
	return len(runs) > 0, nil
}

// free is how many more runs may be executed. Nobody but Step makes it fewer.
func (w *worker) free() int { return cap(w.slots) - len(w.slots) }

// readAhead is what the walks of some runs ask for first, read at once. Where it
// cannot be read each of them asks for itself.
func (w *worker) readAhead(ctx context.Context, runs []journal.Run) map[string]*ahead {
	ids, events := make([]string, len(runs)), make([]string, len(runs))
	for i, run := range runs {
		ids[i], events[i] = run.ID, run.EventID
	}
	steps, err := journal.StepsOf(ctx, w.DB.Read(), ids...)
	if err != nil {
		return nil
	}
	rows, err := journal.EventsByID(ctx, w.DB.Read(), events...)
	if err != nil {
		return nil
	}
	read := make(map[string]*ahead, len(runs))
	for _, run := range runs {
		if row, ok := rows[run.EventID]; ok {
			read[run.ID] = &ahead{steps[run.ID], row}
		}
	}
	return read
}

// tell ends the contexts of the runs that somebody asked to end, and tells those
// for which something has come.
func (w *worker) tell(ctx context.Context) error {
	ours := w.ours()
	if len(ours) == 0 {
		return nil
	}
	var told []journal.Run
	if err := w.DB.Read().NewSelect().Model(&told).Column("id", "epoch", "cancel_at", "cancel_why", "woken").
		Where("id IN (?) AND lease_node = ? AND (cancel_at IS NOT NULL OR woken)", bun.List(ours), w.Node).Scan(ctx); err != nil {
		return err
	}
	for _, run := range told {
		w.mu.Lock()
		e, ok := w.active[run.ID]
		w.mu.Unlock()
		switch {
		case !ok || e.epoch != run.Epoch:
		case !run.CancelAt.IsZero():
			e.cancel(&cancelled{run.CancelWhy})
		default:
			if err := e.walk.look(ctx); err != nil {
				return err
			}
		}
	}
	return nil
}

// Next is when the first lease runs out: its node may be dead.
func (w *worker) Next(ctx context.Context) (time.Time, error) {
	var first db.Time
	err := w.DB.Read().NewSelect().Model((*journal.Run)(nil)).ColumnExpr("MIN(lease_until)").
		Where("lease_until IS NOT NULL AND lease_node <> ?", w.Node).Scan(ctx, &first)
	return first.Time, err
}

// claim takes runs that are ready, and those whose lease ran out; but not what
// this node is at itself, however late it is with the renewal.
func (w *worker) claim(ctx context.Context) ([]journal.Run, error) {
	ready, err := w.claimable(ctx, w.DB.Read(), 1)
	if err != nil || len(ready) == 0 {
		return nil, err // looking costs no write
	}
	var runs []journal.Run
	err = w.DB.Write(ctx, func(ctx context.Context, tx bun.Tx) error {
		runs = nil
		ids, err := w.claimable(ctx, tx, w.free()) // more of them may be since it waited for its turn
		if err != nil || len(ids) == 0 {
			return err
		}
		now := w.Now()
		_, err = tx.NewUpdate().Model(&runs).
			Set("recoveries = recoveries + CASE WHEN lease_until IS NULL THEN 0 ELSE 1 END").
			Set("status = ?, ready = ?, woken = ?, heeds = ?, lease_node = ?, lease_until = ?, epoch = epoch + 1, started_at = COALESCE(started_at, ?)",
				journal.RunRunning, false, false, false, w.Node, db.At(now.Add(w.Lease)), db.At(now)).
			Where("id IN (?)", bun.List(ids)).Returning("*").Exec(ctx)
		return err
	})
	return runs, err
}

func (w *worker) claimable(ctx context.Context, idb bun.IDB, limit int) ([]string, error) {
	var ids []string
	_, locking := idb.(bun.Tx)
	pick := func(order, where string, args ...any) error {
		if len(ids) >= limit {
			return nil
		}
		q := idb.NewSelect().Model((*journal.Run)(nil)).Column("id").Where(where, args...).OrderExpr(order).Limit(int64(limit - len(ids)))
		if locking {
			q = w.DB.ForUpdate(q, true)
		}
		var some []string
		err := q.Scan(ctx, &some)
		ids = append(ids, some...)
		return err
	}
	expired, args := "lease_until <= ?", []any{db.At(w.Now())}
	if ours := w.ours(); len(ours) > 0 {
		expired, args = expired+" AND NOT (lease_node = ? AND id IN (?))", append(args, w.Node, bun.List(ours))
	}
	err := errors.Join(pick("created_at, id", "ready"), pick("lease_until", expired, args...))
	return ids, err
}

// renew keeps the leases of this node's runs until ctx ends.
func (w *worker) renew(ctx context.Context) error {
	ticker := time.NewTicker(w.Lease / 3)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-ticker.C:
		}
		if err := w.renewOnce(ctx); err != nil && ctx.Err() == nil {
			w.Log.Error("the leases of runs could not be renewed", "error", err)
			w.Metrics.Failed("leases", err)
		}
	}
}

// renewOnce renews the leases of what is being executed. A run that was broken
// off is not: its lease runs out, and it is taken up again.
func (w *worker) renewOnce(ctx context.Context) error {
	ours := w.ours()
	if len(ours) == 0 {
		return nil
	}
	return w.DB.Write(ctx, func(ctx context.Context, tx bun.Tx) error {
		if err := w.lockRuns(ctx, tx, ours); err != nil {
			return err
		}
		_, err := tx.NewUpdate().Model((*journal.Run)(nil)).Set("lease_until = ?", db.At(w.Now().Add(w.Lease))).
			Where("lease_node = ? AND lease_until IS NOT NULL AND id IN (?)", w.Node, bun.List(ours)).Exec(ctx)
		return err
	})
}

// execute walks a claimed run until it ends, waits, or is lost. What goes wrong
// outside of its steps (the database is away, the process ends) leaves it to
// whoever finds its lease run out.
func (e *Engine) execute(ctx context.Context, run journal.Run, at *walk) {
	err := contained(func() error { return at.walk(ctx) })
	if err == nil || ctx.Err() != nil {
		return
	}
	e.Log.Error("the execution of a run was broken off and will be taken up again", "run", run.ID, "rule", run.Rule, "error", err)
	e.Metrics.Failed("runs", err)
}

// contained makes an error of a panic.
func contained(fn func() error) (err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("panic: %v\n%s", p, debug.Stack())
		}
	}()
	return fn()
}

// wakeTimer is the kind of the timers of waiting runs; the key is the run.
const wakeTimer = "run.wake"

// wake makes runs ready whose time has come. Runs are locked before timers, as
// everywhere.
func (e *Engine) wake(ctx context.Context, due []timer.Timer) error {
	return e.DB.Write(ctx, func(ctx context.Context, tx bun.Tx) error {
		ids := make([]string, len(due))
		for i, t := range due {
			ids[i] = t.Key
		}
		if err := e.lockRuns(ctx, tx, ids); err != nil {
			return err
		}
		if _, err := tx.NewUpdate().Model((*journal.Run)(nil)).Set("ready = ?", true).
			Where("id IN (?) AND status = ?", bun.List(ids), journal.RunWaiting).Exec(ctx); err != nil {
			return err
		}
		db.HintAfter(ctx, journal.Topic)
		return timer.TakeAll(ctx, tx, e.Now(), due)
	})
}
