package rules_test

import (
	"errors"
	"fmt"
	"io/fs"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/google/go-cmp/cmp"

	"github.com/flightrules/flightrules/internal/yamlx"
)

// simple is a file with one rule.
func simple(id string) string {
	return fmt.Sprintf("rules:\n  - id: %s\n    triggers: [{event: custom.x}]\n    actions: [{log: hi}]\n", id)
}

func TestLoad(t *testing.T) {
	all := files(
		"b.yaml", simple("b"),
		"a.yml", simple("a"),
		"team/deep/c.yaml", simple("c"),
		"team-first.yaml", simple("team"),
		"0/last-by-name-first-by-path.yaml", simple("zero"),
		"a.test.yaml", "tests: []", "team/b.test.yml", "tests: []",
		".hidden.yaml", "broken: [", ".git/config.yaml", "broken: [", "team/.cache/x/y.yaml", "broken: [",
		"README.md", "# Rules", "data.json", "{", "yaml", "broken: [",
		"empty.yaml", "",
	)
	set, err := newCompiler(t).Load(all, "etc/rules")
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, r := range set.Rules {
		got = append(got, r.ID+" "+r.File)
	}
	want := []string{
		"zero etc/rules/0/last-by-name-first-by-path.yaml", "a etc/rules/a.yml", "b etc/rules/b.yaml",
		"team etc/rules/team-first.yaml", "c etc/rules/team/deep/c.yaml",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	if set.Rule("b") != set.Rules[2] || set.Rule("nobody") != nil {
		t.Error("rules are not found by their ids")
	}
	if !set.Listens("custom.x") || set.Listens("custom.y") {
		t.Error("the set does not know which events it looks at")
	}
}

func TestLoadOfNothing(t *testing.T) {
	set, err := newCompiler(t).Load(fstest.MapFS{}, "")
	if err != nil || len(set.Rules) != 0 || set.Listens("custom.x") {
		t.Errorf("the set is %v, the error %v", set, err)
	}
}

// locked is a file system in which some names cannot be opened.
type locked struct {
	fs.FS
	names map[string]bool
}

var errLocked = errors.New("permission denied")

func (l locked) Open(name string) (fs.File, error) {
	if l.names[name] {
		return nil, &fs.PathError{Op: "open", Path: name, Err: errLocked}
	}
	return l.FS.Open(name)
}

func TestUnreadable(t *testing.T) {
	for _, c := range []struct{ what, locked, want string }{
		{"a file", "b.yaml", "etc/b.yaml:1:1: cannot be read: open b.yaml: permission denied"},
		{"a folder", "team", "etc/team:1:1: cannot be read: open team: permission denied"},
		{"everything", ".", "etc:1:1: cannot be read: open .: permission denied"},
	} {
		t.Run(c.what+" that cannot be read is a problem", func(t *testing.T) {
			all := locked{files("b.yaml", simple("b"), "team/c.yaml", simple("c"), "z.yaml", simple("Bad")), map[string]bool{c.locked: true}}
			set, err := newCompiler(t).Load(all, "etc")
			var list *yamlx.Error
			if !errors.As(err, &list) || set != nil {
				t.Fatalf("the set is %v, the error %v", set, err)
			}
			if text := err.Error(); !strings.Contains(text, c.want) {
				t.Errorf("%q is not in\n%s", c.want, text)
			}
			if others := strings.Contains(err.Error(), "etc/z.yaml:2:9: bad rule id"); others != (c.locked != ".") {
				t.Errorf("the other files were not looked at:\n%v", err)
			}
		})
	}
}

func TestOneMistakeLeavesNoSet(t *testing.T) {
	set, err := newCompiler(t).Load(files("a.yaml", simple("a"), "b.yaml", simple("b"), "c.yaml", simple("C")), "")
	if set != nil || err == nil {
		t.Errorf("the set is %v, the error %v", set, err)
	}
}
