//go:build unix

package scriptrun_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/flightrules/flightrules/internal/scriptrun"
)

// anyone is a configuration with which a test can run scripts, also as root.
var anyone = scriptrun.Config{AllowRoot: true}

func script(t *testing.T, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "script.sh")
	if err := os.WriteFile(path, []byte("#!/bin/sh\n"+text), 0o755); err != nil {
		t.Fatal(err)
	}
	return path
}

func run(t *testing.T, p scriptrun.Program) scriptrun.Outcome {
	t.Helper()
	out, err := anyone.Run(t.Context(), p)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func TestWhatAScriptGets(t *testing.T) {
	t.Setenv("AGENT_SECRET", "hunter2")
	out := run(t, scriptrun.Program{
		Path: script(t, `env | sort; pwd; ls -A; echo "args: $*"; echo oops >&2; exit 3`), Args: []string{"a b", "$c"}, Dir: "/bundle",
		Env: map[string]string{"KEY": "x y", "LANG": "de"},
	})
	if out.ExitCode != 3 || out.Stderr != "oops\n" || out.Truncated || out.Signal != "" {
		t.Errorf("got %+v", out)
	}
	lines := strings.Split(strings.TrimSpace(out.Stdout), "\n")
	var names []string
	values := map[string]string{}
	for _, line := range lines {
		if name, value, ok := strings.Cut(line, "="); ok {
			names, values[name] = append(names, name), value
		}
	}
	for _, own := range []string{"_", "PWD", "OLDPWD", "SHLVL"} { // the shell's own
		names = slices.DeleteFunc(names, func(s string) bool { return s == own })
	}
	if want := []string{"FLIGHTRULES_FILES", "HOME", "KEY", "LANG", "PATH", "TMPDIR"}; !slices.Equal(names, want) {
		t.Errorf("the variables are %v, want %v", names, want)
	}
	scratch := values["HOME"]
	if values["KEY"] != "x y" || values["LANG"] != "de" || values["FLIGHTRULES_FILES"] != "/bundle" || values["TMPDIR"] != scratch {
		t.Errorf("got %v", values)
	}
	if tail := lines[len(lines)-2:]; tail[0] != scratch || tail[1] != "args: a b $c" {
		t.Errorf("it runs in %v, want %s", tail, scratch)
	}
	if _, err := os.Stat(scratch); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("its folder is there afterwards: %v", err)
	}
}

func TestOutputIsLimited(t *testing.T) {
	out := run(t, scriptrun.Program{Path: script(t, `head -c 5000000 /dev/zero | tr '\0' x; printf 'a\0b\377c' >&2`)})
	if len(out.Stdout) != scriptrun.MaxOutput || !out.Truncated || out.Stderr != "abc" || out.ExitCode != 0 {
		t.Errorf("%d bytes, %+v", len(out.Stdout), out.Stderr)
	}
}

// alive says whether a process is there, and is no zombie.
func alive(pid int) bool {
	if syscall.Kill(pid, 0) != nil {
		return false
	}
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	return err != nil || !strings.Contains(string(stat), ") Z ")
}

func pidIn(t *testing.T, path string) int {
	t.Helper()
	for range 500 {
		if text, err := os.ReadFile(path); err == nil && strings.HasSuffix(string(text), "\n") {
			pid, err := strconv.Atoi(strings.TrimSpace(string(text)))
			if err != nil {
				t.Fatal(err)
			}
			return pid
		}
		time.Sleep(10 * time.Millisecond)
	}
	t.Fatal("the script did not begin")
	return 0
}

func wantGone(t *testing.T, pid int) {
	t.Helper()
	for range 500 {
		if !alive(pid) {
			return
		}
		time.Sleep(10 * time.Millisecond)
	}
	t.Errorf("process %d goes on", pid)
}

// What a script has started ends with it: when its time is over, and when it
// leaves something behind.
func TestNothingIsLeftBehind(t *testing.T) {
	t.Run("when its time is over", func(t *testing.T) {
		pidFile := filepath.Join(t.TempDir(), "pid")
		overdue := errors.New("its time is over")
		ctx, cancel := context.WithCancelCause(t.Context())
		done := make(chan error, 1)
		go func() {
			_, err := anyone.Run(ctx, scriptrun.Program{Path: script(t, "trap '' TERM INT; sleep 1000 & echo $! > "+pidFile+"; wait")})
			done <- err
		}()
		pid := pidIn(t, pidFile)
		cancel(overdue)
		if err := <-done; !errors.Is(err, overdue) {
			t.Errorf("got %v", err)
		}
		wantGone(t, pid)
	})
	t.Run("when it ends and leaves something", func(t *testing.T) {
		pidFile := filepath.Join(t.TempDir(), "pid")
		out := run(t, scriptrun.Program{Path: script(t, "sleep 1000 & echo $! > "+pidFile+"; echo done; exit 1")})
		if out.ExitCode != 1 || out.Stdout != "done\n" {
			t.Errorf("got %+v", out)
		}
		wantGone(t, pidIn(t, pidFile))
	})
}

func TestASignal(t *testing.T) {
	if out := run(t, scriptrun.Program{Path: script(t, "kill -SEGV $$")}); out.ExitCode != -1 || out.Signal != "segmentation fault" {
		t.Errorf("got %+v", out)
	}
}

func TestWhatCannotRun(t *testing.T) {
	notExecutable := filepath.Join(t.TempDir(), "a")
	if err := os.WriteFile(notExecutable, []byte("#!/bin/sh\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		config scriptrun.Config
		path   string
		says   string
	}{
		"no file":        {anyone, "/nowhere", "no such file"},
		"not executable": {anyone, notExecutable, "permission denied"},
		"no user":        {scriptrun.Config{User: "nobody-of-that-name"}, script(t, ""), "there is no user nobody-of-that-name"},
	} {
		var cannot *scriptrun.CannotError
		if _, err := c.config.Run(t.Context(), scriptrun.Program{Path: c.path}); !errors.As(err, &cannot) || !strings.Contains(err.Error(), c.says) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestRights(t *testing.T) {
	path := script(t, "id -u; id -G")
	if os.Geteuid() != 0 {
		if out, err := (scriptrun.Config{}).Run(t.Context(), scriptrun.Program{Path: path}); err != nil || !strings.HasPrefix(out.Stdout, strconv.Itoa(os.Geteuid())+"\n") {
			t.Errorf("%+v, %v", out, err)
		}
		return
	}
	if _, err := (scriptrun.Config{}).Run(t.Context(), scriptrun.Program{Path: path}); !errors.Is(err, scriptrun.ErrRoot) {
		t.Errorf("as root: %v", err)
	}
	if err := os.Chmod(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	for dir := filepath.Dir(path); dir != "/tmp" && dir != "/"; dir = filepath.Dir(dir) {
		if err := os.Chmod(dir, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	out, err := (scriptrun.Config{User: "65534"}).Run(t.Context(), scriptrun.Program{Path: path})
	if err != nil || out.Stdout != "65534\n65534\n" {
		t.Errorf("%+v, %v", out, err)
	}
	out, err = (scriptrun.Config{User: "65534"}).Run(t.Context(), scriptrun.Program{Path: script(t, "touch mine && cat /etc/shadow")})
	if err != nil || out.ExitCode == 0 || !strings.Contains(out.Stderr, "/etc/shadow") || strings.Contains(out.Stdout, ":") {
		t.Errorf("it read what only root may read: %+v", out)
	}
}
