//go:build unix

package cluster_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/flightrules/flightrules/internal/dbtest/cluster"
)

func TestStart(t *testing.T) {
	t.Run("the server listens on the loopback interface and on nothing else", func(t *testing.T) {
		c := start(t, programs(t))
		for setting, want := range map[string]string{"listen_addresses": "127.0.0.1", "unix_socket_directories": ""} {
			if got := show(t, c.URL(), setting); got != want {
				t.Errorf("%s is %q, want %q", setting, got, want)
			}
		}
	})

	t.Run("a port that is taken in the meantime is replaced by another", func(t *testing.T) {
		installed, fake := programs(t), openDir(t)
		marker := filepath.Join(fake, "tried")
		write(t, filepath.Join(fake, "initdb"), fmt.Sprintf("#!/bin/sh\nexec %s/initdb \"$@\"\n", installed))
		write(t, filepath.Join(fake, "postgres"), fmt.Sprintf(`#!/bin/sh
if [ ! -e %[1]s ]; then
	: >%[1]s
	echo 'LOG:  could not bind IPv4 address "127.0.0.1": Address already in use'
	exit 1
fi
exec %[2]s/postgres "$@"
`, marker, installed))
		start(t, fake)
		if _, err := os.Stat(marker); err != nil {
			t.Errorf("the first try did not happen: %v", err)
		}
	})

	t.Run("a server that cannot start is reported with its own words", func(t *testing.T) {
		fake := openDir(t)
		write(t, filepath.Join(fake, "initdb"), "#!/bin/sh\necho the moon is in the way\nexit 1\n")
		_, err := cluster.Start(t.Context(), fake)
		if err == nil || !strings.Contains(err.Error(), "the moon is in the way") {
			t.Errorf("error %v, want the words of initdb", err)
		}
	})

	t.Run("Stop ends the server under open connections and removes its folder", func(t *testing.T) {
		c, err := cluster.Start(t.Context(), programs(t))
		if err != nil {
			t.Fatal(err)
		}
		pid := postmaster(t, c.Dir())
		conn, err := pgx.Connect(t.Context(), c.URL())
		if err != nil {
			t.Fatal(err)
		}
		if err := c.Stop(); err != nil {
			t.Errorf("stop: %v", err)
		}
		if err := conn.Ping(t.Context()); err == nil {
			t.Error("a connection outlived the server")
		}
		if remains := remains(c.Dir(), pid); remains != "" {
			t.Error(remains)
		}
	})
}

func TestNothingOutlivesTheOwner(t *testing.T) {
	for how, end := range map[string]func(*exec.Cmd, io.Closer) error{
		"the owner is killed":              func(o *exec.Cmd, _ io.Closer) error { return o.Process.Kill() },
		"the owner exits without stopping": func(_ *exec.Cmd, stdin io.Closer) error { return stdin.Close() },
		"the terminal interrupts the owner": func(o *exec.Cmd, _ io.Closer) error {
			return syscall.Kill(-o.Process.Pid, syscall.SIGINT) // the whole process group
		},
	} {
		t.Run(how, func(t *testing.T) {
			owner, stdin, dir := startOwner(t, programs(t))
			pid := postmaster(t, dir)
			if err := end(owner, stdin); err != nil {
				t.Fatal(err)
			}
			if err := owner.Wait(); err != nil && !errors.As(err, new(*exec.ExitError)) {
				t.Fatal(err)
			}
			awaitNothing(t, dir, pid)
		})
	}
}

func TestRemoveStale(t *testing.T) {
	base := t.TempDir()
	old := time.Now().Add(-time.Hour)
	mkdir := func(name string, modified time.Time) string {
		dir := filepath.Join(base, name)
		write(t, filepath.Join(dir, "data", "PG_VERSION"), "15")
		if err := os.Chtimes(dir, modified, modified); err != nil {
			t.Fatal(err)
		}
		return dir
	}
	stale := mkdir("flightrules-postgres-stale", old)
	young := mkdir("flightrules-postgres-young", time.Now())
	other := mkdir("another-programs-folder", old)
	used := filepath.Join(base, "flightrules-postgres-used")
	write(t, filepath.Join(used, "lock"), "")
	lock, err := os.Open(filepath.Join(used, "lock"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { lock.Close() })
	if err := errors.Join(syscall.Flock(int(lock.Fd()), syscall.LOCK_EX), os.Chtimes(used, old, old)); err != nil {
		t.Fatal(err)
	}

	if err := cluster.RemoveStale(base); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name, dir string
		stays     bool
	}{
		{"a folder whose owner is gone is removed", stale, false},
		{"a folder whose owner lives stays", used, true},
		{"a folder that was made just now stays", young, true},
		{"a folder of another program stays", other, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			if _, err := os.Stat(c.dir); (err == nil) != c.stays {
				t.Errorf("stat: %v, want that it stays: %v", err, c.stays)
			}
		})
	}
}

