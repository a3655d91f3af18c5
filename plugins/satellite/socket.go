package satellite

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"runtime/debug"
	"slices"
	"strings"
	"time"

	"github.com/coder/websocket"

	"github.com/flightrules/flightrules/entities"
	"github.com/flightrules/flightrules/plugins/satellite/protocol"
)

// goodbyePatience bounds how long it is tried to record a goodbye.
const goodbyePatience = 30 * time.Second

func (p *Plugin) socketHandler() http.Handler { return http.HandlerFunc(p.serveSocket) }

// serveSocket lets a satellite in. What follows has a goroutine of its own, so
// that nothing of the request, and of the stack that it took, is kept for as long
// as the socket lasts.
func (p *Plugin) serveSocket(w http.ResponseWriter, r *http.Request) {
	ctx, authenticated, left, ok := p.sessions.enter(r.Context())
	if !ok {
		w.Header().Set("Retry-After", "5")
		http.Error(w, "no more satellites are taken for now", http.StatusServiceUnavailable)
		return
	}
	attended := false
	defer func() {
		if !attended {
			left()
		}
	}()
	defer authenticated()
	conn, err := websocket.Accept(slim{w}, r, nil)
	if err != nil {
		return // it has been answered
	}
	conn.SetReadLimit(protocol.MaxFrame)
	s, refused := p.admit(ctx, conn, r.RemoteAddr)
	if s == nil {
		finish(conn, refused)
		return
	}
	authenticated() // before the session runs: a node that goes down says goodbye to it, and cuts those that are pending
	attended = true
	p.host.Log().Info("a satellite connected", "satellite", s.name, "id", s.id, "epoch", s.epoch, "remote", r.RemoteAddr)
	go func() {
		defer left()
		p.attend(ctx, s, conn)
	}()
}

// attend is a session until its socket ends. A panic ends this one alone.
func (p *Plugin) attend(ctx context.Context, s *session, conn *websocket.Conn) {
	defer func() {
		if v := recover(); v != nil {
			p.failed("socket", s.id, fmt.Errorf("panic: %v\n%s", v, debug.Stack()))
			s.end(ending{})
		}
		p.sessions.remove(s)
		_ = conn.CloseNow() // gone either way
	}()
	goodbye := s.run(ctx, conn, p.config.PingInterval, func(frame []byte) { p.take(ctx, s, frame) })
	s.inbox.close()
	p.host.Log().Info("a satellite's socket closed", "satellite", s.name, "id", s.id, "epoch", s.epoch, "goodbye", goodbye)
	if goodbye {
		p.goodbye(ctx, s)
	}
}

// buffered is how much of what goes through a socket is gathered, in bytes.
// Heartbeats are shorter; what is longer goes past the buffers.
const buffered = 512

// slim gives a socket small buffers, in the place of those of 4 KiB that requests
// have.
type slim struct{ http.ResponseWriter }

// Hijack implements http.Hijacker.
func (w slim) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	conn, rw, err := http.NewResponseController(w.ResponseWriter).Hijack()
	if err != nil {
		return nil, nil, err
	}
	early, err := rw.Reader.Peek(rw.Reader.Buffered())
	if err != nil {
		return nil, nil, errors.Join(err, conn.Close())
	}
	reader := bufio.NewReaderSize(io.MultiReader(bytes.NewReader(bytes.Clone(early)), conn), max(buffered, len(early)))
	if _, err := reader.Peek(len(early)); err != nil { // who takes it looks at what is buffered
		return nil, nil, errors.Join(err, conn.Close())
	}
	return conn, bufio.NewReadWriter(reader, bufio.NewWriterSize(conn, buffered)), nil
}

// admit reads the first frame of a socket and begins a session, or says how
// the socket is to end.
func (p *Plugin) admit(ctx context.Context, conn *websocket.Conn, remote string) (*session, ending) {
	ctx, cancel := context.WithTimeout(ctx, p.config.AuthTimeout)
	defer cancel()
	_, frame, err := conn.Read(ctx)
	if err != nil {
		p.metrics.refused.WithLabelValues("silent").Inc()
		return nil, ending{}
	}
	m, err := protocol.Decode(frame)
	hello, ok := m.(protocol.Authenticate)
	if err != nil || !ok || !plausible(hello) {
		p.metrics.refused.WithLabelValues("malformed").Inc()
		return nil, ending{protocol.Error{Code: protocol.CodeUnexpected, Message: "the first message must be authenticate"}, websocket.StatusPolicyViolation}
	}
	r, err := p.authenticate(ctx, hello)
	switch {
	case errors.Is(err, errRefused):
		return nil, p.refuse(remote, hello.ClientID)
	case err != nil:
		p.failed("connect", hello.ClientID, err)
		return nil, unavailable
	}
	s, err := p.begin(ctx, r)
	if err != nil {
		p.failed("connect", r.ID, err)
		return nil, unavailable
	}
	return s, ending{}
}

