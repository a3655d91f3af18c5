package ruletest_test

import (
	"bytes"
	"context"
	"errors"
	"flag"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/google/go-cmp/cmp"

	"github.com/flightrules/flightrules/internal/app"
	"github.com/flightrules/flightrules/internal/ruletest"
	"github.com/flightrules/flightrules/internal/yamlx"
	"github.com/flightrules/flightrules/plugins"
)

var update = flag.Bool("update", false, "write the golden files")

func brought() []plugins.Plugin { return app.Plugins(app.PluginConfig{}) }

// files are the rules of testdata with some files of tests.
func files(tb testing.TB, tests map[string]string) fs.FS {
	tb.Helper()
	text, err := os.ReadFile("testdata/rules/rules.yaml")
	if err != nil {
		tb.Fatal(err)
	}
	all := fstest.MapFS{"rules.yaml": {Data: text}}
	for name, text := range tests {
		all[name] = &fstest.MapFile{Data: []byte(text)}
	}
	return all
}

func contents(tb testing.TB, path string) string {
	tb.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		tb.Fatal(err)
	}
	return string(text)
}

func open(tb testing.TB, files fs.FS, dir string) *ruletest.Suite {
	tb.Helper()
	s, err := ruletest.Open(tb.Context(), files, dir, brought)
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() {
		if err := s.Close(context.Background()); err != nil {
			tb.Error(err)
		}
	})
	return s
}

func run(tb testing.TB, s *ruletest.Suite, o ruletest.Options) *ruletest.Report {
	tb.Helper()
	report, err := s.Run(tb.Context(), o)
	if err != nil {
		tb.Fatal(err)
	}
	return report
}

// told is what a report says, without what is measured.
func told(r *ruletest.Report) string {
	var b strings.Builder
	for _, t := range r.Tests {
		if t.Passed {
			b.WriteString("pass " + t.Name + "\n")
			continue
		}
		b.WriteString("FAIL " + t.Name + "\n")
		for _, f := range t.Failures {
			b.WriteString("  " + f.String() + "\n")
		}
		if t.Error != "" {
			b.WriteString("  error: " + t.Error + "\n")
		}
	}
	for _, note := range r.Notes {
		b.WriteString("note " + note + "\n")
	}
	return b.String()
}

func golden(t *testing.T, path, got string) {
	t.Helper()
	if *update {
		if err := os.WriteFile(path, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if diff := cmp.Diff(contents(t, path), got); diff != "" {
		t.Errorf("%s (-want +got):\n%s", path, diff)
	}
}

// TestPassing plays what can happen in tests, without and with restarts.
func TestPassing(t *testing.T) {
	s := open(t, files(t, map[string]string{"passing.test.yaml": contents(t, "testdata/passing/passing.test.yaml")}), "")
	report := run(t, s, ruletest.Options{Restarts: true})
	if report.Failed > 0 {
		t.Error(told(report))
	}
}

// TestFailing shows how failures read.
func TestFailing(t *testing.T) {
	s := open(t, files(t, map[string]string{"failing.test.yaml": contents(t, "testdata/failing/failing.test.yaml")}), "")
	report := run(t, s, ruletest.Options{})
	if report.Passed > 0 {
		t.Errorf("%d tests that must fail have passed", report.Passed)
	}
	golden(t, "testdata/failing/failing.golden", told(report))
}

// TestMistakes shows what is reported of tests that are written wrongly.
func TestMistakes(t *testing.T) {
	names, err := filepath.Glob("testdata/mistakes/*.test.yaml")
	if err != nil || len(names) == 0 {
		t.Fatal(names, err)
	}
	for _, name := range names {
		t.Run(strings.TrimSuffix(filepath.Base(name), ".test.yaml"), func(t *testing.T) {
			t.Parallel()
			_, err := ruletest.Open(t.Context(), files(t, map[string]string{filepath.Base(name): contents(t, name)}), "", brought)
			var list *yamlx.Error
			if !errors.As(err, &list) {
				t.Fatalf("want problems, got %v", err)
			}
			var text bytes.Buffer
			for _, p := range list.Problems {
				text.WriteString(p.String() + "\n")
			}
			golden(t, strings.TrimSuffix(name, ".test.yaml")+".golden", text.String())
		})
	}
}
