package engine

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"time"

	"github.com/uptrace/bun"

	"github.com/flightrules/flightrules/engine/journal"
	"github.com/flightrules/flightrules/entities"
	"github.com/flightrules/flightrules/internal/db"
	"github.com/flightrules/flightrules/internal/duration"
	"github.com/flightrules/flightrules/rules"
	"github.com/flightrules/flightrules/triggers"
)

// MaxDepth is how many runs may stand between an event and the outside world.
// Beyond it nothing fires: rules that cause each other end there.
const MaxDepth = 16

// lateAfter is how much after its time something fires before the record calls
// it late.
const lateAfter = time.Second

// match is an event that a trigger of a rule has matched.
type match struct {
	rule    *rules.Rule
	trigger *rules.Trigger
	event   triggers.Event
	value   map[string]any // the event in expressions
}

// key is what modes count over: the entity, or "-" for an event about none.
func (m match) key() string {
	if m.event.Kind == "" {
		return "-"
	}
	return m.event.Kind + "/" + m.event.EntityID
}

// event finds the rules that an event matches and decides about each. With
// lazy, the event is recorded only if a decision refers to it.
func (b *batch) event(ctx context.Context, tx bun.Tx, e triggers.Event, lazy bool) error {
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
	if err := b.loadDwells(ctx, tx, candidates, e); err != nil {
		return err
	}
	for _, c := range candidates {
		m := match{rule: c.Rule, trigger: c.Trigger, event: e, value: value}
		if err := b.breakDwell(ctx, tx, m); err != nil {
			return err
		}
		if !c.Trigger.Match(e) {
			continue
		}
		before := len(b.decisions)
		if unreadable != nil {
			b.decision(m, journal.Failed, unreadable.Error(), "")
		} else if err := b.matched(ctx, tx, m); err != nil {
			return err
		}
		if lazy && len(b.decisions) > before {
			b.record(e)
		}
	}
	return nil
}

// bare is what the index needs to know of an event.
func bare(e triggers.Event) map[string]any {
	value := map[string]any{"entity": map[string]any{"kind": e.Kind, "id": e.EntityID}}
	if e.Change != nil {
		value["change"] = map[string]any{"fields": e.Change.Fields()}
	}
	return value
}

// matched looks at `where`, and arms the dwell or decides at once.
func (b *batch) matched(ctx context.Context, tx bun.Tx, m match) error {
	if m.trigger.Where != nil {
		env, err := b.env(ctx, m.rule, m.trigger.ID, m.value)
		if err != nil {
			b.decision(m, journal.Failed, "where: "+err.Error(), "")
			return nil
		}
		yes, err := m.trigger.Where.Bool(env)
		if err != nil {
			b.decision(m, journal.Failed, "where: "+err.Error(), "")
			return nil
		}
		if !yes {
			return nil
		}
	}
	if m.trigger.For() > 0 {
		b.arm(m)
		return nil
	}
	return b.decide(ctx, tx, m, "")
}

// decide is the way through the gates to a run: depth, conditions, mode. note
// is put before the detail of the decision.
func (b *batch) decide(ctx context.Context, tx bun.Tx, m match, note string) error {
	if m.event.Cause.Depth > MaxDepth {
		b.decision(m, journal.DepthExceeded, note+fmt.Sprintf("%d runs stand behind the event, and %d may", m.event.Cause.Depth, MaxDepth), "")
		return nil
	}
	env, err := b.env(ctx, m.rule, m.trigger.ID, m.value)
	if err != nil {
		b.decision(m, journal.Failed, note+err.Error(), "")
		return nil
	}
	for i, condition := range m.rule.Conditions {
		yes, err := condition.Bool(env)
		if err != nil {
			b.decision(m, journal.Failed, note+fmt.Sprintf("conditions[%d]: %v", i, err), "")
			return nil
		}
		if !yes {
			b.decision(m, journal.ConditionFalse, note+fmt.Sprintf("conditions[%d]: %s", i, condition.Source()), "")
			return nil
		}
	}
	slot := m.rule.ID + " " + m.key()
	blocker, err := b.holder(ctx, tx, slot)
	if err != nil {
		return err
	}
	if blocker != "" {
		b.decision(m, journal.Blocked, note+"a run is active", blocker)
		return nil
	}
	run := journal.Run{
		ID: newID(), Rule: m.rule.ID, Version: m.rule.Version, Trigger: m.trigger.ID, EventID: m.event.ID, Key: m.key(),
		Slot: slot, Status: journal.RunQueued, Ready: true, Depth: m.event.Cause.Depth + 1, Attempt: 1, CreatedAt: b.at(),
	}
	if m.rule.Variables != nil {
		run.Variables = db.ToJSON(env["vars"])
	}
	b.runs = append(b.runs, run)
	b.slots[slot] = run.ID
	b.versions[m.rule.Version] = m.rule
	b.decision(m, journal.Started, note, run.ID)
	return nil
}

