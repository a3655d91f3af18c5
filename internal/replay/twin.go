package replay

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/uptrace/bun"

	"github.com/flightrules/flightrules/engine"
	"github.com/flightrules/flightrules/engine/journal"
	"github.com/flightrules/flightrules/internal/db"
	"github.com/flightrules/flightrules/triggers"
)

// twin is what the shadow is told of the source.
type twin struct {
	*Options

	group *group // what is routed now; nil: nothing of the log is
	looks bool   // the router looked at its deadlines
	now   func() time.Time
	fired func(context.Context, engine.Armed) (time.Time, error) // see player
	err   error                                                  // of a look at the source that could give none
}

// Looks implements engine.Twin: once in a look.
func (t *twin) Looks() bool {
	yes := t.looks
	t.looks = false
	return yes
}

// Fires implements engine.Twin.
func (t *twin) Fires(ctx context.Context, a engine.Armed) (bool, error) {
	at, err := t.fired(ctx, a)
	return !at.After(t.now()), err
}

// EventID implements engine.Twin.
func (t *twin) EventID(e triggers.Event, rule, trigger string) string {
	if e.Change != nil && !e.About {
		if t.group == nil {
			return ""
		}
		return t.group.ids[eventName{e.Change.Seq, e.Name}]
	}
	id, err := t.made(e, rule, trigger)
	if err != nil && t.err == nil {
		t.err = fmt.Errorf("find the recorded event %s of %s: %w", e.Name, e.At, err)
	}
	return id
}

// made is the id of an event that the engine of the source made for a trigger:
// that about which there is a decision of the trigger or, where there is none,
// any.
func (t *twin) made(e triggers.Event, rule, trigger string) (id string, err error) {
	of := func(q *bun.SelectQuery) *bun.SelectQuery {
		q = q.Where("e.at = ? AND e.name = ?", db.At(e.At), e.Name)
		if e.Kind == "" {
			q = q.Where("e.kind IS NULL")
		} else {
			q = q.Where("e.kind = ? AND e.entity_id = ?", e.Kind, e.EntityID)
		}
		if e.About {
			q = q.Where("e.about_seq = ?", e.Change.Seq)
		}
		return q.Limit(1)
	}
	ctx, idb := context.Background(), t.Source.Read()
	if rule != "" {
		err = of(idb.NewSelect().TableExpr("events AS e").Join("JOIN decisions AS d ON d.event_id = e.id").ColumnExpr("e.id").
			Where("d.rule = ? AND d.trigger_id = ?", rule, trigger)).Scan(ctx, &id)
		if !errors.Is(err, sql.ErrNoRows) {
			return id, err
		}
	}
	err = of(idb.NewSelect().TableExpr("events AS e").ColumnExpr("e.id").
		Where("NOT EXISTS (SELECT 1 FROM decisions AS d WHERE d.event_id = e.id)")).Scan(ctx, &id)
	if errors.Is(err, sql.ErrNoRows) {
		return "", nil
	}
	return id, err
}

// Ghost implements engine.Twin: a run that the source has had of the same
// version lasts as long as it did there.
func (t *twin) Ghost(ctx context.Context, run journal.Run) (*engine.Ghost, error) {
	var there journal.Run
	err := t.Source.Read().NewSelect().Model(&there).Column("status", "error", "finished_at").
		Where("event_id = ? AND rule = ? AND trigger_id = ? AND version = ?", run.EventID, run.Rule, run.Trigger, run.Version).Limit(1).Scan(ctx)
	if errors.Is(err, sql.ErrNoRows) {
		return nil, nil
	}
	return &engine.Ghost{At: there.FinishedAt.Time, Status: there.Status, Why: there.Error}, err
}

// looked is when the router of the source looked at the first deadline that the
// shadow has, as far as that is recorded; else when it is due.
func (p *player) looked(ctx context.Context) (at time.Time, recorded bool, err error) {
	armed, err := p.sim.Engine.Armed(ctx, p.due)
	if err != nil {
		return at, false, err
	}
	for _, a := range armed {
		looked, err := p.fired(ctx, a)
		if err != nil {
			return at, false, err
		}
		if !looked.IsZero() && (!recorded || looked.Before(at)) {
			at, recorded = looked, true
		}
	}
	if !recorded {
		at = p.due
	}
	return at, recorded, nil
}

