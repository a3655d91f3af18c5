//go:build unix

package app_test

import (
	"encoding/json"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/flightrules/flightrules/engine/journal"
)

// wantTrace is the steps of a run, in the order in which they begin.
func (a *aftermath) wantTrace(t *testing.T, r journal.Run, events map[string]journal.Event) []string {
	t.Helper()
	switch r.Rule {
	case "ship":
		lane := "actions[2].else"
		if payloadOf(t, events[r.EventID]).Count%2 == 0 {
			lane = "actions[2].choose[0].do"
		}
		return []string{"actions[0]", "actions[1]", "actions[2]", lane + "[0]", lane + "[1]", "actions[3]", "actions[4]", "actions[5]", "actions[6]"}
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
		got := []string{}
		for i, s := range a.steps[r.ID] {
			got = append(got, s.Path)
			if s.Status != journal.StepSucceeded || s.FinishedAt.IsZero() || s.Attempt < 1 || s.Position != i {
				t.Errorf("step %d of run %s is %+v", i, r.ID, s)
			}
		}
		if diff := cmp.Diff(a.wantTrace(t, r, events), got); diff != "" {
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
			key := s.RunID + "/" + s.Path + "/0"
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
		Event   string // that was emitted
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
				e.Event, e.Emits = output.ID, e.Emits+1
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
			e.Event, e.Emits = event.ID, e.Emits+1
			got[id] = e
		}
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-by the steps +by the logs):\n%s", diff)
	}
}
