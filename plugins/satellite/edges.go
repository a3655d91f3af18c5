package satellite

import (
	"context"
	"database/sql"
	"errors"
	"time"

	"github.com/google/uuid"
	"github.com/uptrace/bun"

	"github.com/flightrules/flightrules/entities"
	"github.com/flightrules/flightrules/internal/db"
	"github.com/flightrules/flightrules/plugins/satellite/protocol"
)

// topic is the hint that sessions may have ended or changed in the database:
// every node looks at its own.
const topic = "sessions"

// connect begins a new session of a satellite, on this node. The hash is of the
// token that was checked: errRefused when it is none of the satellite's any more.
func (p *Plugin) connect(ctx context.Context, id, hash string, hello protocol.Authenticate) (row, error) {
	var r row
	err := p.edge(ctx, id, func(ctx context.Context, tx bun.Tx, at db.Time) error {
		err := tx.NewUpdate().Model(&r).
			Set("session_epoch = session_epoch + 1, session_id = ?, node_id = ?", uuid.NewString(), p.host.Node()).
			Set("connected_at = ?, disconnected_at = NULL, last_heartbeat_at = ?, last_connection_event = ?", at, at, connected).
			Set("mass_loss = ''").
			Set("version = ?, capabilities = ?, session_token_hash = ?", hello.Version, db.ToJSON(hello.Capabilities), hash).
			Where("id = ? AND (token_hash = ? OR old_token_hash = ? AND old_token_until > ?)", id, hash, hash, at).Returning("*").Scan(ctx)
		if errors.Is(err, sql.ErrNoRows) {
			return errRefused
		}
		return err
	})
	return r, err
}

// disconnect ends a session whose agent said goodbye. One that is not the
// newest changes nothing, nor does one that was declared lost: that episode
// ends when the satellite is back.
func (p *Plugin) disconnect(ctx context.Context, id string, epoch int64) error {
	return p.edge(ctx, id, func(ctx context.Context, tx bun.Tx, at db.Time) error {
		_, err := tx.NewUpdate().Model((*row)(nil)).
			Set("last_connection_event = ?, disconnected_at = ?, session_id = NULL, node_id = NULL", disconnected, at).
			Where("id = ? AND session_epoch = ? AND last_connection_event = ?", id, epoch, connected).Exec(ctx)
		return err
	})
}

// recover is a heartbeat after a loss, on a session that never ended.
func (p *Plugin) recover(ctx context.Context, id string, epoch int64) error {
	return p.edge(ctx, id, func(ctx context.Context, tx bun.Tx, at db.Time) error {
		_, err := tx.NewUpdate().Model((*row)(nil)).
			Set("last_connection_event = ?, last_heartbeat_at = ?, mass_loss = ''", connected, at).
			Where("id = ? AND session_epoch = ? AND last_connection_event = ?", id, epoch, heartbeatLost).Exec(ctx)
		return err
	})
}

// create adds a satellite that has never connected: it has no state yet.
func (p *Plugin) create(ctx context.Context, r row) error {
	err := p.host.Write(ctx, func(ctx context.Context, tx bun.Tx) error {
		if _, err := tx.NewInsert().Model(&r).Returning("NULL").Exec(ctx); err != nil {
			return err
		}
		return p.changed(ctx, tx, r.CreatedAt.Time, r.ID)
	})
	return taken(err)
}

// taken turns the refusal of a second row with the same name into errTaken.
func taken(err error) error {
	if db.IsUnique(err) {
		return errTaken
	}
	return err
}

// update changes columns of a satellite.
func (p *Plugin) update(ctx context.Context, id string, set func(ctx context.Context, tx bun.Tx, q *bun.UpdateQuery, at db.Time) (*bun.UpdateQuery, error)) error {
	err := p.edge(ctx, id, func(ctx context.Context, tx bun.Tx, at db.Time) error {
		q, err := set(ctx, tx, tx.NewUpdate().Model((*row)(nil)).Where("id = ?", id), at)
		if err != nil {
			return err
		}
		met, err := one(q.Exec(ctx))
		if err == nil && !met {
			err = errUnknown
		}
		return err
	})
	if err == nil {
		p.host.Hint(topic)
	}
	return taken(err)
}

// remove ends a satellite: its row goes away, and its sessions end on every
// node.
func (p *Plugin) remove(ctx context.Context, id string) error {
	err := p.lossFirst(ctx, id, func() error {
		return p.kind.Remove(ctx, id, func(ctx context.Context, tx bun.Tx, _ State) error {
			if err := p.notAgedOut(ctx, tx, id); err != nil {
				return err
			}
			_, err := p.drop(ctx, tx, entities.At(ctx), id, tx.NewDelete().Where("id = ?", id))
			return err
		})
	})
	if errors.Is(err, entities.ErrNotFound) {
		err = p.removeUnseen(ctx, id)
	}
	if err == nil {
		p.host.Hint(topic)
	}
	return err
}

// removeUnseen removes a satellite that has never connected, and so is no
// entity yet.
func (p *Plugin) removeUnseen(ctx context.Context, id string) error {
	return p.host.Write(ctx, func(ctx context.Context, tx bun.Tx) error {
		met, err := p.drop(ctx, tx, p.host.Now(), id, tx.NewDelete().Where("id = ? AND last_connection_event IS NULL", id))
		if err == nil && !met {
			err = errUnknown
		}
		return err
	})
}

// drop deletes the row of a satellite, if the query finds it, and what belongs
// to it.
func (p *Plugin) drop(ctx context.Context, tx bun.Tx, at time.Time, id string, q *bun.DeleteQuery) (met bool, err error) {
	rows, err := p.lockRows(ctx, tx, []string{id})
	if err != nil || len(rows) == 0 {
		return false, err
	}
	if met, err = one(q.Model((*row)(nil)).Exec(ctx)); err != nil || !met {
		return met, err
	}
	return true, p.forget(ctx, tx, at, rows[0])
}
