package engine_test

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/uptrace/bun"

	"github.com/flightrules/flightrules/engine"
	"github.com/flightrules/flightrules/engine/journal"
	"github.com/flightrules/flightrules/internal/db"
	"github.com/flightrules/flightrules/internal/dbtest"
)

// Runs that end at the same time share a transaction. One that another node has
// taken over meanwhile writes nothing, and the others end all the same, as do
// those that wait behind them.
func TestARunThatWasTakenOverWritesNothingAmongOthers(t *testing.T) {
	const lanes = 8
	for name, url := range map[string]func(testing.TB) string{"sqlite": dbtest.SQLite, "postgres": dbtest.Postgres} {
		for _, mode := range []string{"queued", "parallel"} {
			t.Run(name+", "+mode, func(t *testing.T) {
				t.Parallel()
				l := newLab(t, url(t), `
rules:
  - id: r
    mode: `+mode+`
    max: 100
    per: event.payload.n
    triggers: [{event: custom.x}]
    actions: [{lab.ring: {text: "${{ event.payload.n }}"}}]
`)
				l.Engine.Engine.Inline = false
				var ringing sync.WaitGroup
				release, first := make(chan struct{}), make(chan struct{}, lanes)
				ringing.Add(lanes)
				l.world.hook = func(context.Context) {
					select {
					case first <- struct{}{}:
						ringing.Done()
						<-release
					default:
					}
				}
				ctx, cancel := context.WithCancel(t.Context())
				ended := make(chan error, 1)
				go func() { ended <- l.Core.Engine.Run(ctx) }()
				post := func() {
					for n := range lanes {
						if _, _, err := l.Engine.Engine.Emit(t.Context(), engine.Emitted{
							Name: "custom.x", Payload: db.ToJSON(map[string]any{"n": fmt.Sprint(n)}),
						}); err != nil {
							t.Fatal(err)
						}
					}
				}
				post()
				ringing.Wait()
				if mode == "queued" {
					post() // one waits in each lane
					until(t, func() bool { return len(l.Runs("r")) == 2*lanes })
				}
				stolen := l.Runs("r")[0]
				if err := l.DB.Write(t.Context(), func(ctx context.Context, tx bun.Tx) error {
					if _, err := tx.NewUpdate().Model(&stolen).Set("epoch = epoch + 1, lease_node = 'thief', lease_until = ?", db.At(l.Now().Add(time.Hour))).
						WherePK().Exec(ctx); err != nil {
						return err
					}
					close(release)
					if name == "sqlite" { // they wait for the one writer, which this is
						until(t, func() bool { return l.Engine.Engine.Reporting() == lanes })
					}
					return nil
				}); err != nil {
					t.Fatal(err)
				}
				want := map[string]int{"succeeded": 2*lanes - 2, "running": 1, "queued": 1}
				if mode == "parallel" {
					want = map[string]int{"succeeded": lanes - 1, "running": 1}
				}
				until(t, func() bool { return fmt.Sprint(statuses(l)) == fmt.Sprint(want) })
				cancel()
				if err := <-ended; err != nil {
					t.Fatal(err)
				}
				for _, run := range l.Runs("r") {
					steps := l.Steps(run.ID)
					switch {
					case run.Status == journal.RunSucceeded && (len(steps) != 1 || steps[0].Status != journal.StepSucceeded):
						t.Errorf("a run that has ended has the steps %+v", steps)
					case run.ID == stolen.ID && (len(steps) != 1 || steps[0].Status != journal.StepRunning):
						t.Errorf("the run that was taken over has the steps %+v", steps)
					}
				}
			})
		}
	}
}

func statuses(l *lab) map[string]int {
	n := map[string]int{}
	for _, run := range l.Runs("r") {
		n[string(run.Status)]++
	}
	return n
}

// until returns when something has come about.
func until(t *testing.T, yes func() bool) {
	t.Helper()
	for deadline := time.Now().Add(time.Minute); !yes(); time.Sleep(2 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("it did not come about")
		}
	}
}

// Events that are emitted at the same time share a transaction, and one id is
// one event also among them.
func TestEventsThatAreEmittedAtOnceAreRecordedOnceEach(t *testing.T) {
	each(t, strings.ReplaceAll(ringAndWait("mode: parallel\nmax: 1000"), "wait: 10s", "log: x"), func(t *testing.T, l *lab) {
		var mu sync.Mutex
		var group sync.WaitGroup
		fresh := map[string]int{}
		for i := range 200 {
			group.Go(func() {
				e := emitted(fmt.Sprintf("e%d", i%50))
				e.Payload = db.ToJSON(map[string]any{"n": e.ID})
				recorded, isFresh, err := l.Engine.Engine.Emit(t.Context(), e)
				if err != nil || recorded.ID != e.ID || recorded.Seq == 0 {
					t.Errorf("%+v, %v", recorded, err)
				}
				mu.Lock()
				defer mu.Unlock()
				if isFresh {
					fresh[e.ID]++
				}
			})
		}
		group.Wait()
		l.then()
		if len(fresh) != 50 || len(l.Events("custom.x")) != 50 || len(l.Runs("r")) != 50 {
			t.Errorf("%d are fresh, %d recorded, %d run", len(fresh), len(l.Events("custom.x")), len(l.Runs("r")))
		}
		for id, n := range fresh {
			if n != 1 || l.counted()["begin "+id] != 1 {
				t.Errorf("%s was fresh %d times and rung %d times", id, n, l.counted()["begin "+id])
			}
		}
	})
}
