// Package rules turns YAML into rules that can run: it parses with positions,
// checks everything and reports every problem at once, compiles expressions
// against what their place can see, and indexes the rules so that an event
// costs what its matches cost and not what the rule set costs.
//
// A Rule and a Set never change once they are made; they may be shared.
package rules

import (
	"time"

	"github.com/flightrules/flightrules/engine/action"
	"github.com/flightrules/flightrules/internal/expression"
	"github.com/flightrules/flightrules/triggers"
)

// Mode says what happens to a match while a run of the same key is active.
type Mode string

// Single drops the match; the decision names the run that blocked it.
const Single Mode = "single"

// Rule is one rule, compiled.
type Rule struct {
	ID          string
	Name        string
	Description string
	Tags        []string
	Enabled     bool
	Mode        Mode
	Variables   *expression.Tree // nil: none
	Triggers    []Trigger
	Conditions  []*expression.Program
	Actions     []*Step

	Version string // names exactly this rule: from the hash of Text
	Text    string // the rule in a normal form that Compile takes
	Source  string // the rule as it is written in its file
	File    string
	Line    int
}

// Trigger is one of a rule's triggers.
type Trigger struct {
	triggers.Trigger

	ID      string
	Where   *expression.Program // nil: always
	Enabled bool
}

// Step is one step of a rule's actions.
type Step struct {
	Path            string // "actions[0]"; names the step in journals and traces
	ID              string // "" unless given
	Name            string
	Action          string // the key of the step: "log", "http", ...
	If              *expression.Program
	Timeout         time.Duration // zero: none
	ContinueOnError bool
	Enabled         bool
	Do              Do
}

// Do is what a step does: one of Log, SetVars, Wait, Choose, Update, Emit, Act.
type Do interface{ step() }

// Log writes a line to the trace and to the engine's log.
type Log struct {
	Text  *expression.Template
	Level string // debug, info, warn or error
}

// SetVars sets variables of the run.
type SetVars struct{ Values *expression.Tree }

// Wait suspends the run for a time, or until one.
type Wait struct {
	For   *expression.Template // a duration; nil: Until is given
	Until *expression.Template // a time
}

// Choose runs the first branch that is true, or else Else.
type Choose struct {
	Branches []Branch
	Else     []*Step
}

// Branch is one branch of a Choose.
type Branch struct {
	When *expression.Program
	Do   []*Step
}

// Update writes an entity whose state the engine keeps.
type Update struct {
	Kind string
	ID   *expression.Template
	Set  *expression.Tree
}

// Emit makes an event.
type Emit struct {
	Event   string
	Payload *expression.Tree // nil: none
}

// Act runs a registered action.
type Act struct {
	Action action.Action
	Config *expression.Tree
}

func (Log) step()     {}
func (SetVars) step() {}
func (Wait) step()    {}
func (Choose) step()  {}
func (Update) step()  {}
func (Emit) step()    {}
func (Act) step()     {}
