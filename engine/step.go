package engine

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"runtime/debug"
	"time"

	"github.com/google/uuid"
	"github.com/uptrace/bun"

	"github.com/flightrules/flightrules/engine/action"
	"github.com/flightrules/flightrules/engine/journal"
	"github.com/flightrules/flightrules/engine/outbox"
	"github.com/flightrules/flightrules/entities"
	"github.com/flightrules/flightrules/internal/db"
	"github.com/flightrules/flightrules/internal/duration"
	"github.com/flightrules/flightrules/internal/shape"
	"github.com/flightrules/flightrules/rules"
)

// do does a step. Errors of the step itself come marked by own.
func (w *walk) do(ctx context.Context, step *rules.Step, record *journal.Step) (output any, err error) {
	switch do := step.Do.(type) {
	case rules.Log:
		return nil, w.log(do, record)
	case rules.SetVars:
		values, err := do.Values.Eval(w.env)
		return values, own(err)
	case rules.Wait:
		return w.wait(do, record)
	case rules.Choose:
		return w.choose(ctx, do, record)
	case rules.Update:
		return w.update(ctx, do, record)
	case rules.Emit:
		return w.emit(ctx, do, record)
	case rules.Act:
		return w.act(ctx, step, do, record)
	default:
		return nil, own(fmt.Errorf("no step %T", do))
	}
}

func (w *walk) log(do rules.Log, record *journal.Step) error {
	text, err := do.Text.Eval(w.env)
	if err != nil {
		return own(err)
	}
	record.Input = db.ToJSON(map[string]any{"text": text, "level": do.Level})
	var level slog.Level
	if err := level.UnmarshalText([]byte(do.Level)); err != nil {
		return own(err)
	}
	w.Log.Log(context.Background(), level, fmt.Sprint(text), "rule", w.run.Rule, "run", w.run.ID)
	return nil
}

// waiting is the output of a wait: when it ends.
type waiting struct {
	Until time.Time `json:"until"`
}

func (w *walk) wait(do rules.Wait, record *journal.Step) (any, error) {
	var until waiting
	if record.Status == journal.StepWaiting {
		if err := json.Unmarshal(record.Output, &until); err != nil {
			return nil, own(err)
		}
	} else {
		var err error
		if until.Until, err = w.until(do, record.StartedAt.Time); err != nil {
			return nil, own(err)
		}
	}
	output := map[string]any{"until": until.Until}
	if !w.Now().Before(until.Until) {
		return output, nil
	}
	record.Status, record.Output = journal.StepWaiting, db.ToJSON(until)
	w.keep(*record)
	return nil, &suspended{until.Until}
}

// until is when a wait that begins at from ends.
func (w *walk) until(do rules.Wait, from time.Time) (time.Time, error) {
	if do.Until != nil {
		v, err := do.Until.Eval(w.env)
		if err != nil {
			return time.Time{}, err
		}
		if t, ok := v.(time.Time); ok {
			return t, nil
		}
		t, err := time.Parse(time.RFC3339Nano, fmt.Sprint(v))
		if err != nil {
			return time.Time{}, fmt.Errorf("wait until %v: a time such as 2026-01-31T12:00:00Z is wanted", v)
		}
		return t, nil
	}
	v, err := do.For.Eval(w.env)
	if err != nil {
		return time.Time{}, err
	}
	length, ok := v.(time.Duration)
	if !ok {
		if length, err = duration.Parse(fmt.Sprint(v)); err != nil {
			return time.Time{}, fmt.Errorf("wait: %w", err)
		}
	}
	return from.Add(length), nil
}

// chosen is the output of a choose: the path of the branch that was taken.
type chosen struct {
	Branch *int `json:"branch"` // nil: none was true
	Else   bool `json:"else,omitempty"`
}

func (c chosen) steps(do rules.Choose) []*rules.Step {
	switch {
	case c.Branch != nil && *c.Branch < len(do.Branches):
		return do.Branches[*c.Branch].Do
	case c.Else:
		return do.Else
	default:
		return nil
	}
}