// fired is when the source decided about what a deadline fires; zero: it is not
// recorded.
func (p *player) fired(ctx context.Context, a engine.Armed) (at time.Time, err error) {
	version := ""
	if r := p.sim.Engine.Rules().Rule(a.Rule); r != nil {
		version = r.Version
	}
	idb := p.Source.Read()
	decided := func() *bun.SelectQuery {
		return idb.NewSelect().TableExpr("decisions AS d").ColumnExpr("MIN(d.at)").
			Where("d.at >= ? AND d.rule = ? AND d.trigger_id = ? AND d.version = ?", db.At(a.Due), a.Rule, a.Trigger, version)
	}
	about := func(id string, not ...journal.Outcome) error {
		return scanTime(ctx, decided().Where("d.event_id = ? AND d.outcome NOT IN (?)", id, bun.List(not)), &at)
	}
	made := func(name string) *bun.SelectQuery {
		kind, _, _ := strings.Cut(a.Key, "/")
		return decided().Join("JOIN events AS e ON e.id = d.event_id").
			Where("e.name = ? AND e.kind IN (?)", name, bun.List([]string{triggers.RuleKind, kind}))
	}
	switch a.Kind {
	case "dwell", "unless":
		err = about(a.Event, journal.Held)
	case "group":
		var last []string
		if err := p.sim.DB.Read().NewSelect().Model((*journal.Item)(nil)).Column("event_id").
			Where("rule = ? AND trigger_id = ? AND key = ? AND part < -1", a.Rule, a.Trigger, a.Key).
			Order("at DESC", "event_id DESC").Limit(1).Scan(ctx, &last); err != nil || len(last) == 0 {
			return at, err
		}
		err = about(last[0], journal.Held, journal.Grouped)
	case "absent":
		err = scanTime(ctx, made(triggers.Absence).Where("e.at = ?", db.At(a.Due)), &at)
	case "schedule":
		return p.ticked(ctx, a, version)
	case "silence":
		err = scanTime(ctx, idb.NewSelect().TableExpr("events AS e").Join("JOIN decisions AS d ON d.event_id = e.id").ColumnExpr("MIN(d.at)").
			Where("e.about_seq IS NOT NULL AND e.at = ?", db.At(a.Due)), &at)
	}
	return at, err
}

// ticked is when the source dealt with a tick: by itself, or as one of those
// that were missed before another.
func (p *player) ticked(ctx context.Context, a engine.Armed, version string) (time.Time, error) {
	const longest = 7 * 24 * time.Hour // an outage
	var rows []struct {
		At      db.Time
		Payload db.JSON
		Decided db.Time
	}
	if err := p.Source.Read().NewSelect().TableExpr("events AS e").Join("JOIN decisions AS d ON d.event_id = e.id").
		ColumnExpr("e.at AS at, e.payload AS payload, d.at AS decided").
		Where("e.kind = ? AND e.entity_id = ? AND e.name = ? AND e.at BETWEEN ? AND ?", triggers.RuleKind, a.Rule, triggers.Tick, db.At(a.At), db.At(a.At.Add(longest))).
		Where("d.rule = ? AND d.trigger_id = ? AND d.version = ?", a.Rule, a.Trigger, version).
		Order("e.at", "d.seq").Limit(1).Scan(ctx, &rows); err != nil || len(rows) == 0 {
		return time.Time{}, err
	}
	var tick triggers.TickPayload
	if !rows[0].At.Equal(a.At) && (json.Unmarshal(rows[0].Payload, &tick) != nil || tick.Missed == 0) {
		return time.Time{}, nil
	}
	return rows[0].Decided.Time, nil
}

// scanTime reads a time that may be NULL.
func scanTime(ctx context.Context, q *bun.SelectQuery, to *time.Time) error {
	var at db.Time
	err := q.Scan(ctx, &at)
	*to = at.Time
	return err
}
