package engine

import (
	"context"
	"fmt"
	"time"

	"github.com/uptrace/bun"

	"github.com/flightrules/flightrules/entities"
	"github.com/flightrules/flightrules/internal/db"
	"github.com/flightrules/flightrules/internal/duration"
	"github.com/flightrules/flightrules/rules"
	"github.com/flightrules/flightrules/triggers"
)

func absentName(rule, trigger, key string) timerName {
	return timerName{absentTimer, key + " " + rule + " " + trigger}
}

// everyKey is the key of what is not told apart.
const everyKey = "-"

// seen starts the clock of an absence anew: the event has come. One that was
// due before that is on record first.
func (b *batch) seen(ctx context.Context, tx bun.Tx, m match) error {
	absent, key := m.trigger.Absent, everyKey
	if !absent.Start {
		var err error
		if key, err = b.gatherKey(ctx, m, absent.By); err != nil {
			return b.failedMatch(m, err)
		}
	}
	name := absentName(m.rule.ID, m.trigger.ID, key)
	a, armed, err := b.armed(ctx, tx, name)
	if err != nil {
		return err
	}
	if armed && !a.due.After(m.event.At) {
		b.disarm(name)
		if err := b.missing(ctx, tx, a); err != nil {
			return err
		}
	}
	if armed && time.UnixMicro(a.At).After(m.event.At) {
		return nil // it comes late: a newer one was seen
	}
	a = m.awaited()
	a.Key, a.EventID = key, m.event.ID
	b.arm(name, m.event.At.Add(absent.For), a)
	return nil
}

// missing fires an absence. The event that follows from it is about the rule
// or, where the key is the entity, about that.
func (b *batch) missing(ctx context.Context, tx bun.Tx, a awaited) error {
	r, t, _ := b.live(a)
	if t == nil || t.Absent == nil {
		return nil // nothing had matched
	}
	payload := triggers.AbsencePayload{Event: t.Event(), Key: a.Key}
	since := time.UnixMicro(a.At).UTC()
	payload.Since = &since
	e := triggers.Event{
		Name: triggers.Absence, At: a.due, Kind: triggers.RuleKind, EntityID: r.ID,
		Payload: db.ToJSON(payload), Cause: entities.Cause{Actor: entities.System},
	}
	if t.Absent.By == nil && !t.Absent.Start && a.Kind != "" {
		e.Kind, e.EntityID = a.Kind, a.Entity
	}
	return b.own(ctx, tx, r, t, b.made(e, r.ID, t.ID), b.late(a.due)+fmt.Sprintf("no %s for %s ", payload.Event, duration.Format(t.Absent.For)))
}

// own records an event that the engine makes for one trigger, has it routed to
// whoever else looks at such events, and decides about that trigger.
func (b *batch) own(ctx context.Context, tx bun.Tx, r *rules.Rule, t *rules.Trigger, e triggers.Event, note string) error {
	b.announce(e)
	value, err := b.Events.Value(e)
	m := match{rule: r, trigger: t, event: e, value: value, at: e.At, note: note}
	if err != nil {
		return b.failedMatch(m, err)
	}
	return b.decideOwn(ctx, tx, m)
}

// decideOwn decides about an event that the engine made for the trigger.
func (b *batch) decideOwn(ctx context.Context, tx bun.Tx, m match) error {
	if m.trigger.Where != nil && m.trigger.Absent == nil {
		yes, err := b.holds(ctx, m.trigger.Where, m.rule, m.trigger, m.value)
		if err != nil {
			return b.failedMatch(m, err)
		}
		if !yes {
			return nil
		}
	}
	return b.decide(ctx, tx, m)
}
