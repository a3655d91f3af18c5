package httpapi

import (
	"context"
	"net/http"
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
	Dead       bool              `json:"dead" doc:"It failed every attempt that its rule allows, or was broken off too often: somebody should look at it."`
	Recoveries int               `json:"recoveries" doc:"How often it was broken off, by a crash say, since it last got any further."`
	CreatedAt  time.Time         `json:"created_at"`
	StartedAt  *time.Time        `json:"started_at"`
	FinishedAt *time.Time        `json:"finished_at"`
	CancelAt   *time.Time        `json:"cancel_requested_at" doc:"When somebody asked it to end, while it was being executed."`
	Error      *string           `json:"error"`
}

func showRun(r journal.Run) Run {
	return Run{
		ID: r.ID, Rule: r.Rule, Version: r.Version, Status: r.Status, Key: r.Key, EventID: r.EventID, Attempt: r.Attempt,
		Dead: r.Dead, Recoveries: r.Recoveries,
		CreatedAt: r.CreatedAt.Time, StartedAt: r.StartedAt.Ptr(), FinishedAt: r.FinishedAt.Ptr(), CancelAt: r.CancelAt.Ptr(), Error: absent(r.Error),
	}
}

type listRuns struct {
	Paging
	Rule   string            `query:"rule" maxLength:"200"`
	Status journal.RunStatus `query:"status" enum:"queued,running,waiting,succeeded,failed,cancelled"`
	Event  string            `query:"event" maxLength:"200" doc:"The event's id."`
	Dead   bool              `query:"dead" doc:"Only those that failed for good."`
}

type runPath struct {
	ID string `path:"id" maxLength:"200"`
}

type getRun struct {
	ID   string `path:"id" maxLength:"200"`
	Full bool   `query:"full" doc:"Show inputs and outputs whole, however large they are."`
}

func (s *Server) runOperations() {
	huma.Register(s.api, operation("list-runs", http.MethodGet, "/api/v1/runs", plugins.Viewer, "What is and was done, newest first"),
		func(ctx context.Context, in *listRuns) (*reply[page[Run]], error) {
			list, err := journal.Runs(ctx, s.DB.Read(), journal.Filter{
				Rule: in.Rule, Status: in.Status, Event: in.Event, Dead: in.Dead, Last: in.After, Limit: in.ask(),
			})
			if err != nil {
				return nil, err
			}
			return &reply[page[Run]]{pageOf(in.Paging, list, showRun, func(r journal.Run) string { return r.ID })}, nil
		})
	huma.Register(s.api, operation("get-run", http.MethodGet, "/api/v1/runs/{id}", plugins.Viewer, "One run with its steps"),
		func(ctx context.Context, in *getRun) (*reply[trace], error) {
			r, err := journal.RunByID(ctx, s.DB.Read(), in.ID)
			if err != nil {
				return nil, err
			}
			steps, err := journal.Steps(ctx, s.DB.Read(), in.ID)
			if err != nil {
				return nil, err
			}
			return &reply[trace]{trace{showRun(r), showSteps(steps, in.Full)}}, nil
		})
}
