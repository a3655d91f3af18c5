package healthcheck

import (
	"cmp"
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"slices"
	"strings"
	"time"

	"github.com/uptrace/bun"

	"github.com/flightrules/flightrules/internal/db"
	"github.com/flightrules/flightrules/plugins"
	"github.com/flightrules/flightrules/plugins/healthcheck/probe"
)

// result is what came of looking at a check once.
type result struct {
	bun.BaseModel `bun:"table:check_results"`

	ID       int64   `bun:"id,pk,autoincrement"`
	CheckID  string  `bun:"check_id"`
	Observer string  `bun:"observer"`
	At       db.Time `bun:"at"`
	Outcome  string  `bun:"outcome"` // up, degraded, down or failed
	Latency  int64   `bun:"latency"` // microseconds
	Message  string  `bun:"message"`
}

// hour sums up the results of an hour.
type hour struct {
	bun.BaseModel `bun:"table:check_hours"`

	CheckID    string  `bun:"check_id,pk"`
	At         db.Time `bun:"at,pk"`
	Observer   string  `bun:"observer,pk"`
	Up         int64   `bun:"up"`
	Degraded   int64   `bun:"degraded"`
	Down       int64   `bun:"down"`
	Failed     int64   `bun:"failed"`
	LatencySum int64   `bun:"latency_sum"`
	LatencyMin int64   `bun:"latency_min,nullzero"`
	LatencyMax int64   `bun:"latency_max,nullzero"`
}

// results implements plugins.Capability.
func (p *Plugin) results(ctx context.Context, tx bun.Tx, from plugins.RemoteSatellite, list []plugins.RemoteResult) error {
	taken := make([]result, len(list))
	for i, r := range list {
		taken[i] = reported(r)
		taken[i].Observer = from.ID
	}
	return p.take(ctx, tx, from.ID, taken)
}

// reported reads a result from outside. One that makes no sense is one that could
// not be had.
func reported(r plugins.RemoteResult) result {
	out := result{CheckID: r.Assignment, At: db.At(r.At), Outcome: failed, Message: text(r.Error)}
	if r.Error != "" {
		return out
	}
	var report probe.Report
	if err := json.Unmarshal(r.Payload, &report); err != nil || letter(string(report.Outcome)) == letterFailed ||
		report.LatencyUS < 0 || report.LatencyUS > maxInterval.Microseconds() {
		out.Message = "the satellite reported what is no result of a check"
		return out
	}
	out.Outcome, out.Latency, out.Message = string(report.Outcome), report.LatencyUS, text(report.Message)
	return out
}

// text is a message as it can be stored.
func text(message string) string {
	return strings.ToValidUTF8(strings.ReplaceAll(message[:min(len(message), probe.MaxMessage)], "\x00", ""), "")
}

// take takes results of one observer in the order in which he got them. Those of
// checks that are not his any more are passed over.
func (p *Plugin) take(ctx context.Context, tx bun.Tx, who string, list []result) error {
	ids := make([]string, len(list))
	for i, r := range list {
		ids[i] = r.CheckID
	}
	definitions, err := p.definitions(ctx, tx, ids)
	if err != nil {
		return err
	}
	var rows []observer
	if err := tx.NewSelect().Model(&rows).Where("observer = ? AND check_id IN (?)", who, bun.List(ids)).Order("check_id").Scan(ctx); err != nil {
		return err
	}
	var touched []string
	var kept []result
	for _, o := range rows {
		d, ok := definitions[o.CheckID]
		if !ok {
			continue
		}
		before := o.opinion
		var own []result
		for _, r := range list {
			if r.CheckID == o.CheckID {
				own = append(own, r)
			}
		}
		if err := p.prune(ctx, tx, o, own); err != nil {
			return err
		}
		for _, r := range own {
			o.opinion = d.limits().judge(o.opinion, r.Outcome)
			o.Latency, o.Message, o.ResultAt = r.Latency, r.Message, r.At
		}
		kept = append(kept, own...)
		if before.Observing != o.Observing || before.Status != o.Status || before.Flapping != o.Flapping {
			touched = append(touched, o.CheckID)
		}
		if _, err := tx.NewUpdate().Model(&o).Column("observing", "status", "flapping", "recent", "latency", "message", "result_at").WherePK().Exec(ctx); err != nil {
			return err
		}
	}
	if err := keep(ctx, tx, kept); err != nil {
		return err
	}
	return p.host.SetTimers(ctx, tx, p.settleAll(touched)...)
}

