package satellite

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"slices"
	"time"

	"github.com/uptrace/bun"

	"github.com/flightrules/flightrules/entities"
	"github.com/flightrules/flightrules/internal/db"
	"github.com/flightrules/flightrules/triggers"
)

// minMass is how many satellites it takes for a mass loss.
const minMass = 3

// nearlyAll is the part of satellites from which on they count as all.
const nearlyAll = 0.9

// fleetID is the id of the one entity of its kind.
const fleetID = "all"

// Fleet is the newest mass loss. Until the first one it has no state.
type Fleet struct {
	MassLoss      string         `json:"mass_loss" doc:"Names the mass loss: the time at which it was found."`
	Count         int            `json:"count" reactive:"false" doc:"How many satellites were silent when it was found."`
	Total         int            `json:"total" reactive:"false" doc:"How many were connected before."`
	Regions       map[string]int `json:"regions" reactive:"false" doc:"How many of the silent ones by region."`
	ProbableCause string         `json:"probable_cause" reactive:"false" enum:"core,core_outage,region,node,tag,unknown"`
	Shared        string         `json:"shared" reactive:"false" doc:"What the silent ones have in common, and the others have not."`
	From          time.Time      `json:"from" reactive:"false" doc:"A loss belongs to it where the satellite was seen last from here,"`
	Until         time.Time      `json:"until" reactive:"false" doc:"up to here."`
}

// MassLossPayload is what satellite.mass_loss tells.
type MassLossPayload struct {
	MassLoss      string         `json:"mass_loss" doc:"Names the mass loss, as the losses do that belong to it."`
	Count         int            `json:"count" doc:"How many satellites are silent."`
	Total         int            `json:"total" doc:"How many were connected before."`
	Regions       map[string]int `json:"regions" doc:"How many of the silent ones by region."`
	ProbableCause string         `json:"probable_cause" enum:"core,core_outage,region,node,tag,unknown" doc:"core: nearly all are silent, so the core's own network is the likeliest. core_outage: the core itself was away when it began. region, node, tag: the silent ones have it in common, and nearly all who have it are silent; node is the core's node they were connected to."`
	Shared        string         `json:"shared" doc:"The region, the node, or the tag as key=value, that they have in common."`
}

// The values of ProbableCause.
const (
	causeCore    = "core"
	causeOutage  = "core_outage"
	causeRegion  = "region"
	causeNode    = "node"
	causeTag     = "tag"
	causeUnknown = "unknown"
)

func (p *Plugin) defineFleet() (err error) {
	p.fleet, err = entities.Define(p.host.Entities(), entities.Spec[Fleet]{
		Name: "satellite_fleet", Doc: "All satellites together, as the entity all: their newest mass loss.",
	})
	if err != nil {
		return err
	}
	event, err := triggers.Define[MassLossPayload](p.host.Events(), triggers.EventSpec{
		Name: "satellite.mass_loss", Kind: p.fleet.Name(),
		Doc: "Many satellites fell silent together. It comes before their losses, which name it.",
	})
	if err != nil {
		return err
	}
	return triggers.Derive(p.host.Events(), p.fleet, event, func(c entities.Change[Fleet]) (MassLossPayload, bool) {
		if c.Next == nil || c.Prev != nil && c.Prev.MassLoss == c.Next.MassLoss {
			return MassLossPayload{}, false
		}
		f := c.Next
		return MassLossPayload{
			MassLoss: f.MassLoss, Count: f.Count, Total: f.Total, Regions: f.Regions, ProbableCause: f.ProbableCause, Shared: f.Shared,
		}, true
	})
}

// silence is a satellite that was lost, and when it was seen last.
type silence struct {
	ID   string  `bun:"id"`
	Seen db.Time `bun:"last_heartbeat_at"`
}

// massLoss says of losses that were just declared to which mass loss they
// belong. One that begins with them is recorded here, and so before them.
func (p *Plugin) massLoss(ctx context.Context, tx bun.Tx, at, since time.Time, lost []silence) error {
	slices.SortFunc(lost, func(a, b silence) int { return a.Seen.Compare(b.Seen.Time) })
	for len(lost) > 0 {
		seen := lost[0].Seen.Time
		until := seen.Add(p.config.HeartbeatInterval) // what is asked about the first is true of these as well
		f, err := p.fleet.MutateTx(ctx, tx, fleetID, func(ctx context.Context, tx bun.Tx, prev *Fleet) (Fleet, error) {
			if prev != nil && !seen.Before(prev.From) && !seen.After(prev.Until) {
				return *prev, nil
			}
			return p.newMassLoss(ctx, tx, at, since, seen)
		})
		belong := err == nil
		if err != nil && !errors.Is(err, errNoMass) {
			return err
		}
		if belong {
			until = f.Until
		}
		n, _ := slices.BinarySearchFunc(lost, until, func(s silence, t time.Time) int {
			if s.Seen.After(t) {
				return 1
			}
			return -1
		})
		if belong {
			ids := make([]string, n)
			for i, s := range lost[:n] {
				ids[i] = s.ID
			}
			if _, err := tx.NewUpdate().Model((*row)(nil)).Set("mass_loss = ?", f.MassLoss).Where("id IN (?)", bun.List(ids)).Exec(ctx); err != nil {
				return err
			}
		}
		lost = lost[n:]
	}
	return nil
}

