package entities

import (
	"context"
	"errors"
	"slices"
	"sync"
	"time"

	"github.com/uptrace/bun"
)

// maxBatch bounds how many changes share one transaction. Past a few hundred
// rows a multi-row insert gains nothing and holds locks for longer.
const maxBatch = 256

// op is one change on its way: what to do, and how it ended.
type op struct {
	ctx       context.Context // of the caller; apply runs with its values
	kind      *kind
	id        string
	apply     func(ctx context.Context, tx bun.Tx, prev View) (next any, err error)
	remove    bool
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
	c.mu.Lock()
	c.waiting = append(c.waiting, o)
	if c.busy {
		c.mu.Unlock()
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
		c.mu.Lock()
	}
	c.busy = true
	n := min(len(c.waiting), maxBatch)
	batch := slices.Clone(c.waiting[:n])
	c.waiting = slices.Delete(c.waiting, 0, n)
	c.mu.Unlock()

	defer c.handOn()
	c.registry.commitBatch(ctx, batch)
	for _, other := range batch {
		close(other.done)
	}
	return o.err
}

// withdraw takes back a change that nobody has begun.
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

// commitBatch commits changes together. When one of them fails, each gets a
// transaction of its own, so that only the failing one fails.
func (r *Registry) commitBatch(ctx context.Context, batch []*op) {
	// One caller's patience must not end the changes of the others.
	shared := ctx
	if len(batch) > 1 {
		shared = context.WithoutCancel(ctx)
	}
	err := r.db.Write(shared, func(ctx context.Context, tx bun.Tx) error { return r.changeAll(ctx, tx, time.Time{}, batch) })
	var failed *failure
	switch {
	case err == nil || len(batch) == 1 || !errors.As(err, &failed):
		if failed != nil {
			err = failed.err
		}
		for _, o := range batch {
			o.err = err
		}
	default:
		for _, o := range batch {
			r.commitBatch(o.ctx, []*op{o})
		}
	}
}
