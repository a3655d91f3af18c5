package engine

import (
	"context"
	"fmt"
	"time"

	"github.com/flightrules/flightrules/entities"
	"github.com/flightrules/flightrules/internal/duration"
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
	env, vars = e.functions(ctx), map[string]any{}
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

// functions are the functions of the expression environment. They read outside
// of any transaction: what is recorded there is committed, and a failing read
// must not take the transaction with it.
func (e *Engine) functions(ctx context.Context) map[string]any {
	idb := e.DB.Read()
	functions := map[string]any{
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
	for _, f := range e.Compiler.Functions {
		functions[f.Name] = f.Fn
	}
	return functions
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
