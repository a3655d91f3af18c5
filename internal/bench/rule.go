package bench

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing/fstest"
	"time"

	"github.com/flightrules/flightrules/entities"
	"github.com/flightrules/flightrules/triggers"
)

// rulesInFile is how many rules a file has.
const rulesInFile = 100

// sort is one kind of trigger among the rules of match and load, each on one
// meter.
type sort struct {
	trigger string // of a rule; %[1]q is its meter
	// plain is the same as a condition for a loop that has nothing else.
	plain   string
	changed bool // it looks at changes, and not at events
}

// sorts take turns.
var sorts = []sort{
	{
		trigger: `{event: meter.crossed, where: 'event.payload.meter == %[1]q and event.payload.value > 90'}`,
		plain:   `event.name == "meter.crossed" and event.payload.meter == %[1]q and event.payload.value > 90`,
	},
	{
		trigger: `{state: meter.status, entity: %[1]q, from: low, to: high}`,
		plain:   `event.name == "meter.changed" and event.entity.id == %[1]q and event.change.prev.status == "low" and event.change.next.status == "high"`,
		changed: true,
	},
	{
		trigger: `{numeric: meter.value, entity: %[1]q, above: 90}`,
		plain:   `event.name == "meter.changed" and event.entity.id == %[1]q and event.change.prev.value <= 90 and event.change.next.value > 90`,
		changed: true,
	},
	{
		trigger: `{becomes: entity.state.status == "high" and entity.state.value > 90, kind: meter, where: 'event.entity.id == %[1]q'}`,
		plain: `event.name == "meter.changed" and event.entity.id == %[1]q and event.change.next.status == "high" and event.change.next.value > 90 ` +
			`and not (event.change.prev.status == "high" and event.change.prev.value > 90)`,
		changed: true,
	},
	{
		trigger: `{event: meter.crossed, where: 'event.payload.meter == %[1]q and event.payload.value > 90', count: 3, within: 10m}`,
		plain:   `event.name == "meter.crossed" and event.payload.meter == %[1]q and event.payload.value > 90`,
	},
}

func meterID(n int) string { return fmt.Sprintf("meter-%d", n) }

// plain is the condition of rule n.
func plain(n int) string { return fmt.Sprintf(sorts[n%len(sorts)].plain, meterID(n)) }

// ruleFiles are files with so many rules.
func ruleFiles(rules int) fstest.MapFS {
	files := fstest.MapFS{}
	for first := 0; first < rules; first += rulesInFile {
		var text strings.Builder
		text.WriteString("rules:\n")
		for n := first; n < min(first+rulesInFile, rules); n++ {
			trigger := fmt.Sprintf(sorts[n%len(sorts)].trigger, meterID(n))
			fmt.Fprintf(&text, "  - id: rule-%d\n    triggers: [%s]\n    conditions: ['event.depth < 5']\n    actions: [{log: \"${{ event.entity.id }} is hot\"}]\n", n, trigger)
		}
		files[fmt.Sprintf("rules-%06d.yaml", first)] = &fstest.MapFile{Data: []byte(text.String())}
	}
	return files
}

// ruleEvent is an event that matches rule n, and no other of ruleFiles.
func ruleEvent(n int) (triggers.Event, error) {
	id := meterID(n)
	e := triggers.Event{ID: id, Name: "meter.crossed", At: time.Now(), Kind: "meter", EntityID: id}
	if !sorts[n%len(sorts)].changed {
		var err error
		e.Payload, err = json.Marshal(crossed{Meter: id, Status: "high", Value: 99.5})
		return e, err
	}
	e.Name, e.Payload = triggers.ChangedEvent("meter"), []byte("{}")
	e.Change = &entities.Transition{
		Seq: int64(n + 1), Kind: "meter", ID: id, Version: 2, At: e.At,
		Delta: entities.Delta{"status": {"low", "high"}, "value": {20.5, 99.5}},
		Next:  entities.View{"status": "high", "value": 99.5, "unit": "celsius", "region": "eu-west-1", "count": int64(7)},
	}
	return e, nil
}
