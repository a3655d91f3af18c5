package httpapi

import (
	"cmp"
	"context"
	"errors"
	"net/http"
	"slices"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"github.com/flightrules/flightrules/engine/journal"
	"github.com/flightrules/flightrules/internal/yamlx"
	"github.com/flightrules/flightrules/plugins"
	"github.com/flightrules/flightrules/rules"
)

// Rule is a rule in a list.
type Rule struct {
	ID          string     `json:"id"`
	Name        string     `json:"name"`
	Description string     `json:"description"`
	Tags        []string   `json:"tags" nullable:"false"`
	Enabled     bool       `json:"enabled"`
	Mode        rules.Mode `json:"mode"`
	Version     string     `json:"version" doc:"Names exactly this rule; another text has another version."`
	File        string     `json:"file"`
	Line        int        `json:"line"`
	Triggers    []trigger  `json:"triggers" nullable:"false"`
	Paused      *paused    `json:"paused" doc:"Why its matches are dropped; null: they are not."`
}

type paused struct {
	At      time.Time `json:"at"`
	By      string    `json:"by"`
	Reason  string    `json:"reason"`
	Tripped bool      `json:"tripped" doc:"The engine paused it, as it started too many runs. It cannot be run by hand either."`
}

func showPaused(s journal.RuleState) *paused {
	if !s.Paused() {
		return nil
	}
	return &paused{At: s.PausedAt.Time, By: s.PausedBy, Reason: s.Reason, Tripped: s.Tripped}
}

type trigger struct {
	ID      string `json:"id"`
	Enabled bool   `json:"enabled"`
	Event   string `json:"event" doc:"The name of the event that it looks at."`
	Summary string `json:"summary" example:"state satellite.status to offline for 5m"`
}

// ruleSource is a rule as it is written.
type ruleSource struct {
	Rule
	Source string `json:"source" doc:"The YAML."`
}

type ruleList struct {
	Items    []Rule          `json:"items" nullable:"false"`
	Next     *string         `json:"next"`
	Problems []yamlx.Problem `json:"problems,omitempty" doc:"Why the files, as they are now, were refused; the rules are those from before."`
}

type checked struct {
	OK       bool            `json:"ok"`
	Problems []yamlx.Problem `json:"problems" nullable:"false"`
}

type rulePath struct {
	ID string `path:"id" maxLength:"200"`
}

type validateRules struct {
	RawBody []byte `contentType:"application/yaml"`
}

func (s *Server) ruleOperations() {
	huma.Register(s.api, operation("list-rules", http.MethodGet, "/api/v1/rules", plugins.Viewer, "The rules in force, by id"), s.listRules)
	huma.Register(s.api, operation("get-rule", http.MethodGet, "/api/v1/rules/{id}", plugins.Viewer, "One rule with its YAML"),
		func(ctx context.Context, in *rulePath) (*reply[ruleSource], error) {
			r := s.Rules().Rule(in.ID)
			if r == nil {
				return nil, newProblem(http.StatusNotFound, "", "no rule in force has the id "+in.ID)
			}
			states, err := journal.RuleStates(ctx, s.DB.Read(), false)
			if err != nil {
				return nil, err
			}
			return &reply[ruleSource]{ruleSource{showRule(r, states[r.ID]), r.Source}}, nil
		})
	huma.Register(s.api, operation("validate-rules", http.MethodPost, "/api/v1/rules/validate", plugins.Viewer, "Check a file of rules by itself, without loading it"),
		func(_ context.Context, in *validateRules) (*reply[checked], error) {
			_, err := s.Compiler.Load(oneFile(in.RawBody), "")
			out := checked{OK: err == nil, Problems: []yamlx.Problem{}}
			if err != nil {
				problems, ok := errors.AsType[*yamlx.Error](err)
				if !ok {
					return nil, err
				}
				out.Problems = problems.Problems
			}
			return &reply[checked]{out}, nil
		})
}

func (s *Server) listRules(ctx context.Context, in *Paging) (*reply[ruleList], error) {
	list := slices.Clone(s.Rules().Rules)
	slices.SortFunc(list, func(a, b *rules.Rule) int { return cmp.Compare(a.ID, b.ID) })
	list = slices.DeleteFunc(list, func(r *rules.Rule) bool { return r.ID <= in.After })
	states, err := journal.RuleStates(ctx, s.DB.Read(), false)
	if err != nil {
		return nil, err
	}
	show := func(r *rules.Rule) Rule { return showRule(r, states[r.ID]) }
	part := pageOf(*in, list, show, func(r *rules.Rule) string { return r.ID })
	out := ruleList{Items: part.Items, Next: part.Next}
	if s.LoadProblems != nil {
		out.Problems = s.LoadProblems()
	}
	return &reply[ruleList]{out}, nil
}

func showRule(r *rules.Rule, state journal.RuleState) Rule {
	out := Rule{
		ID: r.ID, Name: r.Name, Description: r.Description, Tags: append([]string{}, r.Tags...), Enabled: r.Enabled, Mode: r.Mode,
		Version: r.Version, File: r.File, Line: r.Line, Triggers: []trigger{},
		Paused: showPaused(state),
	}
	for i := range r.Triggers {
		t := &r.Triggers[i]
		out.Triggers = append(out.Triggers, trigger{ID: t.ID, Enabled: t.Enabled, Event: t.EventName(), Summary: t.Summary()})
	}
	return out
}
