package engine

import (
	"context"
	"database/sql"
	"errors"
	"slices"
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

// emission is an event on its way into the log.
type emission struct {
	row   journal.Event
	fresh bool // it was not there
}

// Emit records an event and sees to its routing; false when an event of that
// id is there already. Events that are emitted at the same time share a
// transaction.
func (e *Engine) Emit(ctx context.Context, event Emitted) (recorded journal.Event, fresh bool, err error) {
	one := e.emission(event, entities.CauseOf(ctx))
	err = e.emissions.Write(ctx, one)
	return one.row, one.fresh, err
}

func (e *Engine) emitTx(ctx context.Context, tx bun.Tx, event Emitted, cause entities.Cause) (journal.Event, bool, error) {
	one := e.emission(event, cause)
	err := e.emitAll(ctx, tx, []*emission{one})
	return one.row, one.fresh, err
}

func (e *Engine) emission(event Emitted, cause entities.Cause) *emission {
	if event.ID == "" {
		event.ID = e.NewID()
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
	return &emission{row: row}
}

// emitAll records events, and notes those that are to be routed.
func (e *Engine) emitAll(ctx context.Context, tx bun.Tx, all []*emission) error {
	rows, ids := make([]journal.Event, len(all)), make([]string, len(all))
	for i, one := range all {
		rows[i], ids[i] = one.row, one.row.ID
	}
	var inserted []string
	if err := tx.NewInsert().Model(&rows).ExcludeColumn("seq").On("CONFLICT (id) DO NOTHING").Returning("id").Scan(ctx, &inserted); err != nil && !errors.Is(err, sql.ErrNoRows) {
		return err
	}
	var notes []outbox.Note
	for _, one := range all {
		// Of several with one id the first is the one that was recorded.
		i := slices.Index(inserted, one.row.ID)
		if one.fresh = i >= 0; one.fresh {
			inserted = slices.Delete(inserted, i, i+1)
			notes = append(notes, outbox.Note{EventID: one.row.ID})
		}
	}
	if err := outbox.Add(ctx, tx, notes...); err != nil {
		return err
	}
	recorded, err := journal.EventsByID(ctx, tx, ids...)
	if err != nil {
		return err
	}
	for _, one := range all {
		one.row = recorded[one.row.ID]
	}
	return nil
}
