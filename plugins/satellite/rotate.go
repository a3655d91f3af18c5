package satellite

import (
	"context"
	"slices"
	"time"

	"github.com/uptrace/bun"

	"github.com/flightrules/flightrules/engine/timer"
	"github.com/flightrules/flightrules/entities"
	"github.com/flightrules/flightrules/internal/db"
)

// graceTimer is the kind of the timers at which old tokens end; their key is the
// id of the satellite.
const graceTimer = "satellite.token_grace"

// maxGrace bounds how long an old token may go on.
const maxGrace = 30 * 24 * time.Hour

// replaceToken gives a satellite another token. The one before ends after the
// grace, or at once where that is zero, and so do the sessions that it began; one
// that was replaced before that ends at once in any case.
func (p *Plugin) replaceToken(ctx context.Context, id, hash string, grace time.Duration) error {
	return p.update(ctx, id, func(ctx context.Context, tx bun.Tx, q *bun.UpdateQuery, at db.Time) (*bun.UpdateQuery, error) {
		if grace == 0 {
			if _, err := timer.Cancel(ctx, tx, graceTimer, id); err != nil {
				return nil, err
			}
			q = q.Set("token_hash = ?, old_token_hash = '', old_token_until = NULL", hash)
			return endSessions(q, at, "session_token_hash <> ?", hash), nil
		}
		until := at.Add(grace)
		if err := p.host.SetTimers(ctx, tx, timer.Timer{Kind: graceTimer, Key: id, DueAt: db.At(until)}); err != nil {
			return nil, err
		}
		q = q.Set("token_hash = ?, old_token_hash = token_hash, old_token_until = ?", hash, db.At(until))
		return endSessions(q, at, "session_token_hash <> token_hash"), nil // the token from before
	})
}

// endSessions ends the session of a satellite if that holds. That it is not
// connected is known, and need not be waited for.
func endSessions(q *bun.UpdateQuery, at db.Time, where string, args ...any) *bun.UpdateQuery {
	set := func(column, then string, more ...any) {
		q = q.Set(column+" = CASE WHEN "+where+" THEN "+then+" ELSE "+column+" END", slices.Concat(args, more)...)
	}
	set("session_epoch", "session_epoch + 1")
	set("session_id", "NULL")
	set("node_id", "NULL")
	set("disconnected_at", "CASE last_connection_event WHEN ? THEN ? ELSE disconnected_at END", connected, at)
	set("last_connection_event", "CASE last_connection_event WHEN ? THEN ? ELSE last_connection_event END", connected, disconnected)
	return q
}

// endGraces ends old tokens whose time has come, and the sessions that they
// began. One that fails does not stop the others, and is tried again.
func (p *Plugin) endGraces(ctx context.Context, due []timer.Timer) error {
	for _, t := range due {
		err := p.endGrace(entities.WithCause(ctx, entities.Cause{Actor: entities.System}), t)
		if err == nil {
			continue
		}
		if ctx.Err() != nil {
			return err
		}
		if err := p.host.Timers().Defer(ctx, t, err); err != nil {
			return err
		}
	}
	return nil
}

func (p *Plugin) endGrace(ctx context.Context, t timer.Timer) error {
	err := p.edge(ctx, t.Key, func(ctx context.Context, tx bun.Tx, at db.Time) error {
		if taken, err := timer.Take(ctx, tx, t); err != nil || !taken {
			return err
		}
		q := tx.NewUpdate().Model((*row)(nil)).Set("old_token_hash = '', old_token_until = NULL").Where("id = ?", t.Key)
		_, err := endSessions(q, at, "session_token_hash <> token_hash").Exec(ctx)
		return err
	})
	if err == nil {
		p.host.Hint(topic)
	}
	return err
}
