package dryrun

import (
	"context"
	"fmt"
	"strings"

	"github.com/flightrules/flightrules/engine"
	"github.com/flightrules/flightrules/engine/journal"
	"github.com/flightrules/flightrules/entities"
	"github.com/flightrules/flightrules/internal/db"
	"github.com/flightrules/flightrules/internal/httpapi"
	"github.com/flightrules/flightrules/internal/shape"
	"github.com/flightrules/flightrules/rules"
	"github.com/flightrules/flightrules/triggers"
)

// madeUp is an event that did not happen: with a payload, or of a run by hand.
func (t *trial) madeUp(ctx context.Context, rule *rules.Rule) (journal.Event, error) {
	e, err := t.pretended(rule)
	return journal.Event{
		ID: t.sim.Engine.NewID(), Name: e.Name, Kind: e.Kind, EntityID: e.EntityID, Payload: e.Payload,
		Actor: entities.CauseOf(ctx).Actor, At: db.At(t.start),
	}, err
}

func (t *trial) pretended(rule *rules.Rule) (engine.Emitted, error) {
	if t.ask.Payload == nil {
		return t.sim.Engine.ByHand(rule.ID, t.ask.Inputs)
	}
	name, payload := t.ask.Name, t.ask.Payload
	if name == "" {
		trigger, err := taking(rule)
		switch {
		case err != nil:
			return engine.Emitted{}, err
		case trigger.Manual != nil:
			inputs, ok := payload.(map[string]any)
			if !ok {
				return engine.Emitted{}, fmt.Errorf("%w: inputs are an object", httpapi.ErrPayload)
			}
			return t.sim.Engine.ByHand(rule.ID, inputs)
		case trigger.Webhook != nil:
			if payload, err = delivery(trigger.Webhook, payload); err != nil {
				return engine.Emitted{}, err
			}
		}
		name = trigger.EventName()
	}
	known, err := t.eventType(name)
	if err != nil {
		return engine.Emitted{}, err
	}
	if known.Payload != nil {
		if err := known.Payload.Check(payload); err != nil {
			return engine.Emitted{}, fmt.Errorf("%w of %s: %w", httpapi.ErrPayload, name, err)
		}
	}
	if err := t.about(known); err != nil {
		return engine.Emitted{}, err
	}
	return engine.Emitted{Name: name, Kind: t.ask.Kind, EntityID: t.ask.EntityID, Payload: db.ToJSON(shape.Encode(payload))}, nil
}

// taking is the one trigger of a rule that can be given a payload.
func taking(rule *rules.Rule) (*rules.Trigger, error) {
	var found []*rules.Trigger
	var ids []string
	for i := range rule.Triggers {
		t := &rule.Triggers[i]
		_, event := t.Trigger.(triggers.OnEvent)
		if t.Enabled && t.Absent == nil && (event || t.Webhook != nil || t.Manual != nil) {
			found, ids = append(found, t), append(ids, t.ID)
		}
	}
	switch len(found) {
	case 1:
		return found[0], nil
	case 0:
		return nil, fmt.Errorf("%w: %s looks at changes, times or several events, which no payload makes up: try it with an event that happened, or by hand without a payload",
			httpapi.ErrDryRun, subject(rule))
	}
	return nil, fmt.Errorf("%w: several triggers can be given a payload: say which, %s", httpapi.ErrDryRun, strings.Join(ids, " or "))
}

func subject(rule *rules.Rule) string {
	if len(rule.Triggers) == 1 {
		return "trigger " + rule.Triggers[0].ID
	}
	return "rule " + rule.ID
}

// delivery is the payload of a webhook, with what may be left out.
func delivery(hook *rules.Webhook, payload any) (any, error) {
	given, ok := payload.(map[string]any)
	if _, has := given["body"]; !ok || !has {
		return nil, fmt.Errorf("%w: the payload of a webhook is {body, headers, query}, and body is wanted", httpapi.ErrPayload)
	}
	if hook.Schema != nil {
		if err := hook.Schema.Validate(given["body"]); err != nil {
			return nil, fmt.Errorf("%w: body: %w", httpapi.ErrPayload, err)
		}
	}
	all := map[string]any{"headers": map[string]any{}, "query": map[string]any{}}
	for name, v := range given {
		all[name] = v
	}
	return all, nil
}

// eventType is what is known of an event that can be made up.
func (t *trial) eventType(name string) (triggers.EventType, error) {
	_, change := triggers.ChangedKind(name)
	switch {
	case strings.HasSuffix(name, ".*"):
		return triggers.EventType{}, fmt.Errorf("%w: the trigger looks at %s: give the event a name", httpapi.ErrDryRun, name)
	case change || strings.HasPrefix(name, triggers.EnginePrefix):
		return triggers.EventType{}, fmt.Errorf("%w: an event %s cannot be made up", httpapi.ErrDryRun, name)
	}
	known, err := t.sim.Events.Lookup(name)
	if err != nil {
		return known, fmt.Errorf("%w: %w", httpapi.ErrDryRun, err)
	}
	return known, nil
}

// about checks the entity that an event is to be about.
func (t *trial) about(event triggers.EventType) error {
	kind := t.ask.Kind
	switch {
	case kind == "" && event.Kind != "":
		t.note("the event is about no entity, and %s always is about one of kind %s", event.Name, event.Kind)
	case kind == "":
	case event.Kind != "" && event.Kind != kind:
		return fmt.Errorf("%w: %s is about a %s, and not about a %s", httpapi.ErrDryRun, event.Name, event.Kind, kind)
	default:
		if _, ok := t.sim.Entities.Kind(kind); !ok {
			return fmt.Errorf("%w: there is no kind %s", httpapi.ErrDryRun, kind)
		}
	}
	if event.Derived {
		t.note("the event was not derived from a change: event.change is nil")
	}
	return nil
}

// named finds a trigger.
func named(rule *rules.Rule, id string) (*rules.Trigger, error) {
	var ids []string
	for i := range rule.Triggers {
		if rule.Triggers[i].ID == id {
			return &rule.Triggers[i], nil
		}
		ids = append(ids, rule.Triggers[i].ID)
	}
	return nil, fmt.Errorf("%w: rule %s has no trigger %s: it has %s", httpapi.ErrDryRun, rule.ID, id, strings.Join(ids, ", "))
}

// fired is the trigger that is taken to have fired: the first that looks at such
// an event, or else the first of all.
func (t *trial) fired(rule *rules.Rule) rules.Candidate {
	c := rules.Candidate{Rule: rule, Trigger: &rule.Triggers[0]}
	for i := range rule.Triggers {
		one := &rule.Triggers[i]
		if triggers.Covers(one.EventName(), t.event.Name) || t.event.TransitionSeq != 0 && one.EventName() == triggers.ChangedEvent(t.event.Kind) {
			return rules.Candidate{Rule: rule, Trigger: one}
		}
	}
	return c
}
