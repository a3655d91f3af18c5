package expression_test

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/flightrules/flightrules/internal/expression"
)

func TestEqualities(t *testing.T) {
	region := func(values ...any) expression.Equality {
		return expression.Equality{Path: "event.payload.region", Values: values}
	}
	count := func(values ...any) expression.Equality {
		return expression.Equality{Path: "event.payload.count", Values: values}
	}
	for _, tt := range []struct {
		src  string
		want []expression.Equality
	}{
		{`event.payload.region == "a"`, []expression.Equality{region("a")}},
		{`"a" == event.payload.region`, []expression.Equality{region("a")}},
		{`event.payload?.region == "a"`, []expression.Equality{region("a")}},
		{`event["payload"].region == "a"`, []expression.Equality{region("a")}},
		{`event.payload.region in ["a", "b"]`, []expression.Equality{region("a", "b")}},
		{`event.payload.region == "a" and event.payload.count == -3`, []expression.Equality{region("a"), count(-3)}},
		{`event.payload.n > 1 && (event.payload.count == 3 && event.payload.region == "a")`,
			[]expression.Equality{count(3), region("a")}},
		{`event.payload.region == "a" and (event.payload.count == 1 or true)`, []expression.Equality{region("a")}},

		{`event.payload.region == "a" or event.payload.count == 1`, nil},
		{`not (event.payload.region == "a")`, nil},
		{`event.payload.region != "a"`, nil},
		{`event.payload.region not in ["a"]`, nil},
		{`event.payload.n > 1 ? event.payload.region == "a" : true`, nil},
		{`any(event.payload.items, .name == "a")`, nil},
		{`let x = event.payload.region == "a"; true`, nil},
		{`event.payload.region == nil`, nil},
		{`event.payload.region == event.id`, nil},
		{`event.payload.region in ["a", event.id]`, nil},
		{`event.payload.items[0].name == "a"`, nil},
		{`event.payload.labels["a.b"] == "a"`, nil},
		{`upper(event.payload.region) == "A"`, nil},
		{`(event.payload.region ?? "a") == "a"`, nil},
	} {
		t.Run(tt.src, func(t *testing.T) {
			if diff := cmp.Diff(tt.want, compile(t, tt.src).Equalities()); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestCalls(t *testing.T) {
	for _, tt := range []struct {
		src  string
		want []expression.Call
	}{
		{`state("satellite", event.id).status == "online"`,
			[]expression.Call{{Name: "state", Args: []any{"satellite", nil}, Member: []string{"status"}}}},
		{`"é" != "x" && state("satellite", "s1")?.position.lat > 3`,
			[]expression.Call{{Name: "state", Offset: 15, Args: []any{"satellite", "s1"}, Member: []string{"position", "lat"}}}},
		{`state("a", "b")[event.id].status == 1`,
			[]expression.Call{{Name: "state", Args: []any{"a", "b"}}}},
		{`any(event.payload.items, state("a", .name)?.ok) and now() > event.payload.at`, []expression.Call{
			{Name: "state", Offset: 25, Args: []any{"a", nil}, Member: []string{"ok"}},
			{Name: "now", Offset: 52},
		}},
		{`let s = state("a", fails("x").id); s.status == 1`, []expression.Call{
			{Name: "state", Offset: 8, Args: []any{"a", nil}},
			{Name: "fails", Offset: 19, Args: []any{"x"}, Member: []string{"id"}},
		}},
		{`state("a", "b").seen.Year() == 2030`,
			[]expression.Call{{Name: "state", Args: []any{"a", "b"}, Member: []string{"seen"}}}},
		{`upper(event.id) == "X"`, nil},
	} {
		t.Run(tt.src, func(t *testing.T) {
			if diff := cmp.Diff(tt.want, compile(t, tt.src).Calls()); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestMembers(t *testing.T) {
	for _, tt := range []struct {
		src, name string
		want      []string
		whole     bool
	}{
		{`event.payload.n > 3 and event.id != "x"`, "event", []string{"id", "payload.n"}, false},
		{`event.payload.n > 3 and change.next.n > 3`, "change", []string{"next.n"}, false},
		{`event.payload.n > 3`, "change", nil, false},
		{`event.payload.n > 3 or event.payload.n < 1`, "event", []string{"payload.n"}, false},
		{`event["payload"]?.region == "a"`, "event", []string{"payload.region"}, false},
		{`change.prev?.region != change?.next.region`, "change", []string{"next.region", "prev.region"}, false},
		{`(change.prev ?? change.next).region == "a"`, "change", []string{"next", "prev"}, false},
		{`keys(event.payload) == []`, "event", []string{"payload"}, false},
		{`event.payload.items[0].name == "a"`, "event", []string{"payload.items"}, false},
		{`event.payload.items[1:] == []`, "event", []string{"payload.items"}, false},
		{`event.payload.labels["a.b"] == "a"`, "event", []string{"payload.labels"}, false},
		{`event.payload.labels[event.id] == "a"`, "event", []string{"id", "payload.labels"}, false},
		{`event.payload.at.Year() == 2030`, "event", []string{"payload.at"}, false},
		{`any(event.payload.items, .name == event.id)`, "event", []string{"id", "payload.items"}, false},
		{`state("a", event.id).event == 1`, "event", []string{"id"}, false},
		{`let x = event.payload; x.region == "a"`, "event", []string{"payload"}, false},
		{`event.payload.region in ["a", "b"] and -event.payload.n < 1`, "event", []string{"payload.n", "payload.region"}, false},

		{`change == nil`, "change", nil, true},
		{`change != nil and change.next.n > 3`, "change", []string{"next.n"}, true},
		{`vars[event.id] == 1`, "vars", nil, true},
		{`get(vars, "a") == 1`, "vars", nil, true},
		{`let x = event; x.id == "a"`, "event", nil, true},
		{`"channel" in vars`, "vars", nil, true},
		{`toJSON([{"a": vars}]) == ""`, "vars", nil, true},
	} {
		t.Run(tt.src+" of "+tt.name, func(t *testing.T) {
			paths, whole := compile(t, tt.src).Members(tt.name)
			if diff := cmp.Diff(tt.want, paths); diff != "" {
				t.Error(diff)
			}
			if whole != tt.whole {
				t.Errorf("whole is %v", whole)
			}
		})
	}
}
