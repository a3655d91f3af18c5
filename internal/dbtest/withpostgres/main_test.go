package main

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/flightrules/flightrules/internal/dbtest/cluster"
)

func TestRun(t *testing.T) {
	t.Run("the command is given the URL of a server", func(t *testing.T) {
		if _, err := cluster.Find(); err != nil && os.Getenv("FLIGHTRULES_TEST_STRICT") != "1" {
			t.Skip(err)
		}
		t.Setenv(envServer, "")
		if got := handedOn(t); !strings.HasPrefix(got, "postgres://flightrules@127.0.0.1:") {
			t.Errorf("%s is %q", envServer, got)
		}
	})

	t.Run("a server that the environment names is handed on", func(t *testing.T) {
		t.Setenv(envServer, "postgres://mine@127.0.0.1/")
		if got := handedOn(t); got != "postgres://mine@127.0.0.1/" {
			t.Errorf("%s is %q", envServer, got)
		}
	})

	t.Run("the command's exit code comes back", func(t *testing.T) {
		t.Setenv(envServer, "postgres://mine@127.0.0.1/")
		var exit *exec.ExitError
		if err := run(t.Context(), "sh", "-c", "exit 7"); !errors.As(err, &exit) || exit.ExitCode() != 7 {
			t.Errorf("error %v, want exit code 7", err)
		}
	})
}

// handedOn is the server's URL that a command run by run sees.
func handedOn(t *testing.T) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "url")
	if err := run(t.Context(), "sh", "-c", `printf %s "$`+envServer+`" >"$0"`, path); err != nil {
		t.Fatal(err)
	}
	url, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(url)
}
