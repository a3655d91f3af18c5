package web

import (
	"fmt"
	"html/template"
	"time"
)

// row is a step of a run, as it stands in the waterfall.
type row struct {
	step

	Depth   int
	Picture template.HTML
	Open    bool // what it did is of interest: it failed
}

// waterfall puts the steps of a run under those that they stand below, with bars
// for their times.
func waterfall(r run, now time.Time) []row {
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
	below := map[int][]int{}
	for i, s := range r.Steps {
		parent := -1
		if s.Parent != nil {
			parent = *s.Parent
		}
		below[parent] = append(below[parent], i)
	}
	var rows []row
	var walk func(parent, depth int)
	walk = func(parent, depth int) {
		for _, i := range below[parent] {
			s := r.Steps[i]
			end := to
			if s.FinishedAt != nil {
				end = *s.FinishedAt
			}
			title := fmt.Sprintf("%s %s: %s, from %s for %s", s.Path, s.Action, s.Status, s.StartedAt.UTC().Format("15:04:05.000"), rough(end.Sub(s.StartedAt)))
			rows = append(rows, row{step: s, Depth: depth, Open: s.Status == "failed", Picture: strip(title, []bar{{
				from: share(from, to, s.StartedAt), to: share(from, to, end), class: string(toneOf(s.Status)), title: title,
			}})})
			walk(i, depth+1)
		}
	}
	walk(-1, 0)
	return rows
}
