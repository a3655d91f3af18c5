package main

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"time"

	"github.com/flightrules/flightrules/internal/client"
)

// signs are what a status looks like.
var signs = map[string]struct{ mark, colour string }{
	"queued":    {"·", grey},
	"running":   {"▸", blue},
	"waiting":   {"◦", yellow},
	"succeeded": {"✓", green},
	"failed":    {"✗", red},
	"skipped":   {"-", grey},
	"cancelled": {"■", yellow},
}

// followEvery is how often a run that is followed is looked at.
const followEvery = 500 * time.Millisecond

// tracer prints the trace of a run.
type tracer struct {
	*printer
	palette

	shown map[string]string // what was last printed of a step, by its path and iteration; "": of the run
}

// all prints the trace as it is.
func (t *tracer) all(run shownRun) error {
	t.head(run)
	t.line("%s", t.status(run))
	if len(run.Steps) > 0 {
		t.line("")
	}
	client.WalkSteps(run.Steps, func(s client.Step, above *client.Step, depth int) {
		t.line("%s", t.step(s, above, depth))
	})
	return t.err
}

// follow prints, when text is wanted, what is new in the trace until the run
// has ended; it gives the last answer. Who follows ends that with an interrupt.
func (t *tracer) follow(ctx context.Context, c *client.Client, path string, text bool) (answer json.RawMessage, err error) {
	for first := true; ; first = false {
		var run shownRun
		if err = c.Get(ctx, path, &answer); err == nil {
			err = json.Unmarshal(answer, &run)
		}
		switch {
		case ctx.Err() != nil:
			return nil, exit{0}
		case err != nil:
			return nil, err
		}
		if text && first {
			t.head(run)
		}
		if text {
			t.news(run)
		}
		if run.ended() || t.err != nil {
			return answer, t.err
		}
		select {
		case <-ctx.Done():
			return nil, exit{0}
		case <-time.After(followEvery):
		}
	}
}

// news prints what is not as it was printed last. A run that goes on and waits
// is told by its steps.
func (t *tracer) news(run shownRun) {
	say := func(key, version, text string) {
		if t.shown[key] != version {
			t.shown[key] = version
			t.line("%s", text)
		}
	}
	client.WalkSteps(run.Steps, func(s client.Step, above *client.Step, depth int) {
		text := t.step(s, above, depth)
		say(s.Path+"@"+strings.Join(s.Iteration, "."), text, text)
	})
	say("", fmt.Sprint(run.Attempt, run.Recoveries, run.CancelAt != nil, run.ended()), t.status(run))
}

func (t *tracer) head(run shownRun) {
	t.line("run %s of rule %s", run.ID, run.Rule)
	t.line("event %s, key %s", run.EventID, oneLine(run.Key, 100))
}

func (t *tracer) status(run shownRun) string {
	sign := signs[run.Status]
	text := t.paint(sign.colour, sign.mark+" "+run.state()) + "  " + clock(run.began())
	if run.ended() {
		text += "  took " + run.took()
	}
	if run.Attempt > 1 {
		text += fmt.Sprintf("  attempt %d", run.Attempt)
	}
	if run.Recoveries > 0 {
		text += fmt.Sprintf("  broken off %s", times(run.Recoveries))
	}
	if run.Error != "" {
		text += "\n  " + t.paint(red, "error") + "  " + oneLine(run.Error, 1000)
	}
	return text
}

func times(n int) string {
	if n == 1 {
		return "once"
	}
	return fmt.Sprintf("%d times", n)
}

// step is a step with what it was told and gave, below the one that it stands
// below.
func (t *tracer) step(s client.Step, above *client.Step, depth int) string {
	sign := signs[s.Status]
	text := nameOf(&s, above) + "  " + s.Status + "  " + clock(s.StartedAt)
	if s.FinishedAt != nil && s.Status != "skipped" {
		text += "  took " + took(s.StartedAt, s.FinishedAt)
	}
	if s.DueAt != nil {
		text += "  until " + clock(*s.DueAt)
	}
	if s.Attempt > 1 {
		text += fmt.Sprintf("  attempt %d", s.Attempt)
	}
	if s.Failures > 0 && s.Status != "failed" {
		text += fmt.Sprintf("  failed %s", times(s.Failures))
	}
	indent := strings.Repeat("  ", depth)
	text = indent + t.paint(sign.colour, sign.mark) + " " + text
	detail := func(name, colour, value string, most int) {
		if value != "" && value != "null" && value != "{}" {
			text += "\n" + indent + "    " + t.paint(colour, fmt.Sprintf("%-6s", name)) + "  " + oneLine(value, most)
		}
	}
	detail("input", grey, string(s.Input), 100)
	detail("output", grey, string(s.Output), 100)
	detail("error", red, s.Error, 1000)
	return text
}

// nameOf is where a step stands below another, and what it is.
func nameOf(s, above *client.Step) string {
	path, around := s.Path, 0
	if above != nil {
		path, around = strings.TrimPrefix(s.Path, above.Path+"."), len(above.Iteration)
	}
	text := path
	if own := s.Iteration[min(around, len(s.Iteration)):]; len(own) > 0 {
		text += " [" + turn(own, above) + "]"
	}
	text += " " + s.Action
	if s.ID != "" {
		text += " (" + s.ID + ")"
	}
	return text
}

// turn is which time of the block around it a step was done in: a loop counts
// its turns, and a block with retry its attempts.
func turn(own []string, above *client.Step) string {
	text := ""
	if above != nil && above.Action == "repeat" {
		text, own = "index "+own[len(own)-1], own[:len(own)-1]
	}
	if len(own) > 0 {
		text = strings.TrimSuffix("attempt "+strings.Join(own, ".")+", "+text, ", ")
	}
	return text
}
