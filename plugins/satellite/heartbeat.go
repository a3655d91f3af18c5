package satellite

import (
	"context"
	"errors"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/uptrace/bun"
	"golang.org/x/sync/errgroup"

	"github.com/flightrules/flightrules/internal/db"
)

// maxFlush bounds how many heartbeats one transaction writes.
const maxFlush = 500

// heartbeats are those that wait to be written: the newest of each session, so
// never more than there are sessions.
type heartbeats struct {
	mu      sync.Mutex
	waiting map[*session]heartbeat
	wake    chan struct{}
}

type heartbeat struct {
	at     time.Time // when it came in
	sentAt time.Time // by the agent's clock
	// buffered is how many results the agent has not delivered.
	buffered int
	// since is when the first came in of a row without a gap that ends with this
	// one, and of which none is written; at, where it stands for itself.
	since time.Time
}

func newHeartbeats() *heartbeats {
	return &heartbeats{waiting: map[*session]heartbeat{}, wake: make(chan struct{}, 1)}
}

func (h *heartbeats) add(s *session, b heartbeat) {
	h.mu.Lock()
	h.waiting[s] = b
	h.mu.Unlock()
	h.wakeUp()
}

func (h *heartbeats) wakeUp() {
	select {
	case h.wake <- struct{}{}:
	default:
	}
}

func (h *heartbeats) take() map[*session]heartbeat {
	h.mu.Lock()
	defer h.mu.Unlock()
	taken := h.waiting
	h.waiting = map[*session]heartbeat{}
	return taken
}

// giveBack returns what could not be written, but for what is outdated by now.
func (h *heartbeats) giveBack(beats map[*session]heartbeat) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for s, b := range beats {
		if _, newer := h.waiting[s]; !newer && !s.over() {
			h.waiting[s] = b
		}
	}
}

// flushHeartbeats writes heartbeats until ctx ends. It waits for no socket.
func (p *Plugin) flushHeartbeats(ctx context.Context) error {
	pause := p.config.FlushInterval
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-p.beats.wake:
		}
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(pause):
		}
		pause = p.config.FlushInterval
		if err := p.flush(ctx); err != nil && ctx.Err() == nil {
			p.failed("heartbeats", "", err)
			pause = max(pause, time.Second)
			p.beats.wakeUp()
		}
	}
}

// flush writes the heartbeats that wait, and tells their sessions what became
// of them. Those that could not be written wait again.
func (p *Plugin) flush(ctx context.Context) error {
	beats := p.beats.take()
	var errs []error
	var lost []heard
	for sessions := range slices.Chunk(slices.Collect(maps.Keys(beats)), maxFlush) {
		chunk := make(map[*session]heartbeat, len(sessions))
		for _, s := range sessions {
			chunk[s] = beats[s]
		}
		rows, late, err := p.writeHeartbeats(ctx, chunk)
		if err != nil {
			p.beats.giveBack(chunk)
			errs = append(errs, err)
			continue
		}
		for s, b := range chunk {
			r, ok := rows[s.id]
			switch {
			case !ok || r.Epoch != s.epoch:
				s.end(outdated(r, ok))
			case late[s.id]:
				lost = append(lost, heard{s, r, b})
			case r.LastEvent == connected:
				p.written(heard{s, r, b})
			}
		}
	}
	p.recoverAll(ctx, lost)
	return errors.Join(errs...)
}

// heard is a heartbeat with its session and the row of its satellite.
type heard struct {
	session *session
	row     row
	heartbeat
}

func (p *Plugin) written(h heard) {
	p.metrics.heartbeats.Inc()
	h.session.acknowledge(h.heartbeat, h.row.interval(p.config), p.host.Now())
}

// writeHeartbeats writes heartbeats of sessions that still are the newest of
// their satellites. late are the satellites that were lost, declared or not,
// before any of it came: for them it is an edge, and nothing is written here.
func (p *Plugin) writeHeartbeats(ctx context.Context, beats map[*session]heartbeat) (rows map[string]row, late map[string]bool, err error) {
	byID := make(map[string]*session, len(beats))
	for s := range beats {
		if other, ok := byID[s.id]; !ok || other.epoch < s.epoch {
			byID[s.id] = s
		}
	}
	err = p.host.Write(ctx, func(ctx context.Context, tx bun.Tx) error {
		rows, late = map[string]row{}, map[string]bool{}
		listened, err := p.readListening(ctx, tx)
		if err != nil {
			return err
		}
		since := listened.since(p.host.Now(), p.config.gap())
		locked, err := p.lockRows(ctx, tx, slices.Collect(maps.Keys(byID)))
		if err != nil {
			return err
		}
		var fresh []heartbeatRow
		for _, r := range locked {
			rows[r.ID] = r
			s := byID[r.ID]
			switch {
			case r.Epoch != s.epoch:
			case r.LastEvent == heartbeatLost, beats[s].since.After(r.deadline(p.config, since)):
				late[r.ID] = true
			default:
				fresh = append(fresh, heartbeatRow{ID: r.ID, At: db.At(beats[s].at), Buffered: int64(max(beats[s].buffered, 0))})
			}
		}
		return updateHeartbeats(ctx, tx, fresh)
	})
	return rows, late, err
}

// heartbeatRow is one row of the list that satellites are updated from.
type heartbeatRow struct {
	ID       string  `bun:"id,type:text"`
	At       db.Time `bun:"at,type:bigint"`
	Buffered int64   `bun:"buffered,type:bigint"`
}

func updateHeartbeats(ctx context.Context, tx bun.Tx, fresh []heartbeatRow) error {
	if len(fresh) == 0 {
		return nil
	}
	_, err := tx.NewUpdate().With("fresh", tx.NewValues(&fresh)).Model((*row)(nil)).TableExpr("fresh").
		Set("last_heartbeat_at = fresh.at, buffered = fresh.buffered").Where("satellites.id = fresh.id").Exec(ctx)
	return err
}

// recoverAll makes the edges of satellites that are heard again. One that
// fails does not stop the others, and is tried again with its next heartbeat.
func (p *Plugin) recoverAll(ctx context.Context, lost []heard) {
	var group errgroup.Group // many at once share a transaction
	group.SetLimit(256)
	for _, h := range lost {
		group.Go(func() error {
			if err := p.recover(h.session.cause(ctx), h.session.id, h.session.epoch); err != nil {
				p.failed("recover", h.session.id, err)
				return nil
			}
			p.written(h)
			return nil
		})
	}
	_ = group.Wait() // each has dealt with its own error
}
