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
	"github.com/flightrules/flightrules/rules"
	"github.com/flightrules/flightrules/triggers"
)

// reconcile brings what waits in line with the rules in force: what is armed,
// what is gathered, schedules, and entities that a new rule wants to look at.
func (b *batch) reconcile(ctx context.Context, tx bun.Tx) error {
	states, err := journal.RuleStates(ctx, tx, true)
	if err != nil {
		return err
	}
	if err := b.reconcileTimers(ctx, tx); err != nil {
		return err
	}
	var changed []journal.RuleState
	var changes []journal.RuleChange
	for _, r := range b.set.Rules {
		state, fresh, differs := stateOf(r, states[r.ID], b.at())
		if differs {
			if err := b.forgetGathered(ctx, tx, r, states[r.ID]); err != nil {
				return err
			}
			changed = append(changed, state)
			changes = append(changes, journal.RuleChange{Rule: r.ID, Change: journal.RuleLoaded, Version: r.Version, At: b.at()})
			b.versions[r.Version] = r
		}
		if err := b.begin(ctx, tx, r, state.LoadedAt.Time, fresh); err != nil {
			return err
		}
	}
	for id, state := range states {
		if b.set.Rule(id) == nil && state.Version != "" {
			state.LoadedAt, state.Version, state.Signatures = db.Time{}, "", nil
			if err := b.forgetGathered(ctx, tx, nil, state); err != nil {
				return err
			}
			changed = append(changed, state)
			changes = append(changes, journal.RuleChange{Rule: id, Change: journal.RuleRemoved, At: b.at()})
		}
	}
	if err := journal.NoteChanges(ctx, tx, changes...); err != nil {
		return err
	}
	if err := writeStates(ctx, tx, changed); err != nil {
		return err
	}
	return b.reconcileSilences(ctx, tx)
}

// stateOf is the state of a rule as it is now; fresh says that it is in force
// for the first time.
func stateOf(r *rules.Rule, before journal.RuleState, now db.Time) (state journal.RuleState, fresh, differs bool) {
	state = before
	state.Rule, state.Version = r.ID, r.Version
	signatures := map[string]string{}
	for _, t := range r.Triggers {
		signatures[t.ID] = t.Signature
	}
	state.Signatures = db.ToJSON(signatures)
	if fresh = r.Enabled && before.LoadedAt.IsZero(); fresh {
		state.LoadedAt = now
	}
	return state, fresh, fresh || before.Version != r.Version
}

func writeStates(ctx context.Context, tx bun.Tx, states []journal.RuleState) error {
	for some := range slices.Chunk(states, 1000) {
		if _, err := tx.NewInsert().Model(&some).On("CONFLICT (rule) DO UPDATE").
			Set("loaded_at = EXCLUDED.loaded_at, version = EXCLUDED.version, signatures = EXCLUDED.signatures").
			Returning("NULL").Exec(ctx); err != nil {
			return err
		}
	}
	return nil
}

// forgetGathered removes what triggers have gathered or remember that are not
// what they were; r is nil for a rule that is gone.
func (b *batch) forgetGathered(ctx context.Context, tx bun.Tx, r *rules.Rule, before journal.RuleState) error {
	if before.Rule == "" {
		return nil
	}
	kept := map[string]bool{}
	var signatures map[string]string
	if before.Signatures != nil {
		if err := json.Unmarshal(before.Signatures, &signatures); err != nil {
			return fmt.Errorf("signatures of rule %s: %w", before.Rule, err)
		}
	}
	if r != nil {
		for _, t := range r.Triggers {
			if signatures[t.ID] == t.Signature {
				kept[t.ID] = true
				for part := range allParts(t) {
					kept[fmt.Sprintf("%s#%d", t.ID, part+1)] = true
				}
			}
		}
	}
	keep := append(slices.Sorted(maps.Keys(kept)), "")
	if _, err := tx.NewDelete().Model((*journal.Item)(nil)).
		Where("rule = ? AND part >= 0 AND trigger_id NOT IN (?)", before.Rule, bun.List(keep)).Exec(ctx); err != nil {
		return err
	}
	_, err := tx.NewDelete().Model((*journal.Latch)(nil)).
		Where("rule = ? AND trigger_id NOT IN (?)", before.Rule, bun.List(keep)).Exec(ctx)
	return err
}

