package rules_test

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/flightrules/flightrules/rules"
)

const days = 24 * time.Hour

func TestRetention(t *testing.T) {
	t.Run("has a default where no file says anything", func(t *testing.T) {
		for _, text := range []string{"", "retention:", "retention: {}"} {
			if diff := cmp.Diff(rules.DefaultRetention(), load(t, text).Retention); diff != "" {
				t.Errorf("%q (-want +got):\n%s", text, diff)
			}
		}
		if diff := cmp.Diff(rules.DefaultRetention(), rules.NewSet(nil).Retention); diff != "" {
			t.Error(diff)
		}
	})
	t.Run("is what the file says, and an exception says only what is other", func(t *testing.T) {
		got := load(t, `
retention:
  runs: {max: 100, rules: {a: {keep: 1h}, b: {max: 7}}}
  events: {keep: forever, kinds: {"": {keep: 1d}, ticket: {max: 3}, rule: {keep: 2d}}}
  transitions: {keep: 7d, kinds: {backup: {keep: forever}}}
kinds:
  - {name: backup, fields: {ok: {type: boolean}}}
rules:
  - {id: a, triggers: [{event: custom.x}], actions: [{log: hi}]}
  - {id: b, triggers: [{event: custom.x}], actions: [{log: hi}]}
`).Retention
		want := rules.Retention{
			Runs:        rules.Keeping{Limit: rules.Limit{Keep: 30 * days, Max: 100}, Of: map[string]rules.Limit{"a": {Keep: time.Hour, Max: 100}, "b": {Keep: 30 * days, Max: 7}}},
			Decisions:   rules.Keeping{Limit: rules.Limit{Keep: 30 * days}},
			Events:      rules.Keeping{Of: map[string]rules.Limit{"": {Keep: days}, "ticket": {Max: 3}, "rule": {Keep: 2 * days}}},
			Transitions: rules.Keeping{Limit: rules.Limit{Keep: 7 * days}, Of: map[string]rules.Limit{"backup": {}}},
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Error(diff)
		}
		if l := got.Events.For("ticket"); l.Max != 3 {
			t.Errorf("tickets: %v", l)
		}
		if l := got.Events.For("satellite"); l != (rules.Limit{}) {
			t.Errorf("satellites: %v", l)
		}
	})
	t.Run("warns of an expression that looks back further", func(t *testing.T) {
		const text = `
retention: {transitions: {keep: 7d, kinds: {ticket: {keep: forever}}}}
rules:
  - id: a
    triggers: [{event: custom.x}]
    conditions:
      - transitions("satellite", "s1", "status", "8d") > 1
      - transitions("satellite", "s1", "status", "7d") > 1
      - transitions("ticket", "t1", "status", "8d") > 1
    actions: [{log: hi}]
`
		warnings := load(t, text).Warnings
		if len(warnings) != 1 || warnings[0].Line != 7 || warnings[0].Message != "this looks back 8d, and transitions of kind satellite are kept for 1w" {
			t.Errorf("warnings: %v", warnings)
		}
	})
}
