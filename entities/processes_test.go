package entities_test

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"testing"
	"time"

	"github.com/uptrace/bun"

	"github.com/flightrules/flightrules/engine/timer"
	"github.com/flightrules/flightrules/entities"
	"github.com/flightrules/flightrules/internal/db"
	"github.com/flightrules/flightrules/internal/dbtest"
)

// childURL makes the test binary a process that only changes an entity in the
// database that it names.
const childURL = "FLIGHTRULES_TEST_ENTITIES_CHILD"

// childChanges is how many changes each such process makes.
const childChanges = 60

func TestMain(m *testing.M) {
	if url := os.Getenv(childURL); url != "" {
		if err := countUp(context.Background(), url); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	os.Exit(m.Run())
}

func countUp(ctx context.Context, url string) error {
	d, err := db.Open(ctx, url, db.Options{})
	if err != nil {
		return err
	}
	log := slog.New(slog.DiscardHandler)
	doors, err := entities.Define(entities.NewRegistry(d, time.Now, log, timer.New(d, time.Now, log, nil)), entities.Spec[door]{Name: "door"})
	if err != nil {
		return err
	}
	for range childChanges {
		if _, err := doors.Mutate(ctx, "hot", func(_ context.Context, _ bun.Tx, prev *door) (door, error) {
			next := door{Status: "open"}
			if prev != nil {
				next.Opened = prev.Opened + 1
			}
			return next, nil
		}); err != nil {
			return err
		}
	}
	return d.Close()
}

func TestTwoProcessesChangeOneEntity(t *testing.T) {
	url := dbtest.Postgres(t)
	n := open(t, url)
	var children []*exec.Cmd
	for range 2 {
		child := exec.CommandContext(t.Context(), os.Args[0])
		child.Env = append(os.Environ(), childURL+"="+url)
		child.Stderr = os.Stderr
		must(t, child.Start())
		children = append(children, child)
	}
	for _, child := range children {
		must(t, child.Wait())
	}
	define(t, n, entities.Spec[door]{Name: "door"})
	log := n.log(t, "hot")
	if len(log) != 2*childChanges {
		t.Fatalf("%d transitions, want %d", len(log), 2*childChanges)
	}
	for i, tr := range log {
		if tr.Version != int64(i+1) || (i > 0 && tr.Delta["opened"] != [2]any{int64(i - 1), int64(i)}) {
			t.Fatalf("transition %d: version %d, delta %v", i, tr.Version, tr.Delta)
		}
	}
}
