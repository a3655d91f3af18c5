//go:build unix

package cluster_test

import (
	"errors"
	"os"
	"path/filepath"
	"testing"

	"github.com/flightrules/flightrules/internal/dbtest/cluster"
)

func TestFind(t *testing.T) {
	const both, one = 2, 1
	for _, c := range []struct {
		name      string
		path      string         // where PATH leads
		installed map[string]int // folder: how many of the two programs it has
		want      string         // "": not installed
	}{
		{name: "nothing is installed"},
		{name: "the highest version wins, by number", installed: map[string]int{"9.6": both, "15": both, "14": both}, want: "15"},
		{name: "a folder with only a client is passed over", installed: map[string]int{"14": both, "15": one}, want: "14"},
		{name: "PATH goes before a higher version", path: "13", installed: map[string]int{"13": both, "15": both}, want: "13"},
		{name: "a client in PATH is passed over", path: "16", installed: map[string]int{"15": both, "16": one}, want: "15"},
	} {
		t.Run(c.name, func(t *testing.T) {
			root := t.TempDir()
			for version, programs := range c.installed {
				for _, program := range []string{"initdb", "postgres"}[:programs] {
					write(t, filepath.Join(root, version, "bin", program), "#!/bin/sh\n")
				}
			}
			t.Setenv("PATH", filepath.Join(root, c.path, "bin"))
			got, err := cluster.FindIn([]string{filepath.Join(root, "*", "bin")})
			if c.want == "" {
				if !errors.Is(err, cluster.ErrNotInstalled) {
					t.Errorf("found %q, %v, want %v", got, err, cluster.ErrNotInstalled)
				}
				return
			}
			if want := filepath.Join(root, c.want, "bin"); err != nil || got != want {
				t.Errorf("found %q, %v, want %q", got, err, want)
			}
		})
	}
}

// write writes an executable file that every user may read.
func write(t *testing.T, path, text string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), 0o755); err != nil {
		t.Fatal(err)
	}
}
