package satellite

import (
	"context"
	"time"

	"github.com/flightrules/flightrules/plugins/satellite/protocol"
)

// Session is a session without a socket.
type Session = session

// Connect lets a satellite in, as a socket does.
func (p *Plugin) Connect(ctx context.Context, id, token string) (*Session, error) {
	r, err := p.authenticate(ctx, protocol.Authenticate{ClientID: id, Token: token, Protocol: protocol.Version, Capabilities: []string{}})
	if err != nil {
		return nil, err
	}
	s := newSession(r, p.config)
	p.sessions.add(s)
	return s, nil
}

// Begin begins a session with a token that was checked a while ago.
func (p *Plugin) Begin(ctx context.Context, id, token string) error {
	_, err := p.connect(ctx, id, hashToken(token), protocol.Authenticate{Capabilities: []string{}})
	return err
}

// Heartbeat is one that came in at a time.
func (p *Plugin) Heartbeat(s *Session, at time.Time) {
	p.beats.add(s, heartbeat{at: at, sentAt: at, since: at})
}

// Flush writes the heartbeats that wait.
func (p *Plugin) Flush(ctx context.Context) error { return p.flush(ctx) }

// Disconnect is a socket that closed with a goodbye.
func (p *Plugin) Disconnect(ctx context.Context, s *Session) error {
	return p.disconnect(s.cause(ctx), s.id, s.epoch)
}

// CheckSessions is what a node does at a hint.
func (p *Plugin) CheckSessions(ctx context.Context) error {
	return p.checkSessions(ctx, p.sessions.list()...)
}

// Take is a frame that came in on a session's socket; it returns when it was
// worked on.
func (p *Plugin) Take(ctx context.Context, s *Session, frame []byte) {
	p.take(ctx, s, frame)
	s.inbox.done.Wait()
}

// Receive is a frame that came in on a session's socket.
func (p *Plugin) Receive(ctx context.Context, s *Session, frame []byte) { p.take(ctx, s, frame) }

// Finish waits until what came in was worked on.
func (s *Session) Finish() { s.inbox.done.Wait() }

// Told takes the messages that wait for the agent.
func (s *Session) Told() []protocol.Message {
	var list []protocol.Message
	for {
		select {
		case m := <-s.queue:
			list = append(list, m)
		default:
			return list
		}
	}
}

// Ended is the last message of a session that the core ended; false while it
// goes on.
func (s *Session) Ended() (protocol.Message, bool) { return s.ending.message, s.over() }

// Refused is the error for bad credentials.
var Refused = errRefused

// NewLimiter makes a limiter of failures.
var NewLimiter = newLimiter

// Allow counts a failure.
func (l *limiter) Allow(now time.Time, remote, client string) bool {
	return l.allow(now, remote, client)
}

// Live says whether a satellite has a session on this node.
func (p *Plugin) Live(id string) bool {
	p.sessions.mu.Lock()
	defer p.sessions.mu.Unlock()
	return p.sessions.live[id] != nil
}
