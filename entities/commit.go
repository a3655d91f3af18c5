package entities

import (
	"context"
	"errors"
	"slices"
	"sync"
	"time"

	"github.com/uptrace/bun"

	"github.com/flightrules/flightrules/internal/db"
)

// maxBatch bounds how many changes share one transaction. Past a few hundred
// rows a multi-row insert gains nothing and holds locks for longer.
const maxBatch = 256

// op is one change on its way: what to do, and how it ended.
type op struct {
	ctx       context.Context // of the caller; apply runs with its values
	kind      *kind
	id        string
	apply     func(ctx context.Context, tx bun.Tx, prev db.JSON) (next any, err error) // prev: nil where it does not exist
	remove    bool
	given     bool // its state is given: the plugin is not asked for it
	expired   bool // the engine's own change of an entity that became stale
	ifVersion *int64

	state any // the state after; nil when removed or not there
	row   entityRow

	lead    chan struct{} // told that it is this caller's turn to commit
	leading bool
	done    chan struct{}
	err     error
}

func newOp(ctx context.Context, k *kind, id string, opts []Option) *op {
	o := &op{ctx: ctx, kind: k, id: id, lead: make(chan struct{}, 1), done: make(chan struct{})}
	for _, option := range opts {
		option(o)
	}
	return o
}

// failure is an error of one change among those of a transaction.
type failure struct {
	op  *op
	err error
}

func (f *failure) Error() string { return f.err.Error() }
func (f *failure) Unwrap() error { return f.err }

// committer puts changes that wait at the same time into one transaction. It
// has no goroutine of its own: the first caller commits for those behind it,
// and hands on to the next when its own change is durable.
type committer struct {
	registry *Registry

	mu      sync.Mutex
	busy    bool
	waiting []*op
}

// do returns when the change is durable or has failed. A caller that gives up
// before its change is taken up leaves nothing behind.
func (c *committer) do(ctx context.Context, o *op) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	if db.InWrite(ctx) {
		return db.ErrNested // it would wait for itself
	}
	if !c.enter(o) {
		select {
		case <-o.done:
			return o.err
		case <-o.lead:
		case <-ctx.Done():
			if c.withdraw(o) {
				return ctx.Err()
			}
			select {
			case <-o.done:
				return o.err
			case <-o.lead:
			}
		}
	}
	defer c.handOn()
	batch, err := c.registry.commitWaiting(ctx, c.take)
	if batch == nil {
		c.leave(o)
		return err
	}
	for _, other := range batch {
		close(other.done)
	}
	return o.err
}

// enter puts a change into the queue, and says whether it is the one to commit.
func (c *committer) enter(o *op) (leads bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.waiting = append(c.waiting, o)
	if c.busy {
		return false
	}
	c.busy = true
	return true
}

// take gives the changes that share the next transaction. The one whose caller
// commits is the first of them.
func (c *committer) take() []*op {
	c.mu.Lock()
	defer c.mu.Unlock()
	n := min(len(c.waiting), maxBatch)
	batch := slices.Clone(c.waiting[:n])
	c.waiting = slices.Delete(c.waiting, 0, n)
	return batch
}

// withdraw takes back a change that nobody has begun and whose caller is not to
// commit.
func (c *committer) withdraw(o *op) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	i := slices.Index(c.waiting, o)
	if i < 0 || o.leading {
		return false
	}
	c.waiting = slices.Delete(c.waiting, i, i+1)
	return true
}

// leave takes back the change of a caller that was to commit and could not.
func (c *committer) leave(o *op) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.waiting = slices.DeleteFunc(c.waiting, func(other *op) bool { return other == o })
}

func (c *committer) handOn() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.waiting) == 0 {
		c.busy = false
		return
	}
	next := c.waiting[0]
	next.leading = true
	next.lead <- struct{}{}
}

// commitWaiting commits the changes that wait when its transaction begins: the
// longer it had to wait for that, the more there are. It gives them, and nil
// where no transaction could begin.
func (r *Registry) commitWaiting(ctx context.Context, take func() []*op) (batch []*op, err error) {
	err = r.db.WriteShared(ctx, func(ctx context.Context, tx bun.Tx) error {
		if batch == nil {
			batch = take()
		}
		return r.changeAll(ctx, tx, time.Time{}, batch)
	})
	var failed *failure
	if len(batch) > 1 && errors.As(err, &failed) {
		// Each gets a transaction of its own, so that only the failing one fails.
		for _, o := range batch {
			o.err = r.commitAlone(o)
		}
		return batch, nil
	}
	if failed != nil {
		err = failed.err
	}
	for _, o := range batch {
		o.err = err
	}
	return batch, err
}

func (r *Registry) commitAlone(o *op) error {
	err := r.db.Write(o.ctx, func(ctx context.Context, tx bun.Tx) error { return r.changeAll(ctx, tx, time.Time{}, []*op{o}) })
	var failed *failure
	if errors.As(err, &failed) {
		return failed.err
	}
	return err
}
