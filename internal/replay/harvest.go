package replay

import (
	"context"
	"hash/fnv"
	"slices"
	"strings"
	"time"

	"github.com/uptrace/bun"

	"github.com/flightrules/flightrules/engine/journal"
	"github.com/flightrules/flightrules/internal/db"
	"github.com/flightrules/flightrules/internal/sim"
)

// harvest takes what the shadow has decided out of its database, so that this
// stays small, and compares it with what was recorded.
type harvest struct {
	*Options

	sim     *sim.Sim
	known   *known
	plan    plan
	rules   map[string]*RuleReport
	matched map[uint64]bool   // firings of the source that the replay has too
	whyNot  map[string]string // why those did not fire of which only the source did, by rule and event
	walked  map[string]*Fired // runs whose actions are to be listed, by id
	behind  int               // looks since the last time
	after   int64             // decisions up to that seq are taken
	recent  time.Duration     // how far back the gates look for runs
}

// harvestEvery is how many looks of the router are harvested at once.
const harvestEvery = 200

func newHarvest(o *Options, k *known, p plan) *harvest {
	h := &harvest{
		Options: o, known: k, plan: p, rules: map[string]*RuleReport{}, matched: map[uint64]bool{}, whyNot: map[string]string{},
		walked: map[string]*Fired{}, recent: time.Minute,
	}
	for _, r := range p.all.Rules {
		h.recent = max(h.recent, r.Cooldown)
		h.rules[r.ID] = &RuleReport{ID: r.ID, Version: r.Version, Changed: k.states[r.ID].Version != r.Version, Decisions: map[string]Counted{}, Items: []Item{}}
	}
	return h
}

func (h *harvest) within(at time.Time) bool { return !at.Before(h.Since) && !at.After(h.Until) }

// now is called after each look; last: nothing comes any more.
func (h *harvest) now(ctx context.Context, last bool) error {
	if h.behind++; h.behind < harvestEvery && !last {
		return nil
	}
	h.behind = 0
	for {
		var list []journal.Decision
		if err := h.sim.DB.Read().NewSelect().Model(&list).Where("seq > ?", h.after).Order("seq").Limit(500).Scan(ctx); err != nil {
			return err
		}
		if len(list) == 0 {
			break
		}
		h.after = list[len(list)-1].Seq
		if err := h.compare(ctx, list); err != nil {
			return err
		}
	}
	return h.clear(ctx, last)
}

// compare sets decisions of the replay beside those about the same events.
func (h *harvest) compare(ctx context.Context, list []journal.Decision) error {
	ids := make([]string, len(list))
	for i, d := range list {
		ids[i] = d.EventID
	}
	var recorded []journal.Decision
	if err := h.Source.Read().NewSelect().Model(&recorded).Where("event_id IN (?) AND at <= ?", bun.List(ids), db.At(h.Until)).Order("seq").Scan(ctx); err != nil {
		return err
	}
	about := map[string][]journal.Decision{}
	for _, d := range recorded {
		about[pair(d)] = append(about[pair(d)], d)
	}
	events, err := journal.EventsByID(ctx, h.sim.DB.Read(), ids...)
	if err != nil {
		return err
	}
	for _, d := range list {
		r := h.rules[d.Rule]
		if r == nil {
			continue
		}
		if h.Decided != nil {
			h.Decided(d)
		}
		if h.within(d.At.Time) {
			n := r.Decisions[string(d.Outcome)]
			n.Replay++
			r.Decisions[string(d.Outcome)] = n
		}
		if there := about[pair(d)]; fires(d.Outcome) {
			h.fired(r, d, events[d.EventID], there)
		} else if slices.ContainsFunc(there, func(d journal.Decision) bool { return fires(d.Outcome) }) {
			h.whyNot[pair(d)] = reason(d)
		}
	}
	return nil
}

// pair names a rule and an event.
func pair(d journal.Decision) string { return d.Rule + " " + d.EventID }

func hash(d journal.Decision) uint64 {
	h := fnv.New64a()
	_, _ = h.Write([]byte(d.Rule + " " + d.Trigger + " " + d.EventID)) // never fails
	return h.Sum64()
}

func reason(d journal.Decision) string {
	return strings.TrimSuffix(strings.TrimSpace(string(d.Outcome)+": "+d.Detail), ":")
}