func allParts(t rules.Trigger) []rules.Part {
	if t.All == nil {
		return nil
	}
	return t.All.Parts
}

// begin arms what a rule arms by being in force.
func (b *batch) begin(ctx context.Context, tx bun.Tx, r *rules.Rule, loaded time.Time, fresh bool) error {
	if !r.Enabled {
		return nil
	}
	for i := range r.Triggers {
		t := &r.Triggers[i]
		switch {
		case !t.Enabled:
		case t.Schedule != nil:
			if p := b.timers[scheduleName(r.ID, t.ID)]; p == nil || p.timer == nil {
				b.armSchedule(r, t, loaded, b.now)
			}
		case t.Absent != nil && t.Absent.Start:
			name := absentName(r.ID, t.ID, everyKey)
			if fresh {
				b.arm(name, b.now.Add(t.Absent.For), awaited{
					Rule: r.ID, Version: r.Version, Trigger: t.ID, Key: everyKey, At: b.now.UnixMicro(), Signature: t.Signature,
				})
			}
		case t.Initial && fresh:
			if err := b.lookAround(ctx, tx, r, t); err != nil {
				return err
			}
		}
	}
	return nil
}

// lookAround matches the entities that are in the state of a trigger already.
func (b *batch) lookAround(ctx context.Context, tx bun.Tx, r *rules.Rule, t *rules.Trigger) error {
	kind, _ := triggers.ChangedKind(t.Event())
	after := ""
	for {
		ids, err := b.there(ctx, tx, kind, after)
		if err != nil || len(ids) == 0 {
			return err
		}
		for _, id := range ids {
			after = id
			if err := b.lookAt(ctx, tx, r, t, kind, id); err != nil {
				return err
			}
		}
	}
}

// there are the ids of some entities of a kind that exist, after one.
func (b *batch) there(ctx context.Context, tx bun.Tx, kind, after string) (ids []string, err error) {
	const some = 500
	if b.Shadow != nil {
		list, err := b.Entities.ListAsOf(ctx, b.Shadow, kind, after, b.now, some)
		for _, one := range list {
			ids = append(ids, one.ID)
		}
		return ids, err
	}
	list, err := b.Entities.List(ctx, tx, kind, after, some)
	for _, one := range list {
		ids = append(ids, one.ID)
	}
	return ids, err
}

// longestLook bounds how far back the beginning of a state is looked for, in
// transitions.
const longestLook = 1000

// lookAt matches an entity that is in the state of a trigger, from when it came
// into it.
func (b *batch) lookAt(ctx context.Context, tx bun.Tx, r *rules.Rule, t *rules.Trigger, kind, id string) error {
	log, err := b.Entities.Transitions(ctx, b.log(tx), b.known(entities.Filter{Kind: kind, ID: id, Limit: longestLook}))
	if errors.Is(err, entities.ErrInvalid) || err == nil && len(log) == 0 {
		return nil
	}
	if err != nil {
		return err
	}
	holding := t.Trigger.(triggers.Holding)
	entered := -1
	var failed error
	for i, change := range log {
		var in bool
		failed = contained(func() (err error) { in, err = holding.Holds(id, change.Next); return err })
		if failed != nil || !in {
			break
		}
		entered = i
		if state, ok := t.Trigger.(triggers.OnState); ok && state.To == nil && holding.Breaks(change) {
			break // any value would do: it has this one since then
		}
	}
	if entered < 0 && failed == nil {
		return nil
	}
	m, err := b.found(r, t, log[max(entered, 0)], b.now)
	m.note = "as the rule was loaded "
	if err = errors.Join(failed, err); err != nil {
		return b.failedMatch(m, err)
	}
	if !t.Hold.IsZero() {
		m.at = m.event.Change.At
	}
	if t.Where != nil {
		yes, err := b.holds(ctx, t.Where, r, t, m.value)
		if err != nil {
			return b.failedMatch(m, err)
		}
		if !yes {
			return nil
		}
	}
	if stop, err := b.paused(ctx, tx, m); stop || err != nil {
		return err
	}
	return b.matched(ctx, tx, m)
}