func (p *Plugin) definitions(ctx context.Context, idb bun.IDB, ids []string) (map[string]Definition, error) {
	list, err := checksOf(ctx, idb, ids)
	if err != nil {
		return nil, err
	}
	of := map[string]Definition{}
	for _, c := range list {
		if of[c.ID], err = c.decode(); err != nil {
			return nil, err
		}
	}
	return of, nil
}

// keep stores results, each by itself and in the sums of their hours.
func keep(ctx context.Context, tx bun.Tx, list []result) error {
	if len(list) == 0 {
		return nil
	}
	if _, err := tx.NewInsert().Model(&list).ExcludeColumn("id").Returning("NULL").Exec(ctx); err != nil {
		return err
	}
	sums := sumUp(list)
	_, err := tx.NewInsert().Model(&sums).On("CONFLICT (check_id, at, observer) DO UPDATE").
		Set("up = hour.up + EXCLUDED.up, degraded = hour.degraded + EXCLUDED.degraded, down = hour.down + EXCLUDED.down").
		Set("failed = hour.failed + EXCLUDED.failed, latency_sum = hour.latency_sum + EXCLUDED.latency_sum").
		Set("latency_min = CASE WHEN hour.latency_min IS NULL OR EXCLUDED.latency_min < hour.latency_min THEN EXCLUDED.latency_min ELSE hour.latency_min END").
		Set("latency_max = CASE WHEN hour.latency_max IS NULL OR EXCLUDED.latency_max > hour.latency_max THEN EXCLUDED.latency_max ELSE hour.latency_max END").
		Returning("NULL").Exec(ctx)
	return err
}

func hourOf(t db.Time) time.Time { return t.Truncate(time.Hour) }

// sumUp sums results up by check, hour and observer, in that order.
func sumUp(list []result) (sums []hour) {
	for _, r := range list {
		at := db.At(hourOf(r.At))
		i := slices.IndexFunc(sums, func(h hour) bool { return h.CheckID == r.CheckID && h.Observer == r.Observer && h.At.Equal(at.Time) })
		if i < 0 {
			i = len(sums)
			sums = append(sums, hour{CheckID: r.CheckID, At: at, Observer: r.Observer})
		}
		sums[i].add(r)
	}
	slices.SortFunc(sums, func(a, b hour) int {
		return cmp.Or(compare(a.CheckID, b.CheckID), a.At.Compare(b.At.Time), compare(a.Observer, b.Observer))
	})
	return sums
}

func (h *hour) add(r result) {
	switch letter(r.Outcome) {
	case letterUp:
		h.Up++
	case letterDegraded:
		h.Degraded++
	case letterDown:
		h.Down++
	default:
		h.Failed++
		return
	}
	h.LatencySum += r.Latency
	h.LatencyMax = max(h.LatencyMax, r.Latency)
	if h.LatencyMin == 0 || r.Latency < h.LatencyMin {
		h.LatencyMin = r.Latency
	}
}

// prune removes what is too old of a check, once an hour: when an observer's
// results come to another hour than before.
func (p *Plugin) prune(ctx context.Context, tx bun.Tx, o observer, own []result) error {
	newest := own[len(own)-1].At
	if hourOf(newest).Equal(hourOf(o.ResultAt)) {
		return nil
	}
	now := p.host.Now()
	if _, err := tx.NewDelete().Model((*result)(nil)).Where("check_id = ? AND at < ?", o.CheckID, db.At(now.Add(-p.config.KeepResults))).Exec(ctx); err != nil {
		return err
	}
	_, err := tx.NewDelete().Model((*hour)(nil)).Where("check_id = ? AND at < ?", o.CheckID, db.At(now.Add(-p.config.KeepHours))).Exec(ctx)
	return err
}

func noRows(err error) bool { return errors.Is(err, sql.ErrNoRows) }

func compare(a, b string) int { return strings.Compare(a, b) }