// fired is a firing of the replay; there is what the source decided about the
// same rule and event.
func (h *harvest) fired(r *RuleReport, d journal.Decision, e journal.Event, there []journal.Decision) {
	item := Item{
		Verdict: OnlyReplay, Trigger: d.Trigger, Event: aboutOf(e), Key: d.Key,
		Replay: &Fired{At: d.At.Time, Version: d.Version, Outcome: string(d.Outcome), Detail: d.Detail, Run: d.RunID},
		Reason: "no match was recorded",
	}
	i := slices.IndexFunc(there, func(other journal.Decision) bool { return fires(other.Outcome) && other.Trigger == d.Trigger })
	if i < 0 { // its triggers may have other names now
		i = slices.IndexFunc(there, func(other journal.Decision) bool {
			return fires(other.Outcome) && other.Version != d.Version && !h.matched[hash(other)]
		})
	}
	switch {
	case i >= 0:
		other := there[i]
		h.matched[hash(other)] = true
		item.Verdict, item.Reason = Both, ""
		item.Recorded = recordedOf(other)
	case len(there) > 0:
		item.Reason = reason(there[len(there)-1])
	}
	if !h.within(d.At.Time) && (item.Recorded == nil || !h.within(item.Recorded.At)) {
		return
	}
	if item.Verdict == Both {
		r.Both++
	} else {
		r.OnlyReplay++
	}
	if h.keep(r, item) {
		h.walked[d.RunID] = item.Replay
	}
}

func aboutOf(e journal.Event) About {
	return About{ID: e.ID, Name: e.Name, Kind: e.Kind, Entity: e.EntityID, At: e.At.Time}
}

func recordedOf(d journal.Decision) *Fired {
	return &Fired{At: d.At.Time, Version: d.Version, Outcome: string(d.Outcome), Detail: d.Detail, Run: d.RunID}
}

// keep lists an item, where there is room for it.
func (h *harvest) keep(r *RuleReport, item Item) bool {
	if len(r.Items) >= h.Items {
		r.Omitted++
		return false
	}
	r.Items = append(r.Items, item)
	return true
}

// clear removes what is not needed any more from the database of the shadow.
func (h *harvest) clear(ctx context.Context, last bool) error {
	var ended []string
	q := h.sim.DB.Read().NewSelect().Model((*journal.Run)(nil)).Column("id")
	if !last {
		q = q.Where("finished_at IS NOT NULL AND created_at < ?", db.At(h.sim.Time().Add(-h.recent)))
	}
	if err := q.Scan(ctx, &ended); err != nil {
		return err
	}
	for some := range slices.Chunk(ended, 500) {
		if err := h.render(ctx, some); err != nil {
			return err
		}
	}
	if last {
		return nil
	}
	return h.sim.DB.Write(ctx, func(ctx context.Context, tx bun.Tx) error {
		for some := range slices.Chunk(ended, 500) {
			for table, id := range map[string]string{"steps": "run_id", "runs": "id"} {
				if _, err := tx.NewDelete().Table(table).Where("? IN (?)", bun.Ident(id), bun.List(some)).Exec(ctx); err != nil {
					return err
				}
			}
		}
		if _, err := tx.NewDelete().Model((*journal.Decision)(nil)).Where("seq <= ?", h.after).Exec(ctx); err != nil {
			return err
		}
		var page []int64
		if err := tx.NewSelect().Model((*journal.Event)(nil)).Column("seq").Order("seq").Limit(2*harvestEvery*10).Scan(ctx, &page); err != nil || len(page) == 0 {
			return err
		}
		_, err := journal.PruneEvents(ctx, tx, page, false, func(db.Aged, string, db.Mark) (bool, error) { return true, nil })
		return err
	})
}

// render lists the actions of runs.
func (h *harvest) render(ctx context.Context, runs []string) error {
	var wanted []string
	for _, id := range runs {
		if h.walked[id] != nil {
			wanted = append(wanted, id)
		}
	}
	steps, err := journal.StepsOf(ctx, h.sim.DB.Read(), wanted...)
	for _, id := range wanted {
		h.walked[id].Actions = actionsOf(steps[id])
		delete(h.walked, id)
	}
	return err
}

func actionsOf(steps []journal.Step) (list []Action) {
	for _, s := range steps {
		if slices.Contains(controls, s.Action) || s.Status == journal.StepSkipped {
			continue
		}
		list = append(list, Action{Path: s.Path, Action: s.Action, Status: string(s.Status), Input: s.Input, Error: s.Error})
	}
	return list
}

