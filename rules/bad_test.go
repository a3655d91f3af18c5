package rules_test

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/google/go-cmp/cmp"

	"github.com/flightrules/flightrules/internal/yamlx"
)

// TestMistakes loads each testdata/*.bad.yaml, and each folder testdata/*.bad as
// a whole, and compares what is said with the *.bad.txt beside it.
func TestMistakes(t *testing.T) {
	cases, err := filepath.Glob("testdata/*.bad*")
	if err != nil {
		t.Fatal(err)
	}
	tried := 0
	for _, path := range cases {
		name, ok := strings.CutSuffix(strings.TrimSuffix(path, ".yaml"), ".bad")
		if !ok {
			continue // the expectations
		}
		tried++
		t.Run(filepath.Base(name), func(t *testing.T) {
			got := mistakes(t, source(t, path))
			golden := name + ".bad.txt"
			if *update {
				if err := os.WriteFile(golden, []byte(got), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(golden)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(string(want), got); diff != "" {
				t.Errorf("other messages (-want +got):\n%s", diff)
			}
		})
	}
	if tried < 100 {
		t.Errorf("only %d files with mistakes were found", tried)
	}
}

// source is a folder, or a file in a folder of its own.
func source(t *testing.T, path string) fs.FS {
	t.Helper()
	info, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	if info.IsDir() {
		return os.DirFS(path)
	}
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return fstest.MapFS{filepath.Base(path): {Data: text}}
}

// mistakes is everything that a load says.
func mistakes(t *testing.T, all fs.FS) string {
	t.Helper()
	set, err := newCompiler(t).Load(all, "")
	if err == nil {
		t.Fatal("no problem was found")
	}
	if set != nil {
		t.Error("there is a set in spite of the problems")
	}
	var list *yamlx.Error
	if !errors.As(err, &list) {
		t.Fatalf("%T instead of a *yamlx.Error: %v", err, err)
	}
	return list.Error() + "\n"
}
