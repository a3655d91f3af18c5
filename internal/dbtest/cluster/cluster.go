//go:build unix

// Package cluster runs a throw-away PostgreSQL that lives no longer than the
// process that started it, even if that process is killed.
//
// The server listens on a free port of the loopback interface and on nothing
// else, trusts who connects there, and does not care for the durability of its
// data. A small shell script stands between it and us: it ends the server and
// removes its folder when the pipe to us closes.
package cluster

import (
	"context"
	_ "embed"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
)

//go:embed guard.sh
var guard string

const (
	startTimeout = 60 * time.Second
	// A port that was free a moment ago may be taken when the server binds
	// it; more than once in a row is something else.
	attempts = 3
)

// A Cluster is a running server. It ends with Stop, with the process, or when
// the value is collected as garbage; hold it for as long as it is needed.
type Cluster struct {
	dir   string
	port  int
	lock  *os.File // held for as long as the folder is in use
	guard *exec.Cmd
	alive io.Closer // the pipe whose end is the end of the server
}

// Start creates and starts a server with the programs of a folder that Find
// returned. It returns when the server accepts connections. Folders that
// earlier processes could not clean up are removed first.
func Start(ctx context.Context, programs string) (*Cluster, error) {
	ctx, cancel := context.WithTimeout(ctx, startTimeout)
	defer cancel()
	owner, err := findOwner()
	if err != nil {
		return nil, err
	}
	if err := removeStale(owner.base); err != nil {
		return nil, err
	}
	for n := 1; ; n++ {
		c, err := start(ctx, programs, owner)
		if err == nil || !errors.Is(err, errPortTaken) || n == attempts {
			return c, err
		}
	}
}

// URL is the address of the server's own database, for its superuser.
func (c *Cluster) URL() string {
	return fmt.Sprintf("postgres://flightrules@127.0.0.1:%d/postgres?sslmode=disable", c.port)
}

// Stop ends the server, connections and all, and returns when its folder is
// gone.
func (c *Cluster) Stop() error {
	err := c.alive.Close()
	return errors.Join(err, c.guard.Wait(), c.lock.Close())
}

func start(ctx context.Context, programs string, owner owner) (*Cluster, error) {
	port, err := freePort()
	if err != nil {
		return nil, err
	}
	dir, lock, err := owner.makeDir()
	if err != nil {
		return nil, err
	}
	c := &Cluster{dir: dir, port: port, lock: lock}
	c.guard = exec.Command("/bin/sh", "-c", guard, "guard", programs, dir, fmt.Sprint(port))
	c.guard.Dir = dir // the server's user may not be let into ours
	c.guard.Env = []string{"PATH=" + os.Getenv("PATH"), "LC_ALL=C"}
	c.guard.SysProcAttr = owner.attributes()
	if c.alive, err = c.guard.StdinPipe(); err == nil {
		err = c.guard.Start()
	}
	if err != nil {
		return nil, errors.Join(err, lock.Close(), os.RemoveAll(dir))
	}
	if err := c.await(ctx); err != nil {
		return nil, errors.Join(err, c.Stop())
	}
	return c, nil
}

// await returns when the server accepts connections, or cannot any more.
func (c *Cluster) await(ctx context.Context) error {
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		if err := c.ended(); err != nil {
			return err
		}
		err := c.ping(ctx)
		if err == nil {
			return nil
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return fmt.Errorf("wait for the server: %w: %w", ctx.Err(), err)
		}
	}
}

var errPortTaken = errors.New("port is taken")

// ended returns an error with the server's own words if it is not running.
func (c *Cluster) ended() error {
	if _, err := os.Stat(filepath.Join(c.dir, "ended")); errors.Is(err, os.ErrNotExist) {
		return nil
	}
	log, err := os.ReadFile(filepath.Join(c.dir, "log"))
	if err != nil {
		return fmt.Errorf("the server did not start: %w", err)
	}
	if strings.Contains(string(log), "could not bind") {
		return fmt.Errorf("%w: %s", errPortTaken, log)
	}
	return fmt.Errorf("the server did not start: %s", log)
}

// ping asks the server for its folder: a cluster of another process may have
// taken the port, and must not be mistaken for this one.
func (c *Cluster) ping(ctx context.Context) error {
	conn, err := pgx.Connect(ctx, c.URL())
	if err != nil {
		return err
	}
	var data string
	err = conn.QueryRow(ctx, "SHOW data_directory").Scan(&data)
	if err == nil && data != filepath.Join(c.dir, "data") {
		err = fmt.Errorf("port %d answers from %s", c.port, data)
	}
	return errors.Join(err, conn.Close(ctx))
}

func freePort() (int, error) {
	l, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		return 0, fmt.Errorf("find a free port: %w", err)
	}
	port := l.Addr().(*net.TCPAddr).Port
	return port, l.Close()
}
