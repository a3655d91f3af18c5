package db

import (
	"context"
	"log/slog"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"
)

// channel is the PostgreSQL notification channel of all hints; the payload is
// the topic.
const channel = "flightrules"

// hints carries "look sooner" from whoever wrote rows to whoever waits for
// them: in this process through one-slot channels, to other nodes through
// NOTIFY. A hint may be lost or come twice; the tables are the truth.
type hints struct {
	db *DB

	mu     sync.Mutex
	subs   map[string]map[chan struct{}]struct{}
	remote map[string]struct{} // topics that other nodes are yet to hear of

	wake chan struct{} // remote is not empty
	done chan struct{}
	once sync.Once
}

func newHints(d *DB) *hints {
	return &hints{
		db: d, subs: map[string]map[chan struct{}]struct{}{}, remote: map[string]struct{}{},
		wake: make(chan struct{}, 1), done: make(chan struct{}),
	}
}

// Hint tells every subscriber of the topic, on every node, to look at the
// tables. Call it after the commit. It never blocks.
func (d *DB) Hint(topic string) {
	d.hints.local(topic)
	if d.Postgres() {
		d.hints.mu.Lock()
		d.hints.remote[topic] = struct{}{}
		d.hints.mu.Unlock()
		poke(d.hints.wake)
	}
}

// Subscribe gives a channel with one slot that is filled at each hint of the
// topic. Call cancel when done.
func (d *DB) Subscribe(topic string) (hint <-chan struct{}, cancel func()) {
	h, ch := d.hints, make(chan struct{}, 1)
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.subs[topic] == nil {
		h.subs[topic] = map[chan struct{}]struct{}{}
	}
	h.subs[topic][ch] = struct{}{}
	return ch, func() {
		h.mu.Lock()
		defer h.mu.Unlock()
		delete(h.subs[topic], ch)
	}
}

func (h *hints) local(topic string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for ch := range h.subs[topic] {
		poke(ch)
	}
}

func (h *hints) all() {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, subs := range h.subs {
		for ch := range subs {
			poke(ch)
		}
	}
}

func (h *hints) close() { h.once.Do(func() { close(h.done) }) }

// RunHints exchanges hints with the other nodes until ctx ends. On SQLite
// there are none, and it only waits.
func (d *DB) RunHints(ctx context.Context, log *slog.Logger) error {
	if !d.Postgres() {
		select {
		case <-ctx.Done():
		case <-d.hints.done:
		}
		return nil
	}
	var wg sync.WaitGroup
	defer wg.Wait()
	wg.Go(func() { d.hints.listen(ctx, log) })
	d.hints.send(ctx, log)
	return nil
}

// send notifies the other nodes, coalescing topics, after the commits and
// outside of any transaction: NOTIFY inside one would queue all commits of the
// cluster behind one lock.
func (h *hints) send(ctx context.Context, log *slog.Logger) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-h.done:
			return
		case <-h.wake:
		}
		h.mu.Lock()
		topics := h.remote
		h.remote = map[string]struct{}{}
		h.mu.Unlock()
		for topic := range topics {
			if _, err := h.db.read.ExecContext(ctx, "SELECT pg_notify(?, ?)", channel, topic); err != nil && ctx.Err() == nil {
				log.Warn("other nodes could not be told to look sooner", "error", err)
			}
		}
	}
}

func (h *hints) listen(ctx context.Context, log *slog.Logger) {
	for ctx.Err() == nil {
		err := h.listenOnce(ctx)
		if ctx.Err() != nil {
			return
		}
		log.Warn("lost the connection that listens for hints of other nodes", "error", err)
		select {
		case <-ctx.Done():
		case <-time.After(time.Second):
		}
	}
}

func (h *hints) listenOnce(ctx context.Context) error {
	conn, err := pgx.ConnectConfig(ctx, h.db.pg.Copy())
	if err != nil {
		return err
	}
	defer func() {
		closing, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Second)
		defer cancel()
		_ = conn.Close(closing) // given up either way
	}()
	if _, err := conn.Exec(ctx, "LISTEN "+channel); err != nil {
		return err
	}
	h.all() // whatever was missed while nobody listened
	for {
		note, err := conn.WaitForNotification(ctx)
		if err != nil {
			return err
		}
		h.local(note.Payload)
	}
}

func poke(ch chan struct{}) {
	select {
	case ch <- struct{}{}:
	default:
	}
}
