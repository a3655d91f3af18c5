//go:build unix

package app_test

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sync/errgroup"

	"github.com/flightrules/flightrules/engine/journal"
	"github.com/flightrules/flightrules/entities"
	"github.com/flightrules/flightrules/internal/dbtest"
)

// check holds what was left behind against what was promised.
func (a *aftermath) check() {
	for _, c := range []struct {
		name string
		fn   func(t *testing.T)
	}{
		{"each acknowledged change has one transition, each other one at most", a.changes},
		{"the log of each entity has no gaps, and each change begins where the last one ended", a.chains},
		{"nothing is left to be done", a.nothingLeft},
		{"each transition has exactly the events that it means", a.derived},
		{"each match has one decision, and a dwell is cancelled exactly if the log says so", a.decided},
		{"each start has one run, and each run one start", a.started},
		{"each run succeeded, with a whole trace", a.traces},
		{"each delivery was made, under one key and with one text", a.delivered},
		{"each update and each emit of a run happened once", a.once},
		{"states and events are those of the same changes without disturbance", a.undisturbed},
	} {
		a.t.Run(c.name, c.fn)
	}
}

func (a *aftermath) changes(t *testing.T) {
	recorded := a.byActor()
	for _, c := range a.intents {
		n := len(recorded[c.ID])
		acknowledged, done := a.done[c.ID]
		switch {
		case done && acknowledged.Void && n != 0, done && !acknowledged.Void && n != 1, n > 1:
			t.Errorf("change %+v has %d transitions; acknowledged: %v", acknowledged, n, done)
		}
		delete(recorded, c.ID)
	}
	for actor, list := range recorded {
		if !strings.HasPrefix(actor, "rule:") {
			t.Errorf("nobody meant to make the change %+v", list[0])
		}
	}
}

func (a *aftermath) chains(t *testing.T) {
	for name, log := range a.ofEntity {
		state := entities.View{}
		for i, one := range log {
			if one.Version != int64(i+1) {
				t.Fatalf("%s: version %d comes after version %d", name, one.Version, i)
			}
			for field, values := range one.Delta {
				if !reflect.DeepEqual(state[field], values[0]) {
					t.Errorf("%s: version %d takes %s from %v, but it was %v", name, one.Version, field, values[0], state[field])
				}
				if state[field] = values[1]; values[1] == nil {
					delete(state, field)
				}
			}
			if diff := cmp.Diff(state, one.Next); len(state)+len(one.Next) > 0 && diff != "" {
				t.Errorf("%s: version %d is not what its change says (-change +next):\n%s", name, one.Version, diff)
			}
		}
		kind, id, _ := strings.Cut(name, "/")
		got, err := a.core.Entities.Get(t.Context(), a.core.DB.Read(), kind, id)
		switch last := log[len(log)-1]; {
		case last.Removed() && err == nil:
			t.Errorf("%s was removed and is there", name)
		case !last.Removed() && (err != nil || got.Version != last.Version || !reflect.DeepEqual(got.State, last.Next)):
			t.Errorf("%s is %+v (%v), and its log ends with %+v", name, got, err, last)
		}
	}
}

func (a *aftermath) nothingLeft(t *testing.T) {
	f, waiting, err := remaining(t.Context(), a.core)
	if err != nil || f != (found{}) || waiting != 0 {
		t.Errorf("%+v and %d runs that wait (%v)", f, waiting, err)
	}
	for _, r := range a.runs {
		if r.Slot != "" || r.LeaseNode != "" || !r.LeaseUntil.IsZero() {
			t.Errorf("run %s has ended and still holds %q under the lease of %q", r.ID, r.Slot, r.LeaseNode)
		}
	}
}

// stageOf is the stage into which a transition takes a job; "" for none.
func stageOf(one entities.Transition) string {
	if one.Kind != "job" {
		return ""
	}
	stage, _ := one.Delta["stage"][1].(string)
	return stage
}

func (a *aftermath) derived(t *testing.T) {
	total := 0
	for _, one := range a.transitions {
		want := []string{}
		switch stage := stageOf(one); {
		case one.Kind == "job" && one.Removed():
			want = append(want, "job.removed")
		case stage == "running":
			want = append(want, "job.changed", "job.running") // the rule overdue refers to the first
		case stage != "":
			want = append(want, "job."+stage)
		}
		got := []string{}
		for _, e := range a.bySeq[one.Seq] {
			got = append(got, e.Name)
			if e.EntityID != one.ID || e.Actor != one.Cause.Actor || !e.At.Equal(one.At) {
				t.Errorf("event %+v is not about transition %+v", e, one)
			}
		}
		slices.Sort(got)
		total += len(got)
		if !slices.Equal(want, got) {
			t.Errorf("transition %d (%s %s, version %d) has the events %v, want %v", one.Seq, one.Kind, one.ID, one.Version, got, want)
		}
	}
	for _, e := range a.events {
		if e.Name == "custom.shipped" || e.Name == "custom.confirmed" {
			total++
		}
	}
	if total != len(a.events) {
		t.Errorf("there are %d events, and %d have a reason", len(a.events), total)
	}
}

