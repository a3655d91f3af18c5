package rules_test

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/flightrules/flightrules/entities"
	"github.com/flightrules/flightrules/internal/duration"
	"github.com/flightrules/flightrules/internal/shape"
	"github.com/flightrules/flightrules/rules"
	"github.com/flightrules/flightrules/triggers"
)

const backupKind = `
kinds:
  - name: backup
    doc: A nightly backup of one database.
    fields:
      status: {type: string, enum: [ok, failed, overdue], default: ok}
      size_mb: {type: number, minimum: 0, doc: How much.}
      finished_at: {type: time}
      labels: {type: map}
    required: [status]
    stale: {after: 26h, set: {status: overdue}}
    events:
      - name: backup.failed
        doc: It failed.
        when: change.next.status == "failed" && change.prev?.status != "failed"
        payload:
          database: "${{ entity.id }}"
          size_mb: "${{ change.next.size_mb }}"
          at: "${{ change.next.finished_at }}"
          owner: "${{ change.next.labels?.owner }}"
          text: "${{ entity.id }} has ${{ change.next.size_mb }} MB"
          urgent: true
          more: {count: 5, fields: "${{ change.fields }}"}
      - name: backup.overdue
        when: change.next.status == "overdue"
      - name: backup.dropped
        when: change.next == nil
`

func TestKinds(t *testing.T) {
	set := load(t, backupKind)
	if len(set.Kinds) != 1 || len(set.Events) != 3 {
		t.Fatalf("%d kinds and %d events", len(set.Kinds), len(set.Events))
	}
	k := set.Kinds[0]
	stale := &entities.Stale{After: 26 * time.Hour, Set: map[string]any{"status": "overdue"}}
	if k.Name != "backup" || k.Doc != "A nightly backup of one database." || cmp.Diff(stale, k.Stale) != "" {
		t.Errorf("%+v", k)
	}
	least := 0.0
	fields := []shape.Field{
		{Name: "status", Required: true, Reactive: true, Shape: &shape.Shape{Type: shape.String, Enum: []string{"ok", "failed", "overdue"}, Default: "ok"}},
		{Name: "size_mb", Doc: "How much.", Reactive: true, Shape: &shape.Shape{Type: shape.Number, Minimum: &least}},
		{Name: "finished_at", Reactive: true, Shape: &shape.Shape{Type: shape.Time}},
		{Name: "labels", Reactive: true, Shape: &shape.Shape{Type: shape.Map}},
	}
	if diff := cmp.Diff(fields, k.Shape.Fields); diff != "" {
		t.Error(diff)
	}
	failed := set.Events[0]
	if failed.Name != "backup.failed" || failed.Doc != "It failed." || failed.Kind != "backup" {
		t.Errorf("%+v", failed)
	}
	types := map[string]shape.Type{}
	for _, f := range failed.Payload.Fields {
		types[f.Name] = f.Shape.Type
	}
	want := map[string]shape.Type{
		"database": shape.String, "size_mb": shape.Number, "at": shape.Time, "owner": shape.Any, "text": shape.String,
		"urgent": shape.Boolean, "more": shape.Object,
	}
	if diff := cmp.Diff(want, types); diff != "" {
		t.Error(diff)
	}
	if overdue := set.Events[1].Payload; overdue.Type != shape.Object || len(overdue.Fields) != 0 {
		t.Errorf("an event without payload has %+v", overdue)
	}
	p := set.KindProblem("backup", "no", "hint")
	if got := p.File + ":" + p.Source; p.Line != 3 || p.Column != 11 || p.Message != "no" || p.Hint != "hint" || got != "rules.yaml:  - name: backup" {
		t.Errorf("%+v", p)
	}
}

// change is a transition of the backup crm.
func change(prev, next entities.View) entities.Transition {
	t := entities.Transition{Kind: "backup", ID: "crm", Next: next, Delta: entities.Delta{}}
	for _, view := range []entities.View{prev, next} {
		for name := range view {
			if cmp.Diff(prev[name], next[name]) != "" {
				t.Delta[name] = [2]any{prev[name], next[name]}
			}
		}
	}
	return t
}

