package rules_test

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/google/go-cmp/cmp"

	"github.com/flightrules/flightrules/rules"
	"github.com/flightrules/flightrules/triggers"
)

func TestGoodFiles(t *testing.T) {
	all := fstest.MapFS{}
	paths, err := filepath.Glob("testdata/*.yaml")
	if err != nil {
		t.Fatal(err)
	}
	for _, path := range paths {
		if strings.HasSuffix(path, ".bad.yaml") {
			continue
		}
		text, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		all[filepath.Base(path)] = &fstest.MapFile{Data: text}
	}
	c := newCompiler(t)
	set, err := c.Load(all, "testdata")
	if err != nil {
		t.Fatal(err)
	}
	if len(set.Rules) != 4 {
		t.Errorf("%d rules instead of 4", len(set.Rules))
	}
	for _, r := range set.Rules {
		again, err := c.Compile(r.Text)
		if err != nil {
			t.Fatalf("%s cannot be compiled from its text: %v", r.ID, err)
		}
		if again.Version != r.Version || again.Text != r.Text || describe(again) != describe(r) {
			t.Errorf("%s is another rule when it is compiled from its text", r.ID)
		}
	}
	everything(t, set.Rule("everything"))
}

// everything looks at the rule of everything.yaml.
func everything(t *testing.T, r *rules.Rule) {
	t.Run("the rule's own keys", func(t *testing.T) {
		got := []any{r.ID, r.Name, r.Description, r.Tags, r.Enabled, r.Mode, r.File, r.Line}
		want := []any{"everything", "Everything at once", "All keys of a rule.", []string{"oncall", "test"}, true, rules.Single, "testdata/everything.yaml", 3}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Error(diff)
		}
		if !strings.HasPrefix(r.Source, "id: everything\nname: Every") || !strings.HasSuffix(r.Source, "- emit: {event: custom.done}\n") {
			t.Errorf("the source is\n%s", r.Source)
		}
	})
	t.Run("triggers", func(t *testing.T) {
		var got []triggers.Trigger
		var ids []string
		for _, one := range r.Triggers {
			got, ids = append(got, one.Trigger), append(ids, one.ID)
		}
		want := []triggers.Trigger{
			triggers.OnEvent{Name: "satellite.heartbeat_lost"},
			triggers.OnState{
				Kind: "satellite", Field: "status", From: []any{"online"}, To: []any{"offline", nil},
				Entities: []string{"s1", "s2"},
			},
			triggers.OnState{Kind: "ticket", Field: "priority", To: []any{int64(3)}, Entities: []string{"t1"}},
			triggers.OnState{Kind: "ticket", Field: "opened_at", From: []any{"2030-01-31T11:00:00Z"}},
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Error(diff)
		}
		if diff := cmp.Diff([]string{"lost", "2", "3", "4"}, ids); diff != "" {
			t.Error(diff)
		}
		if r.Triggers[0].Where == nil || r.Triggers[1].Where != nil || !r.Triggers[1].Enabled || r.Triggers[2].Enabled {
			t.Error("where or enabled is not as written")
		}
	})
	t.Run("conditions, variables and actions", func(t *testing.T) {
		want := `condition state("satellite", event.entity.id)?.status == "offline"
condition transitions("satellite", event.entity.id, "status", "10m") < 3
condition true
variables map[channel:#oncall who:edge-1]
actions[0] http id=page name="Page somebody" if="event.depth == 0" timeout=10s continue off
  http map[json:map[count:3 text:edge-1 trigger:lost] url:https://example.com/s1]
actions[1] http
  http map[method:<nil> url:https://example.com]
actions[2] set
  map[channel:#other code:200]
actions[3] choose
  when vars.code == 200
    actions[3].choose[0].do[0] log
      info "paged run-1"
  when run.attempt > 1
  else
    actions[3].else[0] log
      warn "not paged"
actions[4] wait
  for 1h
actions[5] wait
  for 5m0s
actions[6] wait
  until 2026-03-01 12:00:00 +0000 UTC
actions[7] update
  ticket "t-s1" map[labels:<nil> opened_at:2026-03-01 12:00:00 +0000 UTC priority:2]
actions[8] emit
  backup.missed map[by:everything]
actions[9] emit
  custom.done
`
		if diff := cmp.Diff(want, describe(r)); diff != "" {
			t.Error(diff)
		}
	})
}

// The values of from and to are compared with those of views, by Go's own
// equality of values.
func TestValuesAreAsInViews(t *testing.T) {
	for _, c := range []struct {
		field, written string
		want           []any
	}{
		{"status", "open", []any{"open"}},
		{"status", "[open, closed]", []any{"open", "closed"}},
		{"status", "null", []any{nil}},
		{"priority", "3", []any{int64(3)}},
		{"priority", "3.0", []any{int64(3)}},
		{"cost", "[2, 2.0, 2.5]", []any{int64(2), int64(2), 2.5}},
		{"budget", "90m", []any{"1h30m"}},
		{"opened_at", "2030-01-31T12:00:00.50+01:00", []any{"2030-01-31T11:00:00.5Z"}},
		{"watchers", "[ann, bob]", []any{[]any{"ann", "bob"}}},
		{"watchers", "[]", []any{[]any{}}},
		{"labels", "{team: ops, size: 3, none: null}", []any{map[string]any{"team": "ops", "size": int64(3)}}},
	} {
		t.Run(c.field+" "+c.written, func(t *testing.T) {
			r := one(t, fmt.Sprintf("rules: [{id: r, triggers: [{state: ticket.%s, to: %s}], actions: [{log: hi}]}]", c.field, c.written))
			if diff := cmp.Diff(c.want, r.Triggers[0].Trigger.(triggers.OnState).To); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestDefaults(t *testing.T) {
	r := one(t, `
rules:
  - id: short
    triggers: [{event: custom.x}]
    actions: [{log: hi}]
`)
	step := r.Actions[0]
	if r.Name != "short" || !r.Enabled || r.Mode != rules.Single || r.Variables != nil || r.Conditions != nil || r.Triggers[0].ID != "1" {
		t.Errorf("the rule is %+v", r)
	}
	if !step.Enabled || step.ContinueOnError || step.Timeout != 0 || step.If != nil || step.Do.(rules.Log).Level != "info" {
		t.Errorf("the step is %+v", step)
	}
}

func TestTriggersDoNotChangeTheCatalogue(t *testing.T) {
	c := newCompiler(t)
	const file = `
rules:
  - id: both
    triggers: [{event: satellite.connected}, {event: weather.measured}]
    actions: [{log: "${{ event.payload.status }}"}]
  - id: one
    triggers: [{event: satellite.connected, where: event.payload.status == 5}]
    actions: [{log: hi}]
`
	// A status is a number in one event and a text in the other: seen together
	// it may be either, but the second rule sees the text alone.
	_, err := c.Load(files("rules.yaml", file), "")
	if err == nil || !strings.Contains(err.Error(), "cannot compare a string with a whole number") {
		t.Errorf("the error is %v", err)
	}
}

func TestCompileRefusesWhatIsNoRule(t *testing.T) {
	for name, text := range map[string]string{
		"nothing": "", "a list": "[]", "broken": "{", "a rule with a mistake": `{"id":"x","triggers":[],"actions":[{"log":"hi"}]}`,
	} {
		t.Run(name, func(t *testing.T) {
			if r, err := newCompiler(t).Compile(text); r != nil || err == nil {
				t.Errorf("the rule is %v, the error %v", r, err)
			}
		})
	}
}
