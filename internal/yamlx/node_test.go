package yamlx_test

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/flightrules/flightrules/internal/yamlx"
)

func TestValuesAreRead(t *testing.T) {
	n := parse(t, lines("text: a b", "quoted: \"5\"", "date: 2030-01-31", "int: -12", "hex: 0x10", "float: 1.5", "yes: yes",
		"bool: true", "for: 1d12h", "none: ~", "empty:", "list: [1, a]", "map: {a: 1}", "big: 18446744073709551615"))
	want := map[string]any{
		"text": "a b", "quoted": "5", "date": "2030-01-31", "int": -12, "hex": 16, "float": 1.5, "yes": "yes", "bool": true,
		"for": "1d12h", "none": nil, "empty": nil, "list": []any{1, "a"}, "map": map[string]any{"a": 1},
		"big": 18446744073709551615.0,
	}
	if diff := cmp.Diff(want, n.Value()); diff != "" {
		t.Error(diff)
	}
	var ps yamlx.Problems
	m, _ := n.Map(&ps)
	text, _ := m.Take("date").Text(&ps)
	scalar, _ := m.Take("float").Scalar(&ps)
	i, _ := m.Take("int").Int(&ps)
	f, _ := m.Take("float").Float(&ps)
	whole, _ := m.Take("int").Float(&ps)
	b, _ := m.Take("bool").Bool(&ps)
	d, _ := m.Take("for").Duration(&ps)
	items, _ := m.Take("list").List(&ps)
	got := []any{text, scalar, i, f, whole, b, d, len(items), m.Take("none").IsNull(), m.Take("empty").IsNull()}
	if diff := cmp.Diff([]any{"2030-01-31", "1.5", -12, 1.5, -12.0, true, 36 * time.Hour, 2, true, true}, got); diff != "" {
		t.Error(diff)
	}
	if ps.Err() != nil {
		t.Error(ps.Err())
	}
}

