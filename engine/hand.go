package engine

import (
	"context"
	"errors"
	"fmt"

	"github.com/flightrules/flightrules/engine/journal"
	"github.com/flightrules/flightrules/internal/db"
	"github.com/flightrules/flightrules/internal/shape"
	"github.com/flightrules/flightrules/triggers"
)

// ErrInputs is returned for inputs that a rule does not take.
var ErrInputs = errors.New("bad inputs")

// RunByHand makes the event that runs a rule, whatever its triggers and
// conditions; its mode counts. The payload is the inputs, with the defaults of
// those that the rule declares. The actor is that of ctx. Errors: ErrNoRule,
// ErrInputs.
func (e *Engine) RunByHand(ctx context.Context, rule string, inputs map[string]any) (journal.Event, error) {
	event, err := e.ByHand(rule, inputs)
	if err != nil {
		return journal.Event{}, err
	}
	recorded, _, err := e.Emit(ctx, event)
	return recorded, err
}

// ByHand is the event that runs a rule, as RunByHand makes it.
func (e *Engine) ByHand(rule string, inputs map[string]any) (Emitted, error) {
	r := e.Rules().Rule(rule)
	if r == nil {
		return Emitted{}, fmt.Errorf("%w: %s", ErrNoRule, rule)
	}
	if inputs == nil {
		inputs = map[string]any{}
	}
	if manual := manualOf(r).Manual; manual != nil {
		inputs = withDefaults(manual.Inputs, inputs)
		if err := manual.Inputs.Check(inputs); err != nil {
			return Emitted{}, fmt.Errorf("%w: %w", ErrInputs, err)
		}
	}
	return Emitted{Name: triggers.Manual, Kind: triggers.RuleKind, EntityID: rule, Payload: db.ToJSON(shape.Encode(inputs))}, nil
}

// withDefaults fills in the fields that are not given.
func withDefaults(form *shape.Shape, given map[string]any) map[string]any {
	all := map[string]any{}
	for _, f := range form.Fields {
		if f.Shape.Default != nil {
			all[f.Name] = f.Shape.Default
		}
	}
	for name, v := range given {
		all[name] = v
	}
	return all
}
