package engine

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"runtime/debug"
	"strings"
	"time"

	"github.com/flightrules/flightrules/engine/action"
	"github.com/flightrules/flightrules/engine/journal"
	"github.com/flightrules/flightrules/internal/db"
	"github.com/flightrules/flightrules/internal/expression"
	"github.com/flightrules/flightrules/internal/secret"
	"github.com/flightrules/flightrules/internal/shape"
	"github.com/flightrules/flightrules/rules"
)

// recordTimeout bounds how long the record of what an action has done may take
// when the node goes down.
const recordTimeout = 5 * time.Second

// act runs a registered action: recorded as running before, with its result
// after, and with the same idempotency key whenever it is repeated.
func (f *frame) act(ctx context.Context, do rules.Act, record *journal.Step) (any, error) {
	config, err := f.config(do, record)
	if err != nil {
		return nil, own(err)
	}
	if f.limit.over(f.Now()) {
		return nil, &timedOut{of: f.limit.of} // while it was at work
	}
	begun := f.begun(record)
	if broken := begun - record.Failures; broken > f.MaxRecoveries {
		return nil, &givenUp{broken, record.Path}
	}
	record.Attempt = max(record.Attempt, begun+1)
	f.keep(*record)
	if err := f.commit(ctx, nil); err != nil {
		return nil, err
	}
	acting, cancel := ctx, context.CancelFunc(func() {})
	if !f.limit.at.IsZero() {
		acting, cancel = context.WithTimeout(ctx, f.limit.at.Sub(f.Now()))
	}
	defer cancel()
	output, err := f.contained(acting, do.Action, config, record)
	switch {
	case err == nil:
		return output, nil
	case ctx.Err() != nil:
		return nil, ctx.Err() // the node goes down; the step is repeated elsewhere
	case acting.Err() != nil:
		return nil, &timedOut{of: f.limit.of, err: err}
	}
	return nil, own(err)
}

// begun is how often the step has begun before.
func (w *walk) begun(record *journal.Step) int {
	before, _ := w.recorded(placeOf(*record))
	return before.Attempt
}

func (f *frame) contained(ctx context.Context, a action.Action, config any, record *journal.Step) (output any, err error) {
	log := slog.New(secret.Handler(f.Log.Handler(), f.mask())).With("rule", f.run.Rule, "run", f.run.ID, "step", record.Path)
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("action %s: panic: %v", a.Name, p)
			log.Error("an action panicked", "action", a.Name, "panic", fmt.Sprint(p), "stack", string(debug.Stack()))
		}
	}()
	return a.Run(ctx, action.Call{
		Run: f.run.ID, Rule: f.run.Rule, Step: record.Path, IdempotencyKey: f.key(record), Attempt: record.Attempt, Log: log,
	}, config)
}

// config is what an action is told. A repetition is told what it was told
// before, as its idempotency key says so: only the texts in which secrets were
// masked are made anew.
func (f *frame) config(do rules.Act, record *journal.Step) (any, error) {
	env := f.env
	if len(do.Secrets) > 0 {
		values, err := f.secrets(do.Secrets)
		if err != nil {
			return nil, err
		}
		env = maps.Clone(f.env)
		env["secrets"] = values
	}
	if record.Input == nil {
		config, err := do.Config.Eval(env)
		if err != nil {
			return nil, err
		}
		config = shape.Encode(config)
		input := db.ToJSON(f.mask().Value(config))
		if len(input) > maxInput {
			return nil, fmt.Errorf("what %s is told has %d bytes, and %d is the most", do.Action.Name, len(input), maxInput)
		}
		record.Input = input
		return config, nil
	}
	config := stored(record.Input)
	var failed error
	do.Config.Each(func(path []any, t *expression.Template) {
		masked := strings.Contains(string(db.ToJSON(in(config, path))), secret.Mark)
		if failed != nil || !masked {
			return
		}
		v, err := t.Eval(env)
		if failed = err; err == nil {
			config = replaced(config, path, shape.Encode(v))
		}
	})
	return config, failed
}

// in is what stands at the end of a path in a value; nil: nothing.
func in(v any, path []any) any {
	for _, part := range path {
		switch key := part.(type) {
		case string:
			m, _ := v.(map[string]any)
			v = m[key]
		case int:
			list, _ := v.([]any)
			if key >= len(list) {
				return nil
			}
			v = list[key]
		}
	}
	return v
}

// replaced is a value with another at the end of a path in it.
func replaced(in any, path []any, v any) any {
	if len(path) == 0 {
		return v
	}
	switch key := path[0].(type) {
	case string:
		if m, ok := in.(map[string]any); ok {
			m[key] = replaced(m[key], path[1:], v)
		}
	case int:
		if list, ok := in.([]any); ok && key < len(list) {
			list[key] = replaced(list[key], path[1:], v)
		}
	}
	return in
}

// vault holds the secrets that a run may use, for as long as it is walked. They
// are looked up when the first of them is needed, and written nowhere.
type vault struct {
	values map[string]string
	errs   map[string]error
	masker *secret.Masker
}

// unlock looks up the secrets of the rule, once in a walk, before anything is
// written in which they would have to be masked.
func (w *walk) unlock(ctx context.Context) {
	if len(w.rule.Secrets()) == 0 {
		return
	}
	v := &vault{values: map[string]string{}, errs: map[string]error{}}
	var all []string
	for _, name := range w.rule.Secrets() {
		value, err := w.Secret(ctx, name, fmt.Sprintf("rule:%s run:%s", w.run.Rule, w.run.ID))
		if err != nil {
			v.errs[name] = err
			continue
		}
		v.values[name] = value
		all = append(all, value)
	}
	v.masker = secret.NewMasker(all...)
	w.vault = v
}

// secrets are the values of some secrets.
func (w *walk) secrets(names []string) (map[string]any, error) {
	v := w.vault
	values := map[string]any{}
	var errs []error
	for _, name := range names {
		if err := v.errs[name]; err != nil {
			errs = append(errs, err)
		}
		values[name] = v.values[name]
	}
	return values, errors.Join(errs...)
}

// mask takes the secrets of the rule out of what is written.
func (w *walk) mask() *secret.Masker {
	if w.vault == nil {
		return nil
	}
	return w.vault.masker
}
