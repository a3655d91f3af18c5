package rules

import (
	"slices"
	"time"

	"github.com/flightrules/flightrules/engine/action"
	"github.com/flightrules/flightrules/internal/expression"
)

// Step is one step of a rule's actions.
type Step struct {
	Path            string // "actions[0]"; names the step in journals and traces
	ID              string // "" unless given
	Name            string
	Action          string // the key of the step: "log", "http", ...
	If              *expression.Program
	Timeout         time.Duration // of one attempt; zero: none
	Retry           action.Retry  // the zero value: it is tried once
	ContinueOnError bool
	Enabled         bool
	Do              Do
}

// Do is what a step does: one of Log, SetVars, Choose, Repeat, Fork, Wait,
// WaitFor, Stop, Update, Emit, RunRule, Hush, Unhush, Act.
type Do interface{ step() }

// Log writes a line to the trace and to the engine's log.
type Log struct {
	Text  *expression.Template
	Level string // debug, info, warn or error
}

// SetVars sets variables of the run.
type SetVars struct{ Values *expression.Tree }

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

// Repeat runs steps again and again. One of Times, ForEach, While and Until is
// set: While is asked before each time, Until after it.
type Repeat struct {
	Times   *expression.Template // gives a whole number
	ForEach *expression.Program  // gives a list
	While   *expression.Program
	Until   *expression.Program
	Do      []*Step
	Max     int // it fails when it is not done after so many times
}

// DefaultRepeatMax bounds a Repeat.
const DefaultRepeatMax = 1000

// Fork runs branches together.
type Fork struct{ Branches [][]*Step }

// Wait suspends the run for a time, or until one.
type Wait struct {
	For   *expression.Template // a duration; nil: Until is given
	Until *expression.Template // a time
}

// WaitFor suspends the run until an event has come, or a condition is true.
type WaitFor struct {
	Event     string               // its name, or all below one that ends in ".*"; "": Condition
	Where     *expression.Program  // of Event, over it; nil: always
	Condition *expression.Program  //
	Timeout   *expression.Template // gives a duration; nil: none
	Fail      bool                 // it fails when the time is over, instead of going on
}

// Stop ends the run.
type Stop struct {
	Reason  *expression.Template
	Failure bool
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

// RunRule runs another rule, as by hand.
type RunRule struct {
	Rule   string
	Inputs *expression.Tree // nil: none
}

// Hush makes a silence.
type Hush struct {
	Match  *expression.Template // gives the expression
	For    *expression.Template // gives a duration; nil: End is given
	End    *expression.Template // gives a time
	Reason *expression.Template // nil: the rule's name
	ID     *expression.Template // nil: one of its own
}

// Unhush ends a silence.
type Unhush struct{ ID *expression.Template }

// Act runs a registered action.
type Act struct {
	Action  action.Action
	Config  *expression.Tree
	Secrets []string // that Config uses, sorted
}

func (Log) step()     {}
func (SetVars) step() {}
func (Choose) step()  {}
func (Repeat) step()  {}
func (Fork) step()    {}
func (Wait) step()    {}
func (WaitFor) step() {}
func (Stop) step()    {}
func (Update) step()  {}
func (Emit) step()    {}
func (RunRule) step() {}
func (Hush) step()    {}
func (Unhush) step()  {}
func (Act) step()     {}

// Inside are the lists of steps that stand below a step; nil for most.
func (s *Step) Inside() [][]*Step {
	switch do := s.Do.(type) {
	case Choose:
		lists := make([][]*Step, 0, len(do.Branches)+1)
		for _, b := range do.Branches {
			lists = append(lists, b.Do)
		}
		return append(lists, do.Else)
	case Repeat:
		return [][]*Step{do.Do}
	case Fork:
		return do.Branches
	}
	return nil
}

// Each calls fn for each step of a rule, those that stand below others too,
// without those that are not enabled.
func (r *Rule) Each(fn func(*Step)) { each(r.Actions, fn) }

func each(steps []*Step, fn func(*Step)) {
	for _, s := range steps {
		if !s.Enabled {
			continue
		}
		fn(s)
		for _, list := range s.Inside() {
			each(list, fn)
		}
	}
}

// Awaits are the names of the events that some step waits for, sorted.
func (r *Rule) Awaits() []string {
	var names []string
	r.Each(func(s *Step) {
		if do, ok := s.Do.(WaitFor); ok && do.Event != "" {
			names = append(names, do.Event)
		}
	})
	slices.Sort(names)
	return slices.Compact(names)
}

// Secrets are the names of the secrets that some step uses, sorted.
func (r *Rule) Secrets() []string {
	var names []string
	r.Each(func(s *Step) {
		if do, ok := s.Do.(Act); ok {
			names = append(names, do.Secrets...)
		}
	})
	slices.Sort(names)
	return slices.Compact(names)
}