// holder is the active run that has the slot, "" for none.
func (b *batch) holder(ctx context.Context, tx bun.Tx, slot string) (string, error) {
	if id, ok := b.slots[slot]; ok {
		return id, nil
	}
	var id string
	err := tx.NewSelect().Model((*journal.Run)(nil)).Column("id").Where("slot = ?", slot).Scan(ctx, &id)
	if errors.Is(err, sql.ErrNoRows) {
		return "", nil
	}
	return id, err
}

// env is what every expression of a rule sees; value is the event.
func (e *Engine) env(ctx context.Context, r *rules.Rule, trigger string, value map[string]any) (map[string]any, error) {
	env, vars := e.plainEnv(ctx, r, trigger, value)
	if r.Variables == nil {
		return env, nil
	}
	values, err := r.Variables.Eval(env)
	if err != nil {
		return nil, fmt.Errorf("variables: %w", err)
	}
	merge(vars, values)
	return env, nil
}

// plainEnv is env without the rule's variables, and the map they belong into.
func (e *Engine) plainEnv(ctx context.Context, r *rules.Rule, trigger string, value map[string]any) (env, vars map[string]any) {
	env, vars = e.functions(ctx), map[string]any{}
	env["event"] = value
	env["trigger"] = map[string]any{"id": trigger, "rule": r.ID}
	env["vars"] = vars
	return env, vars
}

// functions are the functions of the expression environment. They read outside
// of any transaction: what is recorded there is committed, and a failing read
// must not take the transaction with it.
func (e *Engine) functions(ctx context.Context) map[string]any {
	idb := e.DB.Read()
	return map[string]any{
		"now": e.Now,
		"state": func(kind, id string) (any, error) {
			view, err := e.Entities.State(ctx, idb, kind, id)
			if err != nil {
				return nil, err
			}
			return e.Events.State(kind, view)
		},
		"entities": func(kind string) ([]any, error) { return e.all(ctx, kind) },
		"since": func(kind, id, field string) (time.Time, error) {
			return e.Entities.Since(ctx, idb, kind, id, field)
		},
		"held": func(kind, id, field string) (time.Duration, error) {
			since, err := e.Entities.Since(ctx, idb, kind, id, field)
			return e.Now().Sub(since), err
		},
		"transitions": func(kind, id, field string, window any) (int, error) {
			length, err := windowLength(window)
			if err != nil {
				return 0, err
			}
			return e.Entities.Count(ctx, idb, entities.Filter{Kind: kind, ID: id, Field: field, From: e.Now().Add(-length)})
		},
	}
}

// maxEntities bounds what entities(kind) gives.
const maxEntities = 1000

func (e *Engine) all(ctx context.Context, kind string) ([]any, error) {
	list, err := e.Entities.List(ctx, e.DB.Read(), kind, "", maxEntities+1)
	if err != nil {
		return nil, err
	}
	if len(list) > maxEntities {
		return nil, fmt.Errorf("there are more than %d entities of kind %s", maxEntities, kind)
	}
	all := make([]any, len(list))
	for i, one := range list {
		state, err := e.Events.State(kind, one.State)
		if err != nil {
			return nil, err
		}
		all[i] = map[string]any{"id": one.ID, "state": state}
	}
	return all, nil
}

func windowLength(window any) (time.Duration, error) {
	switch w := window.(type) {
	case time.Duration:
		return w, nil
	case string:
		return duration.Parse(w)
	default:
		return 0, fmt.Errorf("a window is a duration such as \"10m\", not a %T", window)
	}
}
