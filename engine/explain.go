package engine

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"github.com/flightrules/flightrules/engine/journal"
	"github.com/flightrules/flightrules/internal/expression"
	"github.com/flightrules/flightrules/internal/shape"
	"github.com/flightrules/flightrules/rules"
	"github.com/flightrules/flightrules/triggers"
)

// Explanation is what a rule made of an event: worked out anew from the log, as
// of the time of the event, with the rule as it is now; and what was recorded.
type Explanation struct {
	Rule      *rules.Rule
	Event     journal.Event
	Triggers  []Considered
	Decisions []journal.Decision // of the rule about the event, oldest first
}

// Considered is what one trigger made of the event.
type Considered struct {
	Trigger *rules.Trigger
	Matched bool
	// Gate is what said no, or could not be told: "event", "trigger", "where" or
	// "conditions"; "" when none of them did.
	Gate   string
	Detail string // of the gate, in words
	// Where and Conditions are what their expressions came to.
	Where      *Evaluated
	Conditions []Evaluated
}

// Evaluated is an expression, what it came to, and what its parts did.
type Evaluated struct {
	Text  string
	Value any
	Err   error
	Parts []expression.Operand
}

// Explain works out what a rule made of an event. ErrNoRule, and ErrNotFound
// of journal for the event.
func (e *Engine) Explain(ctx context.Context, rule, eventID string) (*Explanation, error) {
	r := e.Rules().Rule(rule)
	if r == nil {
		return nil, fmt.Errorf("%w: %s", ErrNoRule, rule)
	}
	row, err := journal.EventByID(ctx, e.DB.Read(), eventID)
	if err != nil {
		return nil, err
	}
	event, value, err := e.withChange(ctx, e.DB.Read(), row)
	if err != nil {
		return nil, err
	}
	out := &Explanation{Rule: r, Event: row}
	for i := range r.Triggers {
		out.Triggers = append(out.Triggers, e.consider(ctx, r, &r.Triggers[i], event, value))
	}
	decisions, err := journal.Decisions(ctx, e.DB.Read(), journal.Filter{Rule: rule, Event: eventID})
	for i := range decisions {
		out.Decisions = append(out.Decisions, decisions[len(decisions)-1-i])
	}
	return out, err
}

// consider works out what one trigger makes of an event.
func (e *Engine) consider(ctx context.Context, r *rules.Rule, t *rules.Trigger, event triggers.Event, value map[string]any) Considered {
	c := Considered{Trigger: t}
	no := func(gate, format string, args ...any) Considered {
		c.Gate, c.Detail = gate, fmt.Sprintf(format, args...)
		return c
	}
	switch {
	case !r.Enabled || !t.Enabled:
		return no("event", "it is disabled")
	case !looksAt(r, t, event):
		if looks(t) == nil && t.EventName() == event.Name {
			return no("event", "it looks at %s of its own, and this one is not", event.Name)
		}
		return no("event", "it looks at %s, and this is %s", t.EventName(), event.Name)
	}
	where := t.Where
	var matched bool
	var err error
	for _, l := range looks(t) {
		if yes, _, lookErr := l.Trigger.Match(event, triggers.Forgotten); yes || lookErr != nil {
			matched, err, where = yes, lookErr, l.Where
			break
		}
	}
	if looks(t) == nil { // of schedules, absences and runs by hand
		matched = true
	}
	if err != nil {
		return no("trigger", "%v", err)
	}
	if !matched {
		return no("trigger", "%s is not what happened", t.Summary())
	}
	env, err := e.envAsOf(ctx, r, t, event.At, value)
	if err != nil {
		return no("where", "%v", err)
	}
	if where != nil && t.Absent == nil {
		one := evaluated(where, env)
		c.Where = &one
		if one.Err != nil || one.Value != true {
			return no("where", "%s", one.outcome())
		}
	}
	c.Matched = true
	for _, condition := range r.Conditions {
		c.Conditions = append(c.Conditions, flatten(condition, env, event.At)...)
	}
	if refused, err := rules.Check(r.Conditions, env, event.At); err != nil {
		return no("conditions", "%v", err)
	} else if refused != nil {
		return no("conditions", "%s: %s is false", refused.Path, refused.Text)
	}
	return c
}

// looksAt says whether an event is of the kind that a trigger fires for.
func looksAt(r *rules.Rule, t *rules.Trigger, event triggers.Event) bool {
	for _, l := range looks(t) {
		if triggers.Covers(l.Trigger.Event(), event.Name) || event.Change != nil && l.Trigger.Event() == triggers.ChangedEvent(event.Kind) {
			return true // any event of a change leads to the change
		}
	}
	return isFor(r, t, event)
}

// isFor says whether an event is one that the engine makes for the trigger: a
// tick, an absence, a run by hand.
func isFor(r *rules.Rule, t *rules.Trigger, event triggers.Event) bool {
	about := event.Kind == triggers.RuleKind && event.EntityID == r.ID
	switch {
	case t.Schedule != nil:
		return event.Name == triggers.Tick && about
	case t.Manual != nil:
		return event.Name == triggers.Manual && about
	case t.Absent != nil:
		var p triggers.AbsencePayload
		return event.Name == triggers.Absence && (about || event.Kind != triggers.RuleKind) &&
			json.Unmarshal(event.Payload, &p) == nil && p.Event == t.Event()
	}
	return false
}

// looks are the single events that a trigger fires for; nil for one that fires
// for none.
func looks(t *rules.Trigger) []rules.Part {
	switch {
	case t.All != nil:
		return t.All.Parts
	case t.Trigger == nil, t.Absent != nil:
		return nil
	default:
		return []rules.Part{{Trigger: t.Trigger, Where: t.Where}}
	}
}

func evaluated(program *expression.Program, env map[string]any) Evaluated {
	v, err := program.Eval(env)
	return Evaluated{Text: program.Source(), Value: v, Err: err, Parts: program.Explain(env)}
}

func (v Evaluated) outcome() string {
	if v.Err != nil {
		return v.Err.Error()
	}
	return fmt.Sprintf("%s is %v", v.Text, v.Value)
}

// flatten evaluates the expressions and windows of a condition.
func flatten(c *rules.Condition, env map[string]any, at time.Time) []Evaluated {
	if c.Time != nil {
		return []Evaluated{{Text: c.String(), Value: c.Time.Contains(at)}}
	}
	if c.Expr != nil {
		return []Evaluated{evaluated(c.Expr, env)}
	}
	var list []Evaluated
	for _, some := range [][]*rules.Condition{c.Any, c.All, c.None} {
		for _, one := range some {
			list = append(list, flatten(one, env, at)...)
		}
	}
	return list
}

// envAsOf is env as it was at a time, from the log alone.
func (e *Engine) envAsOf(ctx context.Context, r *rules.Rule, t *rules.Trigger, at time.Time, value map[string]any) (map[string]any, error) {
	env, vars := e.plainEnv(ctx, r, t.ID, value)
	for name, fn := range e.past(ctx, at).functions() {
		env[name] = fn
	}
	env["events"] = []any{value}
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

// Plain is a value of an expression as plain JSON.
func Plain(v any) any { return shape.Encode(v) }
