package engine

import (
	"context"
	"encoding/json"
	"fmt"

	"github.com/uptrace/bun"

	"github.com/flightrules/flightrules/engine/journal"
	"github.com/flightrules/flightrules/internal/shape"
	"github.com/flightrules/flightrules/rules"
	"github.com/flightrules/flightrules/triggers"
)

// Matches are the triggers that an event matches by itself: what the router
// looks at before it waits, counts or decides. It changes nothing, and
// remembers nothing. An expression that cannot be evaluated is an error.
func (e *Engine) Matches(ctx context.Context, event triggers.Event) ([]rules.Candidate, error) {
	value, err := e.Events.Value(event)
	if err != nil {
		return nil, err
	}
	var matched []rules.Candidate
	for _, c := range e.Rules().Candidates(event.Name, value) {
		trigger, where := c.Looks()
		yes, _, err := trigger.Match(event, triggers.Forgotten)
		if err == nil && yes && where != nil {
			yes, err = e.holds(ctx, where, c.Rule, c.Trigger, value)
		}
		if err != nil {
			return nil, fmt.Errorf("rule %s: %w", c.Rule.ID, err)
		}
		if yes {
			matched = append(matched, c)
		}
	}
	return matched, nil
}

// event finds the rules that an event is something to, and goes on with each.
// An event that is not recorded yet is when a decision refers to it.
func (b *batch) event(ctx context.Context, tx bun.Tx, e triggers.Event) error {
	if err := b.deliver(ctx, tx, e); err != nil {
		return err
	}
	if e.Name == triggers.Manual {
		if err := b.runByHand(ctx, tx, e); err != nil {
			return err
		}
	}
	if !b.set.Listens(e.Name) {
		return nil
	}
	value, unreadable := b.Events.Value(e)
	if unreadable != nil {
		// It breaks what it breaks all the same; what it would match is on record.
		value = bare(e)
		seq := int64(0)
		if e.Change != nil {
			seq = e.Change.Seq
		}
		b.failed(seq, fmt.Errorf("event %s: %w", e.Name, unreadable))
	}
	candidates := b.set.Candidates(e.Name, value)
	if err := b.foresee(ctx, tx, candidates, e); err != nil {
		return err
	}
	for _, c := range candidates {
		m := match{rule: c.Rule, trigger: c.Trigger, event: e, value: value, at: e.At}
		if err := b.candidate(ctx, tx, c, m, unreadable); err != nil {
			return err
		}
	}
	return nil
}

// foresee reads at once what the candidates will ask for.
func (b *batch) foresee(ctx context.Context, tx bun.Tx, candidates []rules.Candidate, e triggers.Event) error {
	var dwells []string
	latching := false
	for _, c := range candidates {
		if c.Role == rules.Match && !c.Trigger.Hold.IsZero() {
			dwells = append(dwells, match{rule: c.Rule, trigger: c.Trigger, event: e}.dwell().key)
		}
		trigger, _ := c.Looks()
		if l, ok := trigger.(triggers.Latching); ok && l.Latches() {
			latching = true
		}
	}
	if latching {
		if err := b.readLatches(ctx, tx, match{event: e}.entity()); err != nil {
			return err
		}
	}
	return b.prefetch(ctx, tx, dwellTimer, dwells)
}

// candidate goes on with one trigger that an event may be something to.
func (b *batch) candidate(ctx context.Context, tx bun.Tx, c rules.Candidate, m match, unreadable error) error {
	if c.Role == rules.Match {
		if err := b.breakDwell(ctx, tx, m); err != nil {
			return err
		}
	}
	yes, err := b.look(ctx, tx, c, m)
	if err == nil && unreadable != nil {
		err = unreadable
	}
	switch {
	case err != nil && (yes || unreadable == nil):
		return b.failedMatch(m, err)
	case !yes:
		return nil
	case c.Role == rules.Ending:
		return b.ending(ctx, tx, m)
	case m.trigger.Absent != nil:
		return b.seen(ctx, tx, m)
	case c.Role > 0 && b.decidedInBatch(m, isDecided):
		return nil // it was another of the parts, and counts once
	}
	if stop, err := b.paused(ctx, tx, m); stop || err != nil {
		return err
	}
	if c.Role > 0 {
		return b.part(ctx, tx, m, int(c.Role))
	}
	return b.matched(ctx, tx, m)
}

