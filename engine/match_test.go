package engine_test

import (
	"encoding/json"
	"slices"
	"testing"
	"time"

	"github.com/flightrules/flightrules/internal/dbtest"
	"github.com/flightrules/flightrules/triggers"
)

func TestMatches(t *testing.T) {
	l := newLab(t, dbtest.SQLite(t), `
rules:
  - {id: any, triggers: [{event: door.opened}], actions: [{log: x}]}
  - {id: a, triggers: [{event: door.opened, where: event.payload.door == "a"}], actions: [{log: x}]}
  - {id: b, triggers: [{event: door.opened, where: event.payload.door == "b"}], actions: [{log: x}]}
  - {id: often, triggers: [{event: door.opened, where: event.payload.count > vars.least}], variables: {least: 3}, actions: [{log: x}]}
  - {id: absent, triggers: [{event: custom.absent, where: event.payload.n > 1}], actions: [{log: x}]}
`)
	matches := func(t *testing.T, name string, payload any) ([]string, error) {
		t.Helper()
		text, err := json.Marshal(payload)
		if err != nil {
			t.Fatal(err)
		}
		found, err := l.Engine.Engine.Matches(t.Context(), triggers.Event{ID: "e", Name: name, At: time.Now(), Payload: text})
		var ids []string
		for _, c := range found {
			ids = append(ids, c.Rule.ID)
		}
		return ids, err
	}

	for _, c := range []struct {
		name    string
		payload opened
		want    []string
	}{
		{"by an equality", opened{Door: "a"}, []string{"any", "a"}},
		{"by a variable", opened{Door: "c", Count: 4}, []string{"any", "often"}},
		{"by both", opened{Door: "b", Count: 4}, []string{"any", "b", "often"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			got, err := matches(t, "door.opened", c.payload)
			if err != nil || !slices.Equal(got, c.want) {
				t.Errorf("got %v (%v), want %v", got, err, c.want)
			}
		})
	}

	t.Run("an expression that cannot be evaluated is an error with the rule's name", func(t *testing.T) {
		if got, err := matches(t, "custom.absent", map[string]any{}); err == nil || got != nil {
			t.Errorf("got %v", got)
		}
	})

	t.Run("nothing is recorded", func(t *testing.T) {
		if n := len(l.Decisions("any")) + len(l.Events("door.opened")); n != 0 {
			t.Errorf("%d rows", n)
		}
	})
}
