package httpapi

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"github.com/flightrules/flightrules/engine"
	"github.com/flightrules/flightrules/engine/journal"
	"github.com/flightrules/flightrules/internal/yamlx"
	"github.com/flightrules/flightrules/plugins"
)

// DryRun asks what a rule would make of an event, without any effect: of one
// that happened, of one that is made up or, with neither EventID nor Payload,
// of a run by hand.
type DryRun struct {
	Rule    string // its id
	Source  string // a text that stands for the rule's; "": the one in force
	Trigger string // the id of the only trigger that looks; "": all do
	Force   bool   // take a trigger to have fired, whatever it and the conditions say

	EventID string // of an event in the log

	Payload        any    // of an event that is made up, as encoding/json decodes it
	Name           string // of that event; "": the one that the trigger looks at
	Kind, EntityID string // the entity that it is about; "": none

	Inputs map[string]any // of a run by hand
}

// DryRunResult is what a rule would have done. Times are simulated.
type DryRunResult struct {
	Explanation engine.Explanation // with the decisions of the dry run
	Run         *journal.Run       // nil: none would have been started
	Steps       []journal.Step
	Vars        map[string]any // as the run left them
	Notes       []string       // what else there is to know, in sentences
}

// The errors of a dry run.
var (
	// ErrDryRun is a question that cannot be answered, and why.
	ErrDryRun = errors.New("no dry run")
	// ErrPayload is a payload that does not fit its event; it may wrap a
	// *shape.Mismatch.
	ErrPayload = errors.New("bad payload")
	// ErrDryRunBusy says that too many dry runs are under way.
	ErrDryRunBusy = errors.New("too many dry runs are under way")
)

type dryRunRule struct {
	ID string `path:"id" maxLength:"200"`

	Body *struct {
		EventID string          `json:"event_id,omitempty" maxLength:"200" doc:"An event that happened: states are read as of then."`
		Payload json.RawMessage `json:"payload,omitempty" doc:"Of an event that is made up, and happens now."`
		Name    string          `json:"name,omitempty" maxLength:"200" doc:"The name of the event that is made up, if not the one that the rule's trigger looks at."`
		Entity  *entityRef      `json:"entity,omitempty" doc:"The entity that the event which is made up is about."`
		Inputs  json.RawMessage `json:"inputs,omitempty" doc:"An object: what a run by hand is given. It is one where there is neither an event nor a payload."`
		Trigger string          `json:"trigger,omitempty" maxLength:"200" doc:"The only trigger that looks at the event; all do where there is none."`
		Force   bool            `json:"force,omitempty" doc:"Take the trigger to have fired, and conditions to be true."`
		Source  string          `json:"source,omitempty" doc:"The YAML of one rule with that id, to try in the place of the one in force."`
	}
}

// dryRunTrace is what would have been decided and done.
type dryRunTrace struct {
	Rule      string       `json:"rule"`
	Version   string       `json:"version" doc:"Of the rule that was tried."`
	Event     event        `json:"event"`
	Triggers  []considered `json:"triggers" nullable:"false" doc:"What each trigger that looks makes of the event."`
	Decisions []decision   `json:"decisions" nullable:"false" doc:"What would have been decided, oldest first."`
	Run       *dryRun      `json:"run" doc:"The run that would have been started; null: none. Its times are simulated."`
	Actions   []effect     `json:"actions" nullable:"false" doc:"What would have had an effect, in order. Nothing was sent or changed."`
	Notes     []string     `json:"notes" nullable:"false" doc:"What else there is to know about this answer."`
}

type dryRun struct {
	Run
	Steps []step         `json:"steps" nullable:"false"`
	Vars  map[string]any `json:"vars" doc:"The variables as the run left them."`
}

// effect is an action that was rendered and not done.
type effect struct {
	Step   string          `json:"step" example:"actions[0]"`
	Action string          `json:"action" example:"http"`
	Config json.RawMessage `json:"config" doc:"What it would have been told; secrets are masked."`
	At     time.Time       `json:"at"`
	Sent   bool            `json:"sent" doc:"Always false."`
}

