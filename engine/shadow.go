package engine

import (
	"context"
	"time"

	"github.com/uptrace/bun"

	"github.com/flightrules/flightrules/engine/journal"
	"github.com/flightrules/flightrules/engine/timer"
	"github.com/flightrules/flightrules/entities"
	"github.com/flightrules/flightrules/internal/db"
	"github.com/flightrules/flightrules/triggers"
)

// Twin is what a shadow knows of the engine that it stands beside.
type Twin interface {
	// EventID is the id that an event has there, which is given without one: a
	// change, or what the engine makes for a trigger of a rule. "": it has none.
	EventID(e triggers.Event, rule, trigger string) string
	// Looks says whether the router looked at its deadlines when it looked at what
	// the shadow looks at now: it does not while more waits to be routed. Fires
	// says of one that is due whether it was dealt with then.
	Looks() bool
	Fires(ctx context.Context, a Armed) (bool, error)
	// Ghost is how a run ended there; nil: there was no such run, and it is
	// walked.
	Ghost(ctx context.Context, run journal.Run) (*Ghost, error)
}

// Ghost is the end of a run that is not walked: nothing of it happens but that
// it is active until then.
type Ghost struct {
	At     time.Time // zero: it has not ended
	Status journal.RunStatus
	Why    string
}

// log is where the transitions are: with the other rows or, in a shadow, in the
// database that it is of.
func (e *Engine) log(idb bun.IDB) bun.IDB {
	if e.Shadow != nil {
		return e.Shadow
	}
	return idb
}

// known narrows a query over the log to what there is of it: in a shadow, what
// there was then.
func (b *batch) known(f entities.Filter) entities.Filter {
	if b.Shadow != nil {
		f.To = b.now.Add(time.Microsecond)
	}
	return f
}

// made gives an event that the engine makes its id.
func (e *Engine) made(event triggers.Event, rule, trigger string) triggers.Event {
	if e.Twin != nil {
		event.ID = e.Twin.EventID(event, rule, trigger)
	}
	if event.ID == "" {
		event.ID = e.NewID()
	}
	return event
}

// looks says whether deadlines are looked at now.
func (e *Engine) looks() bool { return e.Twin == nil || e.Twin.Looks() }

// fires says whether one that is due is dealt with now.
func (e *Engine) fires(ctx context.Context, t timer.Timer) (bool, error) {
	if e.Twin == nil {
		return true, nil
	}
	return e.Twin.Fires(ctx, armedBy(t))
}

func (w *walk) ghost(ctx context.Context) (*Ghost, error) {
	if w.Twin == nil {
		return nil, nil
	}
	return w.Twin.Ghost(ctx, w.run)
}

// haunt waits until a ghost ends, deaf to all else, and ends with it.
func (w *walk) haunt(ctx context.Context, ghost *Ghost, err error) error {
	switch {
	case err != nil:
		return err
	case !ghost.At.IsZero() && !w.Now().Before(ghost.At):
		return w.finish(ctx, ghost.Status, ghost.Why, false)
	}
	return w.share(ctx, &report{
		set:  "status = ?, lease_node = NULL, lease_until = NULL, heeds = ?, ready = ?",
		args: []any{journal.RunWaiting, false, false}, wake: ghost.At, deaf: true,
	})
}

// Recall puts silences and states of rules in force as they were recorded.
func (e *Engine) Recall(ctx context.Context, silences []journal.Silence, states []journal.RuleState) error {
	return e.DB.Write(ctx, func(ctx context.Context, tx bun.Tx) error {
		for _, s := range silences {
			if err := openSilence(ctx, tx, s); err != nil {
				return err
			}
		}
		for _, s := range states {
			if err := putPaused(ctx, tx, s, db.At(e.Now())); err != nil {
				return err
			}
		}
		return nil
	})
}
