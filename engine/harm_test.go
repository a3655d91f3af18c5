package engine_test

import (
	"testing"
	"time"

	"github.com/flightrules/flightrules/engine/enginetest"
	"github.com/flightrules/flightrules/internal/dbtest"
	"github.com/flightrules/flightrules/plugins"
)

// harmful brings a function that panics.
type harmful struct{}

func (harmful) Name() string { return "harmful" }

func (harmful) Register(h *plugins.Host) error {
	return h.Function("explode", "Panics.", func(string) (bool, error) { panic("it exploded") })
}

// A rule that always fails, panics in a plugin's function or allocates without
// bound harms neither the write that caused it nor any other rule.
func TestHarmfulRulesHarmNobodyElse(t *testing.T) {
	for name, url := range map[string]func(testing.TB) string{"sqlite": dbtest.SQLite, "postgres": dbtest.Postgres} {
		t.Run(name, func(t *testing.T) {
			l := &lab{t: t, world: &world{}}
			l.Engine = enginetest.Start(t, enginetest.Options{URL: url(t), Rules: `
rules:
  - {id: fails, triggers: [{state: door.status, to: open, where: event.change.next.note contains "x"}], actions: [{log: hi}]}
  - {id: panics, triggers: [{state: door.status, to: open}], conditions: ['explode("x")'], actions: [{log: hi}]}
  - {id: panics-in-where, triggers: [{event: door.opened, where: 'explode("x")'}], actions: [{log: hi}]}
  - {id: allocates, triggers: [{state: door.status, to: open}], conditions: ['len(map(1..900000, repeat("x", 1000))) > 0'], actions: [{log: hi}]}
  - {id: allocates-as-it-becomes, triggers: [{becomes: 'len(map(1..900000, repeat(entity.id, 1000))) > 0', kind: door}], actions: [{log: hi}]}
  - {id: fails-by, triggers: [{state: door.status, to: open, count: 2, within: 1m, by: event.change.prev.status}], actions: [{log: hi}]}
  - {id: good, triggers: [{state: door.status, to: open}], actions: [{lab.ring: {text: good}}]}
`, Plugins: func() []plugins.Plugin {
				l.plugin = &labPlugin{world: l.world}
				return []plugins.Plugin{l.plugin, harmful{}}
			}})
			l.be("a", "open")
			for _, rule := range []string{"fails", "panics", "panics-in-where", "allocates", "allocates-as-it-becomes", "fails-by"} {
				l.wantOutcomes(rule, mistaken)
			}
			l.wantOutcomes("good", started)
			if state, err := l.plugin.doors.Get(t.Context(), "a"); err != nil || state.Status != "open" {
				t.Errorf("the write came to %+v, %v", state, err)
			}
			l.after(time.Hour)
			l.wantRung(map[string]int{"good": 1})
		})
	}
}
