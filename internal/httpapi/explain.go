package httpapi

import (
	"context"
	"errors"
	"net/http"

	"github.com/danielgtaylor/huma/v2"

	"github.com/flightrules/flightrules/engine"
	"github.com/flightrules/flightrules/internal/expression"
	"github.com/flightrules/flightrules/plugins"
)

// explanation says what a rule made of an event, and why.
type explanation struct {
	Rule      string       `json:"rule"`
	Version   string       `json:"version" doc:"Of the rule as it is now, by which this was worked out."`
	Event     event        `json:"event"`
	Triggers  []considered `json:"triggers" nullable:"false"`
	Decisions []decision   `json:"decisions" nullable:"false" doc:"What was recorded, oldest first."`
}

type considered struct {
	ID         string      `json:"id"`
	Summary    string      `json:"summary"`
	Matched    bool        `json:"matched" doc:"The event is what the trigger waits for, and its where did not say no."`
	Gate       string      `json:"gate" enum:"event,trigger,where,conditions," doc:"What said no: the name of the event, the trigger itself, its where, or the rule's conditions."`
	Detail     string      `json:"detail"`
	Where      *evaluated  `json:"where"`
	Conditions []evaluated `json:"conditions" nullable:"false"`
}

type evaluated struct {
	Text  string    `json:"text"`
	Value any       `json:"value"`
	Error string    `json:"error,omitempty"`
	Parts []operand `json:"parts" nullable:"false" doc:"What the parts of the expression came to, as of the time of the event."`
}

type operand struct {
	Text  string `json:"text"`
	Value any    `json:"value"`
	Error string `json:"error,omitempty"`
}

type explainRule struct {
	ID    string `path:"id" maxLength:"200"`
	Event string `query:"event" required:"true" maxLength:"200" doc:"The event's id."`
}

func (s *Server) explainOperations() {
	huma.Register(s.api, operation("explain-rule", http.MethodGet, "/api/v1/rules/{id}/explain", plugins.Viewer, "Why a rule did or did not fire for an event"),
		func(ctx context.Context, in *explainRule) (*reply[explanation], error) {
			e, err := s.Explain(ctx, in.ID, in.Event)
			if errors.Is(err, engine.ErrNoRule) {
				return nil, newProblem(http.StatusNotFound, "", "no rule in force has the id "+in.ID)
			}
			if err != nil {
				return nil, err
			}
			return &reply[explanation]{showExplanation(e)}, nil
		})
}

func showExplanation(e *engine.Explanation) explanation {
	out := explanation{Rule: e.Rule.ID, Version: e.Rule.Version, Event: showEvent(e.Event), Triggers: []considered{}, Decisions: []decision{}}
	for _, t := range e.Triggers {
		c := considered{
			ID: t.Trigger.ID, Summary: t.Trigger.Summary(), Matched: t.Matched, Gate: t.Gate, Detail: t.Detail, Conditions: []evaluated{},
		}
		if t.Where != nil {
			where := showEvaluated(*t.Where)
			c.Where = &where
		}
		for _, one := range t.Conditions {
			c.Conditions = append(c.Conditions, showEvaluated(one))
		}
		out.Triggers = append(out.Triggers, c)
	}
	for _, d := range e.Decisions {
		out.Decisions = append(out.Decisions, showDecision(d))
	}
	return out
}

func showEvaluated(v engine.Evaluated) evaluated {
	out := evaluated{Text: v.Text, Value: engine.Plain(v.Value), Error: message(v.Err), Parts: []operand{}}
	for _, p := range v.Parts {
		out.Parts = append(out.Parts, showOperand(p))
	}
	return out
}

func showOperand(o expression.Operand) operand {
	return operand{Text: o.Text, Value: engine.Plain(o.Value), Error: message(o.Err)}
}

func message(err error) string {
	if err == nil {
		return ""
	}
	return err.Error()
}
