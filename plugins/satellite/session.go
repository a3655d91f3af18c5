package satellite

import (
	"context"
	"sync"
	"time"

	"github.com/coder/websocket"

	"github.com/flightrules/flightrules/entities"
	"github.com/flightrules/flightrules/plugins/satellite/protocol"
)

const (
	// writeTimeout bounds how long a frame may take to be written.
	writeTimeout = 5 * time.Second
	// maxQueue bounds how many messages wait for an agent that reads slowly.
	// When there are more, its session ends: nobody waits for it.
	maxQueue = 32
)

// session is a satellite that is connected to this node. Whoever has something
// to tell it puts it into a queue and goes on; the session's own goroutines
// alone touch the socket.
type session struct {
	id, name string
	epoch    int64

	queue chan protocol.Message
	inbox inbox

	mu       sync.Mutex
	interval time.Duration // between heartbeats, as the agent was told
	revision int64         // of the assignments that it was told
	bundle   string        // that it was told
	ending   ending
	ended    chan struct{}
}

// ending is how the core ends a session; without a message the socket is cut.
type ending struct {
	message protocol.Message
	code    websocket.StatusCode
}

func newSession(r row, c Config) *session {
	return &session{
		id: r.ID, name: r.Name, epoch: r.Epoch, interval: r.interval(c), revision: r.Revision, bundle: r.Bundle,
		queue: make(chan protocol.Message, maxQueue), ended: make(chan struct{}),
	}
}

// cause makes changes bear the satellite as their actor.
func (s *session) cause(ctx context.Context) context.Context {
	return entities.WithCause(ctx, entities.Cause{Actor: "satellite:" + s.name})
}

// tell queues a message; it never waits.
func (s *session) tell(m protocol.Message) {
	select {
	case s.queue <- m:
	default:
		s.end(ending{protocol.Error{Code: protocol.CodeSlowConsumer, Message: "messages are not read"}, websocket.StatusPolicyViolation})
	}
}

// acknowledge tells the agent that its heartbeat is written, and how far the
// next one may be away.
func (s *session) acknowledge(b heartbeat, interval time.Duration, now time.Time) {
	s.mu.Lock()
	s.interval = interval
	s.mu.Unlock()
	s.tell(protocol.HeartbeatAck{SentAt: b.sentAt, Now: now, HeartbeatInterval: protocol.Duration(interval)})
}

// setInterval tells the agent another interval at once, if it is another: its
// next heartbeat by the old one may come too late.
func (s *session) setInterval(interval time.Duration, now time.Time) {
	s.mu.Lock()
	same := s.interval == interval
	s.interval = interval
	s.mu.Unlock()
	if !same {
		s.tell(protocol.HeartbeatAck{Now: now, HeartbeatInterval: protocol.Duration(interval)})
	}
}

// behind says whether the agent does not know the newest assignments, or the
// newest bundle, and notes that it will.
func (s *session) behind(r row) (assignments, bundle bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	assignments, bundle = s.revision < r.Revision, s.bundle != r.Bundle
	s.revision, s.bundle = max(s.revision, r.Revision), r.Bundle
	return assignments, bundle
}

// every is how far apart the agent's heartbeats are to be.
func (s *session) every() time.Duration {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.interval
}

// end ends the session, for the first reason that is given. It never waits.
func (s *session) end(e ending) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.over() {
		s.ending = e
		close(s.ended)
	}
}

// over says whether the session has ended, or is about to.
func (s *session) over() bool {
	select {
	case <-s.ended:
		return true
	default:
		return false
	}
}

// outdated is how a session ends that the table no longer has; r is the
// satellite's row, if there is one.
func outdated(r row, exists bool) ending {
	switch {
	case !exists:
		return ending{protocol.AuthFailed{Reason: "this satellite was removed"}, websocket.StatusPolicyViolation}
	case r.SessionID == "":
		return ending{protocol.AuthFailed{Reason: "the token was replaced"}, websocket.StatusPolicyViolation}
	default:
		return ending{protocol.Error{Code: protocol.CodeSuperseded, Message: "this satellite has connected anew"}, websocket.StatusPolicyViolation}
	}
}

// run works on the socket until the session ends, and says whether the agent
// ended it with a goodbye.
func (s *session) run(ctx context.Context, conn *websocket.Conn, ping time.Duration, handle func(frame []byte)) (goodbye bool) {
	ctx, cancel := context.WithCancel(ctx)
	var wg sync.WaitGroup
	wg.Go(func() { s.write(ctx, conn) })
	pings := s.ping(ctx, conn, ping)
	for {
		_, frame, err := conn.Read(ctx)
		if err != nil {
			code := websocket.CloseStatus(err)
			goodbye = !s.over() && (code == websocket.StatusNormalClosure || code == websocket.StatusGoingAway)
			break
		}
		handle(frame)
	}
	s.end(ending{})
	cancel()
	pings.stop()
	wg.Wait()
	return goodbye
}

// write writes what is queued and, at the end, how it ends.
func (s *session) write(ctx context.Context, conn *websocket.Conn) {
	for {
		select {
		case m := <-s.queue:
			if err := send(ctx, conn, m); err != nil {
				s.end(ending{})
			}
		case <-s.ended:
			finish(conn, s.ending)
			return
		}
	}
}

// pings finds out, again and again, whether the other side is still there: TCP
// alone would take minutes. Between two pings it is a timer and no goroutine.
type pings struct {
	mu      sync.Mutex
	timer   *time.Timer
	stopped bool
	running sync.WaitGroup
}

func (s *session) ping(ctx context.Context, conn *websocket.Conn, interval time.Duration) *pings {
	p := &pings{}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.timer = time.AfterFunc(interval, func() {
		p.mu.Lock()
		if p.stopped {
			p.mu.Unlock()
			return
		}
		p.running.Add(1)
		p.mu.Unlock()
		defer p.running.Done()
		ponged, cancel := context.WithTimeout(ctx, interval)
		defer cancel()
		if err := conn.Ping(ponged); err != nil {
			s.end(ending{})
			return
		}
		p.mu.Lock()
		defer p.mu.Unlock()
		if !p.stopped {
			p.timer.Reset(interval)
		}
	})
	return p
}

// stop returns when there is no ping under way any more.
func (p *pings) stop() {
	p.mu.Lock()
	p.stopped = true
	p.timer.Stop()
	p.mu.Unlock()
	p.running.Wait()
}

func send(ctx context.Context, conn *websocket.Conn, m protocol.Message) error {
	frame, err := protocol.Encode(m)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, writeTimeout)
	defer cancel()
	return conn.Write(ctx, websocket.MessageText, frame)
}

// finish closes a socket, with a last message if there is one. What fails on
// the way does not matter: the socket is gone afterwards.
func finish(conn *websocket.Conn, e ending) {
	if e.message != nil && send(context.Background(), conn, e.message) == nil {
		_ = conn.Close(e.code, "")
	}
	_ = conn.CloseNow()
}
