package httpapi

import (
	"context"
	"net/http"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"github.com/flightrules/flightrules/plugins"
)

// checkTimeout bounds one check of readiness.
const checkTimeout = 5 * time.Second

type alive struct {
	Status string `json:"status" enum:"ok"`
}

// Readiness says whether the engine can do its work.
type Readiness struct {
	Status string       `json:"status" enum:"ok,failing"`
	Checks []ReadyCheck `json:"checks" nullable:"false"`
}

// ReadyCheck is one thing that was looked at.
type ReadyCheck struct {
	Name  string  `json:"name"`
	OK    bool    `json:"ok"`
	Error *string `json:"error"`
}

type readyReply struct {
	Status int
	Body   Readiness
}

func (s *Server) healthOperations() {
	huma.Register(s.api, operation("is-alive", http.MethodGet, "/healthz", anyone, "Whether the process answers"),
		func(context.Context, *struct{}) (*reply[alive], error) {
			return &reply[alive]{alive{Status: "ok"}}, nil
		})
	op := operation("is-ready", http.MethodGet, "/readyz", plugins.Viewer, "Whether the engine can do its work; 503 when not")
	huma.Register(s.api, op, s.ready)
}

func (s *Server) ready(ctx context.Context, _ *struct{}) (*readyReply, error) {
	out := &readyReply{Status: http.StatusOK, Body: s.readiness(ctx)}
	if out.Body.Status != "ok" {
		out.Status = http.StatusServiceUnavailable
	}
	return out, nil
}

func (s *Server) readiness(ctx context.Context) Readiness {
	out := Readiness{Status: "ok", Checks: []ReadyCheck{}}
	for _, check := range s.Ready {
		r := ReadyCheck{Name: check.Name, OK: true}
		if err := run(ctx, check); err != nil {
			r.OK, r.Error, out.Status = false, absent(err.Error()), "failing"
		}
		out.Checks = append(out.Checks, r)
	}
	return out
}

func run(ctx context.Context, check Check) error {
	ctx, cancel := context.WithTimeout(ctx, checkTimeout)
	defer cancel()
	return check.Run(ctx)
}
