package satellite

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/flightrules/flightrules/entities"
	"github.com/flightrules/flightrules/plugins"
	"github.com/flightrules/flightrules/plugins/satellite/agent"
	"github.com/flightrules/flightrules/plugins/satellite/protocol"
)

// outside is the agents of a simulation. They do what the agent of the package
// agent does, but for its jitter, and reach the plugin right below the socket.
//
// Heartbeats that change nothing are not sent one by one: whenever the
// simulation stops, each row comes to what they would have made of it, and so
// does the note that the core is listening. Nor does the core look at the
// deadline of a satellite that keeps sending heartbeats: it would find each time
// that it is to look again later. So a week in which nothing else happens costs
// nothing, and every other change has the time that it would have had.
type outside struct {
	plugin *Plugin
	agents []*simulated // in the order in which they were given
	at     time.Time    // up to when the core has heard them
	leapt  bool         // the core heard nothing since
	down   bool

	changed <-chan struct{} // the hint that watchSessions waits for
	forget  func()          // of that hint
}

// simulated is one agent.
type simulated struct {
	id, name, token string
	skew            time.Duration // how far its clock is ahead

	here   bool     // its process is there; else it has left, or was never started
	silent bool     // it is there and does nothing
	link   *session // its session; nil while it is not connected
	epoch  int64    // of its newest session
	heard  time.Time
	proven bool          // a heartbeat of the session was acknowledged
	retry  time.Time     // when it tries to connect, while it is not
	pause  time.Duration // from that until it tries again

	unwatched bool // its deadline has no timer
}

var errDown = errors.New("the core is down")

// Simulate implements plugins.Simulated.
func (p *Plugin) Simulate(before plugins.World) plugins.World {
	p.outside = &outside{plugin: p, at: p.host.Now()}
	p.outside.changed, p.outside.forget = p.host.Subscribe(topic)
	if was, ok := before.(*outside); ok {
		p.outside.agents = was.agents
		for _, a := range was.agents {
			a.waited(p.outside.at)
		}
	}
	return p.outside
}

func (o *outside) now() time.Time { return o.plugin.host.Now() }

// beats says whether an agent sends heartbeats while it is connected.
func (a *simulated) beats() bool { return a.here && !a.silent }

// steady says whether the core hears from an agent until something happens.
func (a *simulated) steady() bool { return a.beats() && a.link != nil }

// keepsBeating says of a satellite that the core need not look for its loss.
// There is none while it is connected and sends heartbeats, and when that ends
// its deadline is set.
func (o *outside) keepsBeating(id string) bool {
	if o == nil {
		return false
	}
	a := o.known(id)
	return a != nil && a.unwatched
}

// watch sets the deadlines of agents that may not be heard in time any more.
func (o *outside) watch(ctx context.Context) error {
	for _, a := range o.agents {
		if !a.unwatched || a.steady() || o.down {
			continue
		}
		a.unwatched = false
		if err := o.plugin.declare(ctx, a.id); err != nil {
			return err
		}
	}
	return nil
}

// Step implements plugins.World.
func (o *outside) Step(ctx context.Context) (more bool, err error) {
	now := o.now()
	if err := o.listen(ctx, now); err != nil {
		return false, err
	}
	select {
	case <-o.changed:
		if err := o.heed(ctx); err != nil {
			return false, err
		}
	default:
	}
	for _, a := range o.agents {
		if a.beats() && a.link == nil && !a.retry.After(now) {
			if err := o.link(ctx, a); err != nil {
				return false, err
			}
		}
	}
	return false, o.watch(ctx)
}

// listen brings what the core has heard up to date.
func (o *outside) listen(ctx context.Context, now time.Time) error {
	if now.Equal(o.at) && !o.leapt {
		return nil
	}
	note := o.plugin.listened
	if o.leapt {
		note = func(ctx context.Context, _ time.Time) error { return o.plugin.Beat(ctx) }
	}
	if err := note(ctx, now); err != nil {
		return err
	}
	var due []*simulated
	for _, a := range o.agents {
		if a.steady() && a.catchUp(o.plugin.beats, now, o.leapt) {
			due = append(due, a)
		}
	}
	o.at, o.leapt = now, false
	return o.flush(ctx, due...)
}

// catchUp sends the heartbeats of an agent that are due, as one. After a leap
// those on the way are not made up for: one comes now.
func (a *simulated) catchUp(beats *heartbeats, now time.Time, leapt bool) bool {
	interval := a.link.every()
	since, n := a.heard.Add(interval), now.Sub(a.heard)/interval
	switch {
	case leapt:
		since, a.heard = now, now
	case n < 1:
		return false
	default:
		a.heard = a.heard.Add(n * interval)
	}
	beats.add(a.link, heartbeat{at: a.heard, sentAt: a.heard.Add(a.skew), since: since})
	return true
}

// flush makes the core write the heartbeats that wait, and the agents read what
// it answers.
func (o *outside) flush(ctx context.Context, agents ...*simulated) error {
	if len(agents) == 0 {
		return nil
	}
	if err := o.plugin.flush(ctx); err != nil {
		return err
	}
	for _, a := range agents {
		taken, ended := a.read()
		switch {
		case ended != nil:
			o.hangUp(a, ended)
		case !taken:
			return fmt.Errorf("the heartbeat of satellite %s was not taken", a.name)
		}
		a.proven = a.proven || taken
	}
	return nil
}

