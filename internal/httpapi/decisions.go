package httpapi

import (
	"context"
	"net/http"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"github.com/flightrules/flightrules/engine/journal"
	"github.com/flightrules/flightrules/plugins"
)

type decision struct {
	Seq     int64           `json:"seq"`
	Rule    string          `json:"rule"`
	Version string          `json:"version" doc:"Of the rule."`
	Trigger string          `json:"trigger" doc:"The id of the rule's trigger that matched."`
	EventID string          `json:"event_id"`
	Key     string          `json:"key" doc:"What the rule's mode counts over."`
	Outcome journal.Outcome `json:"outcome"`
	Detail  string          `json:"detail"`
	RunID   *string         `json:"run_id" doc:"The run that was started, or the one that was in the way."`
	At      time.Time       `json:"at"`
}

func showDecision(d journal.Decision) decision {
	return decision{
		Seq: d.Seq, Rule: d.Rule, Version: d.Version, Trigger: d.Trigger, EventID: d.EventID, Key: d.Key,
		Outcome: d.Outcome, Detail: d.Detail, RunID: absent(d.RunID), At: d.At.Time,
	}
}

type listDecisions struct {
	Paging
	Rule    string          `query:"rule" maxLength:"200"`
	Event   string          `query:"event" maxLength:"200" doc:"The event's id."`
	Outcome journal.Outcome `query:"outcome" maxLength:"50" example:"started"`
}

type eventDecisions struct {
	Paging
	ID string `path:"id" maxLength:"200"`
}

type ruleDecisions struct {
	Paging
	ID      string          `path:"id" maxLength:"200"`
	Outcome journal.Outcome `query:"outcome" maxLength:"50" example:"started"`
}

func (s *Server) decisionOperations() {
	huma.Register(s.api, operation("list-decisions", http.MethodGet, "/api/v1/decisions", plugins.Viewer, "What became of every match, newest first"),
		func(ctx context.Context, in *listDecisions) (*reply[page[decision]], error) {
			return s.decisions(ctx, in.Paging, journal.Filter{Rule: in.Rule, Event: in.Event, Outcome: in.Outcome})
		})
	huma.Register(s.api, operation("list-event-decisions", http.MethodGet, "/api/v1/events/{id}/decisions", plugins.Viewer, "Which rules matched an event, and what was decided"),
		func(ctx context.Context, in *eventDecisions) (*reply[page[decision]], error) {
			if _, err := journal.EventByID(ctx, s.DB.Read(), in.ID); err != nil {
				return nil, err
			}
			return s.decisions(ctx, in.Paging, journal.Filter{Event: in.ID})
		})
	huma.Register(s.api, operation("list-rule-decisions", http.MethodGet, "/api/v1/rules/{id}/decisions", plugins.Viewer, "What a rule decided, also one that is gone"),
		func(ctx context.Context, in *ruleDecisions) (*reply[page[decision]], error) {
			return s.decisions(ctx, in.Paging, journal.Filter{Rule: in.ID, Outcome: in.Outcome})
		})
}

func (s *Server) decisions(ctx context.Context, p Paging, f journal.Filter) (*reply[page[decision]], error) {
	before, err := p.seq()
	if err != nil {
		return nil, err
	}
	f.Before, f.Limit = before, p.ask()
	list, err := journal.Decisions(ctx, s.DB.Read(), f)
	if err != nil {
		return nil, err
	}
	return &reply[page[decision]]{pageOf(p, list, showDecision, func(d journal.Decision) string { return number(d.Seq) })}, nil
}
