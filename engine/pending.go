package engine

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/uptrace/bun"

	"github.com/flightrules/flightrules/engine/journal"
	"github.com/flightrules/flightrules/engine/timer"
	"github.com/flightrules/flightrules/entities"
	"github.com/flightrules/flightrules/internal/db"
	"github.com/flightrules/flightrules/rules"
	"github.com/flightrules/flightrules/triggers"
)

// The kinds of the timers of the router. It fires them itself, so that they and
// what they wait for are seen in one order: by time.
const (
	dwellTimer    = "dwell"    // a `for`
	unlessTimer   = "unless"   // an `unless`
	groupTimer    = "group"    // a batch
	absentTimer   = "absent"   // an event that does not come
	scheduleTimer = "schedule" // the next tick
	silenceTimer  = "silence"  // the end of a silence
)

var routerTimers = []string{dwellTimer, unlessTimer, groupTimer, absentTimer, scheduleTimer, silenceTimer}

// waiting is what the router must know when a timer of a rule is due.
type awaited struct {
	Rule    string `json:"rule"`
	Version string `json:"version,omitempty"` // that armed it
	Trigger string `json:"trigger"`
	EventID string `json:"event_id,omitempty"` // that armed it
	Kind    string `json:"kind,omitempty"`     // of the entity that it is about
	Entity  string `json:"entity,omitempty"`
	At      int64  `json:"at"`               // microseconds: from when it counts
	Change  int64  `json:"change,omitempty"` // version of the entity that armed it
	Key     string `json:"key,omitempty"`    // of what a trigger gathers
	// Signature is the trigger's, where it matters when the rule is edited.
	Signature string    `json:"signature,omitempty"`
	due       time.Time // of its timer
}

// match is the match that armed a timer, as far as a record needs it.
func (a awaited) match() match {
	m := match{rule: &rules.Rule{ID: a.Rule, Version: a.Version}, trigger: &rules.Trigger{ID: a.Trigger}}
	m.event.ID, m.event.Kind, m.event.EntityID = a.EventID, a.Kind, a.Entity
	return m
}

// of fills in what a match tells.
func (m match) awaited() awaited {
	a := awaited{
		Rule: m.rule.ID, Version: m.rule.Version, Trigger: m.trigger.ID, EventID: m.event.ID,
		Kind: m.event.Kind, Entity: m.event.EntityID, At: m.at.UnixMicro(), Signature: m.trigger.Signature,
	}
	if m.event.Change != nil {
		a.Change = m.event.Change.Version
	}
	return a
}

// timerName names a timer.
type timerName struct{ kind, key string }

// pending is a timer as the batch will leave it; nil: there is none.
type pending struct {
	timer *timer.Timer
	dirty bool // it is not as it stands in the database
}

// armed is what waits under a name; false when nothing does.
func (b *batch) armed(ctx context.Context, tx bun.Tx, name timerName) (awaited, bool, error) {
	p, known := b.timers[name]
	if !known {
		t, ok, err := timer.Get(ctx, tx, name.kind, name.key)
		if err != nil {
			return awaited{}, false, err
		}
		p = &pending{}
		if ok {
			p.timer = &t
		}
		b.timers[name] = p
	}
	if p.timer == nil {
		return awaited{}, false, nil
	}
	a, ok := b.read(*p.timer)
	return a, ok, nil
}

// read reads what a timer must know. One that cannot be read is disarmed, and
// on record: it must not hold up all that follow.
func (b *batch) read(t timer.Timer) (awaited, bool) {
	var a awaited
	if err := json.Unmarshal(t.Payload, &a); err != nil {
		b.disarm(timerName{t.Kind, t.Key})
		b.failed(0, fmt.Errorf("timer %s %s: %w", t.Kind, t.Key, err))
		return a, false
	}
	a.due = t.DueAt.Time
	return a, true
}

// arm sets a timer.
func (b *batch) arm(name timerName, due time.Time, a awaited) {
	b.timers[name] = &pending{dirty: true, timer: &timer.Timer{
		Kind: name.kind, Key: name.key, DueAt: db.At(due), Payload: db.ToJSON(a), EventID: a.EventID,
	}}
}

func (b *batch) disarm(name timerName) { b.timers[name] = &pending{dirty: true} }

// prefetch reads at once which of some timers are armed.
func (b *batch) prefetch(ctx context.Context, tx bun.Tx, kind string, keys []string) error {
	keys = slices.DeleteFunc(keys, func(key string) bool { _, known := b.timers[timerName{kind, key}]; return known })
	if len(keys) == 0 {
		return nil
	}
	var found []timer.Timer
	if err := tx.NewSelect().Model(&found).Where("kind = ? AND key IN (?)", kind, bun.List(keys)).Scan(ctx); err != nil {
		return err
	}
	for _, key := range keys {
		b.timers[timerName{kind, key}] = &pending{}
	}
	for _, t := range found {
		b.timers[timerName{kind, t.Key}].timer = &t
	}
	return nil
}

// writeTimers arms and disarms what the batch decided about. Of timers that are
// due at once the one that was armed first fires first: that must not be chance.
func (b *batch) writeTimers(ctx context.Context, tx bun.Tx) error {
	var set []timer.Timer
	gone := map[string][]string{}
	for name, p := range b.timers {
		switch {
		case !p.dirty:
		case p.timer == nil:
			gone[name.kind] = append(gone[name.kind], name.key)
		default:
			set = append(set, *p.timer)
		}
	}
	for kind, keys := range gone {
		if _, err := timer.Cancel(ctx, tx, kind, keys...); err != nil {
			return err
		}
	}
	slices.SortFunc(set, func(a, b timer.Timer) int { return cmp.Or(cmp.Compare(a.Kind, b.Kind), cmp.Compare(a.Key, b.Key)) })
	return timer.Set(ctx, tx, set...)
}

