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