// reconcileTimers brings the armed timers in line with the rules in force.
func (b *batch) reconcileTimers(ctx context.Context, tx bun.Tx) error {
	var armed []timer.Timer
	kinds := slices.DeleteFunc(slices.Clone(routerTimers), func(kind string) bool { return kind == silenceTimer })
	if err := tx.NewSelect().Model(&armed).Where("kind IN (?)", bun.List(kinds)).Order("id").Scan(ctx); err != nil {
		return err
	}
	for _, t := range armed {
		a, ok := b.read(t)
		if !ok {
			continue
		}
		name := timerName{t.Kind, t.Key}
		b.timers[name] = &pending{timer: &t}
		var err error
		switch t.Kind {
		case dwellTimer, unlessTimer:
			err = b.reconcileHeld(ctx, tx, name, a)
		case groupTimer:
			if _, trigger, _ := b.live(a); trigger == nil || trigger.Group == nil {
				b.disarm(name)
				err = b.endGroup(ctx, tx, a)
			}
		case absentTimer:
			_, trigger, _ := b.live(a)
			if trigger == nil || trigger.Absent == nil || trigger.Signature != a.Signature {
				b.disarm(name)
			} else if due := time.UnixMicro(a.At).Add(trigger.Absent.For); !due.Equal(a.due) {
				b.arm(name, due, a)
			}
		case scheduleTimer:
			if _, trigger, _ := b.live(a); trigger == nil || trigger.Schedule == nil || trigger.Signature != a.Signature {
				b.disarm(name)
			}
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// reconcileHeld moves a match that waits where only durations of its rule
// changed, and cancels it with a record where anything else did.
func (b *batch) reconcileHeld(ctx context.Context, tx bun.Tx, name timerName, a awaited) error {
	r, _, why := b.live(a)
	if r != nil && r.Version == a.Version {
		return nil
	}
	length, ok, err := b.rebased(ctx, tx, name.kind, a)
	if err != nil {
		return err
	}
	if ok {
		a.Version = r.Version
		b.versions[r.Version] = r
		b.arm(name, time.UnixMicro(a.At).Add(length), a)
		return nil
	}
	if why == "" {
		why = "the rule was edited"
	}
	b.disarm(name)
	m := a.match()
	b.decision(m, journal.Cancelled, why, "")
	if name.kind == unlessTimer {
		return take(ctx, tx, m.item(a.Key, unlessPart))
	}
	return nil
}

// rebased is how long a match waits whose rule changed in durations alone.
func (b *batch) rebased(ctx context.Context, tx bun.Tx, kind string, a awaited) (time.Duration, bool, error) {
	r, t, _ := b.live(a)
	if t == nil {
		return 0, false, nil
	}
	before, err := journal.RuleVersionByID(ctx, tx, a.Version)
	if errors.Is(err, journal.ErrNotFound) {
		return 0, false, nil
	}
	if err != nil || !rules.SameButDurations(before.Text, r.Text) {
		return 0, false, err
	}
	if kind == unlessTimer {
		if t.Unless == nil {
			return 0, false, nil
		}
		return t.Unless.Within, true, nil
	}
	if t.Hold.IsZero() {
		return 0, false, nil
	}
	event, value, err := b.happened(ctx, tx, a.EventID)
	if err != nil {
		return 0, false, ignoreUnreadable(err)
	}
	length, err := b.length(ctx, match{rule: r, trigger: t, event: event, value: value})
	return length, err == nil, nil
}

func ignoreUnreadable(err error) error {
	if errors.Is(err, errUnreadable) {
		return nil
	}
	return err
}

// ignoreGone makes no error of a row that is not there.
func ignoreGone(err error) error {
	if errors.Is(err, journal.ErrNotFound) {
		return nil
	}
	return err
}
