package engine

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"github.com/uptrace/bun"

	"github.com/flightrules/flightrules/engine/journal"
	"github.com/flightrules/flightrules/engine/timer"
	"github.com/flightrules/flightrules/internal/db"
	"github.com/flightrules/flightrules/internal/duration"
	"github.com/flightrules/flightrules/rules"
	"github.com/flightrules/flightrules/triggers"
)

// dwellTimer is the kind of the timers of `for`. The router fires them, so
// that they and the changes that break them are seen in one order: by time.
const dwellTimer = "dwell"

// dwell is what an armed `for` must know when it is due.
type dwell struct {
	Rule    string    `json:"rule"`
	Version string    `json:"version"`
	Trigger string    `json:"trigger"`
	EventID string    `json:"event_id"` // that armed it
	Kind    string    `json:"kind"`
	Entity  string    `json:"entity"`
	At      int64     `json:"at"`     // microseconds: when the entity came into the state
	Change  int64     `json:"change"` // version of the entity that armed it
	due     time.Time // of its timer
}

func dwellOf(t timer.Timer) (dwell, error) {
	var d dwell
	if err := json.Unmarshal(t.Payload, &d); err != nil {
		return d, fmt.Errorf("dwell %s: %w", t.Key, err)
	}
	d.due = t.DueAt.Time
	return d, nil
}

func (m match) dwellKey() string { return m.key() + " " + m.rule.ID + " " + m.trigger.ID }

// loadDwells reads which of the dwells that an event may break are armed.
func (b *batch) loadDwells(ctx context.Context, tx bun.Tx, candidates []rules.Candidate, e triggers.Event) error {
	var keys []string
	for _, c := range candidates {
		if c.Trigger.For() == 0 {
			continue
		}
		if key := (match{rule: c.Rule, trigger: c.Trigger, event: e}).dwellKey(); !b.loaded[key] {
			keys = append(keys, key)
			b.loaded[key] = true
		}
	}
	if len(keys) == 0 {
		return nil
	}
	var found []timer.Timer
	if err := tx.NewSelect().Model(&found).Where("kind = ? AND key IN (?)", dwellTimer, bun.List(keys)).Scan(ctx); err != nil {
		return err
	}
	for _, t := range found {
		b.armed[t.Key] = &t
	}
	return nil
}

// arm starts the clock of a match that must hold.
func (b *batch) arm(m match) {
	due := m.event.At.Add(m.trigger.For())
	d := dwell{
		Rule: m.rule.ID, Version: m.rule.Version, Trigger: m.trigger.ID, EventID: m.event.ID,
		Kind: m.event.Kind, Entity: m.event.EntityID, At: m.event.At.UnixMicro(), Change: m.event.Change.Version,
	}
	key := m.dwellKey()
	b.loaded[key] = true
	b.armed[key] = &timer.Timer{Kind: dwellTimer, Key: key, DueAt: db.At(due), Payload: db.ToJSON(d)}
	b.versions[m.rule.Version] = m.rule
	b.decision(m, journal.Held, "for "+duration.Format(m.trigger.For()), "")
}

// breakDwell ends the dwell that the change of m breaks. One that was due
// before the change has held all its time, and fires: changes and deadlines
// count in the order of their times, however late they are looked at.
func (b *batch) breakDwell(ctx context.Context, tx bun.Tx, m match) error {
	if m.trigger.For() == 0 || m.event.Change == nil || !m.trigger.Breaks(*m.event.Change) {
		return nil
	}
	key := m.dwellKey()
	armed := b.armed[key]
	if armed == nil {
		return nil
	}
	d, err := dwellOf(*armed)
	if err != nil {
		return err
	}
	b.armed[key] = nil
	if !d.due.After(m.event.At) {
		return b.fire(ctx, tx, d)
	}
	return b.cancel(ctx, tx, d, fmt.Sprintf("broken after %s by version %d of %s", duration.Format(m.event.At.Sub(time.UnixMicro(d.At))), m.event.Change.Version, m.key()))
}

// cancel records that a dwell came to nothing.
func (b *batch) cancel(ctx context.Context, tx bun.Tx, d dwell, why string) error {
	m, err := b.armedMatch(ctx, tx, d)
	if err != nil {
		return err
	}
	b.decision(m, journal.Cancelled, why, "")
	return nil
}

// fire decides about a match that has held all its time.
func (b *batch) fire(ctx context.Context, tx bun.Tx, d dwell) error {
	m, err := b.armedMatch(ctx, tx, d)
	if err != nil {
		return err
	}
	if m.trigger.Trigger == nil || m.value == nil {
		b.decision(m, journal.Cancelled, "the rule is not what it was when the state was entered", "")
		return nil
	}
	note := ""
	if late := b.now.Sub(d.due); late > lateAfter {
		note = "late by " + duration.Format(late.Round(time.Second)) + " "
	}
	return b.decide(ctx, tx, m, note)
}

