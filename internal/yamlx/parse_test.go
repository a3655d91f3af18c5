package yamlx_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/flightrules/flightrules/internal/yamlx"
)

// lines joins the lines of a file.
func lines(l ...string) string { return strings.Join(l, "\n") + "\n" }

// report returns all problems as they are printed.
func report(ps *yamlx.Problems) string {
	if err := ps.Err(); err != nil {
		return err.Error() + "\n"
	}
	return ""
}

func TestSyntaxErrorsHaveTheirLine(t *testing.T) {
	for _, tt := range []struct{ name, src, want string }{
		{"a key is indented too far", lines("a: 1", "b: 2", " c: 3", "d: 4"), lines(
			`f.yaml:3:2: a key with a value cannot stand here`,
			`     c: 3`,
			`     ^`,
			`    hint: check the indentation, and put a text that holds ": " in quotes`)},
		{"a key is indented too little, far below the start of its list",
			lines("rules:", "  - id: x", "    name: y", "  - id: z", "   mode: z", "    foo: 1"), lines(
				`f.yaml:5:4: a list item ("- ") was expected here`,
				`       mode: z`,
				`       ^`,
				`    hint: check the indentation`)},
		{"a tab indents", lines("rules:", "  - id: x", "\tname: y"), lines(
			`f.yaml:3:1: a tab cannot indent`,
			"    \tname: y",
			`    ^`,
			`    hint: use spaces`)},
		{"a quote is not closed", lines("rules:", "  - id: \"x", "    name: y"), lines(
			`f.yaml:2:3: a quote that is opened here is not closed`,
			`      - id: "x`,
			`      ^`)},
		{"a quote on the first line is not closed", lines("a: \"x", "b: y", "c: z"), lines(
			`f.yaml:1:1: a quote that is opened here is not closed`,
			`    a: "x`,
			`    ^`)},
		{"a text after a quoted one", lines("a: 1", "b: 'it's'", "c: 1"), lines(
			`f.yaml:2:1: a key was expected here`,
			`    b: 'it's'`,
			`    ^`,
			`    hint: check the indentation and the quotes`)},
		{"the colon is missing", lines("a: 1", "b", "c: 2"), lines(
			`f.yaml:2:1: the colon of a key is missing`,
			`    b`,
			`    ^`,
			`    hint: write key: value`)},
		{"two colons", lines("a: 1", "where: x ? y : z"), lines(
			`f.yaml:2:1: a key with a value cannot stand here`,
			`    where: x ? y : z`,
			`    ^`,
			`    hint: check the indentation, and put a text that holds ": " in quotes`)},
		{"a bracket is not closed", lines("x: 1", "a: [1, 2", "b: 3"), lines(
			`f.yaml:2:1: a list that is opened with [ is not closed, or lacks a comma`,
			`    a: [1, 2`,
			`    ^`)},
		{"a character that begins nothing", lines("a: 1", "b: @foo"), lines(
			"f.yaml:2:1: a text cannot begin with @, ` or %",
			`    b: @foo`,
			`    ^`,
			`    hint: put it in quotes`)},
		{"an unknown anchor", lines("a: &x 1", "b: *y"), lines(
			`f.yaml:2:4: unknown anchor: there is no &y above`,
			`    b: *y`,
			`       ^`,
			`    hint: put a text that begins with * in quotes`)},
		{"an unknown escape", lines("a: 1", `b: "x\q"`), lines(
			`f.yaml:2:1: a text in double quotes holds a backslash that means nothing`,
			`    b: "x\q"`,
			`    ^`,
			`    hint: write \\ for a backslash, or use single quotes`)},
		{"a control character", "a: 1\nb: \x01\n", lines(
			`f.yaml:2:4: the character U+0001 is not allowed`)},
		{"not UTF-8", "a: 1\nb: \xff\n", lines(
			`f.yaml:2:4: the file is not UTF-8 text`)},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var ps yamlx.Problems
			if n, ok := yamlx.Parse("f.yaml", []byte(tt.src), &ps); ok || !n.IsZero() {
				t.Errorf("it was read: %v", n.Value())
			}
			if diff := cmp.Diff(tt.want, report(&ps)); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestTheLineOfAnErrorIsFoundInALargeFileInLittleTime(t *testing.T) {
	item := "  - id: x\n    name: y\n    list: [1, 2, {a: b}]\n    text: |\n      # no comment\n"
	src := "rules:\n" + strings.Repeat(item, 2000) + "   bad: 1\n" + strings.Repeat(item, 100)
	var ps yamlx.Problems
	yamlx.Parse("f.yaml", []byte(src), &ps)
	if all := ps.All(); len(all) != 1 || all[0].Line != 10002 {
		t.Errorf("got %v", all)
	}
}

func TestPlainYAMLOnly(t *testing.T) {
	for _, tt := range []struct{ name, src, want string }{
		{"a second document", lines("a: 1", "---", "b: 2"), lines(
			`f.yaml:2:1: a file holds one document, and here begins a second one`,
			`    ---`,
			`    ^`,
			`    hint: remove the line ---, or make two files of it`)},
		{"duplicate keys", lines("a: 1", "b: {c: 1, d: 2, c: 3}", "a: 2"), lines(
			`f.yaml:2:17: duplicate key "c"`,
			`    b: {c: 1, d: 2, c: 3}`,
			`                    ^`,
			`    hint: it is already on line 2`,
			`f.yaml:3:1: duplicate key "a"`,
			`    a: 2`,
			`    ^`,
			`    hint: it is already on line 1`)},
		{"keys that are no strings", lines("1: a", "true: b", "[x]: c", "2030-01-01: fine"), lines(
			`f.yaml:1:1: a key must be a string: put it in quotes`,
			`    1: a`,
			`    ^`,
			`    hint: write "1"`,
			`f.yaml:2:1: a key must be a string: put it in quotes`,
			`    true: b`,
			`    ^`,
			`    hint: write "true"`,
			`f.yaml:3:1: a key must be a string, not a list`,
			`    [x]: c`,
			`    ^`)},
		{"a merge key", lines("a: &a {x: 1}", "b:", "  <<: *a"), lines(
			`f.yaml:3:3: merge keys (<<) are not supported`,
			`      <<: *a`,
			`      ^`,
			`    hint: write the keys out`)},
		{"tags", lines("if: !event.ok", "a: !!binary aGk=", "b: !!int x", "c: !!str 5", "d: .nan"), lines(
			`f.yaml:1:5: unknown tag !event.ok`,
			`    if: !event.ok`,
			`        ^`,
			`    hint: put a text that begins with ! in quotes`,
			`f.yaml:2:4: unknown tag !!binary`,
			`    a: !!binary aGk=`,
			`       ^`,
			`    hint: put a text that begins with ! in quotes`,
			`f.yaml:3:4: "x" cannot be read as int`,
			`    b: !!int x`,
			`       ^`,
			`f.yaml:5:4: .nan is not a number that can be used`,
			`    d: .nan`,
			`       ^`)},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var ps yamlx.Problems
			if _, ok := yamlx.Parse("f.yaml", []byte(tt.src), &ps); !ok {
				t.Error("the rest of the file cannot be checked")
			}
			if diff := cmp.Diff(tt.want, report(&ps)); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestAFileWithoutContentIsFine(t *testing.T) {
	for _, src := range []string{"", "\n\n", "# nothing\n", "---\n", "---\n...\n", "\uFEFF"} {
		var ps yamlx.Problems
		if n, ok := yamlx.Parse("f.yaml", []byte(src), &ps); !ok || !n.IsZero() || ps.Err() != nil {
			t.Errorf("%q: got %v, %v, %v", src, n.Value(), ok, ps.Err())
		}
	}
}

func TestAliases(t *testing.T) {
	t.Run("stand for what they name", func(t *testing.T) {
		n := parse(t, "a: &x [1, {b: two}]\nc: *x\n")
		want := map[string]any{"a": []any{1, map[string]any{"b": "two"}}, "c": []any{1, map[string]any{"b": "two"}}}
		if diff := cmp.Diff(want, n.Value()); diff != "" {
			t.Error(diff)
		}
	})
	for _, tt := range []struct{ name, src, want string }{
		{"that contain themselves are refused", lines("a: &x", "  - *x"), lines(
			`f.yaml:2:5: the alias *x contains itself`,
			`      - *x`,
			`        ^`)},
		{"that expand without measure are refused", laughs(), lines(
			`f.yaml:5:29: the aliases up to here stand for more than 100000 values`,
			`    e: &e [*d,*d,*d,*d,*d,*d,*d,*d,*d,*d]`,
			`                                ^`)},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var ps yamlx.Problems
			if _, ok := yamlx.Parse("f.yaml", []byte(tt.src), &ps); ok {
				t.Error("it was read")
			}
			if diff := cmp.Diff(tt.want, report(&ps)); diff != "" {
				t.Error(diff)
			}
		})
	}
}

// laughs returns a small file whose aliases stand for 10^20 values.
func laughs() string {
	var out strings.Builder
	for c := 'a'; c < 'u'; c++ {
		item := "1"
		if c > 'a' {
			item = "*" + string(c-1)
		}
		fmt.Fprintf(&out, "%c: &%c [%s]\n", c, c, strings.TrimSuffix(strings.Repeat(item+",", 10), ","))
	}
	return out.String()
}

func TestProblems(t *testing.T) {
	var ps yamlx.Problems
	if ps.Err() != nil || ps.Len() != 0 || len(ps.All()) != 0 {
		t.Error("the zero value has problems")
	}
	n := parse(t, "a: \"é\tx\"\nb: 2\n")
	ps.AddFile("z.yaml", "it cannot be read", "is it there?")
	ps.SetRule("r1")
	ps.Add(n.At("b"), "second", "")
	ps.Add(n.At("b"), "second", "")
	ps.SetRule("")
	ps.AddInside(n.At("a"), 3, "first", "look here")
	if ps.Len() != 3 {
		t.Errorf("got %d problems", ps.Len())
	}
	err := ps.Err()
	want := lines("f.yaml:1:7: first", "    a: \"é\tx\"", "         \t^", "    hint: look here",
		`f.yaml:2:4: rule "r1": second`, "    b: 2", "       ^",
		"z.yaml:1:1: it cannot be read", "    hint: is it there?")
	if diff := cmp.Diff(want, err.Error()+"\n"); diff != "" {
		t.Error(diff)
	}
	var typed *yamlx.Error
	if !errors.As(err, &typed) {
		t.Fatalf("%T is no *Error", err)
	}
	first := yamlx.Problem{File: "f.yaml", Line: 1, Column: 7, Message: "first", Hint: "look here", Source: "a: \"é\tx\""}
	if diff := cmp.Diff(first, typed.Problems[0]); diff != "" {
		t.Error(diff)
	}
}

// parse returns a file that must be read without problems.
func parse(t *testing.T, src string) yamlx.Node {
	t.Helper()
	var ps yamlx.Problems
	n, ok := yamlx.Parse("f.yaml", []byte(src), &ps)
	if !ok || ps.Err() != nil {
		t.Fatal(ps.Err())
	}
	return n
}
