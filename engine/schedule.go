package engine

import (
	"context"
	"fmt"
	"time"

	"github.com/uptrace/bun"

	"github.com/flightrules/flightrules/engine/journal"
	"github.com/flightrules/flightrules/engine/timer"
	"github.com/flightrules/flightrules/entities"
	"github.com/flightrules/flightrules/internal/db"
	"github.com/flightrules/flightrules/rules"
	"github.com/flightrules/flightrules/triggers"
)

func scheduleName(rule, trigger string) timerName {
	return timerName{scheduleTimer, rule + " " + trigger}
}

const (
	// maxMissed bounds the missed ticks that misfire: all makes up for.
	maxMissed = 1000
	// onTime is how late a tick may be that misfire: skip does not skip.
	onTime = time.Minute
)

// armSchedule sets the timer of the first tick after a time. At of the timer is
// the tick; what it is due at has the jitter added.
func (b *batch) armSchedule(r *rules.Rule, t *rules.Trigger, loaded, after time.Time) {
	name := scheduleName(r.ID, t.ID)
	next := t.Schedule.From(loaded).Next(after)
	if next.IsZero() {
		b.disarm(name)
		return
	}
	b.arm(name, next.Add(triggers.Jitter(t.Schedule.Jitter, name.key, next)), awaited{
		Rule: r.ID, Trigger: t.ID, At: next.UnixMicro(), Change: loaded.UnixMicro(), Signature: t.Signature,
	})
}

// tick fires a schedule that is due, makes up for the ticks that were missed
// as its policy says, and sets the next one. A paused rule has no ticks.
func (b *batch) tick(ctx context.Context, tx bun.Tx, a awaited) error {
	r, t, _ := b.live(a)
	if t == nil || t.Schedule == nil {
		return nil
	}
	loaded := time.UnixMicro(a.Change).UTC()
	due := []time.Time{time.UnixMicro(a.At).UTC()}
	missed, last := 0, due[0]
	schedule := t.Schedule.From(loaded)
	for next := schedule.Next(last); !next.IsZero() && !next.After(b.now); next = schedule.Next(last) {
		last = next
		if due = append(due, next); len(due) > maxMissed {
			due, missed = due[1:], missed+1
		}
	}
	b.armSchedule(r, t, loaded, last)
	states, err := b.pausedRules(ctx, tx)
	if err != nil {
		return err
	}
	if states[r.ID].Paused() {
		return nil
	}
	if t.Schedule.Misfire != rules.MisfireAll {
		missed += len(due) - 1
		due = due[len(due)-1:]
	}
	for _, at := range due {
		if t.Schedule.Misfire == rules.MisfireSkip && b.now.Sub(at) > onTime+t.Schedule.Jitter {
			b.skip(r, t, at, missed)
			return nil
		}
		if err := b.own(ctx, tx, r, t, b.tickEvent(r, t, at, missed), b.late(at.Add(triggers.Jitter(t.Schedule.Jitter, scheduleName(r.ID, t.ID).key, at)))); err != nil {
			return err
		}
		missed = 0
	}
	return nil
}

func (e *Engine) tickEvent(r *rules.Rule, t *rules.Trigger, at time.Time, missed int) triggers.Event {
	return e.made(triggers.Event{
		Name: triggers.Tick, At: at, Kind: triggers.RuleKind, EntityID: r.ID,
		Payload: db.ToJSON(triggers.TickPayload{ScheduledAt: at, Missed: missed}), Cause: entities.Cause{Actor: entities.System},
	}, r.ID, t.ID)
}

// skip records that the last of some missed ticks does not fire either.
func (b *batch) skip(r *rules.Rule, t *rules.Trigger, at time.Time, missed int) {
	e := b.tickEvent(r, t, at, missed)
	b.announce(e)
	m := match{rule: r, trigger: t, event: e, at: at, note: b.late(at)}
	b.decision(m, journal.Dropped, fmt.Sprintf("missed, with %d ticks before it; misfire is skip", missed), "")
}

// NextTick is when a schedule of a rule fires next; zero: none does.
func (e *Engine) NextTick(ctx context.Context, rule string) (time.Time, error) {
	r := e.Rules().Rule(rule)
	if r == nil {
		return time.Time{}, nil
	}
	var next time.Time
	for i := range r.Triggers {
		if r.Triggers[i].Schedule == nil {
			continue
		}
		name := scheduleName(rule, r.Triggers[i].ID)
		t, ok, err := timer.Get(ctx, e.DB.Read(), name.kind, name.key)
		if err != nil {
			return time.Time{}, err
		}
		if ok && (next.IsZero() || t.DueAt.Before(next)) {
			next = t.DueAt.Time
		}
	}
	return next, nil
}
