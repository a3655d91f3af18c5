//go:build unix

package app_test

import (
	stdcmp "cmp"
	"encoding/json"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/flightrules/flightrules/engine/journal"
)

// wantTrace is the steps of a run, with their iterations.
func (a *aftermath) wantTrace(t *testing.T, r journal.Run, events map[string]journal.Event) []string {
	t.Helper()
	switch r.Rule {
	case "ship":
		lane := "actions[2].else"
		if payloadOf(t, events[r.EventID]).Count%2 == 0 {
			lane = "actions[2].choose[0].do"
		}
		want := []string{"actions[0]", "actions[1]", "actions[2]", lane + "[0]", lane + "[1]", "actions[3]", "actions[4]", "actions[5]", "actions[6]", "actions[7]"}
		for _, turn := range []string{"@0", "@1"} {
			fork := "actions[6].do[0]"
			want = append(want, fork+turn, fork+".parallel[0][0]"+turn, fork+".parallel[0][1]"+turn, fork+".parallel[0][2]"+turn,
				fork+".parallel[1][0]"+turn, fork+".parallel[1][1]"+turn, "actions[6].do[1]"+turn)
		}
		return append(want, "actions[6].do[0].parallel[1][1].choose[0].do[0]@1")
	case "confirm":
		return []string{"actions[0]", "actions[1]", "actions[2]", "actions[2].do[0]@0", "actions[2].do[0]@1"}
	default:
		return []string{"actions[0]", "actions[1]"}
	}
}

func (a *aftermath) traces(t *testing.T) {
	events := map[string]journal.Event{}
	for _, e := range a.events {
		events[e.ID] = e
	}
	for _, r := range a.runs {
		if r.Status != journal.RunSucceeded || r.Error != "" || r.FinishedAt.IsZero() {
			t.Errorf("run %s of %s is %s: %s", r.ID, r.Rule, r.Status, r.Error)
		}
		got, last := []string{}, -1
		for _, s := range a.steps[r.ID] {
			place := s.Path
			if s.Iteration != "" {
				place += "@" + s.Iteration
			}
			got = append(got, place)
			if s.Status != journal.StepSucceeded || s.FinishedAt.IsZero() || s.Attempt < 1 || s.Position <= last {
				t.Errorf("after position %d of run %s comes %+v", last, r.ID, s)
			}
			last = s.Position
		}
		want := a.wantTrace(t, r, events)
		slices.Sort(want) // branches begin as they come
		slices.Sort(got)
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("the steps of run %s of %s (-want +got):\n%s", r.ID, r.Rule, diff)
		}
	}
	for run := range a.steps {
		if _, ok := a.runs[run]; !ok {
			t.Errorf("there are steps of a run %s, which is not there", run)
		}
	}
}

func (a *aftermath) delivered(t *testing.T) {
	texts, keys := map[string][]string{}, map[string]string{}
	for _, d := range a.deliveries {
		texts[d.Key] = append(texts[d.Key], d.Text)
		if before, ok := keys[d.Text]; ok && before != d.Key {
			t.Errorf("%q was delivered under the keys %s and %s", d.Text, before, d.Key)
		}
		keys[d.Text] = d.Key
	}
	for _, steps := range a.steps {
		for _, s := range steps {
			if s.Action != "crash.deliver" {
				continue
			}
			var input parcel
			if err := json.Unmarshal(s.Input, &input); err != nil {
				t.Fatal(err)
			}
			key := s.RunID + "/" + s.Path + "/" + stdcmp.Or(s.Iteration, "0")
			if list := slices.Compact(texts[key]); len(list) != 1 || list[0] != input.Text {
				t.Errorf("%s was to deliver %q and delivered %q", key, input.Text, list)
			}
			delete(texts, key)
		}
	}
	for key, list := range texts {
		t.Errorf("no step has the key %s, under which %q was delivered", key, list)
	}
}

func (a *aftermath) once(t *testing.T) {
	type effects struct {
		Version int64  // of the entity that the update changed
		Events  string // that were emitted, sorted
		Updates int
		Emits   int
	}
	want, got := map[string]effects{}, map[string]effects{}
	for id, steps := range a.steps {
		e := effects{}
		for _, s := range steps {
			var output struct {
				Version int64
				ID      string
			}
			if s.Output != nil {
				if err := json.Unmarshal(s.Output, &output); err != nil {
					t.Fatal(err)
				}
			}
			switch s.Action {
			case "update":
				e.Version, e.Updates = output.Version, e.Updates+1
			case "emit":
				e.Events, e.Emits = alsoID(e.Events, output.ID), e.Emits+1
			}
		}
		want[id] = e
	}
	for _, one := range a.transitions {
		if id := one.Cause.RunID; id != "" {
			e := got[id]
			e.Version, e.Updates = one.Version, e.Updates+1
			got[id] = e
		}
	}
	for _, event := range a.events {
		if id := event.RunID; id != "" {
			e := got[id]
			e.Events, e.Emits = alsoID(e.Events, event.ID), e.Emits+1
			got[id] = e
		}
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-by the steps +by the logs):\n%s", diff)
	}
}

// alsoID adds an id to a sorted list of them.
func alsoID(list, id string) string {
	ids := append(strings.Fields(list), id)
	slices.Sort(ids)
	return strings.Join(ids, " ")
}
