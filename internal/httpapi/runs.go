package httpapi

import (
	"context"
	"encoding/json"
	"net/http"
	"strings"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"github.com/flightrules/flightrules/engine/journal"
	"github.com/flightrules/flightrules/plugins"
)

// Run is a run in a list.
type Run struct {
	ID         string            `json:"id"`
	Rule       string            `json:"rule"`
	Version    string            `json:"version" doc:"Of the rule."`
	Status     journal.RunStatus `json:"status" enum:"queued,running,waiting,succeeded,failed,cancelled"`
	Key        string            `json:"key" doc:"What the rule's mode counts over."`
	EventID    string            `json:"event_id"`
	Attempt    int               `json:"attempt"`
	CreatedAt  time.Time         `json:"created_at"`
	StartedAt  *time.Time        `json:"started_at"`
	FinishedAt *time.Time        `json:"finished_at"`
	Error      *string           `json:"error"`
}

// trace is a run with what each of its steps did.
type trace struct {
	Run
	Steps []step `json:"steps" nullable:"false"`
}

type step struct {
	Path       string             `json:"path" example:"actions[0]"`
	ID         *string            `json:"id"`
	Action     string             `json:"action"`
	Status     journal.StepStatus `json:"status" enum:"running,waiting,succeeded,failed,skipped,cancelled"`
	Attempt    int                `json:"attempt"`
	Iteration  []string           `json:"iteration" nullable:"false" doc:"Of the loops around it, outermost first."`
	StartedAt  time.Time          `json:"started_at"`
	FinishedAt *time.Time         `json:"finished_at"`
	Input      json.RawMessage    `json:"input"`
	Output     json.RawMessage    `json:"output"`
	Error      *string            `json:"error"`
}

func showRun(r journal.Run) Run {
	return Run{
		ID: r.ID, Rule: r.Rule, Version: r.Version, Status: r.Status, Key: r.Key, EventID: r.EventID, Attempt: r.Attempt,
		CreatedAt: r.CreatedAt.Time, StartedAt: r.StartedAt.Ptr(), FinishedAt: r.FinishedAt.Ptr(), Error: absent(r.Error),
	}
}

func showStep(s journal.Step) step {
	out := step{
		Path: s.Path, ID: absent(s.StepID), Action: s.Action, Status: s.Status, Attempt: s.Attempt, Iteration: []string{},
		StartedAt: s.StartedAt.Time, FinishedAt: s.FinishedAt.Ptr(),
		Input: json.RawMessage(s.Input), Output: json.RawMessage(s.Output), Error: absent(s.Error),
	}
	if s.Iteration != "" {
		out.Iteration = strings.Split(s.Iteration, ".")
	}
	return out
}

type listRuns struct {
	Paging
	Rule   string            `query:"rule" maxLength:"200"`
	Status journal.RunStatus `query:"status" enum:"queued,running,waiting,succeeded,failed,cancelled"`
	Event  string            `query:"event" maxLength:"200" doc:"The event's id."`
}

type runPath struct {
	ID string `path:"id" maxLength:"200"`
}

func (s *Server) runOperations() {
	huma.Register(s.api, operation("list-runs", http.MethodGet, "/api/v1/runs", plugins.Viewer, "What is and was done, newest first"),
		func(ctx context.Context, in *listRuns) (*reply[page[Run]], error) {
			list, err := journal.Runs(ctx, s.DB.Read(), journal.Filter{
				Rule: in.Rule, Status: in.Status, Event: in.Event, Last: in.After, Limit: in.ask(),
			})
			if err != nil {
				return nil, err
			}
			return &reply[page[Run]]{pageOf(in.Paging, list, showRun, func(r journal.Run) string { return r.ID })}, nil
		})
	huma.Register(s.api, operation("get-run", http.MethodGet, "/api/v1/runs/{id}", plugins.Viewer, "One run with its steps"),
		func(ctx context.Context, in *runPath) (*reply[trace], error) {
			r, err := journal.RunByID(ctx, s.DB.Read(), in.ID)
			if err != nil {
				return nil, err
			}
			steps, err := journal.Steps(ctx, s.DB.Read(), in.ID)
			if err != nil {
				return nil, err
			}
			return &reply[trace]{trace{showRun(r), whole(steps, showStep).Items}}, nil
		})
}
