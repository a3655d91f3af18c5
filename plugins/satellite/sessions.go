package satellite

import (
	"context"
	"slices"
	"sync"

	"github.com/coder/websocket"
	"github.com/uptrace/bun"

	"github.com/flightrules/flightrules/plugins/satellite/protocol"
)

// maxPending bounds how many sockets may be open that have not authenticated.
const maxPending = 1024

// sessions are the sockets of this node.
type sessions struct {
	mu      sync.Mutex
	down    bool
	pending map[*pendingSocket]context.CancelFunc // not authenticated yet
	live    map[string]*session                   // by satellite
	sockets sync.WaitGroup
}

type pendingSocket struct{ _ byte } // not empty, so that each has an address of its own

func newSessions() *sessions {
	return &sessions{pending: map[*pendingSocket]context.CancelFunc{}, live: map[string]*session{}}
}

// enter admits a socket that is yet to authenticate; false when there are too
// many or the node is going down. Call authenticated when it has, or gave up,
// and left when it is closed.
func (s *sessions) enter(ctx context.Context) (inner context.Context, authenticated, left func(), ok bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.down || len(s.pending) >= maxPending {
		return nil, nil, nil, false
	}
	inner, cancel := context.WithCancel(context.WithoutCancel(ctx))
	socket := &pendingSocket{}
	s.pending[socket] = cancel
	s.sockets.Add(1)
	authenticated = func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		delete(s.pending, socket)
	}
	return inner, authenticated, func() { cancel(); s.sockets.Done() }, true
}

// add makes a session the one of its satellite, and ends the one before it.
func (s *sessions) add(one *session) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if old := s.live[one.id]; old != nil && old.epoch < one.epoch {
		old.end(outdated(row{SessionID: "another"}, true))
	} else if old != nil {
		one.end(outdated(row{SessionID: "another"}, true))
		return
	}
	if s.down {
		one.end(shutdown)
	}
	s.live[one.id] = one
}

func (s *sessions) remove(one *session) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.live[one.id] == one {
		delete(s.live, one.id)
	}
}

func (s *sessions) count() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.live)
}

func (s *sessions) list() []*session {
	s.mu.Lock()
	defer s.mu.Unlock()
	list := make([]*session, 0, len(s.live))
	for _, one := range s.live {
		list = append(list, one)
	}
	return list
}

var shutdown = ending{protocol.Shutdown{Reason: "this node of the core is going down"}, websocket.StatusGoingAway}

// shutDown ends all sockets and waits for them, which is bounded by the
// timeouts of writing and closing.
//
// The rows stay as they are, `connected`: a core that goes down knows nothing
// about its satellites. The agents connect again, to this node when it is back
// or to another one; until then the silence counts from when the core listens
// again. Writing `disconnected` would page for each restart of the core.
func (s *sessions) shutDown() {
	s.mu.Lock()
	s.down = true
	for _, cancel := range s.pending {
		cancel()
	}
	for _, one := range s.live {
		one.end(shutdown)
	}
	s.mu.Unlock()
	s.sockets.Wait()
}

// watchSessions ends sessions that other nodes have ended in the database, and
// all of them when ctx ends. A hint that is lost costs little: the next
// heartbeat of such a session finds it out too.
func (p *Plugin) watchSessions(ctx context.Context) error {
	hint, cancel := p.host.Subscribe(topic)
	defer cancel()
	for {
		select {
		case <-ctx.Done():
			p.sessions.shutDown()
			return nil
		case <-hint:
		}
		if err := p.checkSessions(ctx, p.sessions.list()...); err != nil && ctx.Err() == nil {
			p.failed("sessions", "", err)
		}
	}
}

// checkSessions compares sessions of this node with the table.
func (p *Plugin) checkSessions(ctx context.Context, list ...*session) error {
	for chunk := range slices.Chunk(list, maxFlush) {
		ids := make([]string, len(chunk))
		for i, s := range chunk {
			ids[i] = s.id
		}
		var found []row
		if err := p.host.Read().NewSelect().Model(&found).Column("id", "session_id", "session_epoch", "offline_threshold", "revision", "bundle").
			Where("id IN (?)", bun.List(ids)).Scan(ctx); err != nil {
			return err
		}
		rows := make(map[string]row, len(found))
		for _, r := range found {
			rows[r.ID] = r
		}
		for _, s := range chunk {
			r, ok := rows[s.id]
			if !ok || r.Epoch > s.epoch {
				s.end(outdated(r, ok))
				continue
			}
			s.setInterval(r.interval(p.config), p.host.Now())
			if err := p.bringUp(ctx, s, r); err != nil {
				return err
			}
		}
	}
	return nil
}

// bringUp tells a session's agent what has changed of what it is to do.
func (p *Plugin) bringUp(ctx context.Context, s *session, r row) error {
	assignments, bundle := s.behind(r)
	if assignments {
		work, err := p.work(ctx, r)
		if err != nil {
			s.end(ending{}) // it is told when it is back
			return err
		}
		s.tell(work)
	}
	if bundle {
		s.tell(protocol.Bundle{Hash: r.Bundle})
	}
	return nil
}
