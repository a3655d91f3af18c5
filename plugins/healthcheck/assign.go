package healthcheck

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/uptrace/bun"

	"github.com/flightrules/flightrules/engine/timer"
	"github.com/flightrules/flightrules/entities"
	"github.com/flightrules/flightrules/plugins"
)

// assignTimer has satellites told what to look at; its key is a satellite's id,
// or everySatellite. Checks and satellites change in transactions that do not
// see each other, so who looks at what is worked out after each of them.
const (
	assignTimer    = "check.assign"
	everySatellite = "*"
)

// assignedTogether is for how many satellites that is done in one transaction.
const assignedTogether = 100

func system(ctx context.Context) context.Context {
	return entities.WithCause(ctx, entities.Cause{Actor: entities.System})
}

// satellitesChanged implements plugins.Capability. What a satellite thinks does
// not count from when it is offline until it has looked again.
func (p *Plugin) satellitesChanged(ctx context.Context, tx bun.Tx, list []plugins.RemoteSatellite) error {
	var gone, away []string
	var timers []timer.Timer
	for _, s := range list {
		switch {
		case s.Removed:
			gone = append(gone, s.ID)
		case !s.Online:
			away = append(away, s.ID)
		}
		if !s.Removed {
			timers = append(timers, p.timerNow(assignTimer, s.ID))
		}
	}
	var touched []string
	if len(gone) > 0 {
		var ids []string
		if err := tx.NewDelete().Model((*observer)(nil)).Where("observer IN (?)", bun.List(gone)).Returning("check_id").Scan(ctx, &ids); err != nil && !noRows(err) {
			return err
		}
		touched = append(touched, ids...)
	}
	if len(away) > 0 {
		var ids []string
		if err := tx.NewUpdate().Model((*observer)(nil)).Set("observing = FALSE").Where("observer IN (?) AND observing", bun.List(away)).
			Returning("check_id").Scan(ctx, &ids); err != nil && !noRows(err) {
			return err
		}
		touched = append(touched, ids...)
	}
	return p.host.SetTimers(ctx, tx, append(timers, p.settleAll(touched)...)...)
}

// settleAll are timers for checks whose rows changed, each once.
func (p *Plugin) settleAll(ids []string) (timers []timer.Timer) {
	slices.Sort(ids)
	for _, id := range slices.Compact(ids) {
		timers = append(timers, p.timerNow(settleTimer, id))
	}
	return timers
}

func (p *Plugin) assign(ctx context.Context, due []timer.Timer) error {
	if i := slices.IndexFunc(due, func(t timer.Timer) bool { return t.Key == everySatellite }); i >= 0 {
		all, err := p.remote.Satellites(ctx, p.host.Read())
		if err != nil {
			return err
		}
		var ids []string
		for _, s := range all {
			ids = append(ids, s.ID)
		}
		if err := p.assignAll(ctx, ids, due[i]); err != nil {
			return errors.Join(err, p.host.Timers().Defer(ctx, due[i], err))
		}
		due = slices.Delete(due, i, i+1)
	}
	var ids []string
	for _, t := range due {
		ids = append(ids, t.Key)
	}
	if len(due) == 0 {
		return nil
	}
	err := p.assignAll(ctx, ids, due...)
	if err == nil || ctx.Err() != nil {
		return err
	}
	// One that cannot be told does not keep the others waiting.
	var errs []error
	for _, t := range due {
		if err := p.assignAll(ctx, []string{t.Key}, t); err != nil {
			errs = append(errs, p.host.Timers().Defer(ctx, t, err))
		}
	}
	return errors.Join(errs...)
}

// assignAll tells satellites what to look at, and takes the timers that asked
// for it in the last of the transactions.
func (p *Plugin) assignAll(ctx context.Context, ids []string, timers ...timer.Timer) error {
	slices.Sort(ids) // the order in which satellites are locked
	for {
		some := ids[:min(len(ids), assignedTogether)]
		ids = ids[len(some):]
		err := p.host.Write(ctx, func(ctx context.Context, tx bun.Tx) error {
			if err := p.assignSome(ctx, tx, some); err != nil || len(ids) > 0 {
				return err
			}
			for _, t := range timers {
				if _, err := timer.Take(ctx, tx, t); err != nil {
					return err
				}
			}
			return nil
		})
		if err != nil || len(ids) == 0 {
			return err
		}
	}
}

func (p *Plugin) assignSome(ctx context.Context, tx bun.Tx, ids []string) error {
	if len(ids) == 0 {
		return nil
	}
	list, err := allChecks(ctx, tx)
	if err != nil {
		return err
	}
	definitions := make([]Definition, len(list))
	for i, c := range list {
		if definitions[i], err = c.decode(); err != nil {
			return err
		}
	}
	satellites, err := p.remote.Satellites(ctx, tx, ids...)
	if err != nil {
		return err
	}
	slices.SortFunc(satellites, func(a, b plugins.RemoteSatellite) int { return compare(a.ID, b.ID) })
	var touched []string
	for _, s := range satellites {
		work := []plugins.Assignment{}
		var wanted []string
		for _, d := range definitions {
			if d.Satellites.Selects(s) {
				work, wanted = append(work, d.assignment()), append(wanted, d.ID)
			}
		}
		if err := p.remote.Assign(ctx, tx, capability, s.ID, work); err != nil {
			return fmt.Errorf("assign checks to satellite %s: %w", s.Name, err)
		}
		changed, err := p.observe(ctx, tx, s, wanted)
		if err != nil {
			return err
		}
		touched = append(touched, changed...)
	}
	return p.host.SetTimers(ctx, tx, p.settleAll(touched)...)
}

// observe makes a satellite an observer of those checks and no others, and says
// of which that changes something.
func (p *Plugin) observe(ctx context.Context, tx bun.Tx, s plugins.RemoteSatellite, wanted []string) (touched []string, err error) {
	var rows []observer
	if err := tx.NewSelect().Model(&rows).Where("observer = ?", s.ID).Order("check_id").Scan(ctx); err != nil {
		return nil, err
	}
	has := map[string]bool{}
	for _, o := range rows {
		has[o.CheckID] = true
		switch {
		case !slices.Contains(wanted, o.CheckID):
			_, err = tx.NewDelete().Model(&o).WherePK().Exec(ctx)
		case o.Name != s.Name || o.Region != s.Region:
			_, err = tx.NewUpdate().Model(&o).Set("name = ?, region = ?", s.Name, s.Region).WherePK().Exec(ctx)
		default:
			continue
		}
		if err != nil {
			return nil, err
		}
		touched = append(touched, o.CheckID)
	}
	var fresh []observer
	for _, id := range wanted {
		if !has[id] {
			fresh = append(fresh, observer{CheckID: id, Observer: s.ID, Name: s.Name, Region: s.Region})
		}
	}
	if len(fresh) == 0 {
		return touched, nil
	}
	_, err = tx.NewInsert().Model(&fresh).Returning("NULL").Exec(ctx)
	return touched, err
}
