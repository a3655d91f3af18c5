package engine

import (
	"context"
	"fmt"

	"github.com/flightrules/flightrules/rules"
	"github.com/flightrules/flightrules/triggers"
)

// Matches are the triggers that an event matches: what the router looks at
// before dwells, conditions and modes. It changes nothing. An expression that
// cannot be evaluated is an error.
func (e *Engine) Matches(ctx context.Context, event triggers.Event) ([]rules.Candidate, error) {
	value, err := e.Events.Value(event)
	if err != nil {
		return nil, err
	}
	var matched []rules.Candidate
	for _, c := range e.Rules().Candidates(event.Name, value) {
		if !c.Trigger.Match(event) {
			continue
		}
		if c.Trigger.Where != nil {
			env, err := e.env(ctx, c.Rule, c.Trigger.ID, value)
			if err != nil {
				return nil, fmt.Errorf("rule %s: %w", c.Rule.ID, err)
			}
			if yes, err := c.Trigger.Where.Bool(env); err != nil {
				return nil, fmt.Errorf("rule %s: where: %w", c.Rule.ID, err)
			} else if !yes {
				continue
			}
		}
		matched = append(matched, c)
	}
	return matched, nil
}
