package ruletest

import (
	"context"
	"fmt"
	"strings"

	"github.com/flightrules/flightrules/internal/duration"
	"github.com/flightrules/flightrules/internal/yamlx"
)

// Failure is something that is not as a test expects it.
type Failure struct {
	File string `json:"file"`
	Line int    `json:"line"`
	// Step is the name of the step, or its time.
	Step string `json:"step"`
	// What is looked at: "runs", "error" and so on.
	What string `json:"what"`
	// Lines say what is wrong; those that are indented, what there is.
	Lines []string `json:"lines"`
}

// String is the failure in some lines, the first with its place.
func (f Failure) String() string {
	head := fmt.Sprintf("%s:%d: %s, %s: ", f.File, f.Line, f.Step, f.What)
	return head + strings.Join(f.Lines, "\n  ")
}

func (s step) title() string {
	if s.name != "" {
		return s.name
	}
	return "at " + duration.Format(s.at)
}

func (s step) failure(at yamlx.Node, what string, lines ...string) Failure {
	f := Failure{Step: s.title(), What: what, Lines: lines}
	f.File, f.Line, _ = at.Place()
	return f
}

// look compares with what is expected at a step in which something has failed
// with that error; nil: nothing has. Snapshots are added to taken.
func (p *player) look(ctx context.Context, s step, failed error, taken map[string]snapshot) (list []Failure, err error) {
	if s.expect == nil || s.expect.failure == nil {
		if failed != nil {
			list = append(list, s.failure(s.node, s.verb, strings.TrimPrefix(failed.Error(), s.verb+": ")))
		}
	} else if failed == nil {
		list = append(list, s.failure(s.expect.node.At("error"), "error", "want "+brief(s.expect.failure)+", and it does not fail"))
	} else if wrong := differences("", s.expect.failure, failed.Error()); wrong != nil {
		list = append(list, s.failure(s.expect.node.At("error"), "error", fmt.Sprintf("want %s, got %s", brief(s.expect.failure), failed)))
	}
	if s.expect == nil {
		return list, nil
	}
	for _, part := range s.expect.parts {
		wrong, err := part.check(ctx, p)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", part.key, err)
		}
		if wrong != nil {
			list = append(list, s.failure(part.node, part.key, wrong...))
		}
	}
	if title := s.expect.snapshot; title != "" {
		text, err := p.snapshot(ctx)
		if err != nil {
			return nil, err
		}
		taken[title] = snapshot{step: s, text: text}
	}
	return list, nil
}
