package db

import (
	"context"
	"fmt"
	"runtime/debug"
	"slices"
	"sync"

	"github.com/uptrace/bun"
)

// maxGroup bounds how many callers share one transaction. Past a few hundred
// rows a multi-row statement gains nothing and holds locks for longer.
const maxGroup = 256

// Group puts what callers want to write at the same time into one transaction,
// so that they share its statements and its sync. It has no goroutine of its own:
// the first caller writes for those behind it, and hands on to the next when its
// own is durable. It is safe for concurrent use.
type Group[T any] struct {
	db *DB
	do func(ctx context.Context, tx bun.Tx, all []T) error

	mu      sync.Mutex
	busy    bool
	waiting []*member[T]
}

// member is one caller of a group.
type member[T any] struct {
	what    T
	lead    chan struct{} // told that it is this caller's turn to write
	leading bool
	done    chan struct{}
	err     error
	alone   bool // it is to write by itself
}

// NewGroup makes a group whose transactions do is called for, with what each of
// the callers wants, oldest first. Its context has nothing of theirs, and like
// that of Write it may be called again. An error of it, or a panic, takes back
// what all of them wanted: each then has a transaction of its own.
func NewGroup[T any](d *DB, do func(ctx context.Context, tx bun.Tx, all []T) error) *Group[T] {
	return &Group[T]{db: d, do: do}
}

// Write returns when what the caller wants is durable or has failed. A caller
// that gives up before it is taken up leaves nothing behind; afterwards ctx
// counts no more. Inside a Write it is ErrNested.
func (g *Group[T]) Write(ctx context.Context, what T) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	if InWrite(ctx) {
		return ErrNested // it would wait for itself
	}
	m := &member[T]{what: what, lead: make(chan struct{}, 1), done: make(chan struct{})}
	if !g.enter(m) {
		select {
		case <-m.done:
			return g.ended(ctx, m)
		case <-m.lead:
		case <-ctx.Done():
			if g.withdraw(m) {
				return ctx.Err()
			}
			select {
			case <-m.done:
				return g.ended(ctx, m)
			case <-m.lead:
			}
		}
	}
	g.writeWaiting(ctx, m)
	return g.ended(ctx, m)
}

// ended is how it ended, once the transaction of the group has.
func (g *Group[T]) ended(ctx context.Context, m *member[T]) error {
	if !m.alone {
		return m.err
	}
	return g.db.Write(ctx, func(ctx context.Context, tx bun.Tx) error { return g.do(ctx, tx, []T{m.what}) })
}

// writeWaiting writes what waits when its transaction begins: the longer it had
// to wait for that, the more there is.
func (g *Group[T]) writeWaiting(ctx context.Context, leader *member[T]) {
	defer g.handOn()
	var batch []*member[T]
	err := contained(func() error {
		return g.db.WriteShared(ctx, func(ctx context.Context, tx bun.Tx) error {
			if batch == nil {
				batch = g.take()
			}
			all := make([]T, len(batch))
			for i, m := range batch {
				all[i] = m.what
			}
			return g.do(ctx, tx, all)
		})
	})
	if batch == nil { // no transaction could begin
		g.leave(leader)
		leader.err = err
		return
	}
	for _, m := range batch {
		m.err, m.alone = err, err != nil && len(batch) > 1
		close(m.done)
	}
}

func contained(fn func() error) (err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("panic: %v\n%s", p, debug.Stack())
		}
	}()
	return fn()
}

// Waiting is how many callers wait to be taken up.
func (g *Group[T]) Waiting() int {
	g.mu.Lock()
	defer g.mu.Unlock()
	return len(g.waiting)
}

// enter puts a caller into the queue, and says whether it is the one to write.
func (g *Group[T]) enter(m *member[T]) (leads bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.waiting = append(g.waiting, m)
	if g.busy {
		return false
	}
	g.busy = true
	return true
}

// take gives those who share the next transaction. The one who writes is the
// first of them.
func (g *Group[T]) take() []*member[T] {
	g.mu.Lock()
	defer g.mu.Unlock()
	n := min(len(g.waiting), maxGroup)
	batch := slices.Clone(g.waiting[:n])
	g.waiting = slices.Delete(g.waiting, 0, n)
	return batch
}

// withdraw takes back one whom nobody has taken up and who is not to write.
func (g *Group[T]) withdraw(m *member[T]) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	i := slices.Index(g.waiting, m)
	if i < 0 || m.leading {
		return false
	}
	g.waiting = slices.Delete(g.waiting, i, i+1)
	return true
}

// leave takes back one who was to write and could not.
func (g *Group[T]) leave(m *member[T]) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.waiting = slices.DeleteFunc(g.waiting, func(other *member[T]) bool { return other == m })
}

func (g *Group[T]) handOn() {
	g.mu.Lock()
	defer g.mu.Unlock()
	if len(g.waiting) == 0 {
		g.busy = false
		return
	}
	next := g.waiting[0]
	next.leading = true
	next.lead <- struct{}{}
}
