package yamlx_test

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/flightrules/flightrules/internal/yamlx"
)

const rules = `# The rules of the house.
rules:
  - id: one    # the first
    where: |
      # not a comment
      a == b

    # about the actions
    actions: [log,
      wait]
    # a comment behind the actions

  # about the second
  - id: two
    text: "quoted
      over lines"
    map: {a: 1, b: [2, 3]}
    folded: >
      one
      two
# the end
kinds:
  x: a plain text
    over lines
`

func TestSource(t *testing.T) {
	n := parse(t, rules)
	for _, tt := range []struct {
		name string
		path []any
		want []string
	}{
		{"an item of a list", []any{"rules", 0}, []string{"id: one    # the first", "where: |", "  # not a comment", "  a == b",
			"", "# about the actions", "actions: [log,", "  wait]"}},
		{"the last item", []any{"rules", 1}, []string{"id: two", "text: \"quoted", "  over lines\"",
			"map: {a: 1, b: [2, 3]}", "folded: >", "  one", "  two"}},
		{"a block text", []any{"rules", 0, "where"}, []string{"|", "# not a comment", "a == b"}},
		{"a list over lines", []any{"rules", 0, "actions"}, []string{"[log,", "wait]"}},
		{"a quoted text over lines", []any{"rules", 1, "text"}, []string{`"quoted`, `over lines"`}},
		{"a plain text over lines", []any{"kinds", "x"}, []string{"a plain text", "over lines"}},
		{"a single value", []any{"rules", 1, "id"}, []string{"two"}},
		{"a map", []any{"kinds"}, []string{"x: a plain text", "  over lines"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got := strings.Split(strings.TrimSuffix(n.At(tt.path...).Source(), "\n"), "\n")
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestTheSourceOfANodeReadsAsTheNode(t *testing.T) {
	n := parse(t, rules)
	n.Each(func(n yamlx.Node) {
		if n.IsScalar() || n.Path() == "rules[1].map.b" {
			return // a block text alone needs its indentation; what stands inside { } ends with the line of the }
		}
		again := parse(t, n.Source())
		if diff := cmp.Diff(n.Value(), again.Value()); diff != "" {
			t.Errorf("%s: %s", n.Path(), diff)
		}
	})
}

func TestATextMayEndWithWhatLooksLikeAComment(t *testing.T) {
	n := parse(t, "a:\n  text: |\n    one\n    # two\n  # a comment\nb: 1\n")
	if diff := cmp.Diff("text: |\n  one\n  # two\n", n.At("a").Source()); diff != "" {
		t.Error(diff)
	}
}

func TestAnAbsentNodeHasNoSource(t *testing.T) {
	if got := parse(t, rules).At("nothing").Source(); got != "" {
		t.Errorf("got %q", got)
	}
}

// TestAddInside looks for each "@" in a decoded value and expects the column of the "@" in the source.
func TestAddInside(t *testing.T) {
	for _, tt := range []struct{ name, src string }{
		{"plain", "a: é text @here"},
		{"plain over lines", "a: one\n   two\n\n   th@ree # comment"},
		{"plain with an anchor and a tag", "a: &x !!str one @"},
		{"plain in a list", "a: [x, b @c, d]"},
		{"single quotes", "a: 'it''s é @'"},
		{"single quotes over lines", "a: 'one\n\n\n  two   \n   th@ree'"},
		{"double quotes", `a: "\"\\ é \u00e9\x41\t@"`},
		{"double quotes over lines", "a: \"one \\\n   two\n\n   \\  th@ree\""},
		{"literal", "a: |\n\n  one\n    two\n\n  th@ree\n"},
		{"literal with a header", "a: &x |2-   # comment\n  one\n  é@"},
		{"folded", "a: >\n\n  one\n  two\n\n    more\n\n\n  th@ree\n"},
		{"at the start", "a: \"@\""},
		{"CRLF", "b: 1\r\na: |\r\n  one\r\n  @\r\n"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			n := parse(t, tt.src).At("a")
			value := n.Value()
			if list, ok := value.([]any); ok {
				n, value = n.At(1), list[1]
			}
			offset := strings.Index(value.(string), "@")
			before := tt.src[:strings.Index(tt.src, "@")]
			line := strings.Count(before, "\n") + 1
			column := len([]rune(before[strings.LastIndex(before, "\n")+1:])) + 1
			var ps yamlx.Problems
			ps.AddInside(n, offset, "here", "")
			if got := ps.All()[0]; got.Line != line || got.Column != column {
				t.Errorf("got %d:%d, want %d:%d", got.Line, got.Column, line, column)
			}
		})
	}
}

func TestAddInsideFallsBackToTheNode(t *testing.T) {
	n := parse(t, "a: text\nb: [1]\n")
	var ps yamlx.Problems
	ps.AddInside(n.At("a"), 99, "too far", "")
	ps.AddInside(n.At("b"), 0, "no scalar", "")
	ps.AddInside(yamlx.Node{}, 0, "no node", "")
	all := ps.All()
	got := [][]int{{all[0].Line, all[0].Column}, {all[1].Line, all[1].Column}, {all[2].Line, all[2].Column}}
	if diff := cmp.Diff([][]int{{0, 0}, {1, 4}, {2, 4}}, got); diff != "" {
		t.Error(diff)
	}
	if all[0].String() != "no node" {
		t.Errorf("got %q", all[0].String())
	}
}

func TestTheEndOfATextIsAPlaceInIt(t *testing.T) {
	n := parse(t, "a: text\nb: \"quoted\"\nc: |-\n  block\n")
	var ps yamlx.Problems
	for _, key := range []string{"a", "b", "c"} {
		ps.AddInside(n.At(key), len(n.At(key).Value().(string)), "end", "")
	}
	var got [][]int
	for _, p := range ps.All() {
		got = append(got, []int{p.Line, p.Column})
	}
	if diff := cmp.Diff([][]int{{1, 8}, {2, 11}, {4, 8}}, got); diff != "" {
		t.Error(diff)
	}
}
