package engine

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"

	"github.com/google/uuid"
	"github.com/uptrace/bun"

	"github.com/flightrules/flightrules/engine/journal"
	"github.com/flightrules/flightrules/entities"
	"github.com/flightrules/flightrules/internal/db"
	"github.com/flightrules/flightrules/internal/expression"
	"github.com/flightrules/flightrules/internal/shape"
	"github.com/flightrules/flightrules/rules"
)

// do does a step once. Errors of the step itself come marked by own.
func (f *frame) do(ctx context.Context, step *rules.Step, record *journal.Step) (output any, err error) {
	switch do := step.Do.(type) {
	case rules.Log:
		return nil, f.log(do, record)
	case rules.SetVars:
		values, err := do.Values.Eval(f.env)
		return values, own(err)
	case rules.Choose:
		return f.choose(ctx, do, record)
	case rules.Repeat:
		return f.repeat(ctx, do, record)
	case rules.Fork:
		return nil, f.fork(ctx, do)
	case rules.Wait:
		return f.wait(do, record)
	case rules.WaitFor:
		return f.waitFor(ctx, do, record)
	case rules.Stop:
		return f.stop(do, record)
	case rules.Update:
		return f.update(ctx, step, do, record)
	case rules.Emit:
		return f.emit(ctx, step, do, record)
	case rules.RunRule:
		return f.runRule(ctx, step, do, record)
	case rules.Hush:
		return f.hush(ctx, step, do, record)
	case rules.Unhush:
		return f.unhush(ctx, step, do, record)
	case rules.Act:
		return f.act(ctx, do, record)
	default:
		return nil, own(fmt.Errorf("no step %T", do))
	}
}

func (f *frame) log(do rules.Log, record *journal.Step) error {
	text, err := do.Text.Eval(f.env)
	if err != nil {
		return own(err)
	}
	line := cut(fmt.Sprint(text), maxLine)
	record.Input = db.ToJSON(map[string]any{"text": line, "level": do.Level})
	var level slog.Level
	if err := level.UnmarshalText([]byte(do.Level)); err != nil {
		return own(err)
	}
	f.Log.Log(context.Background(), level, line, "rule", f.run.Rule, "run", f.run.ID)
	return nil
}

// once does something to the database together with the record of the step. An
// error of fn fails the step and takes back what fn wrote, no more. In a shadow
// it does nothing, and output is what would have come of it.
func (f *frame) once(ctx context.Context, step *rules.Step, record *journal.Step, output any, fn func(ctx context.Context, tx bun.Tx) (any, error)) (_ any, err error) {
	if f.Shadow != nil {
		fn = func(context.Context, bun.Tx) (any, error) { return output, nil }
	}
	var failed error
	var ended journal.Step
	err = f.commit(ctx, func(ctx context.Context, tx bun.Tx) error {
		failed = db.Savepoint(ctx, tx, func(ctx context.Context, tx bun.Tx) error {
			var err error
			output, err = fn(ctx, tx)
			return err
		})
		if failed != nil && (db.Conflict(failed) || ctx.Err() != nil) {
			return failed
		}
		ended = *record
		if failed != nil {
			output = nil
		}
		f.fill(step, &ended, output, failed, true)
		return upsert(ctx, tx, ended)
	})
	if err != nil {
		return nil, err
	}
	*record = ended
	f.note(ended)
	return output, own(failed)
}

// update changes an entity and records the step in one transaction: it
// happens once.
func (f *frame) update(ctx context.Context, step *rules.Step, do rules.Update, record *journal.Step) (any, error) {
	id, err := do.ID.Eval(f.env)
	if err != nil {
		return nil, own(fmt.Errorf("id: %w", err))
	}
	set, err := do.Set.Eval(f.env)
	if err != nil {
		return nil, own(fmt.Errorf("set: %w", err))
	}
	values, _ := shape.Encode(set).(map[string]any)
	record.Input = db.ToJSON(map[string]any{"kind": do.Kind, "id": id, "set": values})
	rendered, err := f.rendered(ctx, do.Kind, fmt.Sprint(id))
	if err != nil {
		return nil, err
	}
	return f.once(ctx, step, record, rendered, func(ctx context.Context, tx bun.Tx) (any, error) {
		ctx = entities.WithCause(ctx, f.cause())
		e, err := f.Entities.PutTx(ctx, tx, do.Kind, fmt.Sprint(id), func(prev entities.View) (map[string]any, error) {
			next := map[string]any{}
			maps.Copy(next, prev)
			maps.Copy(next, values)
			return next, nil
		})
		return map[string]any{"version": e.Version}, err
	})
}

// rendered is what an update gives that does not happen, in a shadow.
func (f *frame) rendered(ctx context.Context, kind, id string) (output any, err error) {
	if f.Shadow == nil {
		return nil, nil
	}
	before, err := f.Entities.AsOf(ctx, f.Shadow, kind, id, f.Now())
	if err != nil && !errors.Is(err, entities.ErrNotFound) {
		return nil, err
	}
	return map[string]any{"version": before.Version + 1}, nil
}