// live is the trigger in force that a timer belongs to; nil, and why, when it
// is gone.
func (b *batch) live(a awaited) (*rules.Rule, *rules.Trigger, string) {
	r := b.set.Rule(a.Rule)
	switch {
	case r == nil:
		return nil, nil, "the rule was removed"
	case !r.Enabled:
		return nil, nil, "the rule was disabled"
	}
	for i := range r.Triggers {
		if t := &r.Triggers[i]; t.ID == a.Trigger && t.Enabled {
			return r, t, ""
		}
	}
	return nil, nil, "the rule was edited"
}

// armedMatch is the match that armed a timer, with the rule in force. Where
// that is not the one of its version any more it is false, and only what a
// record needs is filled in.
func (b *batch) armedMatch(ctx context.Context, tx bun.Tx, a awaited) (m match, ok bool, err error) {
	m = a.match()
	r, t, _ := b.live(a)
	if r == nil || r.Version != a.Version {
		return m, false, nil
	}
	m.rule, m.trigger, m.at = r, t, a.due
	event, value, err := b.happened(ctx, tx, a.EventID)
	if err != nil {
		return m, true, err
	}
	m.event, m.value = event, value
	return m, true, nil
}

// happened is an event of the log, or of this very batch, and its value in
// expressions.
func (b *batch) happened(ctx context.Context, tx bun.Tx, id string) (triggers.Event, map[string]any, error) {
	if i := slices.IndexFunc(b.events, func(row journal.Event) bool { return row.ID == id }); i >= 0 {
		return b.withChange(ctx, tx, b.events[i])
	}
	return b.Engine.event(ctx, tx, id)
}

// complete goes on with a match whose timer is due, by fn.
func (b *batch) complete(ctx context.Context, tx bun.Tx, a awaited, fn func(context.Context, bun.Tx, match) error) error {
	m, ok, err := b.armedMatch(ctx, tx, a)
	if errors.Is(err, errUnreadable) {
		b.decision(m, journal.Failed, err.Error(), "")
		return nil
	}
	if err != nil {
		return err
	}
	if !ok {
		b.decision(m, journal.Cancelled, "the rule is not what it was when this began", "")
		return nil
	}
	m.note = b.late(a.due)
	return fn(ctx, tx, m)
}

// fireDue fires the timers that are due, in the order of their times, and says
// how many it dealt with.
func (b *batch) fireDue(ctx context.Context, tx bun.Tx) (int, error) {
	due, err := timer.DueOf(ctx, tx, routerTimers, b.now, routeBatch)
	if err != nil || len(due) == 0 {
		return 0, err
	}
	if err := b.hold(ctx, tx, due); err != nil {
		return 0, err
	}
	fired := 0
	for _, t := range due {
		name := timerName{t.Kind, t.Key}
		if p, known := b.timers[name]; known && p.dirty {
			continue // this batch has already decided about it, or armed it anew
		}
		if yes, err := b.fires(ctx, t); err != nil {
			return fired, err
		} else if !yes {
			continue
		}
		fired++
		if err := b.fire(ctx, tx, t); err != nil {
			return fired, err
		}
	}
	return fired, nil
}

func (b *batch) fire(ctx context.Context, tx bun.Tx, t timer.Timer) error {
	if t.Kind == silenceTimer {
		b.disarm(timerName{t.Kind, t.Key})
		return b.silenceOver(ctx, tx, t.Key, t.DueAt.Time)
	}
	a, ok := b.read(t)
	if !ok {
		return nil
	}
	b.disarm(timerName{t.Kind, t.Key})
	switch t.Kind {
	case dwellTimer:
		return b.endDwell(ctx, tx, a)
	case unlessTimer:
		return b.endUnless(ctx, tx, t, a)
	case groupTimer:
		return b.endGroup(ctx, tx, a)
	case absentTimer:
		return b.missing(ctx, tx, a)
	default:
		return b.tick(ctx, tx, a)
	}
}

// hold locks the entities of timers, in the order in which everybody does. A
// change that is under way is either in the log by then, or will be later than
// now.
func (b *batch) hold(ctx context.Context, tx bun.Tx, due []timer.Timer) error {
	if !b.DB.Postgres() {
		return nil
	}
	ids := map[string][]string{}
	var kinds []string
	for _, t := range due {
		var a awaited
		if t.Kind != dwellTimer && t.Kind != unlessTimer || json.Unmarshal(t.Payload, &a) != nil || a.Kind == "" {
			continue
		}
		if ids[a.Kind] == nil {
			kinds = append(kinds, a.Kind)
		}
		ids[a.Kind] = append(ids[a.Kind], a.Entity)
	}
	slices.Sort(kinds)
	for _, kind := range kinds {
		if err := b.Entities.Hold(ctx, tx, kind, ids[kind]...); err != nil {
			return err
		}
	}
	return nil
}

// changedSince are the changes of the entity of a timer since it was armed,
// before it is due; they may be yet to be routed.
func (b *batch) changedSince(ctx context.Context, tx bun.Tx, a awaited) ([]entities.Transition, error) {
	log, err := b.Entities.After(ctx, b.log(tx), a.Kind, a.Entity, a.Change)
	if err != nil {
		return nil, err
	}
	return slices.DeleteFunc(log, func(t entities.Transition) bool { return !t.At.Before(a.due) }), nil
}
