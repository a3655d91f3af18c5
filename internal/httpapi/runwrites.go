package httpapi

import (
	"context"
	"net/http"

	"github.com/danielgtaylor/huma/v2"

	"github.com/flightrules/flightrules/engine/journal"
	"github.com/flightrules/flightrules/entities"
	"github.com/flightrules/flightrules/plugins"
)

type cancelRun struct {
	ID string `path:"id" maxLength:"200"`

	Body *struct {
		Reason string `json:"reason,omitempty" maxLength:"1000" pattern:"^[^\\x00-\\x1f]*$" doc:"Shown as the run's error, with who it was."`
	}
}

// runWrites registers what people do to runs.
func (s *Server) runWrites() {
	huma.Register(s.api, operation("cancel-run", http.MethodPost, "/api/v1/runs/{id}/cancel", plugins.Operator, "End a run; one that is being executed is asked to, and is ended in any case after 30 s"),
		func(ctx context.Context, in *cancelRun) (*reply[Run], error) {
			why := "cancelled by " + entities.CauseOf(ctx).Actor
			if in.Body != nil && in.Body.Reason != "" {
				why += ": " + in.Body.Reason
			}
			return runAfter(s.CancelRun(ctx, in.ID, why))
		})
	huma.Register(s.api, operation("retry-run", http.MethodPost, "/api/v1/runs/{id}/retry", plugins.Operator, "Have a run that failed go on from the step that did; what has succeeded is not done again"),
		func(ctx context.Context, in *runPath) (*reply[Run], error) {
			return runAfter(s.RetryRun(ctx, in.ID))
		})
}

// runAfter is a run as a change has left it.
func runAfter(r journal.Run, err error) (*reply[Run], error) {
	if err != nil {
		return nil, err
	}
	return &reply[Run]{showRun(r)}, nil
}
