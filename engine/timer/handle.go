package timer

import (
	"context"
	"fmt"
	"log/slog"
	"runtime/debug"
	"time"

	"github.com/uptrace/bun"

	"github.com/flightrules/flightrules/internal/db"
)

// Topic is the hint that a timer was set which may be due before the others.
const Topic = "timers"

// Batch handles due timers of one kind together. It opens its own
// transactions, takes the timers inside them, and defers those that fail; an
// error means that nothing could be done for now.
type Batch func(ctx context.Context, due []Timer) error

// Handler handles one due timer, already taken, in the transaction at hand.
type Handler func(ctx context.Context, tx bun.Tx, t Timer) error

// batchSize bounds how many timers one transaction looks at.
const batchSize = 256

// Timers fires timers. Register handlers before the first Step; after that it
// is safe for concurrent use by several nodes, and by one goroutine here.
type Timers struct {
	db       *db.DB
	now      func() time.Time
	log      *slog.Logger
	failed   func(kind string, err error)
	kinds    []string
	handlers map[string]Batch
}

// New makes Timers on a migrated database. failed is told of every failed
// handler, for counting; it may be nil.
func New(d *db.DB, now func() time.Time, log *slog.Logger, failed func(kind string, err error)) *Timers {
	return &Timers{db: d, now: now, log: log, failed: failed, handlers: map[string]Batch{}}
}

// HandleBatch registers who handles the timers of a kind. A second handler
// of one kind is a mistake in the wiring and panics.
func (t *Timers) HandleBatch(kind string, fn Batch) {
	if _, ok := t.handlers[kind]; ok {
		panic(fmt.Sprintf("timer: two handlers of kind %q", kind))
	}
	t.kinds = append(t.kinds, kind)
	t.handlers[kind] = fn
}

// Handle registers a handler that gets one timer at a time, each in its own
// transaction. When it fails or panics, its writes are taken back and the
// timer comes due again after a growing pause.
func (t *Timers) Handle(kind string, fn Handler) {
	t.HandleBatch(kind, func(ctx context.Context, due []Timer) error {
		for _, one := range due {
			err := t.db.Write(ctx, func(ctx context.Context, tx bun.Tx) error {
				taken, err := Take(ctx, tx, one)
				if err != nil || !taken {
					return err
				}
				return contain(func() error { return fn(ctx, tx, one) })
			})
			if err == nil {
				continue
			}
			if ctx.Err() != nil {
				return err
			}
			if err := t.Defer(ctx, one, err); err != nil {
				return err
			}
		}
		return nil
	})
}

// Defer puts a timer whose handler failed off, by one second doubling to five
// minutes, and logs why.
func (t *Timers) Defer(ctx context.Context, one Timer, cause error) error {
	pause := min(time.Second<<min(one.Attempts, 10), 5*time.Minute)
	t.log.Error("a timer's handler failed and will be tried again", "kind", one.Kind, "key", one.Key,
		"attempt", one.Attempts+1, "pause", pause, "error", cause)
	if t.failed != nil {
		t.failed(one.Kind, cause)
	}
	return t.db.Write(ctx, func(ctx context.Context, tx bun.Tx) error {
		_, err := tx.NewUpdate().Model((*Timer)(nil)).Set("due_at = ?, attempts = attempts + 1", db.At(t.now().Add(pause))).
			Where("id = ? AND due_at = ?", one.ID, one.DueAt).Exec(ctx)
		return err
	})
}

// Step fires what is due, a batch of each kind. A kind whose handler fails
// does not keep the others waiting; its error is returned after them.
func (t *Timers) Step(ctx context.Context) (more bool, err error) {
	for _, kind := range t.kinds {
		due, dueErr := Due(ctx, t.db.Read(), kind, t.now(), batchSize)
		if dueErr != nil {
			return false, dueErr
		}
		if len(due) == 0 {
			continue
		}
		more = true
		if handleErr := contain(func() error { return t.handlers[kind](ctx, due) }); handleErr != nil {
			err = fmt.Errorf("timers of kind %s: %w", kind, handleErr)
		}
	}
	return more, err
}

// Next is when the first timer that has a handler comes due.
func (t *Timers) Next(ctx context.Context) (time.Time, error) {
	return Next(ctx, t.db.Read(), t.kinds...)
}

func contain(fn func() error) (err error) {
	defer func() {
		if r := recover(); r != nil {
			err = fmt.Errorf("panic: %v\n%s", r, debug.Stack())
		}
	}()
	return fn()
}
