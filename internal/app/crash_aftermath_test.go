//go:build unix

package app_test

import (
	"cmp"
	"context"
	"slices"
	"testing"

	"github.com/flightrules/flightrules/engine/journal"
	"github.com/flightrules/flightrules/entities"
	"github.com/flightrules/flightrules/internal/app"
)

// aftermath is everything that the processes left behind.
type aftermath struct {
	t      *testing.T
	killer *killer
	core   *app.Core

	intents     []change
	done        map[string]change // by the id of the change
	transitions []entities.Transition
	ofEntity    map[string][]entities.Transition // by KIND/ID, by version
	events      []journal.Event
	bySeq       map[int64][]journal.Event // by the transition
	decisions   map[decisionKey][]journal.Decision
	runs        map[string]journal.Run
	steps       map[string][]journal.Step // by run
	deliveries  []delivery
}

// decisionKey is what is decided about once.
type decisionKey struct{ event, rule, trigger string }

func readAftermath(t *testing.T, k *killer) *aftermath {
	t.Helper()
	core, err := openCrash(t.Context(), k.config.URL, &crashPlugin{}, t.Output())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := core.Close(context.WithoutCancel(t.Context())); err != nil {
			t.Error(err)
		}
	})
	a := &aftermath{
		t: t, killer: k, core: core,
		intents: readJournal[change](t, k.config.Dir, "intents"), done: map[string]change{},
		deliveries: readJournal[delivery](t, k.config.Dir, "deliveries"),
		ofEntity:   map[string][]entities.Transition{}, bySeq: map[int64][]journal.Event{},
		decisions: map[decisionKey][]journal.Decision{}, runs: map[string]journal.Run{}, steps: map[string][]journal.Step{},
	}
	for _, line := range readJournal[change](t, k.config.Dir, "done") {
		a.done[line.ID] = line
	}
	a.readLog()
	a.readRuns()
	return a
}

func (a *aftermath) readLog() {
	a.t.Helper()
	ctx, idb := a.t.Context(), a.core.DB.Read()
	var err error
	if a.transitions, err = a.core.Entities.Transitions(ctx, idb, entities.Filter{}); err != nil {
		a.t.Fatal(err)
	}
	for _, one := range a.transitions {
		a.ofEntity[one.Kind+"/"+one.ID] = append(a.ofEntity[one.Kind+"/"+one.ID], one)
	}
	for _, list := range a.ofEntity {
		slices.SortFunc(list, func(a, b entities.Transition) int { return cmp.Compare(a.Version, b.Version) })
	}
	if a.events, err = journal.Events(ctx, idb, journal.Filter{}); err != nil {
		a.t.Fatal(err)
	}
	for _, e := range a.events {
		if e.TransitionSeq != 0 {
			a.bySeq[e.TransitionSeq] = append(a.bySeq[e.TransitionSeq], e)
		}
	}
}

func (a *aftermath) readRuns() {
	a.t.Helper()
	ctx, idb := a.t.Context(), a.core.DB.Read()
	decisions, err := journal.Decisions(ctx, idb, journal.Filter{})
	if err != nil {
		a.t.Fatal(err)
	}
	for _, d := range slices.Backward(decisions) {
		key := decisionKey{d.EventID, d.Rule, d.Trigger}
		a.decisions[key] = append(a.decisions[key], d)
	}
	runs, err := journal.Runs(ctx, idb, journal.Filter{})
	if err != nil {
		a.t.Fatal(err)
	}
	for _, r := range runs {
		a.runs[r.ID] = r
	}
	var steps []journal.Step
	if err := idb.NewSelect().Model(&steps).Order("run_id", "position").Scan(ctx); err != nil {
		a.t.Fatal(err)
	}
	for _, s := range steps {
		a.steps[s.RunID] = append(a.steps[s.RunID], s)
	}
}

// bites says what the kills hit, and fails if that was nothing: then the test
// has shown nothing.
func (a *aftermath) bites() {
	a.t.Helper()
	cutOff, durable := 0, 0
	recorded := a.byActor()
	for _, c := range a.intents {
		if _, ok := a.done[c.ID]; !ok {
			cutOff++
			durable += len(recorded[c.ID])
		}
	}
	atWork, unrouted, armed := 0, 0, 0
	for _, f := range a.killer.found {
		atWork += min(f.Runs, 1)
		unrouted += min(f.Outbox, 1)
		armed += min(f.Timers, 1)
	}
	rounds := map[string]map[int]bool{}
	repeated := 0
	for _, d := range a.deliveries {
		if rounds[d.Key] == nil {
			rounds[d.Key] = map[int]bool{}
		} else if !rounds[d.Key][d.Round] {
			repeated++
		}
		rounds[d.Key][d.Round] = true
	}
	resumed := 0
	for _, r := range a.runs {
		resumed += max(0, int(r.Epoch)-1-waitsOf(r.Rule))
	}
	a.t.Logf("%d kills, %d of them while the process came up", a.killer.kills, a.killer.early)
	if postgres(a.killer.config.URL) {
		a.t.Logf("%d processes were frozen; %d of their runs were taken over meanwhile", a.killer.frozen, a.killer.fenced)
	}
	a.t.Logf("%d changes acknowledged; %d cut off, of which %d had become durable", len(a.done), cutOff, durable)
	a.t.Logf("%d transitions, %d events, %d decisions, %d runs, %d deliveries", len(a.transitions), len(a.events), len(a.decisions), len(a.runs), len(a.deliveries))
	a.t.Logf("%d kills left something unrouted, %d deadlines, %d runs at work", unrouted, armed, atWork)
	a.t.Logf("runs were taken up again %d times; %d deliveries were repeated by another process", resumed, repeated)
	hits := map[string]int{
		"change was cut off": cutOff, "change was left unrouted": unrouted, "deadline outlived a process": armed,
		"run was hit at work": atWork, "run was taken up again": resumed,
	}
	// A repeated delivery takes a kill in the instant between it and its record:
	// TestAFrozenNodeIsFencedOff of engine makes one each time.
	if postgres(a.killer.config.URL) {
		hits["run of a frozen process was fenced off"] = a.killer.fenced
	}
	for what, n := range hits {
		if n == 0 {
			a.t.Errorf("no %s, so this has shown nothing", what)
		}
	}
}

func waitsOf(rule string) int {
	if rule == "ship" {
		return 1
	}
	return 0
}

// byActor is the transitions of each actor, newest first.
func (a *aftermath) byActor() map[string][]entities.Transition {
	by := map[string][]entities.Transition{}
	for _, one := range a.transitions {
		by[one.Cause.Actor] = append(by[one.Cause.Actor], one)
	}
	return by
}