var unavailable = ending{protocol.Error{Code: protocol.CodeUnavailable, Message: "the core could not do it; try again"}, websocket.StatusTryAgainLater}

// begin is a session of a satellite that was let in.
func (p *Plugin) begin(ctx context.Context, r row) (*session, error) {
	work, err := p.work(ctx, r)
	if err != nil {
		return nil, err
	}
	s := newSession(r, p.config)
	s.tell(protocol.Authenticated{
		SatelliteID: r.ID, Session: r.SessionID, Protocol: protocol.Version, HeartbeatInterval: protocol.Duration(s.interval),
		Assignments: &work, Bundle: &protocol.Bundle{Hash: r.Bundle},
	})
	p.sessions.add(s)
	// What ended the session before it was added has passed it by.
	if err := p.checkSessions(ctx, s); err != nil {
		p.failed("sessions", s.id, err)
	}
	return s, nil
}

// refuse says no, for ever or, to those who failed too often, for now. A good
// token is let in whatever its address did: behind a proxy all have one.
func (p *Plugin) refuse(remote, client string) ending {
	if !p.failures.allow(p.host.Now(), remote, client) {
		p.metrics.refused.WithLabelValues("rate_limited").Inc()
		return ending{protocol.Error{Code: protocol.CodeRateLimited, Message: "too many failures; try again later"}, websocket.StatusTryAgainLater}
	}
	p.metrics.refused.WithLabelValues("credentials").Inc()
	p.host.Log().Warn("a satellite was refused: it is unknown, or its token is wrong", "id", client, "remote", remote)
	return ending{protocol.AuthFailed{Reason: "unknown satellite or wrong token"}, websocket.StatusPolicyViolation}
}

// take handles a frame of a session.
func (p *Plugin) take(ctx context.Context, s *session, frame []byte) {
	m, err := protocol.Decode(frame)
	switch {
	case errors.Is(err, protocol.ErrUnknownType):
		s.tell(protocol.Error{Code: protocol.CodeUnknownType, Message: err.Error()})
		return
	case err != nil:
		s.tell(protocol.Error{Code: protocol.CodeMalformed, Message: err.Error()})
		return
	}
	now := p.host.Now()
	switch m := m.(type) {
	case protocol.Heartbeat:
		p.beats.add(s, heartbeat{at: now, sentAt: m.SentAt, since: now, buffered: m.Buffered})
		return
	case protocol.Error:
		p.host.Log().Warn("a satellite answered with an error", "satellite", s.name, "code", clipped(m.Code), "message", clipped(m.Message))
		return
	case protocol.Results:
		if wrong := implausible(m); wrong != "" {
			s.tell(protocol.Error{Code: protocol.CodeMalformed, Message: "results: " + wrong})
			return
		}
	case protocol.SecretsRequest, protocol.BundleRequest, protocol.BlobRequest, protocol.Status, protocol.SyncState:
	default:
		s.tell(protocol.Error{Code: protocol.CodeUnexpected, Message: m.Type() + " is not expected here"})
		return
	}
	if !s.inbox.put(received{m, now}, func(r received) { p.handle(ctx, s, r) }) {
		s.tell(protocol.Error{Code: protocol.CodeRateLimited, Message: "too many messages wait; " + m.Type() + " was dropped"})
	}
}

// clipped bounds what an agent says, for the log.
func clipped(text string) string {
	const most = 200
	if len(text) > most {
		return text[:most] + "..."
	}
	return text
}

// goodbye records that an agent left, and tries again while it can: otherwise
// a satellite that was shut down would be declared lost.
func (p *Plugin) goodbye(ctx context.Context, s *session) {
	ctx, cancel := context.WithTimeout(s.cause(ctx), goodbyePatience)
	defer cancel()
	for pause := 100 * time.Millisecond; ; pause *= 2 {
		err := p.disconnect(ctx, s.id, s.epoch)
		if err == nil {
			return
		}
		p.failed("disconnect", s.id, err)
		select {
		case <-ctx.Done():
			return
		case <-time.After(pause):
		}
	}
}

// plausible says whether what an agent tells of itself can be stored.
func plausible(hello protocol.Authenticate) bool {
	const most = 100
	texts := append([]string{hello.Version}, hello.Capabilities...)
	return len(texts) <= most && !slices.ContainsFunc(texts, func(s string) bool { return len(s) > most || strings.ContainsRune(s, 0) })
}

// authenticate checks a token and begins the session. Where there is no such
// satellite the same work is done as for a wrong token.
func (p *Plugin) authenticate(ctx context.Context, hello protocol.Authenticate) (row, error) {
	r, err := p.byClient(ctx, hello.ClientID)
	if err != nil {
		return row{}, err
	}
	hash, ok := matching(hello.Token, r.TokenHash, r.OldTokenHash)
	if !ok {
		return row{}, errRefused
	}
	ctx = entities.WithCause(ctx, entities.Cause{Actor: "satellite:" + r.Name})
	return p.connect(ctx, r.ID, hash, hello)
}