// look says whether a candidate matches, `where` included, and remembers what
// its trigger must.
func (b *batch) look(ctx context.Context, tx bun.Tx, c rules.Candidate, m match) (bool, error) {
	trigger, where := c.Looks()
	l, latching := trigger.(triggers.Latching)
	latching = latching && l.Latches()
	before := triggers.Forgotten
	if latching {
		before = b.latch(m, c.Role)
	}
	var yes bool
	err := contained(func() (err error) {
		var after triggers.Latch
		yes, after, err = trigger.Match(m.event, before)
		if latching && after != before {
			b.setLatch(m, c.Role, after)
		}
		return err
	})
	if err != nil {
		return false, fmt.Errorf("%s: %w", m.trigger.Key, err)
	}
	if !yes || where == nil {
		return yes, nil
	}
	yes, err = b.holds(ctx, where, m.rule, m.trigger, m.value)
	return yes, err
}

// bare is what the index needs to know of an event.
func bare(e triggers.Event) map[string]any {
	value := map[string]any{"entity": map[string]any{"kind": e.Kind, "id": e.EntityID}}
	if e.Change != nil {
		value["change"] = map[string]any{"fields": e.Change.Fields()}
	}
	return value
}

// matched goes on with a match of a trigger on single events: it waits until
// that has held, or counts it, or decides.
func (b *batch) matched(ctx context.Context, tx bun.Tx, m match) error {
	if !m.trigger.Hold.IsZero() {
		return b.armDwell(ctx, m)
	}
	return b.held(ctx, tx, m)
}

// held goes on with a match that has held.
func (b *batch) held(ctx context.Context, tx bun.Tx, m match) error {
	if m.trigger.Count != nil {
		if full, err := b.count(ctx, tx, m); err != nil || !full {
			return err
		}
	}
	if m.trigger.Unless != nil {
		return b.armUnless(ctx, tx, m)
	}
	return b.notEnded(ctx, tx, m)
}

// notEnded goes on with a match that no other event has ended.
func (b *batch) notEnded(ctx context.Context, tx bun.Tx, m match) error {
	if m.trigger.Group != nil {
		return b.gather(ctx, tx, m)
	}
	return b.decide(ctx, tx, m)
}

// runByHand decides about a run that somebody wants.
func (b *batch) runByHand(ctx context.Context, tx bun.Tx, e triggers.Event) error {
	r := b.set.Rule(e.EntityID)
	if r == nil {
		gone := match{rule: &rules.Rule{ID: e.EntityID}, trigger: &rules.Trigger{ID: manualTrigger}, event: e}
		b.decision(gone, journal.Dropped, "the rule was removed", "")
		return nil
	}
	value, err := b.Events.Value(e)
	m := match{rule: r, trigger: manualOf(r), event: e, value: value, at: e.At, byHand: true}
	if err != nil {
		return b.failedMatch(m, err)
	}
	return b.decide(ctx, tx, m)
}

// manualTrigger is the id of the trigger of runs by hand, where a rule declares
// none.
const manualTrigger = "manual"

func manualOf(r *rules.Rule) *rules.Trigger {
	for i := range r.Triggers {
		if r.Triggers[i].Manual != nil {
			return &r.Triggers[i]
		}
	}
	return &rules.Trigger{ID: manualTrigger}
}

// keyText is a value as a key: texts stay as they are.
func keyText(v any) string {
	v = shape.Encode(v)
	if text, ok := v.(string); ok {
		return text
	}
	text, err := json.Marshal(v)
	if err != nil {
		return fmt.Sprint(v)
	}
	return string(text)
}