// report ends the comparison.
func (h *harvest) report(ctx context.Context, p *player) (*Report, error) {
	if p.twin.err != nil {
		return nil, p.twin.err
	}
	if err := h.now(ctx, true); err != nil {
		return nil, err
	}
	if err := h.recordedAlone(ctx); err != nil {
		return nil, err
	}
	report := &Report{From: latest(h.Since, h.plan.begin), Until: h.Until, Rules: []RuleReport{}, Notes: append([]string{}, h.plan.notes...)}
	report.Transitions, report.Events = p.from.transitions.n, p.from.events.n
	listed := map[string]bool{}
	for _, r := range h.plan.all.Rules {
		if listed[r.ID] {
			continue
		}
		listed[r.ID] = true
		one := h.rules[r.ID]
		slices.SortStableFunc(one.Items, func(a, b Item) int { return a.At().Compare(b.At()) })
		if err := h.done(ctx, one.Items); err != nil {
			return nil, err
		}
		report.Rules = append(report.Rules, *one)
	}
	if armed, err := h.sim.Engine.Armed(ctx, h.Until.AddDate(100, 0, 0)); err != nil {
		return nil, err
	} else if waiting := countWaiting(armed); waiting != "" {
		report.Notes = append(report.Notes, waiting)
	}
	return report, nil
}

// recordedAlone finds the firings that were recorded and are not in the replay,
// and counts what was recorded.
func (h *harvest) recordedAlone(ctx context.Context) error {
	var ids []string
	for id := range h.rules {
		ids = append(ids, id)
	}
	slices.Sort(ids)
	if len(ids) == 0 {
		return nil
	}
	idb := h.Source.Read()
	narrowed := func(q *bun.SelectQuery) *bun.SelectQuery {
		return q.Where("rule IN (?) AND at >= ? AND at <= ?", bun.List(ids), since(h.Since), db.At(h.Until))
	}
	var counts []struct {
		Rule, Outcome string
		N             int
	}
	if err := narrowed(idb.NewSelect().Model((*journal.Decision)(nil)).ColumnExpr("rule, outcome, COUNT(*) AS n")).Group("rule", "outcome").Scan(ctx, &counts); err != nil {
		return err
	}
	for _, c := range counts {
		n := h.rules[c.Rule].Decisions[c.Outcome]
		n.Recorded = c.N
		h.rules[c.Rule].Decisions[c.Outcome] = n
	}
	for after := int64(0); ; {
		var list []journal.Decision
		if err := narrowed(idb.NewSelect().Model(&list)).Where("seq > ? AND outcome IN (?, ?)", after, journal.Started, journal.RunWaits).
			Order("seq").Limit(pageSize).Scan(ctx); err != nil || len(list) == 0 {
			return err
		}
		after = list[len(list)-1].Seq
		if err := h.alone(ctx, list); err != nil {
			return err
		}
	}
}

// since is a bound for a query.
func since(at time.Time) int64 {
	if at.IsZero() {
		return 0
	}
	return at.UnixMicro()
}

func (h *harvest) alone(ctx context.Context, list []journal.Decision) error {
	var ids []string
	for _, d := range list {
		if !h.matched[hash(d)] {
			ids = append(ids, d.EventID)
		}
	}
	events := map[string]journal.Event{}
	for some := range slices.Chunk(ids, 500) {
		found, err := journal.EventsByID(ctx, h.Source.Read(), some...)
		if err != nil {
			return err
		}
		for id, e := range found {
			events[id] = e
		}
	}
	for _, d := range list {
		if h.matched[hash(d)] {
			continue
		}
		r := h.rules[d.Rule]
		r.OnlyRecorded++
		why := h.whyNot[pair(d)]
		if why == "" {
			why = "it does not match"
		}
		h.keep(r, Item{Verdict: OnlyRecorded, Trigger: d.Trigger, Event: aboutOf(events[d.EventID]), Key: d.Key, Recorded: recordedOf(d), Reason: why})
	}
	return nil
}

// done lists what was done in reality, where that is not what the replay would
// do.
func (h *harvest) done(ctx context.Context, list []Item) error {
	of := map[string]*Fired{}
	var runs []string
	for i := range list {
		one := &list[i]
		if one.Recorded == nil || one.Replay != nil && one.Replay.Version == one.Recorded.Version {
			continue
		}
		of[one.Recorded.Run] = one.Recorded
		runs = append(runs, one.Recorded.Run)
	}
	for some := range slices.Chunk(runs, 500) {
		steps, err := journal.StepsOf(ctx, h.Source.Read(), some...)
		if err != nil {
			return err
		}
		for id, list := range steps {
			of[id].Actions = actionsOf(list)
		}
	}
	return nil
}
