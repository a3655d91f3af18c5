//go:build unix

package app_test

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/fstest"
	"time"

	"github.com/uptrace/bun"
	"golang.org/x/sync/errgroup"

	"github.com/flightrules/flightrules/entities"
	"github.com/flightrules/flightrules/internal/app"
	"github.com/flightrules/flightrules/plugins"
)

// envChild makes this test binary the process that is to be killed: its value
// is a childConfig.
const envChild = "FLIGHTRULES_CRASH_CHILD"

// The drivers of one process change one job each and the shared one.
const drivers = 6

// drainTimeout bounds how long the last process may take to end all there is.
const drainTimeout = 30 * time.Second

func TestMain(m *testing.M) {
	if text, ok := os.LookupEnv(envChild); ok {
		if err := runChild(context.Background(), text); err != nil {
			fmt.Fprintln(os.Stderr, "child:", err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	if text, ok := os.LookupEnv(envCore); ok {
		if err := coreOf(text); err != nil {
			fmt.Fprintln(os.Stderr, "core:", err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	os.Exit(m.Run())
}

// childConfig is what a process under test is told.
type childConfig struct {
	URL   string
	Dir   string // of the files that outlive the process
	Round int
	Seed  uint64
	Drain bool // end what is under way instead of making more
}

func postgres(url string) bool { return strings.HasPrefix(url, "postgres") }

// found is what a process finds when it starts, before it does anything.
type found struct {
	Runs   int // that were being executed
	Outbox int // changes and events that were not routed
	Timers int
}

// change is a line about a change of a job: what a driver is about to do, or
// that it is done.
type change struct {
	ID     string `json:"id"` // also the actor of the transition
	Job    string `json:"job"`
	Remove bool   `json:"remove,omitempty"`
	Void   bool   `json:"void,omitempty"` // done: there was nothing to remove
}

// child is the process that is to be killed.
type child struct {
	childConfig
	core          *app.Core
	plugin        *crashPlugin
	intents, done *journalFile
}

func runChild(ctx context.Context, text string) (err error) {
	c := &child{plugin: &crashPlugin{}}
	if err := json.Unmarshal([]byte(text), &c.childConfig); err != nil {
		return err
	}
	c.plugin.round = c.Round
	go func() {
		_, err := io.Copy(io.Discard, os.Stdin)
		fmt.Fprintln(os.Stderr, "child: the test is gone:", err)
		os.Exit(1)
	}()
	for name, file := range map[string]**journalFile{"deliveries": &c.plugin.deliveries, "intents": &c.intents, "done": &c.done} {
		if *file, err = openJournal(c.Dir, name); err != nil {
			return err
		}
	}
	if c.core, err = openCrash(ctx, c.URL, c.plugin, os.Stderr); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, c.core.Close(context.WithoutCancel(ctx))) }()
	if err := c.report(ctx); err != nil {
		return err
	}
	work, stop := context.WithCancel(ctx)
	defer stop()
	group, running := errgroup.WithContext(work)
	group.Go(func() error { return c.core.DB.RunHints(running, c.core.Log) })
	group.Go(func() error { return c.core.Engine.Run(running) })
	group.Go(func() error {
		defer stop()
		if c.Drain {
			return c.drain(running)
		}
		return c.drive(running)
	})
	return group.Wait()
}

func openCrash(ctx context.Context, url string, plugin *crashPlugin, log io.Writer) (*app.Core, error) {
	config := app.Config{
		DB: url, Node: "crash", Plugins: []plugins.Plugin{plugin},
		Files: fstest.MapFS{"rules.yaml": {Data: []byte(crashRules)}},
		Log:   slog.New(slog.NewTextHandler(log, &slog.HandlerOptions{Level: slog.LevelWarn})),
	}
	if postgres(url) {
		config.Lease = 200 * time.Millisecond
	}
	return app.Open(ctx, config)
}

// remains counts, at one instant, what is still to be done; the next pass of
// retention is always to come.
const remains = `SELECT (SELECT COUNT(*) FROM runs WHERE status = 'running') AS runs,
	(SELECT COUNT(*) FROM runs WHERE status IN ('queued', 'waiting')) AS waiting,
	(SELECT COUNT(*) FROM outbox) AS outbox, (SELECT COUNT(*) FROM timers WHERE kind <> 'retention') AS timers`

func remaining(ctx context.Context, core *app.Core) (f found, waiting int, err error) {
	err = core.DB.Read().QueryRowContext(ctx, remains).Scan(&f.Runs, &waiting, &f.Outbox, &f.Timers)
	return f, waiting, err
}

// report tells the parent that the process is up.
func (c *child) report(ctx context.Context) error {
	f, _, err := remaining(ctx, c.core)
	if err != nil {
		return err
	}
	return json.NewEncoder(os.Stdout).Encode(f)
}

// drain returns when nothing is left to be done.
func (c *child) drain(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, drainTimeout)
	defer cancel()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for {
		f, waiting, err := remaining(ctx, c.core)
		if err != nil {
			return fmt.Errorf("what is left after %s: %w", drainTimeout, err)
		}
		if f == (found{}) && waiting == 0 {
			return nil
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return fmt.Errorf("after %s there are still %+v and %d runs that wait", drainTimeout, f, waiting)
		}
	}
}

// drive changes jobs until the process is killed.
func (c *child) drive(ctx context.Context) error {
	if err := c.do(ctx, change{ID: fmt.Sprintf("%d-first", c.Round), Job: sharedJob}); err != nil {
		return err
	}
	group, ctx := errgroup.WithContext(ctx)
	for d := range drivers {
		group.Go(func() error {
			random := rand.New(rand.NewPCG(c.Seed, uint64(c.Round*drivers+d)))
			for n := 0; ; n++ {
				next := change{ID: fmt.Sprintf("%d-%d-%d", c.Round, d, n), Job: fmt.Sprintf("own-%d", d)}
				if random.IntN(4) == 0 {
					next.Job = sharedJob
				} else {
					next.Remove = random.IntN(10) == 0
				}
				if err := c.do(ctx, next); err != nil {
					return err
				}
				time.Sleep(time.Duration(random.IntN(30)) * time.Millisecond) // so that some dwells hold
			}
		})
	}
	return group.Wait()
}

// do makes one change, and says so before and after.
func (c *child) do(ctx context.Context, next change) error {
	if err := c.intents.add(next); err != nil {
		return err
	}
	err := c.apply(ctx, next)
	if next.Remove && errors.Is(err, entities.ErrNotFound) {
		next.Void, err = true, nil
	}
	if err != nil {
		return fmt.Errorf("change %s: %w", next.ID, err)
	}
	return c.done.add(next)
}

func (c *child) apply(ctx context.Context, next change) error {
	return applyChange(ctx, c.plugin, next)
}

func applyChange(ctx context.Context, p *crashPlugin, next change) error {
	ctx = entities.WithCause(ctx, entities.Cause{Actor: next.ID})
	if next.Remove {
		return p.jobs.Remove(ctx, next.Job, nil)
	}
	_, err := p.jobs.Mutate(ctx, next.Job, func(_ context.Context, _ bun.Tx, prev *job) (job, error) { return after(prev), nil })
	return err
}

// journalFile is a file of JSON lines that several processes write one after
// the other. It survives them; a line that was cut off is left out.
type journalFile struct{ file *os.File }

func openJournal(dir, name string) (*journalFile, error) {
	file, err := os.OpenFile(filepath.Join(dir, name), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return nil, err
	}
	_, err = file.WriteString("\n") // ends a line that the process before could not
	return &journalFile{file}, err
}

// add writes a line at once. It is safe for concurrent use.
func (j *journalFile) add(line any) error {
	text, err := json.Marshal(line)
	if err != nil {
		return err
	}
	_, err = j.file.Write(append(text, '\n'))
	return err
}

func readJournal[L any](t *testing.T, dir, name string) (lines []L) {
	t.Helper()
	file, err := os.Open(filepath.Join(dir, name))
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	scanner := bufio.NewScanner(file)
	for scanner.Scan() {
		var line L
		if json.Unmarshal(scanner.Bytes(), &line) == nil {
			lines = append(lines, line)
		}
	}
	if err := scanner.Err(); err != nil {
		t.Fatal(err)
	}
	return lines
}
