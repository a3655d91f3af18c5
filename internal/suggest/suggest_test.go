package suggest_test

import (
	"testing"

	"github.com/flightrules/flightrules/internal/suggest"
)

func TestClosest(t *testing.T) {
	known := []string{"trigger", "triggers", "conditions", "actions", "id", "mode", "satellite.heartbeat_lost"}
	for name, want := range map[string]string{
		"tigger": "trigger", "trigers": "triggers", "Actions": "actions", "acitons": "actions", "mod": "mode", "ids": "id",
		"satellite.hartbeat_lost": "satellite.heartbeat_lost", "actoin": "actions",
		"when": "", "xy": "", "": "", "something_else": "", "condensations": "",
	} {
		t.Run(name, func(t *testing.T) {
			got, ok := suggest.Closest(name, known)
			if got != want || ok != (want != "") {
				t.Errorf("got %q, %v; want %q", got, ok, want)
			}
		})
	}
}
