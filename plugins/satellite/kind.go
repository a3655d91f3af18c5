package satellite

import (
	"context"
	"database/sql"
	"errors"
	"time"

	"github.com/uptrace/bun"

	"github.com/flightrules/flightrules/entities"
	"github.com/flightrules/flightrules/internal/db"
)

// The values of State.Status.
const (
	online  = "online"
	offline = "offline"
)

// State is a satellite as rules and readers see it. One that has never
// connected has no state.
type State struct {
	Status     string            `json:"status" enum:"online,offline" doc:"Whether it is heard."`
	Name       string            `json:"name"`
	Region     string            `json:"region"`
	Tags       map[string]string `json:"tags"`
	LastSeenAt time.Time         `json:"last_seen_at" reactive:"false" doc:"When it was heard last."`
	LastEvent  string            `json:"last_event" enum:"connected,disconnected,heartbeat_lost" doc:"What happened last to its connection."`
	MassLoss   string            `json:"mass_loss" reactive:"false" doc:"The mass loss that its loss belongs to; empty: none."`

	deadline time.Time // until when it is online without being heard again
	awaited  bool      // false: it is known that it will be heard before
}

func (p *Plugin) defineKind() (err error) {
	p.kind, err = entities.Define(p.host.Entities(), entities.Spec[State]{
		Name: "satellite", Doc: "A remote agent that is heard by its heartbeats.",
		Read: p.read, Deadline: deadline,
		Due: func(ctx context.Context, tx bun.Tx, at time.Time, ids []string) error {
			_, err := p.declareLost(ctx, tx, at, ids...)
			return err
		},
	})
	return err
}

// read computes states from the rows and the time, and nothing else.
func (p *Plugin) read(ctx context.Context, idb bun.IDB, at time.Time, ids []string) (map[string]State, error) {
	listened, err := p.readListening(ctx, idb)
	if err != nil {
		return nil, err
	}
	var rows []row
	if err := idb.NewSelect().Model(&rows).Where("id IN (?) AND last_connection_event IS NOT NULL", bun.List(ids)).Scan(ctx); err != nil {
		return nil, err
	}
	states := make(map[string]State, len(rows))
	for _, r := range rows {
		tags, err := r.tags()
		if err != nil {
			return nil, err
		}
		s := State{
			Name: r.Name, Region: r.Region, Tags: tags, LastSeenAt: r.LastHeartbeatAt.Time, LastEvent: r.LastEvent, MassLoss: r.MassLoss,
			deadline: r.deadline(p.config, listened.since(at, p.config.gap())),
		}
		s.Status = status(s.LastEvent, s.deadline, at)
		s.awaited = !p.outside.keepsBeating(r.ID)
		states[r.ID] = s
	}
	return states, nil
}

func status(lastEvent string, deadline, at time.Time) string {
	if lastEvent == connected && !at.After(deadline) {
		return online
	}
	return offline
}

// deadline is the first instant at which a state is offline by itself, in the
// precision of the database.
func deadline(s State) time.Time {
	if s.LastEvent != connected || !s.awaited {
		return time.Time{}
	}
	return s.deadline.Add(time.Microsecond)
}

// declareLost sets those of the satellites to heartbeat_lost that are connected
// and past their deadline at that time, and says how many there were. The
// heartbeat itself is not touched: it is when the satellite was seen last.
func (p *Plugin) declareLost(ctx context.Context, tx bun.Tx, at time.Time, ids ...string) (int, error) {
	listened, err := p.readListening(ctx, tx)
	if err != nil {
		return 0, err
	}
	if len(ids) > 1 {
		if _, err := p.lockRows(ctx, tx, ids); err != nil {
			return 0, err
		}
	}
	listening := listened.since(at, p.config.gap())
	since := db.At(listening)
	var lost []silence
	if err := tx.NewUpdate().Model((*row)(nil)).Set("last_connection_event = ?", heartbeatLost).
		Where("id IN (?)", bun.List(ids)).
		Where(lostNow, since, since, since, p.config.OfflineThreshold.Microseconds(), db.At(at)).
		Returning("id, last_heartbeat_at").Scan(ctx, &lost); err != nil && !errors.Is(err, sql.ErrNoRows) {
		return 0, err
	}
	ids = nil
	for _, s := range lost {
		ids = append(ids, s.ID)
	}
	if err := p.massLoss(ctx, tx, at, listening, lost); err != nil {
		return 0, err
	}
	return len(lost), p.changed(ctx, tx, at, ids...)
}

// declare looks at one satellite, as its timer would.
func (p *Plugin) declare(ctx context.Context, id string) error {
	ctx = entities.WithCause(ctx, entities.Cause{Actor: entities.System})
	_, err := p.kind.Mutate(ctx, id, func(ctx context.Context, tx bun.Tx, _ *State) (State, error) {
		_, err := p.declareLost(ctx, tx, entities.At(ctx), id)
		return State{}, err
	})
	return err
}

// errAgedOut ends a change of a satellite whose loss is still to be declared.
var errAgedOut = errors.New("the satellite's loss is to be declared first")

// notAgedOut is the first thing that each change of a satellite does.
func (p *Plugin) notAgedOut(ctx context.Context, tx bun.Tx, id string) error {
	lost, err := p.declareLost(ctx, tx, entities.At(ctx), id)
	if err == nil && lost > 0 {
		err = errAgedOut
	}
	return err
}

// edge makes one change of a satellite. Where the deadline has passed and
// nobody has noticed yet, the loss is declared before, in a change of its own:
// a loss is never hidden by what comes after it, and no other change records
// half of it.
func (p *Plugin) edge(ctx context.Context, id string, write func(ctx context.Context, tx bun.Tx, at db.Time) error) error {
	return p.lossFirst(ctx, id, func() error {
		_, err := p.kind.Mutate(ctx, id, func(ctx context.Context, tx bun.Tx, _ *State) (State, error) {
			if err := p.notAgedOut(ctx, tx, id); err != nil {
				return State{}, err
			}
			if err := write(ctx, tx, db.At(entities.At(ctx))); err != nil {
				return State{}, err
			}
			return State{}, p.changed(ctx, tx, entities.At(ctx), id)
		})
		return err
	})
}

func (p *Plugin) lossFirst(ctx context.Context, id string, change func() error) error {
	err := change()
	if !errors.Is(err, errAgedOut) {
		return err
	}
	if err := p.declare(ctx, id); err != nil {
		return err
	}
	return change()
}
