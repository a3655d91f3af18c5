package httpapi

import (
	"context"
	"net/http"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"github.com/flightrules/flightrules/engine/journal"
	"github.com/flightrules/flightrules/internal/db"
	"github.com/flightrules/flightrules/plugins"
)

// maxCounted bounds how many decisions are looked at to count them.
const maxCounted = 10_000

// Activity is what a rule did in some time.
type Activity struct {
	Rule     string                    `json:"rule"`
	Since    time.Time                 `json:"since"`
	Until    time.Time                 `json:"until"`
	Complete bool                      `json:"complete" doc:"false: there were more decisions than are counted, and the oldest are left out."`
	Outcomes map[journal.Outcome]int   `json:"outcomes" doc:"Decisions by their outcome."`
	Slices   []map[journal.Outcome]int `json:"slices" nullable:"false" doc:"The same, for equal parts of the time, oldest first."`
	LastRun  *Run                      `json:"last_run"`
	NextAt   *time.Time                `json:"next_at" doc:"When a schedule of the rule fires next."`
}

type getActivity struct {
	ID     string    `path:"id" maxLength:"200"`
	Since  time.Time `query:"since" doc:"A day ago, unless given."`
	Slices int       `query:"slices" minimum:"1" maximum:"500" default:"24" doc:"Into how many parts the time is divided."`
	Limit  int       `query:"limit" minimum:"1" maximum:"10000" default:"10000" doc:"How many decisions are counted, the newest."`
}

func (s *Server) activityOperations() {
	huma.Register(s.api, operation("get-rule-activity", http.MethodGet, "/api/v1/rules/{id}/activity", plugins.Viewer, "What a rule decided lately, counted; also one that is gone"), s.activity)
}

func (s *Server) activity(ctx context.Context, in *getActivity) (*reply[Activity], error) {
	until := s.Now()
	since := in.Since
	if since.IsZero() {
		since = until.Add(-24 * time.Hour)
	}
	if !since.Before(until) {
		return nil, newProblem(http.StatusUnprocessableEntity, "", "validation failed", Detail{Location: "query.since", Message: "it must be in the past"})
	}
	rows, err := journal.Outcomes(ctx, s.DB.Read(), in.ID, min(in.Limit, maxCounted)+1)
	if err != nil {
		return nil, err
	}
	out := Activity{Rule: in.ID, Since: since, Until: until, Complete: true, Outcomes: map[journal.Outcome]int{}, Slices: make([]map[journal.Outcome]int, in.Slices)}
	for i := range out.Slices {
		out.Slices[i] = map[journal.Outcome]int{}
	}
	width := until.Sub(since)/time.Duration(in.Slices) + 1
	for i, row := range rows {
		if row.At.Before(since) {
			continue // a match that waited long is decided as of when it came
		}
		if i == in.Limit {
			out.Complete = false
			break
		}
		slice := min(max(int(row.At.Sub(since)/width), 0), in.Slices-1)
		out.Outcomes[row.Outcome]++
		out.Slices[slice][row.Outcome]++
	}
	last, err := journal.Runs(ctx, s.DB.Read(), journal.Filter{Rule: in.ID, Limit: 1})
	if err != nil {
		return nil, err
	}
	if len(last) > 0 {
		run := showRun(last[0])
		out.LastRun = &run
	}
	next, err := s.NextTick(ctx, in.ID)
	if err != nil {
		return nil, err
	}
	out.NextAt = db.At(next).Ptr()
	return &reply[Activity]{out}, nil
}
