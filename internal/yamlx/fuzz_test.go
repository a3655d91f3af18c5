package yamlx_test

import (
	"testing"

	"github.com/flightrules/flightrules/internal/yamlx"
)

func FuzzParse(f *testing.F) {
	for _, src := range []string{
		rules, "a: &x [*x]", "a: 1\n---\nb: 2", "? [a]\n: b", "<<: {a: b}", "a: !!int x", "a: \"\\\n  b\\u00e9\"", "- |2-\n  x\n- >+\n\n y",
		"a: 'it''s\n\n  b'", "\t", "%YAML 1.2\n---\na", "{a: [b, {c: d}]}", "a: \u2028b", "*a : b", laughs(), "a: 2030-01-01\r\n",
	} {
		f.Add([]byte(src))
	}
	f.Fuzz(func(t *testing.T, src []byte) {
		var ps yamlx.Problems
		n, ok := yamlx.Parse("f.yaml", src, &ps)
		if !ok && ps.Len() == 0 {
			t.Error("it was not read, and nothing says why")
		}
		n.Value()
		seen := 0
		n.Each(func(n yamlx.Node) {
			if seen++; seen > 1000 {
				return // aliases may stand for many more
			}
			n.Source()
			n.Path()
			readEverything(n, &ps)
		})
		for _, p := range ps.All() {
			if p.Line < 1 || p.Column < 1 || p.Message == "" {
				t.Errorf("bad problem %#v", p)
			}
		}
		if err := ps.Err(); err != nil && err.Error() == "" {
			t.Error("the error says nothing")
		}
	})
}

func readEverything(n yamlx.Node, ps *yamlx.Problems) {
	n.Scalar(ps)
	n.Int(ps)
	n.Float(ps)
	n.Bool(ps)
	n.Duration(ps)
	n.List(ps)
	if text, ok := n.Text(ps); ok {
		for offset := range len(text) + 1 {
			if offset < 200 {
				ps.AddInside(n, offset, "inside", "")
			}
		}
	}
	if m, ok := n.Map(ps); ok {
		m.Require(ps, "a")
		m.Done(ps)
	}
}
