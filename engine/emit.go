package engine

import (
	"context"
	"time"

	"github.com/uptrace/bun"

	"github.com/flightrules/flightrules/engine/journal"
	"github.com/flightrules/flightrules/engine/outbox"
	"github.com/flightrules/flightrules/entities"
	"github.com/flightrules/flightrules/internal/db"
)

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
