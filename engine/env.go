package engine

import (
	"context"
	"fmt"

	"github.com/flightrules/flightrules/internal/expression"
	"github.com/flightrules/flightrules/rules"
)

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
	env, vars = e.present(ctx).functions(), map[string]any{}
	env["event"] = value
	env["trigger"] = triggerValue(r, trigger)
	env["vars"] = vars
	return env, vars
}

// triggerValue is `trigger` in expressions.
func triggerValue(r *rules.Rule, trigger string) map[string]any {
	return map[string]any{"id": trigger, "rule": r.ID}
}

// holds evaluates a `where`.
func (e *Engine) holds(ctx context.Context, where *expression.Program, r *rules.Rule, t *rules.Trigger, value map[string]any) (bool, error) {
	env, err := e.env(ctx, r, t.ID, value)
	if err != nil {
		return false, fmt.Errorf("where: %w", err)
	}
	yes, err := where.Bool(env)
	if err != nil {
		return false, fmt.Errorf("where: %w", err)
	}
	return yes, nil
}
