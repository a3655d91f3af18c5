package engine_test

import (
	"context"
	"encoding/base64"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/flightrules/flightrules/engine"
	"github.com/flightrules/flightrules/engine/journal"
	"github.com/flightrules/flightrules/internal/db"
	"github.com/flightrules/flightrules/internal/dbtest"
)

func TestRetryOfRuns(t *testing.T) {
	const steps = `
    actions:
      - set: {n: 1}
      - lab.ring: {text: first}
      - parallel:
          - [{lab.ring: {text: left}}, {wait: 5s}]
          - [{repeat: {times: 2}, do: [{lab.ring: {text: "right ${{ index }}"}}]}]
      - lab.ring: {text: "last ${{ vars.n }} ${{ run.attempt }}"}
`
	timeline(t, "by policy, from the steps that failed", `
rules:
  - id: r
    retry: {attempts: 3, backoff: 1m}
    triggers: [{event: custom.x}]`+steps, func(t *testing.T, l *lab) {
		l.world.fails = map[string]int{"left": 1, "right 1": 2}
		l.post("custom.x", nil)
		l.wantRuns("r", waiting)
		if got := l.lastRun().Error; got != "actions[2]: actions[2].parallel[0][0]: the bell is broken" {
			t.Error(got)
		}
		l.post("custom.x", nil) // the run is still active
		l.wantOutcomes("r", started, blocked)
		l.wantTexts("first", "left", "right 0", "right 1")
		l.sec(60)
		l.sec(65)
		l.wantTexts("first", "left", "right 0", "right 1", "left", "right 1")
		l.wantRuns("r", waiting)
		l.sec(185)
		l.wantTexts("first", "left", "right 0", "right 1", "left", "right 1", "right 1", "last 1 3")
		l.wantRuns("r", succeeded)
		keys := map[string]bool{}
		for _, call := range l.world.rings {
			keys[call.IdempotencyKey] = true
		}
		if len(keys) != 5 {
			t.Errorf("%d keys, want one for each of 5 steps: %v", len(keys), keys)
		}
	})
	timeline(t, "when every attempt has failed it is a dead letter", `
rules:
  - {id: r, retry: {attempts: 2}, triggers: [{event: custom.x}], actions: [{lab.ring: {text: a, fail: broken}}]}
  - {id: other, triggers: [{event: custom.x}], actions: [{lab.ring: {text: a, fail: broken}}]}
`, func(t *testing.T, l *lab) {
		l.post("custom.x", nil)
		l.sec(1)
		l.wantRuns("r", failed)
		l.wantRuns("other", failed)
		dead, err := journal.Runs(t.Context(), l.DB.Read(), journal.Filter{Dead: true})
		if err != nil || len(dead) != 1 || dead[0].Rule != "r" {
			t.Errorf("%+v %v", dead, err)
		}
	})
	timeline(t, "by hand", `
rules:
  - id: r
    triggers: [{event: custom.x}]`+steps, func(t *testing.T, l *lab) {
		l.world.fails = map[string]int{"right 0": 1}
		l.post("custom.x", nil)
		l.sec(5)
		l.wantRuns("r", failed)
		id := l.lastRun().ID
		l.retry(id, nil)
		l.wantTexts("first", "left", "right 0", "right 0", "right 1", "last 1 2")
		l.wantRuns("r", succeeded)
		l.retry(id, engine.ErrNotFailed)
		l.retry("nobody", journal.ErrNotFound)
	})
	timeline(t, "not beside another run that is active", `
rules:
  - id: r
    triggers: [{event: custom.x}]
    actions:
      - lab.ring: {text: a, fail: "${{ event.payload.fail }}"}
      - wait: 10s
`, func(t *testing.T, l *lab) {
		l.post("custom.x", map[string]any{"fail": "broken"})
		id := l.lastRun().ID
		l.post("custom.x", map[string]any{"fail": ""})
		l.retry(id, engine.ErrBusy)
		l.sec(10)
		l.retry(id, nil)
		l.wantRuns("r", failed, succeeded) // it was told to fail
	})
	timeline(t, "a failure that was gone on from is not tried again", acting(`
      - lab.ring: {text: a}
        on_error: continue
      - choose: [{when: event.depth == 0, do: [{lab.ring: {text: b}}]}]
        on_error: continue
      - lab.ring: {text: c}
`), func(t *testing.T, l *lab) {
		l.world.fails = map[string]int{"a": 1, "b": 1, "c": 1}
		l.post("custom.x", nil)
		l.wantRuns("r", failed)
		l.retry(l.lastRun().ID, nil)
		l.wantTexts("a", "b", "c", "c")
		l.wantRuns("r", succeeded)
	})
}

func (l *lab) retry(id string, want error) {
	l.t.Helper()
	if _, err := l.Engine.Engine.RetryRun(l.t.Context(), id); !errors.Is(err, want) {
		l.t.Errorf("%v, want %v", err, want)
	}
	l.then()
}

func TestCancelOfRuns(t *testing.T) {
	cancel := func(l *lab, id string, want error) {
		t.Helper()
		if _, err := l.Engine.Engine.CancelRun(l.t.Context(), id, "by alice"); !errors.Is(err, want) {
			l.t.Errorf("%v, want %v", err, want)
		}
		l.then()
	}
	timeline(t, "CM-7: those that wait, and the next one of a queue begins", `
rules:
  - id: r
    mode: queued
    triggers: [{event: custom.x}]
    actions:
      - parallel:
          - [{wait: 1h}, {lab.ring: {text: never}}]
          - [{wait_for: {event: custom.y}}, {lab.ring: {text: "y ${{ event.payload.n }}"}}]
`, func(t *testing.T, l *lab) {
		for n := range 3 {
			l.post("custom.x", map[string]any{"n": n})
		}
		runs := l.Runs("r")
		cancel(l, runs[1].ID, nil)
		cancel(l, runs[0].ID, nil)
		l.wantRuns("r", journal.RunCancelled, journal.RunCancelled, waiting)
		l.post("custom.y", nil)
		l.wantTexts("y 2")
		cancel(l, runs[0].ID, engine.ErrOver)
		cancel(l, "nobody", journal.ErrNotFound)
		for _, s := range l.Steps(runs[0].ID) {
			if !s.Status.Final() {
				t.Errorf("%s is %s", s.Path, s.Status)
			}
		}
		if got := l.Runs("r")[0].Error; got != "by alice" {
			t.Error(got)
		}
	})
}