// errNoMass says that too few satellites are silent.
var errNoMass = errors.New("no mass loss")

// newMassLoss looks whether many satellites fell silent around the time at which
// one was seen last.
func (p *Plugin) newMassLoss(ctx context.Context, tx bun.Tx, at, since, seen time.Time) (Fleet, error) {
	f := Fleet{
		MassLoss: at.UTC().Format(time.RFC3339Nano), Regions: map[string]int{}, ProbableCause: causeUnknown,
		// One that sent its last heartbeat up to an interval before may have fallen
		// silent at the same time.
		From: seen.Add(-p.config.HeartbeatInterval).UTC(), Until: seen.Add(p.config.MassWindow).UTC(),
	}
	if err := p.fleetOf(tx, at, f).ColumnExpr("COUNT(*), COALESCE(SUM(silent), 0)").Scan(ctx, &f.Total, &f.Count); err != nil {
		return f, err
	}
	if f.Count < minMass || float64(f.Count) <= p.config.MassShare*float64(f.Total) {
		return f, errNoMass
	}
	var all []fleetRow
	if err := p.fleetOf(tx, at, f).ColumnExpr("*").Order("id").Scan(ctx, &all); err != nil {
		return f, err
	}
	for _, r := range all {
		if r.Silent > 0 {
			f.Regions[r.Region]++
		}
	}
	switch shared := common(all, f.Count); {
	case since.After(seen):
		f.ProbableCause = causeOutage
	case float64(f.Count) >= nearlyAll*float64(f.Total):
		f.ProbableCause = causeCore
	case shared.cause != "":
		f.ProbableCause, f.Shared = shared.cause, shared.what
	}
	return f, nil
}

// fleetRow is a satellite that was connected before a mass loss.
type fleetRow struct {
	ID     string  `bun:"id"`
	Region string  `bun:"region"`
	Tags   db.JSON `bun:"tags"`
	NodeID string  `bun:"node_id,nullzero"`
	Silent int     `bun:"silent"` // 1: it is
}

// fleetOf selects from the satellites that were connected before a mass loss.
// One is silent that has missed a heartbeat, by half an interval.
func (p *Plugin) fleetOf(tx bun.Tx, at time.Time, f Fleet) *bun.SelectQuery {
	from, until := db.At(f.From), db.At(f.Until)
	threshold, interval := p.config.OfflineThreshold.Microseconds(), p.config.HeartbeatInterval.Microseconds()
	connectedBefore := tx.NewSelect().Model((*row)(nil)).Column("id", "region", "tags", "node_id").
		ColumnExpr(`CASE WHEN last_heartbeat_at BETWEEN ? AND ? AND (last_connection_event = 'heartbeat_lost' OR
			? - last_heartbeat_at > CASE WHEN COALESCE(offline_threshold, ?) < 3 * ? THEN COALESCE(offline_threshold, ?) / 2 ELSE 3 * ? / 2 END)
			THEN 1 ELSE 0 END AS silent`, from, until, db.At(at), threshold, interval, threshold, interval).
		Where("last_connection_event = 'connected' OR last_connection_event = 'heartbeat_lost' AND last_heartbeat_at BETWEEN ? AND ?", from, until)
	return tx.NewSelect().TableExpr("(?) AS fleet", connectedBefore)
}

// attribute is something that satellites may have in common.
type attribute struct{ cause, what string }

// common is what nearly all of the silent ones have, and nearly only they. One
// whose tags cannot be read has none.
func common(all []fleetRow, silent int) attribute {
	having := map[attribute]struct{ silent, all int }{}
	for _, r := range all {
		var tags map[string]string
		_ = json.Unmarshal(r.Tags, &tags) // they only help to guess
		list := []attribute{{causeRegion, r.Region}, {causeNode, r.NodeID}}
		for key, value := range tags {
			list = append(list, attribute{causeTag, key + "=" + value})
		}
		for _, a := range list {
			n := having[a]
			n.all++
			if r.Silent > 0 {
				n.silent++
			}
			having[a] = n
		}
	}
	var found []attribute
	for a, n := range having {
		if a.what != "" && float64(n.silent) >= nearlyAll*float64(silent) && float64(n.silent) >= nearlyAll*float64(n.all) {
			found = append(found, a)
		}
	}
	slices.SortFunc(found, func(a, b attribute) int {
		order := []string{causeRegion, causeNode, causeTag}
		return cmp.Or(cmp.Compare(slices.Index(order, a.cause), slices.Index(order, b.cause)), cmp.Compare(a.what, b.what))
	})
	if len(found) == 0 {
		return attribute{}
	}
	return found[0]
}
