package httpapi

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net/http"

	"github.com/danielgtaylor/huma/v2"

	"github.com/flightrules/flightrules/engine"
	"github.com/flightrules/flightrules/engine/journal"
	"github.com/flightrules/flightrules/plugins"
)

type pauseRule struct {
	ID string `path:"id" maxLength:"200"`

	Body *struct {
		Reason string `json:"reason,omitempty" maxLength:"1000" pattern:"^[^\\x00-\\x1f]*$" doc:"Shown with each match that is dropped."`
	}
}

type runRule struct {
	ID string `path:"id" maxLength:"200"`

	Body *struct {
		Inputs json.RawMessage `json:"inputs,omitempty" doc:"An object: the inputs that the rule declares."`
	}
}

// ruleWrites registers what is done to rules. Their texts are in files alone.
func (s *Server) ruleWrites() {
	huma.Register(s.api, operation("pause-rule", http.MethodPost, "/api/v1/rules/{id}/pause", plugins.Operator, "Drop the matches of a rule, with a record, until it is resumed"),
		func(ctx context.Context, in *pauseRule) (*reply[Rule], error) {
			reason := ""
			if in.Body != nil {
				reason = in.Body.Reason
			}
			return s.ruleAfter(s.Pause(ctx, in.ID, reason))
		})
	huma.Register(s.api, operation("resume-rule", http.MethodPost, "/api/v1/rules/{id}/resume", plugins.Operator, "End the pause of a rule, also of one that was tripped"),
		func(ctx context.Context, in *rulePath) (*reply[Rule], error) {
			return s.ruleAfter(s.Resume(ctx, in.ID))
		})
	op := operation("run-rule", http.MethodPost, "/api/v1/rules/{id}/run", plugins.Operator, "Run a rule, whatever its triggers and conditions; its mode counts")
	op.DefaultStatus = http.StatusAccepted
	huma.Register(s.api, op, func(ctx context.Context, in *runRule) (*reply[event], error) {
		var inputs map[string]any
		if in.Body != nil && in.Body.Inputs != nil {
			decoder := json.NewDecoder(bytes.NewReader(in.Body.Inputs))
			decoder.UseNumber()
			if err := decoder.Decode(&inputs); err != nil {
				return nil, newProblem(http.StatusUnprocessableEntity, "invalid_inputs", "validation failed",
					Detail{Location: "body.inputs", Message: "inputs are an object"})
			}
		}
		e, err := s.RunByHand(ctx, in.ID, inputs)
		if err != nil {
			return nil, err
		}
		return &reply[event]{showEvent(e)}, nil
	})
}

// ruleAfter is a rule as a change of its state has left it.
func (s *Server) ruleAfter(state journal.RuleState, err error) (*reply[Rule], error) {
	if err != nil {
		return nil, err
	}
	r := s.Rules().Rule(state.Rule)
	if r == nil { // it has left the files in the meantime
		return nil, fmt.Errorf("%w: %s", engine.ErrNoRule, state.Rule)
	}
	return &reply[Rule]{showRule(r, state)}, nil
}