func (a *aftermath) decided(t *testing.T) {
	reason := map[decisionKey]bool{}
	expect := func(e journal.Event, rule, trigger string, want ...journal.Outcome) {
		key := decisionKey{e.ID, rule, trigger}
		reason[key] = true
		got := []journal.Outcome{}
		for _, d := range a.decisions[key] {
			got = append(got, d.Outcome)
		}
		// Whether a run was active at that moment is not in the log.
		blocked := slices.Clone(want)
		if i := slices.Index(blocked, journal.Started); i >= 0 {
			blocked[i] = journal.Blocked
		}
		if !slices.Equal(got, want) && !slices.Equal(got, blocked) {
			t.Errorf("rule %s decided %v about %s %s, want %v", rule, got, e.Name, e.Payload, want)
		}
	}
	for _, e := range a.events {
		switch e.Name {
		case "job.running":
			if count := payloadOf(t, e).Count; count%7 == 0 && count%5 != 0 {
				expect(e, "ship", "running", journal.ConditionFalse)
			} else if count%5 != 0 {
				expect(e, "ship", "running", journal.Started)
			}
		case "custom.shipped":
			expect(e, "confirm", "1", journal.Started)
		case "job.changed":
			if a.broken(e) {
				expect(e, "overdue", "1", journal.Held, journal.Cancelled)
			} else {
				expect(e, "overdue", "1", journal.Held, journal.Started)
			}
		}
	}
	for key, list := range a.decisions {
		if !reason[key] {
			t.Errorf("there is no reason for the decisions %+v", list)
		}
	}
}

func payloadOf(t *testing.T, e journal.Event) (p jobEvent) {
	t.Helper()
	if err := json.Unmarshal(e.Payload, &p); err != nil {
		t.Fatal(err)
	}
	return p
}

// broken says whether, by the log, the job left the stage before the dwell that
// the event armed was over.
func (a *aftermath) broken(e journal.Event) bool {
	armed := false
	for _, one := range a.ofEntity["job/"+e.EntityID] {
		if _, changed := one.Delta["stage"]; armed && changed {
			return one.At.Before(e.At.Add(dwellLength))
		}
		armed = armed || one.Seq == e.TransitionSeq
	}
	return false
}

func (a *aftermath) started(t *testing.T) {
	starts := map[string]int{}
	for _, list := range a.decisions {
		for _, d := range list {
			r, ok := a.runs[d.RunID]
			switch {
			case d.Outcome != journal.Started && d.Outcome != journal.Blocked:
				continue
			case !ok || r.Rule != d.Rule || r.Key != d.Key:
				t.Errorf("decision %+v names the run %+v", d, r)
			case d.Outcome == journal.Started:
				starts[d.RunID]++
				if r.EventID != d.EventID || r.Trigger != d.Trigger || r.Version != d.Version {
					t.Errorf("decision %+v started the run %+v", d, r)
				}
			}
		}
	}
	for id := range a.runs {
		if starts[id] != 1 {
			t.Errorf("run %s was started %d times", id, starts[id])
		}
	}
}

// undisturbed makes the changes that became durable once more, one after the
// other for each job, in an engine that nobody kills.
func (a *aftermath) undisturbed(t *testing.T) {
	plugin := &crashPlugin{}
	core, err := openCrash(t.Context(), dbtest.SQLite(t), plugin, io.Discard)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := core.Close(context.WithoutCancel(t.Context())); err != nil {
			t.Error(err)
		}
	})
	group, ctx := errgroup.WithContext(t.Context())
	for _, log := range a.ofEntity {
		group.Go(func() error {
			for _, one := range log {
				if strings.HasPrefix(one.Cause.Actor, "rule:") {
					continue
				}
				if err := applyChange(ctx, plugin, change{ID: one.Cause.Actor, Job: one.ID, Remove: one.Removed()}); err != nil {
					return err
				}
			}
			return nil
		})
	}
	if err := group.Wait(); err != nil {
		t.Fatal(err)
	}
	list, err := core.Entities.Transitions(t.Context(), core.DB.Read(), entities.Filter{Kind: "job"})
	if err != nil {
		t.Fatal(err)
	}
	want, got := map[string][]string{}, map[string][]string{}
	for _, one := range slices.Backward(list) {
		account := drivenPart(one)
		for _, e := range core.Events.Derive(one) {
			account += fmt.Sprintf(", %s %s", e.Name, e.Payload)
		}
		want[one.ID] = append(want[one.ID], account)
	}
	for name, log := range a.ofEntity {
		for _, one := range log {
			if !strings.HasPrefix(name, "job/") || strings.HasPrefix(one.Cause.Actor, "rule:") {
				continue
			}
			account := drivenPart(one)
			for _, e := range a.bySeq[one.Seq] {
				if e.Name != "job.changed" { // recorded for the sake of a rule; it is not derived
					account += fmt.Sprintf(", %s %s", e.Name, e.Payload)
				}
			}
			got[one.ID] = append(got[one.ID], account)
		}
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-undisturbed +crashed):\n%s", diff)
	}
}

// drivenPart tells a transition without what rules and clocks have to do with it.
func drivenPart(one entities.Transition) string {
	return fmt.Sprintf("%s: %v %v", one.Cause.Actor, one.Next["stage"], one.Next["count"])
}
