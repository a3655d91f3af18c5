package httpapi

import (
	"encoding/json"
	"strings"
	"time"

	"github.com/flightrules/flightrules/engine"
	"github.com/flightrules/flightrules/engine/journal"
	"github.com/flightrules/flightrules/internal/db"
)

// maxShown is how much of an input or an output is shown unasked, in bytes.
const maxShown = 64 << 10

// trace is a run with what each of its steps did.
type trace struct {
	Run
	Steps []step `json:"steps" nullable:"false" doc:"In the order in which they began; a step comes after the one that it stands below."`
}

type step struct {
	Path       string             `json:"path" example:"actions[0]"`
	ID         *string            `json:"id"`
	Action     string             `json:"action"`
	Status     journal.StepStatus `json:"status" enum:"running,waiting,succeeded,failed,skipped,cancelled"`
	Attempt    int                `json:"attempt"`
	Failures   int                `json:"failures" doc:"How many of its attempts have failed."`
	Iteration  []string           `json:"iteration" nullable:"false" doc:"Of the loops around it, outermost first; a block with retry adds its attempt, counted from 1."`
	Parent     *int               `json:"parent" doc:"The index in this list of the step that it stands below; null: it stands below none."`
	StartedAt  time.Time          `json:"started_at"`
	FinishedAt *time.Time         `json:"finished_at"`
	DueAt      *time.Time         `json:"due_at" doc:"Until when it waits, for its next attempt too; null: it does not wait, or until something comes."`
	Input      json.RawMessage    `json:"input"`
	Output     json.RawMessage    `json:"output"`
	Truncated  bool               `json:"truncated" doc:"Input or output are larger than 64 KiB and not shown whole: ask with full=true."`
	Error      *string            `json:"error"`
}

// showSteps shows the steps of a run, large inputs and outputs cut unless all is
// wanted.
func showSteps(steps []journal.Step, full bool) []step {
	above := parents(steps)
	list := make([]step, len(steps))
	for i, s := range steps {
		list[i] = showStep(s, full)
		if above[i] >= 0 {
			list[i].Parent = &above[i]
		}
	}
	return list
}

func showStep(s journal.Step, full bool) step {
	out := step{
		Path: s.Path, ID: absent(s.StepID), Action: s.Action, Status: s.Status, Attempt: s.Attempt, Failures: s.Failures, Iteration: []string{},
		StartedAt: s.StartedAt.Time, FinishedAt: s.FinishedAt.Ptr(), Error: absent(s.Error),
	}
	if s.Iteration != "" {
		out.Iteration = strings.Split(s.Iteration, ".")
	}
	if s.Status == journal.StepWaiting {
		out.DueAt = s.DueAt.Ptr()
	}
	shown := func(text db.JSON) json.RawMessage {
		if full {
			return json.RawMessage(text)
		}
		part, cut := engine.Excerpt(text, maxShown)
		out.Truncated = out.Truncated || cut
		return json.RawMessage(part)
	}
	out.Input, out.Output = shown(s.Input), shown(s.Output)
	return out
}

// place names a step of a run.
type place struct{ path, iteration string }

// parents are the indexes of the steps that the steps stand below; -1 for those
// that stand below none. Path and iteration of a step begin with those of the
// one around it. All steps of one path are equally deep in loops and attempts,
// so no more than one step of a path has such an iteration.
func parents(steps []journal.Step) []int {
	at := make(map[place]int, len(steps))
	for i, s := range steps {
		at[place{s.Path, s.Iteration}] = i
	}
	list := make([]int, len(steps))
	for i, s := range steps {
		list[i] = parent(at, s)
	}
	return list
}

func parent(at map[place]int, s journal.Step) int {
	for path := before(s.Path); path != ""; path = before(path) { // what of "a.choose[0]" is no step is passed over
		for iteration := s.Iteration; ; iteration = before(iteration) {
			if i, ok := at[place{path, iteration}]; ok {
				return i
			}
			if iteration == "" {
				break
			}
		}
	}
	return -1
}

// before is a list that is joined by dots without its last part.
func before(list string) string { return list[:max(strings.LastIndexByte(list, '.'), 0)] }
