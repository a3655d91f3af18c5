package web

import (
	"fmt"
	"html/template"
	"time"

	"github.com/flightrules/flightrules/internal/client"
)

// row is a step of a run, as it stands in the waterfall.
type row struct {
	client.Step

	Depth   int
	Picture template.HTML
	Open    bool // what it did is of interest: it failed
}

// waterfall puts the steps of a run under those that they stand below, with bars
// for their times.
func waterfall(r client.Run, now time.Time) []row {
	from, to := r.CreatedAt, now
	if r.FinishedAt != nil {
		to = *r.FinishedAt
	}
	for _, s := range r.Steps {
		if s.FinishedAt != nil && s.FinishedAt.After(to) {
			to = *s.FinishedAt
		}
	}
	if !to.After(from) {
		to = from.Add(time.Millisecond)
	}
	var rows []row
	client.WalkSteps(r.Steps, func(s client.Step, _ *client.Step, depth int) {
		end := to
		if s.FinishedAt != nil {
			end = *s.FinishedAt
		}
		title := fmt.Sprintf("%s %s: %s, from %s for %s", s.Path, s.Action, s.Status, s.StartedAt.UTC().Format("15:04:05.000"), rough(end.Sub(s.StartedAt)))
		rows = append(rows, row{Step: s, Depth: depth, Open: s.Status == "failed", Picture: strip(title, []bar{{
			from: share(from, to, s.StartedAt), to: share(from, to, end), class: string(toneOf(s.Status)), title: title,
		}})})
	})
	return rows
}