// taken is the branch that the journal says was taken.
func taken(do rules.Choose, record journal.Step) ([]*rules.Step, bool) {
	var c chosen
	if record.Output == nil || json.Unmarshal(record.Output, &c) != nil {
		return nil, false
	}
	return c.steps(do), true
}

// choose takes a branch, and the same one again when the run is resumed.
func (w *walk) choose(ctx context.Context, do rules.Choose, record *journal.Step) (any, error) {
	var c chosen
	if record.Output != nil {
		record.Attempt = 1
		if err := json.Unmarshal(record.Output, &c); err != nil {
			return nil, own(err)
		}
	} else {
		c.Else = do.Else != nil
		for i, branch := range do.Branches {
			yes, err := branch.When.Bool(w.env)
			if err != nil {
				return nil, own(fmt.Errorf("choose[%d].when: %w", i, err))
			}
			if yes {
				c = chosen{Branch: &i}
				break
			}
		}
		record.Output = db.ToJSON(c)
		w.keep(*record)
	}
	return c, w.all(ctx, c.steps(do))
}

// update changes an entity and records the step in one transaction: it
// happens once.
func (w *walk) update(ctx context.Context, do rules.Update, record *journal.Step) (any, error) {
	id, err := do.ID.Eval(w.env)
	if err != nil {
		return nil, own(fmt.Errorf("id: %w", err))
	}
	set, err := do.Set.Eval(w.env)
	if err != nil {
		return nil, own(fmt.Errorf("set: %w", err))
	}
	values, _ := shape.Encode(set).(map[string]any)
	record.Input = db.ToJSON(map[string]any{"kind": do.Kind, "id": id, "set": values})
	return w.once(ctx, record, func(ctx context.Context, tx bun.Tx) (any, error) {
		ctx = entities.WithCause(ctx, w.cause())
		e, err := w.Entities.PutTx(ctx, tx, do.Kind, fmt.Sprint(id), func(prev entities.View) (map[string]any, error) {
			next := map[string]any{}
			for _, from := range []map[string]any{prev, values} {
				for name, value := range from {
					next[name] = value
				}
			}
			return next, nil
		})
		return map[string]any{"version": e.Version}, err
	})
}

// emit makes an event and records the step in one transaction.
func (w *walk) emit(ctx context.Context, do rules.Emit, record *journal.Step) (any, error) {
	event := Emitted{ID: uuid.NewSHA1(uuid.NameSpaceURL, []byte(w.key(record))).String(), Name: do.Event}
	if do.Payload != nil {
		payload, err := do.Payload.Eval(w.env)
		if err != nil {
			return nil, own(fmt.Errorf("payload: %w", err))
		}
		event.Payload = db.ToJSON(shape.Encode(payload))
	}
	record.Input = db.ToJSON(map[string]any{"event": do.Event, "payload": event.Payload})
	return w.once(ctx, record, func(ctx context.Context, tx bun.Tx) (any, error) {
		_, _, err := w.emitTx(ctx, tx, event, w.cause())
		return map[string]any{"id": event.ID}, err
	})
}

// once does something to the database together with the record of the step. An
// error of fn fails the step and takes back what fn wrote, no more.
func (w *walk) once(ctx context.Context, record *journal.Step, fn func(ctx context.Context, tx bun.Tx) (any, error)) (output any, err error) {
	var failed error
	var ended journal.Step
	err = w.commit(ctx, func(ctx context.Context, tx bun.Tx) error {
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
		w.conclude(&ended, output, failed)
		return upsert(ctx, tx, ended)
	})
	if err != nil {
		return nil, err
	}
	*record = ended
	w.done[record.Path] = ended
	return output, own(failed)
}

// recordTimeout bounds how long the record of what an action has done may take
// when the node goes down.
const recordTimeout = 5 * time.Second

