package engine

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/google/uuid"
	"github.com/uptrace/bun"

	"github.com/flightrules/flightrules/engine/journal"
	"github.com/flightrules/flightrules/engine/outbox"
	"github.com/flightrules/flightrules/engine/retention"
	"github.com/flightrules/flightrules/engine/timer"
	"github.com/flightrules/flightrules/entities"
	"github.com/flightrules/flightrules/internal/db"
	"github.com/flightrules/flightrules/triggers"
)

// routeBatch bounds what one transaction routes. More of it saves commits and
// holds the routing lock for longer.
const routeBatch = 256

// routingFailed is the event in the place of one that could not be routed.
const routingFailed = "engine.routing_failed"

// routeTopic is the hint that the router may have something to do.
const routeTopic = outbox.Topic

// anyNoted says whether any of some transitions is yet to be routed.
func anyNoted(ctx context.Context, tx bun.Tx, seqs []int64) (bool, error) {
	if len(seqs) == 0 {
		return false, nil
	}
	return outbox.Any(ctx, tx, seqs)
}

// router takes what is recorded and not yet routed, oldest first, and writes
// down everything that follows from it. One node of a cluster routes at a
// time, so that windows, dwells and modes need no locks of their own.
type router struct {
	*Engine
	elsewhere bool // another node held the lock at the last step
}

// Step routes a batch, or fires the timers that are due when nothing is left.
func (r *router) Step(ctx context.Context) (more bool, err error) {
	if !r.Loaded() {
		return false, nil
	}
	ahead, idle, err := r.readAhead(ctx)
	if err != nil || idle {
		return false, err // looking costs no write
	}
	var b *batch
	err = r.DB.Write(ctx, func(ctx context.Context, tx bun.Tx) error {
		b, more = nil, false
		got, err := r.DB.TryLock(ctx, tx, "route")
		if r.elsewhere = !got; err != nil || !got {
			return err
		}
		b = r.newBatch()
		if r.reconciled.Load() != b.set {
			// It may refer to any change of the log.
			if err := r.DB.Lock(ctx, tx, retention.Lock); err != nil {
				return err
			}
			if err := b.reconcile(ctx, tx); err != nil {
				return err
			}
		}
		notes, err := outbox.Oldest(ctx, tx, routeBatch)
		if err != nil {
			return err
		}
		last := len(notes) < routeBatch
		notes = foreseen(notes, ahead)
		if err := b.route(ctx, tx, notes, ahead); err != nil {
			return err
		}
		fired := 0
		if last && r.looks() {
			if fired, err = b.fireDue(ctx, tx); err != nil {
				return err
			}
		}
		more = len(notes) > 0 || fired > 0
		if err := b.write(ctx, tx); err != nil {
			return err
		}
		return outbox.Done(ctx, tx, notes)
	})
	if err != nil {
		return false, err
	}
	if b != nil {
		b.committed()
	}
	return more, nil
}

// Next is when the first of its timers is due. While another node routes, it does that
// too; this one looks again soon in case it dies.
func (r *router) Next(ctx context.Context) (time.Time, error) {
	next, err := timer.Next(ctx, r.DB.Read(), routerTimers...)
	if err == nil && r.elsewhere && !next.IsZero() {
		next = later(next, r.Now().Add(250*time.Millisecond))
	}
	return next, err
}

func later(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}

// change is a transition and the events that it means.
type change struct {
	entities.Transition
	means []triggers.Derived
}

// readAhead reads what the next transaction will most likely route, and says
// whether there is nothing to do. Transitions never change and derivers look at
// nothing else, so that all this needs no lock and keeps no writer waiting.
func (r *router) readAhead(ctx context.Context) (ahead map[int64]change, idle bool, err error) {
	if r.elsewhere {
		return nil, false, nil
	}
	notes, err := outbox.Oldest(ctx, r.DB.Read(), routeBatch)
	if err != nil {
		return nil, false, err
	}
	if len(notes) == 0 {
		due, err := timer.Next(ctx, r.DB.Read(), routerTimers...)
		return nil, r.reconciled.Load() == r.set.Load() && (due.IsZero() || due.After(r.Now())), err
	}
	seqs, _ := split(notes, nil)
	list, err := r.Entities.BySeq(ctx, r.log(r.DB.Read()), seqs...)
	if errors.Is(err, entities.ErrInvalid) {
		return nil, false, nil // the transaction finds out which
	}
	ahead = make(map[int64]change, len(list))
	for _, t := range list {
		if err := contained(func() error { ahead[t.Seq] = change{t, r.Events.Derive(t)}; return nil }); err != nil {
			return nil, false, nil // likewise
		}
	}
	return ahead, false, err
}

