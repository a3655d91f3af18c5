package httpapi

import (
	"context"
	"net/http"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"github.com/flightrules/flightrules/engine/journal"
	"github.com/flightrules/flightrules/plugins"
)

// Overview is what there is, in numbers.
type Overview struct {
	Version string      `json:"version" doc:"Of the engine."`
	Now     time.Time   `json:"now" doc:"By the engine's clock."`
	Kinds   []KindCount `json:"kinds" nullable:"false"`
	Rules   RuleCount   `json:"rules"`
	Runs    RunCount    `json:"runs"`
	Ready   Readiness   `json:"ready"`
}

// KindCount counts the entities of a kind.
type KindCount struct {
	Name     string           `json:"name"`
	Count    int64            `json:"count"`
	Statuses map[string]int64 `json:"statuses" doc:"By the recorded value of the field status; an empty name counts those that have none."`
}

// RuleCount counts the rules in force.
type RuleCount struct {
	Count    int `json:"count"`
	Enabled  int `json:"enabled"`
	Paused   int `json:"paused" doc:"Tripped ones included."`
	Problems int `json:"problems" doc:"For which the files, as they are now, were refused."`
}

// RunCount counts the runs that are not over, and those that were given up.
type RunCount struct {
	Queued  int64 `json:"queued"`
	Running int64 `json:"running"`
	Waiting int64 `json:"waiting"`
	Dead    int64 `json:"dead" doc:"They failed for good, and somebody should look at them."`
}

// Identity is who the caller is to the engine.
type Identity struct {
	Name string       `json:"name"`
	Role plugins.Role `json:"role"`
}

func (s *Server) overviewOperations() {
	huma.Register(s.api, operation("get-overview", http.MethodGet, "/api/v1/overview", plugins.Viewer, "What there is, in numbers"), s.overview)
	huma.Register(s.api, operation("get-me", http.MethodGet, "/api/v1/me", plugins.Viewer, "Who the caller is"),
		func(ctx context.Context, _ *struct{}) (*reply[Identity], error) {
			caller, _ := ctx.Value(callerKey{}).(Caller)
			return &reply[Identity]{Identity{Name: caller.Name, Role: caller.Role}}, nil
		})
}

func (s *Server) overview(ctx context.Context, _ *struct{}) (*reply[Overview], error) {
	out := Overview{Version: s.Version, Now: s.Now(), Kinds: []KindCount{}}
	counts, err := s.Entities.Statuses(ctx, s.DB.Read())
	if err != nil {
		return nil, err
	}
	for _, k := range s.Entities.Kinds() {
		one := KindCount{Name: k.Name, Statuses: map[string]int64{}}
		for status, n := range counts[k.Name] {
			one.Statuses[status], one.Count = n, one.Count+n
		}
		out.Kinds = append(out.Kinds, one)
	}
	if out.Rules, err = s.countRules(ctx); err != nil {
		return nil, err
	}
	for status, n := range map[journal.RunStatus]*int64{
		journal.RunQueued: &out.Runs.Queued, journal.RunRunning: &out.Runs.Running, journal.RunWaiting: &out.Runs.Waiting,
	} {
		if *n, err = journal.CountRuns(ctx, s.DB.Read(), status); err != nil {
			return nil, err
		}
	}
	if out.Runs.Dead, err = journal.DeadRuns(ctx, s.DB.Read()); err != nil {
		return nil, err
	}
	out.Ready = s.readiness(ctx)
	return &reply[Overview]{out}, nil
}

func (s *Server) countRules(ctx context.Context) (RuleCount, error) {
	states, err := journal.RuleStates(ctx, s.DB.Read(), false)
	if err != nil {
		return RuleCount{}, err
	}
	var n RuleCount
	for _, r := range s.Rules().Rules {
		n.Count++
		if r.Enabled {
			n.Enabled++
		}
		if states[r.ID].Paused() {
			n.Paused++
		}
	}
	if s.LoadProblems != nil {
		n.Problems = len(s.LoadProblems())
	}
	return n, nil
}
