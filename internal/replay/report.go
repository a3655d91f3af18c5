package replay

import (
	"fmt"
	"time"

	"github.com/flightrules/flightrules/engine"
	"github.com/flightrules/flightrules/engine/journal"
	"github.com/flightrules/flightrules/internal/db"
)

// Report sets what rules would have done beside what happened.
type Report struct {
	From        time.Time    `json:"from"`
	Until       time.Time    `json:"until"`
	Rules       []RuleReport `json:"rules"` // in the order of their files
	Transitions int64        `json:"transitions"`
	Events      int64        `json:"events"`
	Notes       []string     `json:"notes"` // what the log does not tell, and the like
}

// RuleReport is about one rule. To fire is to start a run, or to queue one.
type RuleReport struct {
	ID           string             `json:"id"`
	Version      string             `json:"version"`
	Changed      bool               `json:"changed"` // it is not the one that is in force in the source
	Both         int                `json:"both"`    // fired in reality and in the replay
	OnlyReplay   int                `json:"only_replay"`
	OnlyRecorded int                `json:"only_recorded"`
	Decisions    map[string]Counted `json:"decisions"` // by outcome
	Items        []Item             `json:"items"`     // by time
	Omitted      int                `json:"omitted"`   // items that are counted and not listed
}

// Counted is how many decisions of an outcome there are.
type Counted struct {
	Recorded int `json:"recorded"`
	Replay   int `json:"replay"`
}

// Verdict says where a rule fired.
type Verdict string

// The verdicts.
const (
	Both         Verdict = "both"
	OnlyReplay   Verdict = "only_replay"   // it would have fired
	OnlyRecorded Verdict = "only_recorded" // it fired, and would not
)

// Item is one firing.
type Item struct {
	Verdict  Verdict `json:"verdict"`
	Trigger  string  `json:"trigger"`
	Event    About   `json:"event"`
	Key      string  `json:"key"`
	Replay   *Fired  `json:"replay"`   // nil: not in the replay
	Recorded *Fired  `json:"recorded"` // nil: not in reality
	// Reason is why it did not fire on the other side, as far as it is told.
	Reason string `json:"reason,omitempty"`
}

// At is when it fired: in reality, or else in the replay.
func (i Item) At() time.Time {
	if i.Recorded != nil {
		return i.Recorded.At
	}
	return i.Replay.At
}

// About is the event that a rule fired on.
type About struct {
	ID     string    `json:"id"`
	Name   string    `json:"name"`
	Kind   string    `json:"kind,omitempty"`
	Entity string    `json:"entity,omitempty"`
	At     time.Time `json:"at"`
}

// Fired is a firing on one side.
type Fired struct {
	At      time.Time `json:"at"`
	Version string    `json:"version"`
	Outcome string    `json:"outcome"`
	Detail  string    `json:"detail,omitempty"`
	Run     string    `json:"run"`
	// Actions are what was done: in the replay, rendered and not done. A run that
	// is the same in both is not walked again, and has none in the replay.
	Actions []Action `json:"actions,omitempty"`
}

// Action is a step with an effect.
type Action struct {
	Path   string  `json:"path"`
	Action string  `json:"action"`
	Status string  `json:"status"`
	Input  db.JSON `json:"input,omitempty"`
	Error  string  `json:"error,omitempty"`
}

// Totals are the sums over all rules.
func (r *Report) Totals() (both, onlyReplay, onlyRecorded int) {
	for _, one := range r.Rules {
		both, onlyReplay, onlyRecorded = both+one.Both, onlyReplay+one.OnlyReplay, onlyRecorded+one.OnlyRecorded
	}
	return both, onlyReplay, onlyRecorded
}

// fires says whether a run came of a decision.
func fires(o journal.Outcome) bool { return o == journal.Started || o == journal.RunWaits }

// controls are the steps that have no effect but on their run.
var controls = []string{"set", "choose", "repeat", "parallel", "wait", "wait_for", "stop"}

// countWaiting says how much waits at the end of the log.
func countWaiting(armed []engine.Armed) string {
	n := map[string]int{}
	for _, a := range armed {
		n[a.Kind]++
	}
	held := n["dwell"] + n["unless"] + n["group"]
	if held == 0 {
		return ""
	}
	return fmt.Sprintf("%d matches wait still at the end of the log, for a time to pass: they are in no list", held)
}