// foreseen cuts off the notes that came after those that were read ahead; they
// are for the next batch. Where nothing was read ahead it leaves them all.
func foreseen(notes []outbox.Note, ahead map[int64]change) []outbox.Note {
	for i, n := range slices.Backward(notes) {
		if _, ok := ahead[n.TransitionSeq]; ok {
			return notes[:i+1]
		}
	}
	return notes
}

// split tells the transitions of notes, but for those known, from the events.
func split(notes []outbox.Note, known map[int64]change) (seqs []int64, events []string) {
	for _, n := range notes {
		if n.TransitionSeq == 0 {
			events = append(events, n.EventID)
		} else if _, ok := known[n.TransitionSeq]; !ok {
			seqs = append(seqs, n.TransitionSeq)
		}
	}
	return seqs, events
}

// route works out what follows from each note, in order.
func (b *batch) route(ctx context.Context, tx bun.Tx, notes []outbox.Note, ahead map[int64]change) error {
	seqs, ids := split(notes, ahead)
	transitions, err := b.transitions(ctx, tx, seqs)
	if err != nil {
		return err
	}
	emitted, err := eventsByID(ctx, tx, ids)
	if err != nil {
		return err
	}
	if err := b.readLanes(ctx, tx, slices.Collect(maps.Values(emitted))); err != nil {
		return err
	}
	for _, n := range notes {
		c, ready := ahead[n.TransitionSeq]
		if t, ok := transitions[n.TransitionSeq]; ok && !ready {
			if err := contained(func() error { c, ready = change{t, b.Events.Derive(t)}, true; return nil }); err != nil {
				b.failed(t.Seq, err)
			}
		}
		if ready {
			err = b.transition(ctx, tx, c)
		} else if e, ok := emitted[n.EventID]; ok {
			b.recorded[e.ID] = true
			err = b.event(ctx, tx, e)
		}
		if err != nil {
			return err
		}
	}
	b.routed = len(notes)
	return nil
}

// transitions reads transitions by seq. One that cannot be read any more is
// left out with an event that says so: it must not hold up all that follow.
func (b *batch) transitions(ctx context.Context, tx bun.Tx, seqs []int64) (map[int64]entities.Transition, error) {
	found := make(map[int64]entities.Transition, len(seqs))
	list, err := b.Entities.BySeq(ctx, b.log(tx), seqs...)
	if errors.Is(err, entities.ErrInvalid) {
		list = nil
		for _, seq := range seqs {
			one, err := b.Entities.BySeq(ctx, b.log(tx), seq)
			switch {
			case errors.Is(err, entities.ErrInvalid):
				b.failed(seq, err)
			case err != nil:
				return nil, err
			default:
				list = append(list, one...)
			}
		}
	} else if err != nil {
		return nil, err
	}
	for _, t := range list {
		found[t.Seq] = t
	}
	return found, nil
}

// transition decides about each event that a change means, and about the change
// itself where a rule waits for it.
func (b *batch) transition(ctx context.Context, tx bun.Tx, c change) error {
	t := c.Transition
	for _, d := range c.means {
		e := b.made(triggers.Event{
			Name: d.Name, At: t.At, Kind: t.Kind, EntityID: t.ID, Payload: d.Payload, Cause: t.Cause, Change: &t,
		}, "", "")
		if d.Name == triggers.DeriverFailed {
			b.Log.Error("a deriver failed", "kind", t.Kind, "entity", t.ID, "transition", t.Seq, "failure", string(d.Payload))
			b.Metrics.Failed("derivers", nil)
		}
		b.record(e)
		if err := b.event(ctx, tx, e); err != nil {
			return err
		}
	}
	if err := b.changed(ctx, tx, t); err != nil {
		return err
	}
	if !b.set.Listens(triggers.ChangedEvent(t.Kind)) {
		return nil
	}
	return b.event(ctx, tx, b.changedEvent(t))
}

