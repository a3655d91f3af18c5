package engine

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/uptrace/bun"

	"github.com/flightrules/flightrules/engine/journal"
	"github.com/flightrules/flightrules/engine/timer"
	"github.com/flightrules/flightrules/entities"
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

// take disarms a dwell and gives what it knows. One that cannot be read is
// false, and on record: it must not hold up all that follow.
func (b *batch) take(t timer.Timer) (dwell, bool) {
	b.loaded[t.Key], b.armed[t.Key] = true, nil
	var d dwell
	if err := json.Unmarshal(t.Payload, &d); err != nil {
		b.failed(0, fmt.Errorf("dwell %s: %w", t.Key, err))
		return d, false
	}
	d.due = t.DueAt.Time
	return d, true
}

// match is the match that armed a dwell, as far as a record needs it.
func (d dwell) match() match {
	m := match{rule: &rules.Rule{ID: d.Rule, Version: d.Version}, trigger: &rules.Trigger{ID: d.Trigger}}
	m.event.ID, m.event.Kind, m.event.EntityID = d.EventID, d.Kind, d.Entity
	return m
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
	d, ok := b.take(*armed)
	if !ok {
		return nil
	}
	if !d.due.After(m.event.At) {
		return b.fire(ctx, tx, d)
	}
	b.broken(d, *m.event.Change)
	return nil
}

// broken records which change ended a dwell.
func (b *batch) broken(d dwell, by entities.Transition) {
	m := d.match()
	b.decision(m, journal.Cancelled, fmt.Sprintf("broken after %s by version %d of %s", duration.Format(by.At.Sub(time.UnixMicro(d.At))), by.Version, m.key()), "")
}

// fire decides about a match that has held all its time.
func (b *batch) fire(ctx context.Context, tx bun.Tx, d dwell) error {
	m, err := b.armedMatch(ctx, tx, d)
	if errors.Is(err, errUnreadable) {
		b.decision(m, journal.Failed, err.Error(), "")
		return nil
	}
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
	m := d.match()
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
	read := func() (triggers.Event, map[string]any, error) { return b.Engine.event(ctx, tx, d.EventID) }
	if i := slices.IndexFunc(b.events, func(row journal.Event) bool { return row.ID == d.EventID }); i >= 0 { // armed in this very batch
		read = func() (triggers.Event, map[string]any, error) { return b.withChange(ctx, tx, b.events[i]) }
	}
	event, value, err := read()
	if err == nil {
		m.event, m.value = event, value
	}
	return m, err
}

// fireDue fires the dwells that are due, and says how many it dealt with.
func (b *batch) fireDue(ctx context.Context, tx bun.Tx) (int, error) {
	due, err := timer.Due(ctx, tx, dwellTimer, b.now, routeBatch)
	if err != nil {
		return 0, err
	}
	fired := 0
	var held []dwell
	for _, t := range due {
		if b.loaded[t.Key] {
			continue // this batch has already decided about it, or armed it anew
		}
		fired++
		if d, ok := b.take(t); ok {
			held = append(held, d)
		}
	}
	if err := b.hold(ctx, tx, held); err != nil {
		return 0, err
	}
	for _, d := range held {
		if err := b.end(ctx, tx, d); err != nil {
			return 0, err
		}
	}
	return fired, nil
}

// hold locks the entities of dwells, in the order in which everybody does. A
// change that is under way is either in the log by then, or will be later than
// now.
func (b *batch) hold(ctx context.Context, tx bun.Tx, dwells []dwell) error {
	ids := map[string][]string{}
	for _, d := range dwells {
		ids[d.Kind] = append(ids[d.Kind], d.Entity)
	}
	for _, kind := range slices.Sorted(maps.Keys(ids)) {
		if err := b.Entities.Hold(ctx, tx, kind, ids[kind]...); err != nil {
			return err
		}
	}
	return nil
}

// end fires a dwell that is due, unless the log has a change before its end
// that breaks it: that one may be yet to be routed.
func (b *batch) end(ctx context.Context, tx bun.Tx, d dwell) error {
	live := b.set.Rule(d.Rule)
	if live == nil {
		return b.fire(ctx, tx, d)
	}
	log, err := b.Entities.After(ctx, tx, d.Kind, d.Entity, d.Change)
	if errors.Is(err, entities.ErrInvalid) {
		b.decision(d.match(), journal.Failed, "whether it was broken cannot be told: "+err.Error(), "")
		return nil
	}
	if err != nil {
		return err
	}
	for _, trigger := range live.Triggers {
		if trigger.ID != d.Trigger {
			continue
		}
		for _, t := range log {
			if t.At.Before(d.due) && trigger.Breaks(t) {
				b.broken(d, t)
				return nil
			}
		}
	}
	return b.fire(ctx, tx, d)
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
		d, ok := b.take(t)
		if !ok {
			continue
		}
		live := b.set.Rule(d.Rule)
		if live != nil && live.Enabled && live.Version == d.Version {
			delete(b.loaded, t.Key) // it stays as it is
			continue
		}
		hold, ok, err := b.rebased(ctx, tx, d, live)
		if err != nil {
			return err
		}
		if ok {
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
		b.decision(d.match(), journal.Cancelled, why, "")
	}
	return nil
}

// rebased is the new length of a dwell whose rule changed in durations alone.
func (b *batch) rebased(ctx context.Context, tx bun.Tx, d dwell, live *rules.Rule) (time.Duration, bool, error) {
	if live == nil || !live.Enabled {
		return 0, false, nil
	}
	before, err := journal.RuleVersionByID(ctx, tx, d.Version)
	if errors.Is(err, journal.ErrNotFound) {
		return 0, false, nil
	}
	if err != nil || !rules.SameButDurations(before.Text, live.Text) {
		return 0, false, err
	}
	for _, trigger := range live.Triggers {
		if trigger.ID == d.Trigger && trigger.For() > 0 {
			return trigger.For(), true, nil
		}
	}
	return 0, false, nil
}