// envOwner makes the test binary an owner of a cluster, for the tests that end
// one: it prints the cluster's folder and exits when its standard input ends.
const envOwner = "FLIGHTRULES_CLUSTER_TEST_PROGRAMS"

func TestMain(m *testing.M) {
	dir := os.Getenv(envOwner)
	if dir == "" {
		os.Exit(m.Run())
	}
	c, err := cluster.Start(context.Background(), dir)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	fmt.Println(c.Dir())
	_, err = io.Copy(io.Discard, os.Stdin)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
	}
	os.Exit(0)
}

func startOwner(t *testing.T, programs string) (owner *exec.Cmd, stdin io.Closer, dir string) {
	t.Helper()
	owner = exec.CommandContext(t.Context(), os.Args[0])
	owner.Env = append(os.Environ(), envOwner+"="+programs)
	owner.Stderr = os.Stderr
	owner.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	in, inErr := owner.StdinPipe()
	out, outErr := owner.StdoutPipe()
	if err := errors.Join(inErr, outErr, owner.Start()); err != nil {
		t.Fatal(err)
	}
	dir, err := bufio.NewReader(out).ReadString('\n')
	if err != nil {
		t.Fatal(err)
	}
	return owner, in, strings.TrimSpace(dir)
}

func start(t *testing.T, programs string) *cluster.Cluster {
	t.Helper()
	c, err := cluster.Start(t.Context(), programs)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := c.Stop(); err != nil {
			t.Errorf("stop: %v", err)
		}
	})
	return c
}

// programs skips the test where there is no PostgreSQL, or fails it in strict
// mode.
func programs(t *testing.T) string {
	t.Helper()
	dir, err := cluster.Find()
	switch {
	case errors.Is(err, cluster.ErrNotInstalled) && os.Getenv("FLIGHTRULES_TEST_STRICT") != "1":
		t.Skip(err)
	case err != nil:
		t.Fatal(err)
	}
	return dir
}

// openDir is a temporary folder that every user may use, also when the tests
// run as root.
func openDir(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	if err := errors.Join(os.Chmod(dir, 0o777), os.Chmod(filepath.Dir(dir), 0o755)); err != nil {
		t.Fatal(err)
	}
	return dir
}

func show(t *testing.T, url, setting string) string {
	t.Helper()
	conn, err := pgx.Connect(t.Context(), url)
	if err != nil {
		t.Fatal(err)
	}
	var value string
	err = conn.QueryRow(t.Context(), "SELECT current_setting($1)", setting).Scan(&value)
	if err := errors.Join(err, conn.Close(t.Context())); err != nil {
		t.Fatal(err)
	}
	return value
}

// postmaster is the process id of the server that runs in a cluster's folder.
func postmaster(t *testing.T, dir string) int {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(dir, "data", "postmaster.pid"))
	if err != nil {
		t.Fatal(err)
	}
	first, _, _ := strings.Cut(string(text), "\n")
	pid, err := strconv.Atoi(first)
	if err != nil {
		t.Fatal(err)
	}
	return pid
}

// remains says what is left of a cluster.
func remains(dir string, pid int) string {
	if err := syscall.Kill(pid, 0); !errors.Is(err, syscall.ESRCH) {
		return fmt.Sprintf("server %d still runs: %v", pid, err)
	}
	if _, err := os.Stat(dir); !errors.Is(err, os.ErrNotExist) {
		return fmt.Sprintf("folder %s is still there: %v", dir, err)
	}
	return ""
}

// awaitNothing waits until nothing is left of a cluster. Its end is the work of
// another process, which there is no way to wait for but to look.
func awaitNothing(t *testing.T, dir string, pid int) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for {
		left := remains(dir, pid)
		if left == "" {
			return
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			t.Fatal(left)
		}
	}
}
