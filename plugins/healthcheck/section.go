package healthcheck

import (
	"bytes"
	"context"
	"errors"
	"hash/fnv"
	"time"

	"github.com/uptrace/bun"

	"github.com/flightrules/flightrules/engine/timer"
	"github.com/flightrules/flightrules/internal/db"
	"github.com/flightrules/flightrules/plugins"
)

func (p *Plugin) addSection() error {
	return plugins.AddSection(p.host, plugins.SectionSpec[Definition]{
		Name: "checks", Doc: "Things that satellites, or the core, look at again and again.",
		Key: func(d Definition) string { return d.ID }, Check: Definition.check, Reconcile: p.reconcile,
	})
}

// reconcile makes the checks of the files what the files say. One that was made
// over the API becomes the files'.
func (p *Plugin) reconcile(ctx context.Context, tx bun.Tx, items []Definition) error {
	list, err := allChecks(ctx, tx)
	if err != nil {
		return err
	}
	before := map[string]check{}
	for _, c := range list {
		before[c.ID] = c
	}
	written := map[string]bool{}
	for _, d := range items {
		written[d.ID] = true
		if err := p.put(ctx, tx, d, inFile, before[d.ID]); err != nil {
			return err
		}
	}
	for _, c := range list {
		if c.Source == inFile && !written[c.ID] {
			if err := p.drop(ctx, tx, c.ID); err != nil {
				return err
			}
		}
	}
	return nil
}

// put writes a check, if it is another than before; the zero check: there was
// none.
func (p *Plugin) put(ctx context.Context, tx bun.Tx, d Definition, source string, before check) error {
	now := db.At(p.host.Now())
	after := check{ID: d.ID, Source: source, Definition: db.ToJSON(d), CreatedAt: now, UpdatedAt: now}
	same := before.ID != "" && bytes.Equal(before.Definition, after.Definition)
	if same && before.Source == source {
		return nil
	}
	if _, err := tx.NewInsert().Model(&after).On("CONFLICT (id) DO UPDATE").
		Set("source = EXCLUDED.source, definition = EXCLUDED.definition, updated_at = EXCLUDED.updated_at").
		Returning("NULL").Exec(ctx); err != nil {
		return err
	}
	if same {
		return nil
	}
	// What was seen of something else does not count together with what will be.
	if before.ID != "" {
		if _, err := tx.NewUpdate().Model((*observer)(nil)).Set("recent = ''").Where("check_id = ?", d.ID).Exec(ctx); err != nil {
			return err
		}
	}
	if err := p.putLocal(ctx, tx, d); err != nil {
		return err
	}
	return p.host.SetTimers(ctx, tx, p.timerNow(assignTimer, everySatellite), p.timerNow(settleTimer, d.ID))
}

// drop removes a check and what is kept of it.
func (p *Plugin) drop(ctx context.Context, tx bun.Tx, id string) error {
	for _, q := range []*bun.DeleteQuery{
		tx.NewDelete().Model((*check)(nil)).Where("id = ?", id),
		tx.NewDelete().Model((*observer)(nil)).Where("check_id = ?", id),
		tx.NewDelete().Model((*result)(nil)).Where("check_id = ?", id),
		tx.NewDelete().Model((*hour)(nil)).Where("check_id = ?", id),
	} {
		if _, err := q.Exec(ctx); err != nil {
			return err
		}
	}
	if _, err := timer.Cancel(ctx, tx, localTimer, id); err != nil {
		return err
	}
	return p.host.SetTimers(ctx, tx, p.timerNow(assignTimer, everySatellite), p.timerNow(settleTimer, id))
}

// putLocal makes the core an observer of a check, or none any more.
func (p *Plugin) putLocal(ctx context.Context, tx bun.Tx, d Definition) error {
	if !d.Local {
		_, err := timer.Cancel(ctx, tx, localTimer, d.ID)
		if err == nil {
			_, err = tx.NewDelete().Model((*observer)(nil)).Where("check_id = ? AND observer = ?", d.ID, localObserver).Exec(ctx)
		}
		return err
	}
	o := observer{CheckID: d.ID, Observer: localObserver, Name: localObserver, Region: localObserver}
	if _, err := tx.NewInsert().Model(&o).On("CONFLICT (check_id, observer) DO NOTHING").Returning("NULL").Exec(ctx); err != nil {
		return err
	}
	first := time.Duration(phase(d.ID) % uint64(min(d.interval(), firstWithin)))
	return p.host.SetTimers(ctx, tx, timer.Timer{Kind: localTimer, Key: d.ID, DueAt: db.At(p.host.Now().Add(first))})
}

// firstWithin is how soon the core looks at a new check.
const firstWithin = 5 * time.Second

// phase spreads checks over their intervals.
func phase(id string) uint64 {
	h := fnv.New64a()
	_, _ = h.Write([]byte(id)) // it never fails
	return h.Sum64()
}

func (p *Plugin) timerNow(kind, key string) timer.Timer {
	return timer.Timer{Kind: kind, Key: key, DueAt: db.At(p.host.Now())}
}

// settleTimer has a check looked at whose rows changed; its key is the check's
// id. A change of an entity is a transaction of its own, so it comes after the
// one that wrote the rows.
const settleTimer = "check.settle"

func (p *Plugin) settle(ctx context.Context, due []timer.Timer) error {
	var errs []error
	for _, t := range due {
		err := p.look(system(ctx), t.Key, func(ctx context.Context, tx bun.Tx) error {
			_, err := timer.Take(ctx, tx, t)
			return err
		})
		if err == nil {
			continue
		}
		if ctx.Err() != nil {
			return err
		}
		errs = append(errs, p.host.Timers().Defer(ctx, t, err))
	}
	return errors.Join(errs...)
}