// heed compares the sessions with the table, as watchSessions does. An agent
// whose interval became another sends a heartbeat at once.
func (o *outside) heed(ctx context.Context) error {
	for _, a := range o.agents {
		if a.link == nil {
			continue
		}
		before := a.link.every()
		if err := o.plugin.checkSessions(ctx, a.link); err != nil {
			return err
		}
		if _, ended := a.read(); ended != nil {
			o.hangUp(a, ended)
		} else if a.beats() && a.link.every() != before {
			if err := o.beat(ctx, a); err != nil {
				return err
			}
		}
	}
	return nil
}

// hangUp is what an agent does whose session the core has ended.
func (o *outside) hangUp(a *simulated, why protocol.Message) {
	o.cut(a, o.at)
	if _, forGood := why.(protocol.AuthFailed); forGood {
		a.here = false
	}
}

// read takes what the core has told an agent: whether its heartbeat was taken,
// and how its session ended, if it did.
func (a *simulated) read() (taken bool, ended protocol.Message) {
	for {
		select {
		case m := <-a.link.queue:
			if ack, ok := m.(protocol.HeartbeatAck); ok && !ack.SentAt.IsZero() {
				taken = true
			}
		default:
			if a.link.over() {
				ended = a.link.ending.message
			}
			return taken, ended
		}
	}
}

// link connects an agent; from then on the core counts on it.
func (o *outside) link(ctx context.Context, a *simulated) error {
	a.unwatched = a.beats()
	r, err := o.plugin.authenticate(ctx, protocol.Authenticate{
		ClientID: a.name, Token: a.token, Protocol: protocol.Version, Version: "simulated", Capabilities: []string{},
	})
	if err != nil {
		return err
	}
	a.epoch, a.heard, a.proven = r.Epoch, r.LastHeartbeatAt.Time, false
	a.link, err = o.plugin.begin(ctx, r)
	return err
}

// cut ends the connection of an agent, which tries to connect again after a
// while, if it still does anything.
func (o *outside) cut(a *simulated, at time.Time) {
	if a.link == nil {
		return
	}
	a.link.end(ending{})
	o.plugin.sessions.remove(a.link)
	if a.proven {
		a.pause = agent.FirstPause
	}
	a.link = nil
	a.wait(at)
}

// wait is the pause after an attempt that failed, or a connection that ended.
func (a *simulated) wait(from time.Time) {
	a.retry = from.Add(a.pause)
	a.pause = min(2*a.pause, agent.LongestPause)
}

// waited lets the attempts fail that an agent made while the core was away.
func (a *simulated) waited(until time.Time) {
	if !a.beats() || a.link != nil {
		return
	}
	if a.retry.After(until.Add(agent.LongestPause)) {
		a.retry = until // the clock was set back
	}
	for a.retry.Before(until) {
		a.wait(a.retry)
	}
}

// Next implements plugins.World: it is the next attempt to connect.
func (o *outside) Next(context.Context) (next time.Time, err error) {
	for _, a := range o.agents {
		if a.beats() && a.link == nil && (next.IsZero() || a.retry.Before(next)) {
			next = a.retry
		}
	}
	return next, nil
}

// Leap implements plugins.World.
func (o *outside) Leap() {
	o.leapt = true
	for _, a := range o.agents {
		a.waited(o.now())
	}
}

// Stop implements plugins.World. Each agent sees its connection end, at the time
// at which the core was there last.
func (o *outside) Stop() {
	for _, a := range o.agents {
		o.cut(a, o.at)
	}
	o.forget()
	o.down = true
}

// connect begins an agent, or begins it anew.
func (o *outside) connect(ctx context.Context, a *simulated) error {
	a.here, a.silent, a.pause = true, false, agent.FirstPause
	if o.down {
		a.link, a.retry = nil, o.now()
		return nil
	}
	return o.link(ctx, a)
}

// beat is a heartbeat outside of the usual ones. An agent that lost its
// connection when the core went down, and has not tried again, does it now.
func (o *outside) beat(ctx context.Context, a *simulated) error {
	switch {
	case !a.here:
		return fmt.Errorf("satellite %s is not connected", a.name)
	case o.down:
		return nil // nobody hears it
	case a.link == nil:
		if err := o.link(ctx, a); err != nil {
			return err
		}
	}
	a.heard = o.now()
	o.plugin.beats.add(a.link, heartbeat{at: a.heard, sentAt: a.heard.Add(a.skew), since: a.heard})
	return o.flush(ctx, a)
}

func (o *outside) silence(ctx context.Context, a *simulated) error {
	if a.here && a.silent {
		return fmt.Errorf("satellite %s is silent already", a.name)
	}
	if err := o.beat(ctx, a); err != nil {
		return err
	}
	a.silent = true
	return nil
}

func (o *outside) drop(ctx context.Context, a *simulated) error {
	if !a.silent {
		if err := o.beat(ctx, a); err != nil {
			return err
		}
	}
	o.leave(a)
	return nil
}

// disconnect is a goodbye. It counts also where a restart of the core has just
// ended the connection: what a test expects is not to depend on that.
func (o *outside) disconnect(ctx context.Context, a *simulated) error {
	if !a.here {
		return fmt.Errorf("satellite %s is not connected", a.name)
	}
	o.leave(a)
	if o.down {
		return nil
	}
	ctx = entities.WithCause(ctx, entities.Cause{Actor: "satellite:" + a.name})
	return o.plugin.disconnect(ctx, a.id, a.epoch)
}

func (o *outside) leave(a *simulated) {
	o.cut(a, o.at)
	a.here, a.silent = false, false
}

func (o *outside) remove(ctx context.Context, a *simulated) error {
	if o.down {
		return errDown
	}
	if err := o.plugin.remove(ctx, a.id); err != nil {
		return err
	}
	o.leave(a)
	o.agents = slices.DeleteFunc(o.agents, func(other *simulated) bool { return other == a })
	return nil
}