// act runs a registered action: recorded as running before, with its result
// after, and with the same idempotency key whenever it is repeated.
func (w *walk) act(ctx context.Context, step *rules.Step, do rules.Act, record *journal.Step) (any, error) {
	// A repetition sends what was sent before: its idempotency key says so.
	if record.Input == nil {
		config, err := do.Config.Eval(w.env)
		if err != nil {
			return nil, own(err)
		}
		record.Input = db.ToJSON(shape.Encode(config))
	}
	config := stored(record.Input)
	w.keep(*record)
	if err := w.commit(ctx, nil); err != nil {
		return nil, err
	}
	acting, cancel := ctx, context.CancelFunc(func() {})
	if step.Timeout > 0 {
		acting, cancel = context.WithTimeout(ctx, step.Timeout)
	}
	defer cancel()
	output, err := w.contained(acting, do.Action, config, record)
	if ctx.Err() != nil {
		if err != nil {
			return nil, ctx.Err() // the node goes down; the step is repeated elsewhere
		}
		// It is done, and need not be repeated.
		var recorded context.CancelFunc
		ctx, recorded = context.WithTimeout(context.WithoutCancel(ctx), recordTimeout)
		defer recorded()
	}
	if err != nil && step.Timeout > 0 && acting.Err() != nil {
		err = fmt.Errorf("timed out after %s: %w", duration.Format(step.Timeout), err)
	}
	w.conclude(record, output, err)
	w.keep(*record)
	if err := w.commit(ctx, nil); err != nil {
		return nil, err
	}
	return output, own(err)
}

func (w *walk) contained(ctx context.Context, a action.Action, config any, record *journal.Step) (output any, err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("action %s: panic: %v", a.Name, p)
			w.Log.Error("an action panicked", "action", a.Name, "run", w.run.ID, "panic", p, "stack", string(debug.Stack()))
		}
	}()
	return a.Run(ctx, action.Call{
		Run: w.run.ID, Rule: w.run.Rule, Step: record.Path, IdempotencyKey: w.key(record), Attempt: record.Attempt,
		Log: w.Log.With("rule", w.run.Rule, "run", w.run.ID, "step", record.Path),
	}, config)
}

// key is the idempotency key of a step.
func (w *walk) key(record *journal.Step) string {
	iteration := record.Iteration
	if iteration == "" {
		iteration = "0"
	}
	return w.run.ID + "/" + record.Path + "/" + iteration
}

// Emitted is an event that a rule or somebody outside makes.
type Emitted struct {
	ID       string // unique; an event with the same id is the same event
	Name     string
	Kind     string // of the entity it is about; may be ""
	EntityID string
	Payload  db.JSON   // an object; nil: none
	At       time.Time // when it happened; zero: now
}

// Emit records an event and sees to its routing; false when an event of that
// id is there already.
func (e *Engine) Emit(ctx context.Context, event Emitted) (recorded journal.Event, fresh bool, err error) {
	err = e.DB.Write(ctx, func(ctx context.Context, tx bun.Tx) error {
		recorded, fresh, err = e.emitTx(ctx, tx, event, entities.CauseOf(ctx))
		return err
	})
	return recorded, fresh, err
}

func (e *Engine) emitTx(ctx context.Context, tx bun.Tx, event Emitted, cause entities.Cause) (journal.Event, bool, error) {
	if event.ID == "" {
		event.ID = newID()
	}
	if event.Payload == nil {
		event.Payload = emptyObject
	}
	row := journal.Event{
		ID: event.ID, Name: event.Name, Kind: event.Kind, EntityID: event.EntityID, Payload: event.Payload,
		Actor: cause.Actor, RunID: cause.RunID, Depth: cause.Depth, At: db.At(e.Now()),
	}
	if !event.At.IsZero() && event.At.Before(e.Now()) {
		row.At = db.At(event.At)
	}
	res, err := tx.NewInsert().Model(&row).ExcludeColumn("seq").On("CONFLICT (id) DO NOTHING").Returning("NULL").Exec(ctx)
	if err != nil {
		return row, false, err
	}
	n, err := res.RowsAffected()
	if err != nil {
		return row, false, err
	}
	if n == 1 {
		if err := outbox.Add(ctx, tx, outbox.Note{EventID: event.ID}); err != nil {
			return row, false, err
		}
	}
	row, err = journal.EventByID(ctx, tx, event.ID)
	return row, n == 1, err
}