// emit makes an event and records the step in one transaction.
func (f *frame) emit(ctx context.Context, step *rules.Step, do rules.Emit, record *journal.Step) (any, error) {
	event := Emitted{ID: f.derived(record), Name: do.Event}
	if do.Payload != nil {
		payload, err := do.Payload.Eval(f.env)
		if err != nil {
			return nil, own(fmt.Errorf("payload: %w", err))
		}
		event.Payload = db.ToJSON(shape.Encode(payload))
	}
	record.Input = db.ToJSON(map[string]any{"event": do.Event, "payload": event.Payload})
	return f.once(ctx, step, record, map[string]any{"id": event.ID}, func(ctx context.Context, tx bun.Tx) (any, error) {
		_, _, err := f.emitTx(ctx, tx, event, f.cause())
		return map[string]any{"id": event.ID}, err
	})
}

// runRule makes the event that runs another rule.
func (f *frame) runRule(ctx context.Context, step *rules.Step, do rules.RunRule, record *journal.Step) (any, error) {
	inputs := map[string]any{}
	if do.Inputs != nil {
		v, err := do.Inputs.Eval(f.env)
		if err != nil {
			return nil, own(fmt.Errorf("inputs: %w", err))
		}
		inputs, _ = shape.Encode(v).(map[string]any)
	}
	record.Input = db.ToJSON(map[string]any{"rule": do.Rule, "inputs": inputs})
	event, err := f.ByHand(do.Rule, inputs)
	if err != nil {
		return nil, own(err)
	}
	event.ID = f.derived(record)
	return f.once(ctx, step, record, map[string]any{"id": event.ID}, func(ctx context.Context, tx bun.Tx) (any, error) {
		_, _, err := f.emitTx(ctx, tx, event, f.cause())
		return map[string]any{"id": event.ID}, err
	})
}

// hush makes a silence.
func (f *frame) hush(ctx context.Context, step *rules.Step, do rules.Hush, record *journal.Step) (any, error) {
	spec, err := f.silenceOf(do, record)
	if err != nil {
		return nil, own(err)
	}
	record.Input = db.ToJSON(map[string]any{"match": spec.Match, "end": spec.End, "reason": spec.Reason, "id": spec.ID})
	return f.once(ctx, step, record, map[string]any{"id": spec.ID, "end": spec.End}, func(ctx context.Context, tx bun.Tx) (any, error) {
		row, err := f.silenceTx(entities.WithCause(ctx, f.cause()), tx, spec)
		return map[string]any{"id": row.ID, "end": row.EndsAt.Time}, err
	})
}

func (f *frame) silenceOf(do rules.Hush, record *journal.Step) (spec SilenceSpec, err error) {
	spec.ID, spec.Reason = f.derived(record), f.rule.Name
	match, err := do.Match.Eval(f.env)
	if err != nil {
		return spec, fmt.Errorf("match: %w", err)
	}
	spec.Match = fmt.Sprint(match)
	if err := f.text(do.Reason, &spec.Reason); err != nil {
		return spec, fmt.Errorf("reason: %w", err)
	}
	if err := f.text(do.ID, &spec.ID); err != nil {
		return spec, fmt.Errorf("id: %w", err)
	}
	if do.For != nil {
		length, err := f.length("for", do.For)
		spec.End = f.Now().Add(length)
		return spec, err
	}
	end, err := do.End.Eval(f.env)
	if err != nil {
		return spec, err
	}
	spec.End, err = moment("end", end)
	return spec, err
}

// text evaluates a template, if there is one.
func (f *frame) text(t *expression.Template, to *string) error {
	if t == nil {
		return nil
	}
	v, err := t.Eval(f.env)
	if err == nil {
		*to = fmt.Sprint(v)
	}
	return err
}

// unhush ends a silence; one that is over already is no error.
func (f *frame) unhush(ctx context.Context, step *rules.Step, do rules.Unhush, record *journal.Step) (any, error) {
	id, err := do.ID.Eval(f.env)
	if err != nil {
		return nil, own(err)
	}
	record.Input = db.ToJSON(map[string]any{"id": id})
	return f.once(ctx, step, record, map[string]any{"id": id, "ended": true}, func(ctx context.Context, tx bun.Tx) (any, error) {
		row, err := f.unsilenceTx(ctx, tx, fmt.Sprint(id))
		if errors.Is(err, journal.ErrNotFound) {
			if _, err := journal.SilenceByID(ctx, tx, fmt.Sprint(id)); err == nil {
				return map[string]any{"id": id, "ended": false}, nil
			}
		}
		return map[string]any{"id": row.ID, "ended": true}, err
	})
}

// key is the idempotency key of a step.
func (f *frame) key(record *journal.Step) string {
	iteration := record.Iteration
	if iteration == "" {
		iteration = "0"
	}
	return f.run.ID + "/" + record.Path + "/" + iteration
}

// derived is the id of what a step makes: the same one whenever it is done.
func (f *frame) derived(record *journal.Step) string {
	return uuid.NewSHA1(uuid.NameSpaceURL, []byte(f.key(record))).String()
}
