// Package rules turns YAML into rules that can run: it parses with positions,
// checks everything and reports every problem at once, compiles expressions
// against what their place can see, and indexes the rules so that an event
// costs what its matches cost and not what the rule set costs.
//
// A Rule and a Set never change once they are made; they may be shared.
package rules

import (
	"time"

	"github.com/santhosh-tekuri/jsonschema/v6"

	"github.com/flightrules/flightrules/engine/action"
	"github.com/flightrules/flightrules/internal/expression"
	"github.com/flightrules/flightrules/internal/shape"
	"github.com/flightrules/flightrules/triggers"
)

// Mode says what happens to a match while a run of the same key is active.
type Mode string

// The modes there are.
const (
	Single   Mode = "single"   // it is dropped, and the decision names the run that blocked it
	Restart  Mode = "restart"  // the active run is cancelled, and one begins when it has ended
	Queued   Mode = "queued"   // it waits its turn, first come first served
	Parallel Mode = "parallel" // it starts all the same
)

// DefaultMax bounds the runs that wait in Queued, or go on in Parallel.
const DefaultMax = 10

// Rule is one rule, compiled.
type Rule struct {
	ID          string
	Name        string
	Description string
	Tags        []string
	Enabled     bool
	Mode        Mode
	Max         int              // of Queued: waiting runs; of Parallel: running ones
	Per         Per              // what the mode and Cooldown count over
	Cooldown    time.Duration    // at most one run of a key in this time; zero: any number
	Retry       action.Retry     // of runs that failed, from the step that did; the zero value: none
	Variables   *expression.Tree // nil: none
	Triggers    []Trigger
	Conditions  []*Condition
	Actions     []*Step

	Version string // names exactly this rule: from the hash of Text
	Text    string // the rule in a normal form that Compile takes
	Source  string // the rule as it is written in its file
	File    string
	Line    int
}

// Per is what is counted over. The zero value is the entity.
type Per struct {
	Rule bool                // all together
	Expr *expression.Program // or what it gives
}

// Trigger is one of a rule's triggers: a Trigger on single events with what
// modifies it, or one of Absent, All, Schedule, Webhook and Manual.
type Trigger struct {
	triggers.Trigger // of event, state, numeric, becomes, webhook and absent; nil for others

	ID      string
	Key     string              // the key by which it says what it is: "event", "state", ...
	Where   *expression.Program // nil: always
	Enabled bool
	// Signature names what the trigger waits for, whatever its durations: what
	// was gathered for it is kept across an edit that leaves it alone. "" where
	// nothing is.
	Signature string

	Hold    Hold
	Count   *Count
	Unless  *Unless
	Group   *Group
	Initial bool // it looks also at entities as they are when the rule is first loaded

	All      *All
	Absent   *Absent
	Schedule *Schedule
	Webhook  *Webhook
	Manual   *Manual
}

// Hold is how long what a trigger matched must hold. The zero value: it fires
// at once.
type Hold struct {
	For  time.Duration
	Expr *expression.Template // gives the duration when it is armed; nil: For
}

// IsZero says whether nothing must hold.
func (h Hold) IsZero() bool { return h.For == 0 && h.Expr == nil }

// Count lets a trigger fire when N matches of one key fall in a window of the
// length Within. At exactly that length an item is out.
type Count struct {
	N      int
	Within time.Duration
	By     *expression.Program // the key; nil: the entity
	Every  bool                // at each match from the Nth on, not only at the first
}

// Unless lets a trigger fire after Within, and only if no such event followed.
type Unless struct {
	Event  triggers.OnEvent
	Where  *expression.Program
	Within time.Duration
	By     *expression.Program // what both events must have in common; nil: the entity
}

// Group collects matches and fires once for the batch.
type Group struct {
	By       *expression.Program // nil: all together
	Wait     time.Duration       // after the first match
	Interval time.Duration       // between batches of one key
	Max      int                 // a batch that has so many fires at once
}

// DefaultGroupMax bounds a batch.
const DefaultGroupMax = 1000

// All fires when every part has matched in any order inside a window.
type All struct {
	Parts  []Part
	Within time.Duration
	By     *expression.Program // nil: all together
}

// Part is one of the events of an All.
type Part struct {
	triggers.Trigger

	Where *expression.Program
}

// Absent fires when the event of its trigger has not come for a time; once
// until it comes again.
type Absent struct {
	For   time.Duration
	By    *expression.Program // the key; nil: the entity
	Start bool                // it counts from the rule's first load, over all events together
}

// Misfire says what becomes of the ticks of a schedule that were missed.
type Misfire string

// The policies there are.
const (
	MisfireSkip Misfire = "skip" // they are recorded and do not fire
	MisfireOnce Misfire = "once" // the last of them fires
	MisfireAll  Misfire = "all"  // each fires
)

// Schedule fires at times: of Cron, or at the multiples of Every from the
// rule's first load.
type Schedule struct {
	Cron    triggers.Schedule // nil: Every
	Every   time.Duration
	Misfire Misfire
	Jitter  time.Duration
}

// From is the schedule of a rule that was first loaded at that time.
func (s *Schedule) From(loaded time.Time) triggers.Schedule {
	if s.Cron != nil {
		return s.Cron
	}
	return triggers.Every{Interval: s.Every, Anchor: loaded}
}

// Webhook fires for each delivery to /hooks/NAME.
type Webhook struct {
	Name    string
	Secret  string             // of the signature: a text or ${{ secrets.NAME }}; "": a token is wanted
	Methods []string           // upper case
	Schema  *jsonschema.Schema // of the body; nil: any body
}

// Manual declares the inputs of a run by hand.
type Manual struct{ Inputs *shape.Shape }

// Condition is one entry of a rule's conditions.
type Condition struct {
	Expr *expression.Program
	Time *TimeWindow
	Any  []*Condition
	All  []*Condition
	None []*Condition
}
