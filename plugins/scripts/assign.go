package scripts

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/uptrace/bun"

	"github.com/flightrules/flightrules/engine/timer"
	"github.com/flightrules/flightrules/internal/bundle"
	"github.com/flightrules/flightrules/internal/db"
	"github.com/flightrules/flightrules/plugins"
)

// assignTimer has it worked out what satellites are to have; its key is a
// satellite's id, or everySatellite. Files, versions and satellites change in
// transactions that do not see each other, so it comes after each of them.
const (
	assignTimer    = "script.assign"
	everySatellite = "*"
)

func (p *Plugin) assignLater(ctx context.Context, tx bun.Tx, keys ...string) error {
	var timers []timer.Timer
	for _, key := range keys {
		timers = append(timers, timer.Timer{Kind: assignTimer, Key: key, DueAt: db.At(p.host.Now())})
	}
	return p.host.SetTimers(ctx, tx, timers...)
}

// composed is what some satellite is to have.
type composed struct {
	bun.BaseModel `bun:"table:script_bundles"`

	Hash     string  `bun:"hash,pk"`
	Manifest db.JSON `bun:"manifest"`
}

// holder is a satellite, and what it is to have.
type holder struct {
	bun.BaseModel `bun:"table:script_satellites"`

	SatelliteID string `bun:"satellite_id,pk"`
	Bundle      string `bun:"bundle"`
}

// Changed implements plugins.Bundles.
func (p *Plugin) Changed(ctx context.Context, tx bun.Tx, list []plugins.RemoteSatellite) error {
	var gone, keys []string
	for _, s := range list {
		if s.Removed {
			gone = append(gone, s.ID)
		} else {
			keys = append(keys, s.ID)
		}
	}
	if len(gone) > 0 {
		if _, err := tx.NewDelete().Model((*holder)(nil)).Where("satellite_id IN (?)", bun.List(gone)).Exec(ctx); err != nil {
			return err
		}
	}
	// Where the files give nothing to anybody, there is nothing to work out.
	targeted, err := tx.NewSelect().Model((*target)(nil)).Exists(ctx)
	if err != nil || !targeted {
		return err
	}
	return p.assignLater(ctx, tx, keys...)
}

// assign works out what satellites are to have, together; where that fails, those
// of one timer after the other.
func (p *Plugin) assign(ctx context.Context, due []timer.Timer) error {
	err := p.assignAll(ctx, due)
	if err == nil || ctx.Err() != nil {
		return err
	}
	var errs []error
	for _, t := range due {
		if err := p.assignAll(ctx, []timer.Timer{t}); err != nil {
			errs = append(errs, p.host.Timers().Defer(ctx, t, err))
		}
	}
	return errors.Join(errs...)
}

// assignedTogether is for how many satellites that is done in one transaction.
const assignedTogether = 100

func (p *Plugin) assignAll(ctx context.Context, due []timer.Timer) error {
	satellites, err := p.satellitesOf(ctx, due)
	if err != nil {
		return err
	}
	for some := range slices.Chunk(satellites, assignedTogether) {
		if err := p.host.Write(ctx, func(ctx context.Context, tx bun.Tx) error { return p.assignSome(ctx, tx, some) }); err != nil {
			return err
		}
	}
	return p.host.Write(ctx, func(ctx context.Context, tx bun.Tx) error {
		if _, err := tx.NewDelete().Model((*composed)(nil)).Where("hash NOT IN (SELECT bundle FROM script_satellites)").Exec(ctx); err != nil {
			return err
		}
		for _, t := range due {
			if _, err := timer.Take(ctx, tx, t); err != nil { // one that was set again since goes on
				return err
			}
		}
		return nil
	})
}

// satellitesOf are those that timers are for, in the order in which they are
// locked.
func (p *Plugin) satellitesOf(ctx context.Context, due []timer.Timer) ([]plugins.RemoteSatellite, error) {
	var ids []string
	for _, t := range due {
		if t.Key == everySatellite {
			ids = nil
			break
		}
		ids = append(ids, t.Key)
	}
	list, err := p.remote.Satellites(ctx, p.host.Read(), ids...)
	slices.SortFunc(list, func(a, b plugins.RemoteSatellite) int { return strings.Compare(a.ID, b.ID) })
	return list, err
}

func (p *Plugin) assignSome(ctx context.Context, tx bun.Tx, satellites []plugins.RemoteSatellite) error {
	sets, err := p.sets(ctx, tx)
	if err != nil {
		return err
	}
	for _, s := range satellites {
		if err := p.give(ctx, tx, s, sets); err != nil {
			return fmt.Errorf("scripts of satellite %s: %w", s.Name, err)
		}
	}
	return nil
}

// set is a target with the files that it stands for.
type set struct {
	target   target
	manifest bundle.Manifest
}

// sets are the targets of which something is published.
func (p *Plugin) sets(ctx context.Context, tx bun.Tx) (list []set, err error) {
	targets, err := allTargets(ctx, tx)
	if err != nil {
		return nil, err
	}
	for _, t := range targets {
		versions, err := versionsOf(ctx, tx, t.Name)
		if err != nil {
			return nil, err
		}
		i := slices.IndexFunc(versions, func(v version) bool { return has(v, t.Version) })
		if i < 0 {
			p.host.Log().Warn("scripts that satellites are to have are not published", "scripts", t.Name, "version", t.Version)
			continue
		}
		m, err := versions[i].decode()
		if err != nil {
			return nil, err
		}
		list = append(list, set{t, m})
	}
	return list, nil
}

// give makes a satellite have what it is to have.
func (p *Plugin) give(ctx context.Context, tx bun.Tx, s plugins.RemoteSatellite, sets []set) error {
	parts := map[string]bundle.Manifest{}
	for _, one := range sets {
		yes, err := one.target.selects(s)
		if err != nil {
			return err
		}
		if yes {
			parts[one.target.Name] = one.manifest
		}
	}
	hash := ""
	if len(parts) > 0 {
		all := bundle.Join(parts)
		if err := all.Check(); err != nil {
			return err
		}
		text, named, err := all.Encode()
		if err != nil {
			return err
		}
		hash = named
		if _, err := tx.NewInsert().Model(&composed{Hash: hash, Manifest: db.JSON(text)}).On("CONFLICT DO NOTHING").Returning("NULL").Exec(ctx); err != nil {
			return err
		}
	}
	if _, err := tx.NewInsert().Model(&holder{SatelliteID: s.ID, Bundle: hash}).On("CONFLICT (satellite_id) DO UPDATE").
		Set("bundle = EXCLUDED.bundle").Returning("NULL").Exec(ctx); err != nil {
		return err
	}
	return p.remote.SetBundle(ctx, tx, s.ID, hash)
}