func TestARunThatIsBrokenOffAgainAndAgainIsGivenUp(t *testing.T) {
	for name, url := range map[string]func(testing.TB) string{"sqlite": dbtest.SQLite, "postgres": dbtest.Postgres} {
		t.Run(name, func(t *testing.T) {
			l := newLab(t, url(t), acting(`
      - lab.ring: {text: first}
      - lab.ring: {text: poison}
`))
			l.world.hook = func(ctx context.Context) {
				if l.world.texts[len(l.world.texts)-1] == "poison" {
					panic("the process is gone") // and the record of it cannot be written either
				}
			}
			tamperWith := func(on bool) {
				if l.DB.Postgres() {
					if on {
						tamper(t, l, `CREATE FUNCTION boom() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION 'boom'; END $$`)
						tamper(t, l, `CREATE TRIGGER refuse BEFORE INSERT OR UPDATE ON steps FOR EACH ROW WHEN (NEW.path = 'actions[1]' AND NEW.status = 'failed') EXECUTE FUNCTION boom()`)
						return
					}
					tamper(t, l, `DROP TRIGGER refuse ON steps`)
					return
				}
				if on {
					tamper(t, l, `CREATE TRIGGER refuse BEFORE UPDATE ON steps WHEN NEW.path = 'actions[1]' AND NEW.status = 'failed' BEGIN SELECT RAISE(ABORT, 'boom'); END`)
					tamper(t, l, `CREATE TRIGGER refuse2 BEFORE INSERT ON steps WHEN NEW.path = 'actions[1]' AND NEW.status = 'failed' BEGIN SELECT RAISE(ABORT, 'boom'); END`)
					return
				}
				tamper(t, l, `DROP TRIGGER refuse`)
				tamper(t, l, `DROP TRIGGER refuse2`)
			}
			tamperWith(true)
			l.Emit("custom.x", nil)
			for range 12 {
				l.Jump(time.Minute)
				l.Settle()
			}
			l.wantRuns("r", failed)
			run := l.lastRun()
			if !run.Dead || run.Error != "it was broken off 11 times at actions[1], and is not taken up again" {
				t.Errorf("dead %t: %s", run.Dead, run.Error)
			}
			if got := l.counted()["poison"]; got != 11 {
				t.Errorf("tried %d times", got)
			}
			tamperWith(false)
			l.world.hook = nil
			l.retry(run.ID, nil)
			l.wantRuns("r", succeeded)
			if got := l.counted(); got["first"] != 1 || got["poison"] != 12 {
				t.Errorf("%v", got)
			}
		})
	}
}

func TestSecretsOfRuns(t *testing.T) {
	const value = token
	each(t, `
rules:
  - id: r
    triggers: [{event: custom.x}]
    actions:
      - id: a
        lab.ring: {text: "a ${{ event.payload.n }}", key: "Bearer ${{ secrets.TOKEN }} ${{ now() }}"}
      - wait: 10s
      - id: b
        lab.ring: {text: b, key: "${{ toBase64('user:' + secrets.TOKEN) }}"}
        retry: {attempts: 2, backoff: 5s}
      - lab.ring: {text: "${{ steps.a.output.key }} ${{ steps.b.output.key }}"}
      - lab.ring: {text: fails, key: "${{ secrets.TOKEN }}", fail: "it said ${{ event.payload.echo }}"}
`, func(t *testing.T, l *lab) {
		l.world.fails["b"] = 1
		l.post("custom.x", map[string]any{"n": 1, "echo": value})
		l.sec(10)
		l.sec(15)
		l.wantRuns("r", failed)
		if got := l.lastRun().Error; got != "actions[4]: it said ****" {
			t.Error(got)
		}
		encoded := base64.StdEncoding.EncodeToString([]byte("user:" + value))
		l.world.mu.Lock()
		keys := append([]string{}, l.world.keys...)
		l.world.mu.Unlock()
		if len(keys) != 5 || !strings.HasPrefix(keys[0], "Bearer "+value) || keys[1] != encoded || keys[2] != encoded || keys[4] != value {
			t.Errorf("rung with %q", keys)
		}
		for _, s := range l.Steps(l.lastRun().ID) {
			text := string(s.Input) + string(s.Output) + s.Error
			for _, form := range []string{value, string(db.ToJSON(value)), encoded, base64.StdEncoding.EncodeToString([]byte(value))} {
				if strings.Contains(text, strings.Trim(form, `"`)) {
					t.Errorf("%s holds the secret: %s", s.Path, text)
				}
			}
		}
	})
	timeline(t, "one that is not there fails the step, by its name", acting(`
      - lab.ring: {text: a, key: "${{ secrets.NOBODY }}"}
        on_error: continue
      - lab.ring: {text: b}
`), func(t *testing.T, l *lab) {
		l.post("custom.x", nil)
		l.wantTexts("b")
		if got := l.Steps(l.lastRun().ID)[0].Error; !strings.Contains(got, "there is no secret NOBODY") {
			t.Error(got)
		}
	})
}
