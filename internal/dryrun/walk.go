package dryrun

import (
	"context"
	"encoding/json"
	"maps"
	"time"

	"github.com/flightrules/flightrules/engine/action"
	"github.com/flightrules/flightrules/engine/journal"
	"github.com/flightrules/flightrules/internal/duration"
	"github.com/flightrules/flightrules/internal/httpapi"
	"github.com/flightrules/flightrules/internal/shape"
	"github.com/flightrules/flightrules/internal/sim"
	"github.com/flightrules/flightrules/rules"
)

const (
	// horizon bounds how much simulated time a run may take.
	horizon = 366 * 24 * time.Hour
	// maxWakes bounds how often a run is taken up again.
	maxWakes = 10_000
	// maxSteps bounds the steps that are shown.
	maxSteps = 2000
)

// walked lets the run go on that was started, if one was, to its end or for as
// long as it may take.
func (t *trial) walked(ctx context.Context, rule *rules.Rule, result *httpapi.DryRunResult) error {
	runs, err := journal.Runs(ctx, t.sim.DB.Read(), journal.Filter{})
	if err != nil || len(runs) == 0 {
		return err
	}
	if len(runs) > 1 {
		t.note("%d runs would have been started; this is the first", len(runs))
	}
	id := runs[len(runs)-1].ID
	// From here on no rule looks at anything: time brings nothing but what the
	// run waits for.
	t.sim.Engine.SetRules(t.asleep(rule))
	if err := t.walk(sim.WithOutside(ctx, nobody{}), id); err != nil {
		return err
	}
	reading := context.WithoutCancel(ctx)
	run, err := journal.RunByID(reading, t.sim.DB.Read(), id)
	if err != nil {
		return err
	}
	steps, err := journal.Steps(reading, t.sim.DB.Read(), id)
	if err != nil {
		return err
	}
	result.Run, result.Vars = &run, varsOf(run, steps)
	if len(steps) > maxSteps {
		t.note("the run has %d steps, of which the first %d are shown", len(steps), maxSteps)
		steps = steps[:maxSteps]
	}
	result.Steps = steps
	return nil
}

// asleep has the rule, and those that it runs, so that they can be found; all of
// them are disabled.
func (t *trial) asleep(rule *rules.Rule) *rules.Set {
	found := map[string]bool{rule.ID: true}
	list := []*rules.Rule{disabled(rule)}
	rule.Each(func(s *rules.Step) {
		do, ok := s.Do.(rules.RunRule)
		if !ok || found[do.Rule] {
			return
		}
		found[do.Rule] = true
		live := t.live.Engine.Rules().Rule(do.Rule)
		if live == nil {
			return // the step says so
		}
		// It was compiled for the live engine, and is never walked here.
		list = append(list, disabled(live))
	})
	return rules.NewSet(list)
}

func disabled(rule *rules.Rule) *rules.Rule {
	off := *rule
	off.Enabled = false
	return &off
}

// walk passes the time that a run waits.
func (t *trial) walk(ctx context.Context, id string) error {
	for range maxWakes {
		on, err := t.goOn(ctx, id)
		if err != nil && ctx.Err() != nil {
			t.note("the run was broken off: a dry run takes %s at most", t.patience)
			return nil // what was done by then is shown
		}
		if err != nil || !on {
			return err
		}
	}
	t.note("the run was taken up again %d times and has not ended", maxWakes)
	return nil
}

// goOn does what can be done now, and goes to when there may be more; false when
// there will not be.
func (t *trial) goOn(ctx context.Context, id string) (more bool, err error) {
	if err := t.sim.Settle(ctx); err != nil {
		return false, err
	}
	run, err := journal.RunByID(ctx, t.sim.DB.Read(), id)
	if err != nil || run.Status.Final() {
		return false, err
	}
	next, err := t.sim.Next(ctx)
	if err != nil {
		return false, err
	}
	change, err := t.sim.Engine.NextChange(ctx, id)
	switch {
	case err != nil:
		return false, err
	case !change.IsZero() && (next.IsZero() || change.Before(next)):
		if err := t.sim.AdvanceTo(ctx, change); err != nil {
			return false, err
		}
		return true, t.sim.Engine.LookAgain(ctx, id)
	case next.IsZero():
		t.note("the run still waits: nothing comes in a dry run, and there is no timeout")
		return false, nil
	case next.After(t.start.Add(horizon)):
		t.note("the run still waits after %s of simulated time", duration.Format(horizon))
		return false, nil
	}
	return true, t.sim.AdvanceTo(ctx, next)
}

// varsOf are the variables as a run left them.
func varsOf(run journal.Run, steps []journal.Step) map[string]any {
	vars := map[string]any{}
	add := func(text []byte) {
		var values map[string]any
		if json.Unmarshal(text, &values) == nil {
			maps.Copy(vars, values)
		}
	}
	add(run.Variables)
	for _, s := range steps {
		if s.Action == "set" && s.Status == journal.StepSucceeded {
			add(s.Output)
		}
	}
	return vars
}

// waiting are the outcomes that time or other events may make a run of.
var waiting = map[journal.Outcome]string{
	journal.Held:    "the trigger waits until it has held",
	journal.Counted: "the trigger waits for other events",
	journal.Grouped: "the trigger gathers what comes",
}

// remark says what else there is to know.
func (t *trial) remark(result *httpapi.DryRunResult) {
	if result.Run != nil {
		return
	}
	for _, d := range result.Explanation.Decisions {
		if why, ok := waiting[d.Outcome]; ok {
			t.note("%s: force the rule to see the run that would be started then", why)
			return
		}
	}
}

// nobody is who answers actions in a dry run.
type nobody struct{}

// Act implements sim.Outside.
func (nobody) Act(_ context.Context, a action.Action, _ action.Call, _ any) (any, error) {
	output := empty(a.Output)
	if m, ok := output.(map[string]any); ok && a.Name == "http" {
		m["status"], m["body"] = 200, map[string]any{}
	}
	return output, nil
}

// empty is a value of a shape with as little in it as can be.
func empty(s *shape.Shape) any {
	switch {
	case s.Type == shape.Map:
		return map[string]any{}
	case s.Type == shape.List:
		return []any{}
	case s.Nullable, s.Type == shape.Any:
		return nil
	case len(s.Enum) > 0:
		return s.Enum[0]
	}
	switch s.Type {
	case shape.Object:
		m := map[string]any{}
		for _, f := range s.Fields {
			m[f.Name] = empty(f.Shape)
		}
		return m
	case shape.Number, shape.Integer:
		return 0
	case shape.Boolean:
		return false
	case shape.Time:
		return time.Unix(0, 0).UTC()
	case shape.Duration:
		return "0s"
	default:
		return ""
	}
}