func TestEventsOfKinds(t *testing.T) {
	set := load(t, backupKind)
	ok := entities.View{"status": "ok"}
	failed := entities.View{"status": "failed", "size_mb": int64(12), "finished_at": "2026-03-01T12:00:00Z", "labels": map[string]any{"owner": "ann"}}
	overdue := entities.View{"status": "overdue"}
	const payload = `{"at":"2026-03-01T12:00:00Z","database":"crm","more":{"count":5,"fields":["finished_at","labels","size_mb","status"]},` +
		`"owner":"ann","size_mb":12,"text":"crm has 12 MB","urgent":true}`
	for _, tt := range []struct {
		what       string
		prev, next entities.View
		want       []string
	}{
		{"it fails", ok, failed, []string{"backup.failed " + payload}},
		{"it is new and failed", nil, failed, []string{"backup.failed " + payload}},
		{"it had failed before", failed, entities.View{"status": "failed"}, nil},
		{"it is new and well", nil, ok, nil},
		{"it becomes overdue", ok, overdue, []string{"backup.overdue {}"}},
		{"it goes away", failed, nil, []string{"backup.dropped {}"}},
		{"it fails without a size", ok, entities.View{"status": "failed"}, []string{
			`backup.failed {"at":null,"database":"crm","more":{"count":5,"fields":["status"]},"owner":null,"size_mb":null,"text":"crm has  MB","urgent":true}`,
		}},
		{"it is not what its kind says", ok, entities.View{"status": "failed", "finished_at": "monday"}, []string{
			`backup.failed: next: finished_at: bad time "monday": write RFC 3339, such as 2030-01-31T12:00:00Z`,
			`backup.overdue: next: finished_at: bad time "monday": write RFC 3339, such as 2030-01-31T12:00:00Z`,
			`backup.dropped: next: finished_at: bad time "monday": write RFC 3339, such as 2030-01-31T12:00:00Z`,
		}},
	} {
		t.Run(tt.what, func(t *testing.T) {
			var got []string
			for _, e := range set.Events {
				payload, ok, err := e.Derive(change(tt.prev, tt.next))
				switch {
				case err != nil:
					got = append(got, e.Name+": "+err.Error())
				case ok:
					got = append(got, e.Name+" "+string(payload))
				}
			}
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestNilInAnEventOfAKindIsAnError(t *testing.T) {
	set := load(t, `
kinds:
  - name: backup
    fields: {status: {type: string}, size_mb: {type: number}}
    events:
      - {name: backup.moved, when: change.prev.status == "ok"}
      - {name: backup.grown, when: "true", payload: {by: "${{ change.next.size_mb - change.prev.size_mb }}"}}
`)
	want := []string{
		"when: change.prev is nil; use ?. or ??",
		"payload: by: change.prev is nil; use ?. or ??",
	}
	for i, e := range set.Events {
		_, _, err := e.Derive(change(nil, entities.View{"size_mb": int64(1)}))
		if err == nil || err.Error() != want[i] {
			t.Errorf("%s: %v", e.Name, err)
		}
	}
}

func TestRulesUseTheKindsOfTheSameLoad(t *testing.T) {
	rule := `
rules:
  - id: page
    triggers:
      - {id: a, event: backup.failed, where: 'event.payload.size_mb > 5 && event.change.next.labels?.owner == "ann"'}
      - {id: b, event: backup.*}
      - {id: c, state: backup.status, to: overdue, for: 5m}
      - {id: d, numeric: backup.size_mb, above: 5}
      - {id: e, becomes: 'entity.state.status == "failed"', kind: backup}
    conditions: ['state("backup", "crm").status != "ok"']
    actions:
      - update: {kind: backup, id: crm, set: {status: ok, size_mb: "${{ 5 * 5 }}"}}
`
	c := newCompiler(t)
	set, err := c.Load(files("z-kinds.yaml", backupKind, "a-rules.yaml", rule), "")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := c.Events.Lookup("backup.failed"); err == nil {
		t.Error("loading has put the events in force")
	}
	if _, err := inForce(c, set).Compile(set.Rule("page").Text); err != nil {
		t.Error(err)
	}
	becomes := set.Rule("page").Triggers[4].Trigger.(triggers.OnBecoming)
	state, err := becomes.State("backup", entities.View{"finished_at": "2026-03-01T12:00:00Z"})
	if err != nil || state.(map[string]any)["finished_at"] != time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC) {
		t.Errorf("%v, %v", state, err)
	}
}

func TestSections(t *testing.T) {
	set, err := newCompiler(t).Load(files(
		"a.yaml", "probes:\n  - {name: web, url: \"https://a\", every: 1h30m, tags: {team: x}}\nrules:\n",
		"b.yaml", "probes: [{name: db, url: \"https://b\"}]",
	), "")
	if err != nil {
		t.Fatal(err)
	}
	want := map[string][]any{"probes": {
		probe{Name: "web", URL: "https://a", Every: duration.Text(90 * time.Minute), Tags: map[string]string{"team": "x"}}, probe{Name: "db", URL: "https://b"},
	}}
	if diff := cmp.Diff(want, set.Sections); diff != "" {
		t.Error(diff)
	}
	if p := set.SectionProblem("probes", "no", ""); p.File != "a.yaml" || p.Line != 2 || p.Message != "no" {
		t.Errorf("%+v", p)
	}
	if p := load(t, "").SectionProblem("probes", "no", ""); p.File != "" || p.Message != "no" {
		t.Errorf("%+v", p)
	}
}

func TestFunctions(t *testing.T) {
	r := one(t, `
rules:
  - id: page
    triggers: [{event: weather.measured, where: 'roman(event.payload.count) == "III"'}]
    actions: [{log: "${{ roman(3) }}"}]
`)
	for count, want := range map[int]string{3: "true", 2: "false", -1: "roman: Rome had no negative numbers", 0: "roman: nulla"} {
		yes, err := r.Triggers[0].Where.Bool(map[string]any{
			"event": map[string]any{"payload": map[string]any{"count": count}}, "roman": roman,
		})
		got := map[bool]string{true: "true", false: "false"}[yes]
		if err != nil {
			got = err.Error()
		}
		if !strings.Contains(got, want) {
			t.Errorf("%d: %s, want %s", count, got, want)
		}
	}
}

func TestCheckFunction(t *testing.T) {
	for _, tt := range []struct {
		name string
		fn   any
		want string
	}{
		{"lookup", func(string, bool, int, float64, time.Time, time.Duration, []any, map[string]any, any) (map[string]any, error) {
			return nil, nil
		}, ""},
		{"clock", func() any { return nil }, ""},
		{"a-b", roman, "a name is letters"},
		{"state", roman, "taken by the language"},
		{"upper", roman, "taken by the language"},
		{"now", roman, "taken by the language"},
		{"event", roman, "taken by the language"},
		{"not", roman, "taken by the language"},
		{"text", "roman", "string is no function"},
		{"nothing", nil, "<nil> is no function"},
		{"missing", (func() int)(nil), "is no function"},
		{"many", func(...int) int { return 0 }, "must be fixed"},
		{"silent", func() {}, "must give a result"},
		{"two", func() (int, int) { return 0, 0 }, "must give a result"},
		{"odd", func(int, []string) int { return 0 }, "expressions have no []string for its parameter 2"},
		{"struct", func() struct{} { return struct{}{} }, "can do nothing with its result, a struct {}"},
		{"alone", func() error { return nil }, "can do nothing with its result, a error"},
	} {
		err := rules.CheckFunction(rules.Function{Name: tt.name, Fn: tt.fn})
		if (err == nil) != (tt.want == "") || err != nil && !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: %v, want %q", tt.name, err, tt.want)
		}
	}
}