// changedEvent is the event of a change itself, whatever else it means.
func (e *Engine) changedEvent(t entities.Transition) triggers.Event {
	return e.made(triggers.Event{
		Name: triggers.ChangedEvent(t.Kind), At: t.At, Kind: t.Kind, EntityID: t.ID, Cause: t.Cause, Change: &t, Payload: emptyObject,
	}, "", "")
}

var emptyObject = []byte("{}")

// failed records that a transition could not be routed, or not in full; once,
// whatever the number of reasons.
func (b *batch) failed(seq int64, cause error) {
	b.Log.Error("a transition could not be routed", "transition", seq, "error", cause)
	b.Metrics.Failed("router", cause)
	if slices.ContainsFunc(b.events, func(e journal.Event) bool { return e.Name == routingFailed && e.TransitionSeq == seq }) {
		return
	}
	b.events = append(b.events, journal.Event{
		ID: b.NewID(), Name: routingFailed, Payload: db.ToJSON(map[string]any{"transition_seq": seq, "error": cause.Error()}),
		TransitionSeq: seq, Actor: entities.System, At: b.at(),
	})
}

// newID is what NewID gives where nobody says otherwise.
func newID() string { return uuid.Must(uuid.NewV7()).String() }

func eventsByID(ctx context.Context, idb bun.IDB, ids []string) (map[string]triggers.Event, error) {
	rows, err := journal.EventsByID(ctx, idb, ids...)
	found := make(map[string]triggers.Event, len(rows))
	for id, row := range rows {
		found[id] = eventOf(row)
	}
	return found, err
}

// eventOf is a stored event as rules see it, but for its change.
func eventOf(row journal.Event) triggers.Event {
	return triggers.Event{
		ID: row.ID, Name: row.Name, At: row.At.Time, Kind: row.Kind, EntityID: row.EntityID, Payload: row.Payload,
		Cause: entities.Cause{Actor: row.Actor, RunID: row.RunID, Depth: row.Depth},
	}
}

// errUnreadable marks an event that is not there, or not in a form that can be
// read: to try again would not help.
var errUnreadable = errors.New("the event cannot be read")

// event reads an event with its change, and its value for expressions.
func (e *Engine) event(ctx context.Context, idb bun.IDB, id string) (triggers.Event, map[string]any, error) {
	row, err := journal.EventByID(ctx, idb, id)
	if errors.Is(err, journal.ErrNotFound) {
		err = fmt.Errorf("%w: %w", errUnreadable, err)
	}
	if err != nil {
		return triggers.Event{}, nil, err
	}
	return e.withChange(ctx, idb, row)
}

// withChange is a stored event with its change, and its value for expressions.
func (e *Engine) withChange(ctx context.Context, idb bun.IDB, row journal.Event) (triggers.Event, map[string]any, error) {
	event := eventOf(row)
	if seq := max(row.TransitionSeq, row.AboutSeq); seq != 0 {
		event.About = row.AboutSeq != 0
		list, err := e.Entities.BySeq(ctx, e.log(idb), seq)
		switch {
		case errors.Is(err, entities.ErrInvalid):
			return event, nil, fmt.Errorf("%w: %w", errUnreadable, err)
		case err != nil:
			return event, nil, err
		case len(list) == 0:
			return event, nil, fmt.Errorf("%w: the change that it is about, transition %d, is not kept any more: %w", errUnreadable, seq, entities.ErrPruned)
		}
		event.Change = &list[0]
	}
	value, err := e.Events.Value(event)
	if err != nil {
		return event, nil, fmt.Errorf("%w: %w", errUnreadable, err)
	}
	return event, value, nil
}
