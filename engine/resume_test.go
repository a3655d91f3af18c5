package engine_test

import (
	"context"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/flightrules/flightrules/engine/journal"
	"github.com/flightrules/flightrules/internal/dbtest"
)

func TestVariablesAreTheSameAfterAWait(t *testing.T) {
	each(t, `
rules:
  - id: r
    variables: {begun: "${{ now() }}", was: "${{ state('door', 'a').status }}"}
    triggers: [{event: custom.x}]
    actions:
      - lab.ring: {text: "${{ vars.begun }} ${{ vars.was }}"}
      - wait: 1h
      - lab.ring: {text: "${{ vars.begun }} ${{ vars.was }}"}
`, func(t *testing.T, l *lab) {
		l.be("a", "open")
		l.Emit("custom.x", nil)
		l.then()
		l.be("a", "closed")
		l.after(time.Hour)
		l.wantRung(map[string]int{"2026-03-01T12:00:00Z open": 2})
	})
}

func TestALargeNumberStaysWhatItIs(t *testing.T) {
	const large = 1<<53 + 1
	each(t, `
rules:
  - id: r
    triggers: [{event: custom.x}]
    actions:
      - set: {n: "${{ state('door', 'a').count }}"}
      - wait: 1h
      - update: {kind: door, id: b, set: {status: open, count: "${{ vars.n }}"}}
`, func(t *testing.T, l *lab) {
		l.put("a", door{Status: "open", Count: large})
		l.Emit("custom.x", nil)
		l.then()
		l.after(time.Hour)
		got, err := l.plugin.doors.Get(t.Context(), "b")
		if err != nil || got.Count != large {
			t.Errorf("%d, want %d (%v)", got.Count, large, err)
		}
	})
}

const ringOnce = `
rules:
  - id: r
    triggers: [{event: custom.x}]
    actions: [{lab.ring: {text: rung}}]
`

func TestWhatAnActionDidIsRecordedThoughTheNodeGoesDown(t *testing.T) {
	for name, url := range map[string]func(testing.TB) string{"sqlite": dbtest.SQLite, "postgres": dbtest.Postgres} {
		t.Run(name, func(t *testing.T) {
			l := newLab(t, url(t), ringOnce)
			ctx, stop := context.WithCancel(t.Context())
			l.world.hook = func(context.Context) { stop() }
			emit(t, l, "x")
			for _, stepper := range l.Engine.Engine.Steppers() {
				_, _ = stepper.Step(ctx)
			}
			if ctx.Err() == nil {
				t.Fatal("it was not rung")
			}
			l.Restart()
			l.Jump(time.Minute)
			l.Settle()
			l.wantRuns("r", succeeded)
			l.wantRung(map[string]int{"rung": 1})
		})
	}
}

func TestARunIsNotTakenOverByTheNodeThatIsAtIt(t *testing.T) {
	for name, url := range map[string]func(testing.TB) string{"sqlite": dbtest.SQLite, "postgres": dbtest.Postgres} {
		t.Run(name, func(t *testing.T) {
			l := newLab(t, url(t), ringOnce)
			first := true
			l.world.hook = func(context.Context) {
				if !first {
					return
				}
				first = false
				l.Jump(time.Minute) // the clock was set forward, or the machine slept
				l.Settle()
			}
			emit(t, l, "x")
			l.Settle()
			l.wantRuns("r", succeeded)
			l.wantRung(map[string]int{"rung": 1})
		})
	}
}

func TestARunThatWasBrokenOffIsTakenUpAgainThoughTheNodeIsBusy(t *testing.T) {
	l := newLab(t, dbtest.SQLite(t), `
rules:
  - id: breaks
    triggers: [{event: custom.breaks}]
    actions: [{lab.ring: {text: rung}}]
  - id: busy
    triggers: [{event: custom.busy}]
    actions: [{lab.ring: {text: busy}}]
`)
	tamper(t, l, `CREATE TRIGGER refuse BEFORE INSERT ON steps BEGIN SELECT RAISE(ABORT, 'boom'); END`)
	l.Emit("custom.breaks", nil)
	l.wantRuns("breaks", journal.RunRunning)
	tamper(t, l, `DROP TRIGGER refuse`)
	first := true
	l.world.hook = func(context.Context) {
		if first {
			first = false
			l.Jump(10 * time.Second)
			if err := l.Engine.Engine.Renew(t.Context()); err != nil {
				t.Error(err)
			}
		}
	}
	l.Emit("custom.busy", nil)
	l.Jump(10 * time.Second)
	l.Settle()
	l.wantRuns("breaks", succeeded)
	if diff := cmp.Diff(map[string]int{"busy": 1, "rung": 1}, l.counted()); diff != "" {
		t.Error(diff)
	}
}
