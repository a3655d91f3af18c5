package agent

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/coder/websocket"

	"github.com/flightrules/flightrules/plugins/satellite/protocol"
)

var errSilent = errors.New("nothing was heard of the core for two heartbeats")

// session is one connection to the core.
type session struct {
	*agent
	conn     *websocket.Conn
	interval atomic.Int64  // between heartbeats, in nanoseconds
	changed  chan struct{} // the interval was changed
	heard    chan struct{} // the core was heard
	acked    chan struct{} // results were acknowledged
	proven   atomic.Bool   // a heartbeat was acknowledged
	asked    questions
	over     <-chan struct{}
}

// session connects and stays until the connection ends or ctx does. proven
// says that a heartbeat was acknowledged, so that all was well for a while.
func (a *agent) session(ctx context.Context) (proven bool, err error) {
	s := &session{agent: a, changed: make(chan struct{}, 1), heard: make(chan struct{}, 1), acked: make(chan struct{}, 1)}
	if err := s.connect(ctx); err != nil {
		return false, err
	}
	// The context of the reading side ends only once all is over: ending it
	// cuts the connection, and a goodbye must come before that.
	reading, cut := context.WithCancel(context.WithoutCancel(ctx))
	over, stop := context.WithCancelCause(ctx)
	var wg sync.WaitGroup
	s.over = over.Done()
	a.current.Store(s)
	if a.bundles != nil {
		poke(a.bundles.wake)
	}
	defer a.current.Store(nil)
	wg.Go(func() { stop(s.read(reading)) })
	if a.memory != nil {
		wg.Go(func() { stop(s.deliver(over)) })
	}
	wg.Go(func() { stop(s.beat(over)) })
	wg.Go(func() { stop(s.listen(over)) })
	<-over.Done()
	if ctx.Err() != nil {
		_ = s.conn.Close(websocket.StatusNormalClosure, "goodbye") // gone either way
	}
	cut()
	_ = s.conn.CloseNow()
	wg.Wait()
	return s.proven.Load(), context.Cause(over)
}

// connect opens the socket and is let in.
func (s *session) connect(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, connectTimeout)
	defer cancel()
	conn, _, err := websocket.Dial(ctx, s.address, &websocket.DialOptions{
		HTTPClient:     s.HTTPClient,
		OnPingReceived: func(context.Context, []byte) bool { poke(s.heard); return true },
	})
	if err != nil {
		return err
	}
	conn.SetReadLimit(protocol.MaxFrame)
	s.conn = conn
	// The core may have let the agent in by the time it is told to stop: then
	// it must hear a goodbye, and reading under a context that ends would cut
	// the connection instead.
	patient, cut := context.WithTimeout(context.WithoutCancel(ctx), connectTimeout)
	defer cut()
	defer context.AfterFunc(ctx, func() { time.AfterFunc(goodbyePatience, cut) })()
	if err := s.authenticate(patient); err != nil {
		_ = conn.CloseNow() // gone either way
		return err
	}
	return nil
}

func (s *session) authenticate(ctx context.Context) error {
	if err := s.send(ctx, protocol.Authenticate{
		ClientID: s.ID, Token: s.Token, Protocol: protocol.Version, Version: s.Version, Capabilities: s.capabilities(),
	}); err != nil {
		return err
	}
	for {
		_, frame, err := s.conn.Read(ctx)
		if err != nil {
			return err
		}
		m, err := protocol.Decode(frame)
		if errors.Is(err, protocol.ErrUnknownType) {
			continue
		}
		if err != nil {
			return err
		}
		switch m := m.(type) {
		case protocol.Authenticated:
			if m.HeartbeatInterval <= 0 {
				return fmt.Errorf("%w: a heartbeat interval of %s", protocol.ErrMalformed, time.Duration(m.HeartbeatInterval))
			}
			s.interval.Store(int64(m.HeartbeatInterval))
			if err := s.instructed(ctx, m.Assignments); err != nil {
				return err
			}
			s.supplied(m.Bundle)
			s.Log.Info("connected to the core", "session", m.Session, "heartbeat_interval", time.Duration(m.HeartbeatInterval))
			return nil
		case protocol.AuthFailed:
			return refused(m)
		case protocol.Error:
			return fmt.Errorf("the core answered %s: %s", m.Code, m.Message)
		case protocol.Shutdown:
			return fmt.Errorf("the core is going down: %s", m.Reason)
		}
	}
}

