package rules_test

import (
	"math"
	"strings"
	"testing"

	"gopkg.in/yaml.v3"
	"pgregory.net/rapid"

	"github.com/flightrules/flightrules/rules"
)

const plainRule = `
rules:
  - id: page
    name: Page
    variables: {limit: 1000000}
    triggers:
      - state: satellite.status
        to: offline
        for: 5m
    conditions: [event.depth == 0]
    actions:
      - http: {url: "https://example.com", json: {a: 1, b: -0.0}}
`

func TestVersion(t *testing.T) {
	before := one(t, plainRule)
	same := map[string]string{
		"comments":          "# A file.\n" + strings.ReplaceAll(plainRule, "to: offline\n", "to: offline # dark\n"),
		"layout and quotes": strings.ReplaceAll(plainRule, "to: offline", "\"to\":   'offline'"),
		"the order of keys": strings.ReplaceAll(plainRule, "to: offline\n        for: 5m", "for: 5m\n        to: offline"),
		"how numbers look":  strings.ReplaceAll(plainRule, "1000000", "1e6"),
		"the file's name and the place in it": strings.Replace(plainRule, "rules:", `
rules:
  # A comment.
`, 1),
	}
	for what, text := range same {
		t.Run(what+" make no other version", func(t *testing.T) {
			if got := one(t, text); got.Version != before.Version || got.Text != before.Text {
				t.Errorf("version %s instead of %s:\n%s", got.Version, before.Version, got.Text)
			}
		})
	}
	t.Run("the text makes it again", func(t *testing.T) {
		again, err := newCompiler(t).Compile(before.Text)
		if err != nil || again.Version != before.Version {
			t.Errorf("%v, %v", again, err)
		}
	})
	versions := map[string]string{before.Version: "the rule itself"}
	for _, change := range []struct{ what, from, to string }{
		{"a name", "name: Page", "name: Pager"},
		{"a variable", "1000000", "1000001"},
		{"a duration", "for: 5m", "for: 6m"},
		{"the same duration in other words", "for: 5m", "for: 300s"},
		{"a condition", "event.depth == 0", "event.depth == 1"},
		{"an action", "a: 1", "a: 2"},
		{"a number that became a text", "a: 1", `a: "1"`},
		{"a key that is there and null", "a: 1", "a: 1, c: null"},
		{"a rule that is switched off", "name: Page", "name: Page\n    enabled: false"},
	} {
		t.Run(change.what+" makes another version", func(t *testing.T) {
			text := strings.Replace(plainRule, change.from, change.to, 1)
			got := one(t, text).Version
			if other, ok := versions[got]; ok {
				t.Errorf("the version is that of %s", other)
			}
			versions[got] = change.what
		})
	}
}

func TestSameButDurations(t *testing.T) {
	before := one(t, plainRule).Text
	for _, c := range []struct {
		what, from, to string
		same           bool
	}{
		{"nothing", "", "", true},
		{"how long it must hold", "for: 5m", "for: 1h", true},
		{"that it must hold at all", "        for: 5m\n", "", true},
		{"what it must become", "to: offline", "to: online", false},
		{"a duration of an action", "    actions:", "    actions:\n      - wait: 5m", false},
		{"a key of that name in a configuration", "a: 1", "a: 1, for: 5m", false},
		{"the name of the rule", "name: Page", "name: Pager", false},
	} {
		t.Run("a change of "+c.what, func(t *testing.T) {
			after := one(t, strings.Replace(plainRule, c.from, c.to, 1)).Text
			if got := rules.SameButDurations(before, after); got != c.same {
				t.Errorf("it is %t", got)
			}
		})
	}
}

// Whatever texts and numbers a rule holds, its text makes the same rule again.
func TestTextMakesTheSameRule(t *testing.T) {
	c := newCompiler(t)
	rapid.Check(t, func(t *rapid.T) {
		text := "x" + strings.ReplaceAll(rapid.String().Draw(t, "text"), "$", "")
		number := rapid.Float64().Filter(func(f float64) bool { return !math.IsNaN(f) && !math.IsInf(f, 0) }).Draw(t, "number")
		whole := rapid.Int64().Draw(t, "whole")
		file, err := yaml.Marshal(map[string]any{"rules": []any{map[string]any{
			"id": "holds", "name": text, "variables": map[string]any{"text": text, "number": number, "whole": whole},
			"triggers": []any{map[string]any{"event": "custom.x"}}, "actions": []any{map[string]any{"log": text}},
		}}})
		if err != nil {
			t.Fatal(err)
		}
		set, err := c.Load(files("rules.yaml", string(file)), "")
		if err != nil {
			t.Fatal(err)
		}
		r := set.Rules[0]
		again, err := c.Compile(r.Text)
		if err != nil {
			t.Fatalf("%v\n%s", err, r.Text)
		}
		if again.Text != r.Text || again.Version != r.Version || again.Name != text {
			t.Fatalf("%q became %q", r.Text, again.Text)
		}
	})
}