// armedMatch is the match that armed a dwell. Where the rule is not in force
// any more, only what a record needs is filled in.
func (b *batch) armedMatch(ctx context.Context, tx bun.Tx, d dwell) (match, error) {
	m := match{rule: &rules.Rule{ID: d.Rule, Version: d.Version}, trigger: &rules.Trigger{ID: d.Trigger}}
	m.event.ID, m.event.Kind, m.event.EntityID = d.EventID, d.Kind, d.Entity
	live := b.set.Rule(d.Rule)
	if live == nil || !live.Enabled || live.Version != d.Version {
		return m, nil
	}
	for i := range live.Triggers {
		if live.Triggers[i].ID == d.Trigger {
			m.trigger = &live.Triggers[i]
		}
	}
	m.rule = live
	if b.recorded[d.EventID] { // armed in this very batch
		for _, row := range b.events {
			if row.ID == d.EventID {
				m.event = eventOf(row)
				list, err := b.Entities.BySeq(ctx, tx, row.TransitionSeq)
				if err != nil || len(list) == 0 {
					return m, err
				}
				m.event.Change = &list[0]
			}
		}
	} else {
		event, err := b.Engine.event(ctx, tx, d.EventID)
		if err != nil {
			return m, err
		}
		m.event = event
	}
	var err error
	m.value, err = b.Events.Value(m.event)
	return m, err
}

// fireDue fires the dwells that are due, and says how many it dealt with.
func (b *batch) fireDue(ctx context.Context, tx bun.Tx) (int, error) {
	due, err := timer.Due(ctx, tx, dwellTimer, b.now, routeBatch)
	if err != nil {
		return 0, err
	}
	fired := 0
	for _, t := range due {
		if b.loaded[t.Key] {
			continue // this batch has already decided about it, or armed it anew
		}
		d, err := dwellOf(t)
		if err != nil {
			return 0, err
		}
		unbroken, err := b.unbroken(ctx, tx, d)
		if err != nil {
			return 0, err
		}
		if !unbroken {
			continue // the change that broke it is yet to be routed, and says so then
		}
		b.loaded[t.Key], b.armed[t.Key] = true, nil
		if err := b.fire(ctx, tx, d); err != nil {
			return 0, err
		}
		fired++
	}
	return fired, nil
}

// unbroken says whether the log, up to the dwell's end, has no change that
// breaks it. It holds the entity meanwhile: a change that is under way is
// either in the log or will be later than now.
func (b *batch) unbroken(ctx context.Context, tx bun.Tx, d dwell) (bool, error) {
	live := b.set.Rule(d.Rule)
	if live == nil {
		return true, nil
	}
	log, err := b.Entities.Hold(ctx, tx, d.Kind, d.Entity, d.Change)
	if err != nil {
		return false, err
	}
	for _, trigger := range live.Triggers {
		if trigger.ID != d.Trigger {
			continue
		}
		for _, t := range log {
			if t.At.Before(d.due) && trigger.Breaks(t) {
				return false, nil
			}
		}
	}
	return true, nil
}

// writeDwells arms and disarms what the batch decided about.
func (b *batch) writeDwells(ctx context.Context, tx bun.Tx) error {
	var set []timer.Timer
	var gone []string
	for key := range b.loaded {
		if t := b.armed[key]; t == nil {
			gone = append(gone, key)
		} else if t.ID == 0 {
			set = append(set, *t)
		}
	}
	if _, err := timer.Cancel(ctx, tx, dwellTimer, gone...); err != nil {
		return err
	}
	return timer.Set(ctx, tx, set...)
}

// reconcile brings the armed dwells in line with the rules in force: where only
// durations changed they are moved, where anything else did they are cancelled
// with a record.
func (b *batch) reconcile(ctx context.Context, tx bun.Tx) error {
	var armed []timer.Timer
	if err := tx.NewSelect().Model(&armed).Where("kind = ?", dwellTimer).Order("id").Scan(ctx); err != nil {
		return err
	}
	for _, t := range armed {
		d, err := dwellOf(t)
		if err != nil {
			return err
		}
		live := b.set.Rule(d.Rule)
		if live != nil && live.Enabled && live.Version == d.Version {
			continue
		}
		b.loaded[t.Key], b.armed[t.Key] = true, nil
		if hold, ok := b.rebased(ctx, tx, d, live); ok {
			d.Version = live.Version
			b.versions[live.Version] = live
			b.armed[t.Key] = &timer.Timer{Kind: dwellTimer, Key: t.Key, DueAt: db.At(time.UnixMicro(d.At).Add(hold)), Payload: db.ToJSON(d)}
			continue
		}
		why := "the rule was edited"
		if live == nil {
			why = "the rule was removed"
		} else if !live.Enabled {
			why = "the rule was disabled"
		}
		if err := b.cancel(ctx, tx, d, why); err != nil {
			return err
		}
	}
	return nil
}

// rebased is the new length of a dwell whose rule changed in durations alone.
func (b *batch) rebased(ctx context.Context, tx bun.Tx, d dwell, live *rules.Rule) (time.Duration, bool) {
	if live == nil || !live.Enabled {
		return 0, false
	}
	before, err := journal.RuleVersionByID(ctx, tx, d.Version)
	if err != nil || !rules.SameButDurations(before.Text, live.Text) {
		return 0, false
	}
	for _, trigger := range live.Triggers {
		if trigger.ID == d.Trigger && trigger.For() > 0 {
			return trigger.For(), true
		}
	}
	return 0, false
}