// read handles what the core sends, until the connection ends.
func (s *session) read(ctx context.Context) error {
	for {
		_, frame, err := s.conn.Read(ctx)
		if err != nil {
			return err
		}
		poke(s.heard)
		m, err := protocol.Decode(frame)
		if errors.Is(err, protocol.ErrUnknownType) {
			err = s.send(ctx, protocol.Error{Code: protocol.CodeUnknownType, Message: err.Error()})
		}
		if err != nil {
			return err
		}
		switch m := m.(type) {
		case protocol.HeartbeatAck:
			s.acknowledged(m)
		case protocol.Assignments:
			if err := s.instructed(ctx, &m); err != nil {
				return err
			}
		case protocol.Bundle:
			s.supplied(&m)
		case protocol.BundleManifest:
			s.asked.answer("manifest "+m.Hash, m)
		case protocol.Blob:
			s.asked.answer(fmt.Sprintf("blob %s %d", m.Digest, m.Offset), m)
		case protocol.ResultsAck:
			s.taken(ctx, m)
		case protocol.Secrets:
			s.asked.answer(m.RequestID, m)
		case protocol.AuthFailed:
			return refused(m)
		case protocol.Shutdown:
			return fmt.Errorf("the core is going down: %s", m.Reason)
		case protocol.Error:
			s.Log.Warn("the core answered with an error", "code", m.Code, "message", m.Message)
		}
	}
}

func (s *session) acknowledged(m protocol.HeartbeatAck) {
	if !m.SentAt.IsZero() {
		s.proven.Store(true)
	}
	if next := int64(m.HeartbeatInterval); next > 0 && s.interval.Swap(next) != next {
		poke(s.changed)
	}
}

// beat sends heartbeats until ctx ends or one cannot be sent.
func (s *session) beat(ctx context.Context) error {
	for {
		timer := time.NewTimer(jittered(time.Duration(s.interval.Load()), beatJitter))
		select {
		case <-ctx.Done():
			timer.Stop()
			return nil
		case <-s.changed: // the one that was planned may be too late
			timer.Stop()
		case <-timer.C:
		}
		now := time.Now()
		if err := s.send(ctx, protocol.Heartbeat{SentAt: now.UTC(), Uptime: protocol.Duration(now.Sub(s.began)), Buffered: s.buffered()}); err != nil {
			return err
		}
	}
}

// listen ends the session when the core was not heard for the time of two
// heartbeats, neither by acknowledgements nor by pings: TCP alone may take a
// quarter of an hour to notice that the other side is gone.
func (s *session) listen(ctx context.Context) error {
	for {
		interval := time.Duration(s.interval.Load())
		timer := time.NewTimer(2*interval + time.Duration(2*beatJitter*float64(interval)))
		select {
		case <-ctx.Done():
			timer.Stop()
			return nil
		case <-s.heard:
			timer.Stop()
		case <-timer.C:
			return errSilent
		}
	}
}

func (s *session) send(ctx context.Context, m protocol.Message) error {
	frame, err := protocol.Encode(m)
	if err != nil {
		return err
	}
	// A write that is cut in the middle would take the goodbye with it.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), writeTimeout)
	defer cancel()
	return s.conn.Write(ctx, websocket.MessageText, frame)
}

func poke(ch chan struct{}) {
	select {
	case ch <- struct{}{}:
	default:
	}
}
