package engine_test

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/uptrace/bun"

	"github.com/flightrules/flightrules/internal/dbtest"
	"github.com/flightrules/flightrules/triggers"
)

// tamper changes rows behind the engine's back.
func tamper(t *testing.T, l *lab, statements ...string) {
	t.Helper()
	if err := l.DB.Write(t.Context(), func(ctx context.Context, tx bun.Tx) error {
		for _, s := range statements {
			if _, err := tx.ExecContext(ctx, s); err != nil {
				return err
			}
		}
		return nil
	}); err != nil {
		t.Fatal(err)
	}
}

// wantRouting says whether routing goes on.
func wantRouting(t *testing.T, l *lab) {
	t.Helper()
	l.be("bystander", "open")
	l.after(5 * time.Second)
	if l.counted()["bystander"] != 1 {
		t.Errorf("rung %v", l.counted())
	}
}

func TestADwellThatCannotBeReadStopsNothing(t *testing.T) {
	for name, broken := range map[string]string{
		"a payload that is no JSON": `UPDATE timers SET payload = '{' WHERE kind = 'dwell'`,
		"an event that is gone":     `DELETE FROM events`,
		"a transition that is gone": `DELETE FROM transitions WHERE entity_id = 'a'`,
		"a log that cannot be read": `UPDATE transitions SET delta = '{' WHERE entity_id = 'a'`,
		"a state of another form":   `UPDATE transitions SET next = '{"status":"open","count":"many"}' WHERE entity_id = 'a'`,
	} {
		t.Run(name, func(t *testing.T) {
			for name, then := range map[string]func(l *lab){
				"when it is due":    func(l *lab) { l.after(5 * time.Second) },
				"when it is broken": func(l *lab) { l.be("a", "closed") },
				"at a reload":       func(l *lab) { l.Reload(strings.Replace(openFor5s, "hello", "bye", 1)) },
				"at an edit": func(l *lab) {
					l.Reload(strings.Replace(openFor5s, "actions: [{lab.ring", "actions: [{log: x}, {lab.ring", 1))
				},
				"at an edit of its duration, then due": func(l *lab) {
					l.Reload(strings.Replace(openFor5s, "for: 5s", "for: 4s", 1))
					l.after(4 * time.Second)
				},
			} {
				t.Run(name, func(t *testing.T) {
					l := newLab(t, dbtest.SQLite(t), openFor5s)
					l.be("a", "open")
					l.wantOutcomes("left-open", held)
					tamper(t, l, broken)
					then(l)
					wantRouting(t, l)
					recorded := len(l.Events("engine.routing_failed"))
					for _, d := range l.Decisions("left-open") {
						if d.Key == "door/a" {
							recorded++
						}
					}
					if recorded < 2 {
						t.Errorf("nothing says what became of it:\n%s", details(l.Decisions("left-open")))
					}
				})
			}
		})
	}
}

// A change whose states no longer have the form of their kind still breaks a
// dwell.
func TestAChangeOfAnotherFormStillBreaksADwell(t *testing.T) {
	each(t, openFor5s, func(t *testing.T, l *lab) {
		l.be("a", "open")
		l.after(time.Second)
		mutateOnly(t, l, "a", "closed")
		tamper(t, l, `UPDATE transitions SET next = '{"status":"closed","count":"many"}' WHERE entity_id = 'a' AND version = 2`)
		l.then()
		l.wantOutcomes("left-open", held, cancelled)
		l.after(time.Minute)
		wantRouting(t, l)
	})
}

func TestARunWhoseEventCannotBeReadFails(t *testing.T) {
	for name, broken := range map[string]string{
		"a transition that is gone": `DELETE FROM transitions`,
		"a log that cannot be read": `UPDATE transitions SET delta = '{'`,
		"a state of another form":   `UPDATE transitions SET next = '{"status":"open","count":"many"}'`,
		"an event that is gone":     `DELETE FROM events`,
		"a rule that is gone":       `DELETE FROM rule_versions`,
	} {
		t.Run(name, func(t *testing.T) {
			l := newLab(t, dbtest.SQLite(t), `
rules:
  - id: r
    triggers: [{event: door.opened}]
    actions: [{wait: 1h}]
`)
			l.be("a", "open")
			l.wantRuns("r", waiting)
			tamper(t, l, broken)
			if name == "a rule that is gone" {
				l.Reload("rules: []")
			}
			l.Jump(time.Hour)
			l.Settle()
			l.wantRuns("r", failed)
		})
	}
}

func TestADeriverThatGivesNoJSONStopsNothing(t *testing.T) {
	each(t, openFor5s, func(t *testing.T, l *lab) {
		l.put("a", door{Status: "closed", Note: "not JSON"})
		if n := len(l.Events("engine.routing_failed")) + len(l.Events(triggers.DeriverFailed)); n != 1 {
			t.Errorf("%d events say so, want 1", n)
		}
		wantRouting(t, l)
	})
}