func (s *Server) dryRunOperations() {
	if s.DryRun == nil {
		return
	}
	// It changes nothing, and still is not for viewers: whoever calls it has
	// expressions of their own evaluated, which takes time.
	huma.Register(s.api, operation("dry-run-rule", http.MethodPost, "/api/v1/rules/{id}/dry-run", plugins.Operator, "What a rule would decide and do about an event, without doing it"),
		func(ctx context.Context, in *dryRunRule) (*reply[dryRunTrace], error) {
			ask, err := in.ask()
			if err != nil {
				return nil, err
			}
			result, err := s.DryRun(ctx, ask)
			if problems, ok := errors.AsType[*yamlx.Error](err); ok {
				return nil, newProblem(http.StatusUnprocessableEntity, "invalid_rule", "the rule has problems", problemDetails(problems)...)
			}
			if err != nil {
				return nil, err
			}
			return &reply[dryRunTrace]{s.showDryRun(result)}, nil
		})
}

// ask is the question of a request.
func (in *dryRunRule) ask() (DryRun, error) {
	ask := DryRun{Rule: in.ID}
	if in.Body == nil {
		return ask, nil
	}
	ask.EventID, ask.Name, ask.Trigger = in.Body.EventID, in.Body.Name, in.Body.Trigger
	ask.Force, ask.Source = in.Body.Force, in.Body.Source
	if e := in.Body.Entity; e != nil {
		ask.Kind, ask.EntityID = e.Kind, e.ID
	}
	if in.Body.Inputs != nil && decode(in.Body.Inputs, &ask.Inputs) != nil {
		return ask, newProblem(http.StatusUnprocessableEntity, "invalid_inputs", "validation failed", Detail{Location: "body.inputs", Message: "inputs are an object"})
	}
	if in.Body.Payload != nil {
		if err := decode(in.Body.Payload, &ask.Payload); err != nil {
			return ask, err
		}
	}
	given := 0
	for _, yes := range []bool{ask.EventID != "", ask.Payload != nil, ask.Inputs != nil} {
		if yes {
			given++
		}
	}
	switch {
	case given > 1:
		return ask, newProblem(http.StatusUnprocessableEntity, "invalid_dry_run", "one of event_id, payload and inputs can be given")
	case ask.Payload == nil && (ask.Name != "" || ask.Kind != ""):
		return ask, newProblem(http.StatusUnprocessableEntity, "invalid_dry_run", "name and entity go with payload")
	}
	return ask, nil
}

// decode reads JSON with its numbers as they were sent.
func decode(text json.RawMessage, v any) error {
	decoder := json.NewDecoder(bytes.NewReader(text))
	decoder.UseNumber()
	return decoder.Decode(v)
}

// problemDetails are the problems of a rule that was sent.
func problemDetails(err *yamlx.Error) (list []Detail) {
	for _, p := range err.Problems {
		message := fmt.Sprintf("line %d, column %d: %s", p.Line, p.Column, p.Message)
		if p.Hint != "" {
			message += " (" + p.Hint + ")"
		}
		list = append(list, Detail{Location: "body.source", Message: message})
	}
	return list
}

func (s *Server) showDryRun(r *DryRunResult) dryRunTrace {
	e := showExplanation(&r.Explanation)
	out := dryRunTrace{
		Rule: e.Rule, Version: e.Version, Event: e.Event, Triggers: e.Triggers, Decisions: e.Decisions,
		Actions: []effect{}, Notes: append([]string{}, r.Notes...),
	}
	if r.Run == nil {
		return out
	}
	out.Run = &dryRun{showRun(*r.Run), showSteps(r.Steps, false), r.Vars}
	for i, step := range out.Run.Steps {
		if r.Steps[i].Status == journal.StepSucceeded && s.acts(step.Action) {
			out.Actions = append(out.Actions, effect{Step: step.Path, Action: step.Action, Config: step.Input, At: step.StartedAt})
		}
	}
	return out
}

// acts says whether a step of that name has an effect on anything but its run.
func (s *Server) acts(name string) bool {
	_, ok := s.Actions.Lookup(name)
	return ok || slices.Contains([]string{"emit", "update", "run", "silence", "unsilence"}, name)
}
