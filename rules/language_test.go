package rules_test

import (
	"maps"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/flightrules/flightrules/rules"
)

func TestLanguageIsWhole(t *testing.T) {
	l := rules.Describe()
	seen := map[string]bool{}
	for _, p := range l.Places {
		if seen[p.Name] {
			t.Errorf("%s stands there twice", p.Name)
		}
		seen[p.Name] = true
		sentence(t, p.Name, p.Doc)
		keys := keyNames(p.Keys)
		for _, name := range p.AnyOf {
			if !slices.Contains(keys, name) {
				t.Errorf("%s wants %s, which is no key of it", p.Name, name)
			}
		}
		for _, k := range p.Keys {
			of := p.Name + "." + k.Name
			sentence(t, of, k.Doc)
			for _, w := range k.Words {
				if w.Doc != "" {
					sentence(t, of+" "+w.Name, w.Doc)
				}
			}
			if k.Of != "" && l.Place(k.Of).Keys == nil && l.Below(k.Of) == nil {
				t.Errorf("%s holds a %s, which is no place", of, k.Of)
			}
			for _, name := range k.Needs {
				if !slices.Contains(keys, name) {
					t.Errorf("%s needs %s, which is no key beside it", of, name)
				}
			}
			for _, on := range k.On {
				if on != "action" && l.Place(p.Name+"."+on).Keys == nil && l.Place("trigger."+on).Keys == nil {
					t.Errorf("%s goes with %s, which there is not", of, on)
				}
			}
		}
	}
	for _, list := range [][]rules.Word{l.Names, l.Functions, l.Outcomes, l.Limits} {
		for _, w := range list {
			sentence(t, w.Name, w.Doc)
		}
	}
}

// sentence checks that a text is one for people.
func sentence(t *testing.T, of, text string) {
	t.Helper()
	if text == "" || !strings.HasSuffix(text, ".") {
		t.Errorf("%s: %q is no sentence", of, text)
	}
}

func TestLanguageIsWhatTheParserTakes(t *testing.T) {
	l := rules.Describe()
	for _, name := range rules.ParserTriggers() {
		if l.TriggerKeys(name) == nil {
			t.Errorf("the language has no trigger %s", name)
		}
	}
	var steps []string
	for _, p := range l.Below("step") {
		steps = append(steps, strings.TrimPrefix(p.Name, "step."))
	}
	var functions []string
	for _, f := range l.Functions {
		name, _, _ := strings.Cut(f.Name, "(")
		functions = append(functions, name)
	}
	same(t, "steps", rules.ParserSteps, steps)
	same(t, "keys of every step", rules.ParserStepKeys, keyNames(l.Place("step").Keys))
	same(t, "functions", slices.Collect(maps.Keys(rules.Functions)), functions)
}

func same(t *testing.T, what string, parser, language []string) {
	t.Helper()
	if diff := cmp.Diff(slices.Sorted(slices.Values(parser)), slices.Sorted(slices.Values(language))); diff != "" {
		t.Errorf("%s (-parser +language):\n%s", what, diff)
	}
}

func keyNames(keys []rules.Key) []string {
	var names []string
	for _, k := range keys {
		names = append(names, k.Name)
	}
	return names
}

func TestReference(t *testing.T) {
	c := newCompiler(t)
	t.Run("every place is in it", func(t *testing.T) {
		text, err := os.ReadFile("../docs/reference/rules.md")
		if err != nil {
			t.Fatal(err)
		}
		l := rules.Describe()
		for _, p := range l.Places {
			above, _, _ := strings.Cut(p.Name, ".")
			if !strings.Contains(string(text), "generated: keys "+p.Name+" ") && !strings.Contains(string(text), "generated: places "+above+" ") {
				t.Errorf("%s is not", p.Name)
			}
		}
	})
	t.Run("what stands between markers is replaced", func(t *testing.T) {
		const document = "a\n<!-- generated: keys stale -->\nold\n<!-- end -->\nb\n<!-- generated: functions -->\n<!-- end -->\n"
		once, err := c.Reference(document)
		if err != nil {
			t.Fatal(err)
		}
		if strings.Contains(once, "old") || !strings.Contains(once, "| `after` | duration | Required.") || !strings.Contains(once, "| `now()` |") || !strings.Contains(once, "<!-- end -->\nb\n") {
			t.Errorf("it is:\n%s", once)
		}
		again, err := c.Reference(once)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(once, again); diff != "" {
			t.Errorf("the second time it is another:\n%s", diff)
		}
	})
	t.Run("a marker that means nothing is a mistake", func(t *testing.T) {
		for _, marker := range []string{"keys nothing", "words rule.id", "places rule", "anything"} {
			if _, err := c.Reference("<!-- generated: " + marker + " -->\n<!-- end -->"); err == nil {
				t.Errorf("%s was taken", marker)
			}
		}
		if _, err := c.Reference("no marker"); err == nil {
			t.Error("a document without markers was taken")
		}
	})
}
