package httpapi

import (
	"context"
	"errors"
	"net/http"
	"strings"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"github.com/flightrules/flightrules/engine"
	"github.com/flightrules/flightrules/internal/yamlx"
	"github.com/flightrules/flightrules/plugins"
)

// replayLimit bounds how long a replay may take that was asked for by HTTP:
// longer ones are for the command line. There is one at a time.
const replayLimit = time.Minute

// ReplaySpec is a replay that somebody asks for.
type ReplaySpec struct {
	Files        map[string]string // texts by name; none: the rules in force
	Rules        []string          // ids; none: all
	Since, Until time.Time         // zero: from the beginning, to the end
	Whole        bool              // also before the rules were first loaded
	Picture      bool              // an SVG is wanted, and not JSON
}

type postReplay struct {
	Accept string `header:"Accept" doc:"image/svg+xml gives the picture."`
	Format string `query:"format" enum:"json,svg" doc:"Instead of Accept."`
	Body   struct {
		Files map[string]string `json:"files,omitempty" maxProperties:"1000" doc:"Texts of files of rules by their names; none: the rules in force."`
		Rules []string          `json:"rules,omitempty" maxItems:"10000" doc:"Ids of the rules that are replayed; none: all."`
		Since *time.Time        `json:"since,omitempty" doc:"From when on is reported."`
		Until *time.Time        `json:"until,omitempty" doc:"Up to when is reported."`
		Whole bool              `json:"whole,omitempty" doc:"Have rules in force also before they were first loaded."`
	}
}

type replayed struct {
	ContentType string `header:"Content-Type"`
	Body        []byte
}

func (s *Server) replayOperations() {
	if s.Replay == nil {
		return
	}
	busy := make(chan struct{}, 1)
	op := unhurried(operation("replay", http.MethodPost, "/api/v1/replay", plugins.Operator, "What rules would have done over the recorded log, beside what happened; nothing is sent"))
	huma.Register(s.api, op, func(ctx context.Context, in *postReplay) (*replayed, error) {
		select {
		case busy <- struct{}{}:
			defer func() { <-busy }()
		default:
			return nil, newProblem(http.StatusTooManyRequests, "", "another replay is under way: try again when it has ended")
		}
		spec := ReplaySpec{Files: in.Body.Files, Rules: in.Body.Rules, Whole: in.Body.Whole}
		spec.Picture = in.Format == "svg" || in.Format == "" && strings.Contains(in.Accept, "image/svg+xml")
		if in.Body.Since != nil {
			spec.Since = *in.Body.Since
		}
		if in.Body.Until != nil {
			spec.Until = *in.Body.Until
		}
		limited, cancel := context.WithTimeout(ctx, replayLimit)
		defer cancel()
		body, err := s.Replay(limited, spec)
		if err != nil {
			return nil, replayProblem(limited, err)
		}
		answer := &replayed{ContentType: "application/json", Body: body}
		if spec.Picture {
			answer.ContentType = "image/svg+xml"
		}
		return answer, nil
	})
}

// replayProblem is what is wrong with a replay that failed.
func replayProblem(ctx context.Context, err error) error {
	if problems, ok := errors.AsType[*yamlx.Error](err); ok {
		var details []Detail
		for _, p := range problems.Problems {
			details = append(details, Detail{Location: "body.files", Message: p.String()})
		}
		return newProblem(http.StatusUnprocessableEntity, "invalid_rules", "the rules have problems", details...)
	}
	switch {
	case errors.Is(err, engine.ErrNoRule):
		return newProblem(http.StatusUnprocessableEntity, "unknown_rule", err.Error())
	case errors.Is(ctx.Err(), context.DeadlineExceeded), errors.Is(err, context.DeadlineExceeded):
		return newProblem(http.StatusGatewayTimeout, "", "the replay takes longer than a minute: use flightrules replay, or give fewer rules")
	}
	return unexpected(ctx, http.StatusInternalServerError, err)
}