func TestAWrongTypeIsAProblem(t *testing.T) {
	n := parse(t, lines("text: a", "five: 5", "yes: yes", "list: [1, x]", "map: {a: 1}", "empty:", "half: 0.5",
		"long: a text that is too long to be shown in a message"))
	for _, tt := range []struct {
		name string
		read func(ps *yamlx.Problems)
		want string
	}{
		{"map", func(ps *yamlx.Problems) { n.At("list").Map(ps) }, "4:7: list must be a map, not a list"},
		{"list", func(ps *yamlx.Problems) { n.At("map").List(ps) }, "5:6: map must be a list, not a map"},
		{"empty list", func(ps *yamlx.Problems) { n.At("empty").List(ps) }, "6:7: empty must be a list, but it is empty"},
		{"the whole file", func(ps *yamlx.Problems) { n.List(ps) }, "1:1: the file must be a list, not a map"},
		{"text", func(ps *yamlx.Problems) { n.At("five").Text(ps) },
			`2:7: five must be a string: put it in quotes | write "5"`},
		{"text of a map", func(ps *yamlx.Problems) { n.At("map").Text(ps) }, "5:6: map must be a string, not a map"},
		{"item", func(ps *yamlx.Problems) { n.At("list", 1).Int(ps) }, `4:11: list[1] must be a whole number, not "x"`},
		{"int", func(ps *yamlx.Problems) { n.At("half").Int(ps) }, "7:7: half must be a whole number, not a number"},
		{"long", func(ps *yamlx.Problems) { n.At("long").Float(ps) }, "8:7: long must be a number, not a string"},
		{"bool", func(ps *yamlx.Problems) { n.At("yes").Bool(ps) }, `3:6: yes must be true or false, not "yes"`},
		{"scalar", func(ps *yamlx.Problems) { n.At("empty").Scalar(ps) },
			"6:7: empty must be a single value, but it is empty"},
		{"duration", func(ps *yamlx.Problems) { n.At("five").Duration(ps) },
			`2:7: bad duration "5": write a number and a unit, such as 90s, 5m, 1h30m, 2d or 1w`},
		{"duration of a list", func(ps *yamlx.Problems) { n.At("list").Duration(ps) },
			"4:7: list must be a duration such as 90s or 5m, not a list"},
		{"absent", func(ps *yamlx.Problems) { n.At("nothing").Text(ps); n.At("text", "deeper").Map(ps) }, ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var ps yamlx.Problems
			tt.read(&ps)
			if diff := cmp.Diff(tt.want, short(&ps)); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestAMapKnowsWhatWasTaken(t *testing.T) {
	n := parse(t, lines("rule:", "  id: x", "  tigger: {}", "  zzz: 1", "  mode: single"))
	var ps yamlx.Problems
	m, _ := n.At("rule").Map(&ps)
	m.Require(&ps, "id")
	m.Require(&ps, "actions")
	if m.Take("trigger"); !m.Has("mode") || m.Has("trigger") {
		t.Error("Has is wrong")
	}
	m.Take("mode")
	m.Done(&ps)
	want := lines(`f.yaml:2:3: missing key "actions"`, "      id: x", "      ^",
		`f.yaml:3:3: unknown key "tigger"`, "      tigger: {}", "      ^", `    hint: did you mean "trigger"?`,
		`f.yaml:4:3: unknown key "zzz"`, "      zzz: 1", "      ^", "    hint: known keys: actions, id, mode, trigger")
	if diff := cmp.Diff(want, report(&ps)); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff([]string{"id", "tigger", "zzz", "mode"}, m.Keys()); diff != "" {
		t.Error(diff)
	}
	if _, line, column := m.KeyNode("mode").Place(); line != 5 || column != 3 {
		t.Errorf("the key is said to be at %d:%d", line, column)
	}
}

func TestKeysThatWereReportedAreNotInTheMap(t *testing.T) {
	var ps yamlx.Problems
	n, _ := yamlx.Parse("f.yaml", []byte("a: 1\na: 2\n<<: {}\n3: x\n"), &ps)
	m, _ := n.Map(&ps)
	m.Take("a")
	m.Done(&ps)
	if diff := cmp.Diff(map[string]any{"a": 1}, n.Value()); diff != "" || ps.Len() != 3 {
		t.Error(diff, ps.Err())
	}
}

func TestPaths(t *testing.T) {
	n := parse(t, lines("rules:", "  - id: x", "    actions:", "      - log: a", "      - http: {url: u, \"a b\": [c]}"))
	var got []string
	n.Each(func(n yamlx.Node) { got = append(got, n.Path()) })
	want := []string{"", "rules", "rules[0]", "rules[0].id", "rules[0].actions", "rules[0].actions[0]",
		"rules[0].actions[0].log", "rules[0].actions[1]", "rules[0].actions[1].http", "rules[0].actions[1].http.url",
		`rules[0].actions[1].http["a b"]`, `rules[0].actions[1].http["a b"][0]`}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	if v := n.At("rules", 0, "actions", 1, "http", "url").Value(); v != "u" {
		t.Errorf("At found %v", v)
	}
	for _, path := range [][]any{{"rules", 1}, {"rules", -1}, {"nope"}, {"rules", "x"}, {"rules", 0, "id", 0}, {1.5}} {
		if !n.At(path...).IsZero() {
			t.Errorf("something is at %v", path)
		}
	}
}

func TestAnAliasIsWhereItIsWritten(t *testing.T) {
	n := parse(t, lines("a: &x text", "b: *x"))
	if _, line, column := n.At("b").Place(); line != 2 || column != 4 {
		t.Errorf("got %d:%d", line, column)
	}
}

func TestSuggest(t *testing.T) {
	if got := yamlx.Suggest("acitons", []string{"id", "actions"}); got != `did you mean "actions"?` {
		t.Errorf("got %s", got)
	}
	if got := yamlx.Suggest("whatever", []string{"id", "actions"}); got != "" {
		t.Errorf("got %s", got)
	}
}

// short returns the problems as line:column: message | hint.
func short(ps *yamlx.Problems) string {
	out := ""
	for _, p := range ps.All() {
		p.Source = ""
		if p.Hint != "" {
			p.Message += " | " + p.Hint
			p.Hint = ""
		}
		out += p.String()[len("f.yaml:"):]
	}
	return out
}
