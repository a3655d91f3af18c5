package rules_test

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestWarningsOfLoops(t *testing.T) {
	const self = "what the rule emits, updates or runs may trigger it again"
	rule := func(id, trigger, action string) string {
		return "\n  - {id: " + id + ", triggers: [{" + trigger + "}], actions: [{" + action + "}]}"
	}
	closes := "update: {kind: ticket, id: a, set: {status: closed}}"
	for name, c := range map[string]struct {
		rules string
		want  []string
	}{
		"a rule that emits its own event":    {rule("a", "event: custom.x", "emit: {event: custom.x}"), []string{"a: " + self}},
		"one that emits another event":       {rule("a", "event: custom.x", "emit: {event: custom.y}"), nil},
		"one that emits what its * covers":   {rule("a", "event: custom.deep.*", "emit: {event: custom.deep.er.x}"), []string{"a: " + self}},
		"one that emits what its * does not": {rule("a", "event: custom.deep.*", "emit: {event: custom.deeper}"), nil},
		"two rules that cause each other": {rule("a", "event: custom.x", "emit: {event: custom.y}") + rule("b", "event: custom.y", "emit: {event: custom.x}"),
			[]string{"a: " + self + ", by way of b", "b: " + self + ", by way of a"}},
		"three in a ring, and one beside it": {
			rule("a", "event: custom.x", "emit: {event: custom.y}") + rule("b", "event: custom.y", "emit: {event: custom.z}") +
				rule("c", "event: custom.z", "emit: {event: custom.x}") + rule("d", "event: custom.y", "log: hi"),
			[]string{"a: " + self + ", by way of b, c", "b: " + self + ", by way of c, a", "c: " + self + ", by way of a, b"}},
		"a chain that ends": {rule("a", "event: custom.x", "emit: {event: custom.y}") + rule("b", "event: custom.y", "emit: {event: custom.z}"), nil},

		"an update to the value it waits for":     {rule("a", "state: ticket.status, to: closed", closes), []string{"a: " + self}},
		"an update of a field any value of which": {rule("a", "state: ticket.status", closes), []string{"a: " + self}},
		"an update to another value":              {rule("a", "state: ticket.status, to: open", closes), nil},
		"an update to a value that is not known": {rule("a", "state: ticket.status, to: open", `update: {kind: ticket, id: a, set: {status: "${{ event.change.next.status }}"}}`),
			[]string{"a: " + self}},
		"an update of another field": {rule("a", "state: ticket.status, to: closed", "update: {kind: ticket, id: a, set: {priority: 1}}"), nil},
		"an update of a number it watches": {rule("a", "numeric: ticket.priority, above: 5", "update: {kind: ticket, id: a, set: {priority: 1}}"),
			[]string{"a: " + self}},
		"an update of any field, of what becomes true": {rule("a", "becomes: entity.state.priority > 5, kind: ticket", closes), []string{"a: " + self}},

		"two rules that turn a field to and fro": {
			rule("a", "state: ticket.status, to: open", closes) + rule("b", "state: ticket.status, to: closed", "update: {kind: ticket, id: a, set: {status: open}}"),
			[]string{"a: " + self + ", by way of b", "b: " + self + ", by way of a"}},
		"a rule that runs itself":                           {rule("a", "event: custom.x", "run: a"), []string{"a: " + self}},
		"a rule that runs one that runs it":                 {rule("a", "event: custom.x", "run: b") + rule("b", "event: custom.y", "run: a"), []string{"a: " + self + ", by way of b", "b: " + self + ", by way of a"}},
		"a rule that runs one that emits what it waits for": {rule("a", "event: custom.x", "run: b") + rule("b", "event: custom.y", "emit: {event: custom.x}"), []string{"a: " + self + ", by way of b", "b: " + self + ", by way of a"}},
		"a branch of a choose": {"\n  - id: a\n    triggers: [{event: custom.x}]\n    actions: [{choose: [{when: event.depth == 0, do: [{log: hi}]}], else: [{emit: {event: custom.x}}]}]",
			[]string{"a: " + self}},
		"a step that is switched off":    {rule("a", "event: custom.x", "emit: {event: custom.x}, enabled: false"), nil},
		"a trigger that is switched off": {rule("a", "event: custom.x, enabled: false", "emit: {event: custom.x}"), nil},
		"a rule that is switched off": {rule("a", "event: custom.x", "emit: {event: custom.y}") +
			"\n  - {id: b, enabled: false, triggers: [{event: custom.y}], actions: [{emit: {event: custom.x}}]}", nil},
		"what ends a wait is no cause": {rule("a", "event: custom.x, unless: {event: custom.y, within: 5s}", "emit: {event: custom.y}"), nil},
	} {
		t.Run(name, func(t *testing.T) {
			var got []string
			for _, w := range load(t, "rules:"+c.rules+"\n").Warnings {
				got = append(got, w.Rule+": "+w.Message)
			}
			if diff := cmp.Diff(c.want, got); diff != "" {
				t.Errorf("warnings (-want +got):\n%s", diff)
			}
		})
	}
}

func TestWarningsSayWhere(t *testing.T) {
	set, err := newCompiler(t).Load(files(
		"team/b.yaml", "rules:\n\n"+strings.TrimPrefix(simple("fine"), "rules:\n")+
			"  - id: again\n    triggers: [{event: custom.x}]\n    actions: [{emit: {event: custom.x}}]\n",
		"a.yaml", simple("other"),
	), "etc")
	if err != nil {
		t.Fatal(err)
	}
	if len(set.Warnings) != 1 {
		t.Fatalf("%d warnings", len(set.Warnings))
	}
	want := `etc/team/b.yaml:6:`
	w := set.Warnings[0]
	if text := w.String(); !strings.HasPrefix(text, want) || w.Rule != "again" || w.Source != "  - id: again" || w.Hint == "" {
		t.Errorf("%s, want %s", text, want)
	}
	if set.Rule("again") == nil || set.Rule("other") == nil {
		t.Error("a warning has kept a rule out")
	}
}
