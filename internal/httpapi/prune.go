package httpapi

import (
	"context"
	"errors"
	"net/http"

	"github.com/danielgtaylor/huma/v2"

	"github.com/flightrules/flightrules/engine/retention"
	"github.com/flightrules/flightrules/plugins"
)

// pruneBatches bounds what one request removes, so that it is answered in
// seconds: 100 batches.
const pruneBatches = 100

type postPrune struct {
	Body struct {
		DryRun bool   `json:"dry_run,omitempty" doc:"Remove nothing, and say about how much would go."`
		After  string `json:"after,omitempty" maxLength:"2000" doc:"What the answer before this one gave as next."`
	}
}

type pruned struct {
	DryRun bool           `json:"dry_run"`
	Rows   map[string]int `json:"rows" nullable:"false" doc:"How many of each table are gone, or would be."`
	Next   *string        `json:"next" doc:"Pass it as after to go on; null at the end."`
}

func (s *Server) pruneOperations() {
	huma.Register(s.api, operation("prune", http.MethodPost, "/api/v1/prune", plugins.Admin, "Remove history that is older than what is kept; a part at a time"),
		func(ctx context.Context, in *postPrune) (*reply[pruned], error) {
			rows, next, err := s.Prune(ctx, in.Body.After, pruneBatches, in.Body.DryRun)
			if errors.Is(err, retention.ErrCursor) {
				return nil, newProblem(http.StatusUnprocessableEntity, "invalid_cursor", "validation failed",
					Detail{Location: "body.after", Message: "this is not what an answer gave as next"})
			}
			if err != nil {
				return nil, err
			}
			return &reply[pruned]{pruned{DryRun: in.Body.DryRun, Rows: rows, Next: absent(next)}}, nil
		})
}
