package rules_test

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/flightrules/flightrules/internal/yamlx"
	"github.com/flightrules/flightrules/rules"
)

// FuzzLoad: whatever a file holds, it is loaded or refused with places that
// there are; and what is loaded can be made again from its text.
func FuzzLoad(f *testing.F) {
	for _, pattern := range []string{"testdata/*.yaml", "testdata/*.bad/*.yaml"} {
		paths, err := filepath.Glob(pattern)
		if err != nil {
			f.Fatal(err)
		}
		for _, path := range paths {
			text, err := os.ReadFile(path)
			if err != nil {
				f.Fatal(err)
			}
			f.Add(string(text))
		}
	}
	c := newCompiler(f)
	f.Fuzz(func(t *testing.T, text string) {
		set, err := c.Load(files("rules.yaml", text), "")
		if err != nil {
			checkProblems(t, err, text)
			return
		}
		for _, r := range set.Rules {
			again, err := inForce(c, set).Compile(r.Text)
			if err != nil {
				t.Fatalf("%q cannot be made again: %v", r.Text, err)
			}
			if again.Version != r.Version {
				t.Fatalf("%q became %q", r.Text, again.Text)
			}
		}
	})
}

// inForce is the compiler when the kinds and events of a set are in force.
func inForce(c *rules.Compiler, set *rules.Set) *rules.Compiler {
	with := *c
	with.Events = c.Events.With(set.Kinds, set.Events)
	return &with
}

func checkProblems(t *testing.T, err error, text string) {
	var list *yamlx.Error
	if !errors.As(err, &list) || len(list.Problems) == 0 {
		t.Fatalf("%T: %v", err, err)
	}
	for _, p := range list.Problems {
		if p.File != "rules.yaml" || p.Line < 1 || p.Column < 1 || p.Message == "" || strings.ContainsAny(p.Message+p.Hint, "\n\r") {
			t.Errorf("%+v is no way to tell of a problem in\n%q", p, text)
		}
		if p.Source != "" && p.Column > utf8.RuneCountInString(p.Source)+1 {
			t.Errorf("the caret is behind the line of %+v", p)
		}
	}
}
