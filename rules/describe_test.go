package rules_test

import (
	"fmt"
	"strings"
	"time"

	"github.com/flightrules/flightrules/internal/duration"
	"github.com/flightrules/flightrules/rules"
)

// sight is what the expressions of a rule see when describe evaluates them.
func sight() map[string]any {
	at := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	return map[string]any{
		"event": map[string]any{
			"depth": 0, "entity": map[string]any{"kind": "satellite", "id": "s1"},
			"payload": map[string]any{"name": "edge-1", "region": "eu-west"},
		},
		"trigger": map[string]any{"id": "lost", "rule": "everything"},
		"vars":    map[string]any{"who": "edge-1"},
		"steps":   map[string]any{"page": map[string]any{"output": map[string]any{"status": 200}}},
		"run":     map[string]any{"id": "run-1", "rule": "everything", "started_at": at, "attempt": 1},
		"now":     func() time.Time { return at },
		"held":    func(_, _, _ string) (time.Duration, error) { return 5 * time.Minute, nil },
	}
}

// describe writes out what a rule was compiled to, with its expressions
// evaluated.
func describe(r *rules.Rule) string {
	var out strings.Builder
	for _, c := range r.Conditions {
		fmt.Fprintln(&out, "condition", c)
	}
	if r.Variables != nil {
		fmt.Fprintln(&out, "variables", value(r.Variables.Eval(sight())))
	}
	describeSteps(&out, "", r.Actions)
	return out.String()
}

func describeSteps(out *strings.Builder, indent string, steps []*rules.Step) {
	for _, s := range steps {
		fmt.Fprint(out, indent, s.Path, " ", s.Action)
		if s.ID != "" {
			fmt.Fprint(out, " id=", s.ID)
		}
		if s.Name != "" {
			fmt.Fprintf(out, " name=%q", s.Name)
		}
		if s.If != nil {
			fmt.Fprintf(out, " if=%q", s.If.Source())
		}
		if s.Timeout != 0 {
			fmt.Fprint(out, " timeout=", duration.Format(s.Timeout))
		}
		if s.ContinueOnError {
			fmt.Fprint(out, " continue")
		}
		if !s.Enabled {
			fmt.Fprint(out, " off")
		}
		fmt.Fprintln(out)
		describeDo(out, indent+"  ", s.Do)
	}
}

func describeDo(out *strings.Builder, indent string, do rules.Do) {
	line := func(format string, args ...any) { fmt.Fprintf(out, indent+format+"\n", args...) }
	switch do := do.(type) {
	case rules.Log:
		line("%s %q", do.Level, value(do.Text.Eval(sight())))
	case rules.SetVars:
		line("%v", value(do.Values.Eval(sight())))
	case rules.Wait:
		if do.For != nil {
			line("for %v", value(do.For.Eval(sight())))
		} else {
			line("until %v", value(do.Until.Eval(sight())))
		}
	case rules.Choose:
		for _, b := range do.Branches {
			line("when %s", b.When.Source())
			describeSteps(out, indent+"  ", b.Do)
		}
		if do.Else != nil {
			line("else")
			describeSteps(out, indent+"  ", do.Else)
		}
	case rules.Update:
		line("%s %q %v", do.Kind, value(do.ID.Eval(sight())), value(do.Set.Eval(sight())))
	case rules.Emit:
		if do.Payload == nil {
			line("%s", do.Event)
		} else {
			line("%s %v", do.Event, value(do.Payload.Eval(sight())))
		}
	case rules.Act:
		line("%s %v", do.Action.Name, value(do.Config.Eval(sight())))
	default:
		line("%T", do)
	}
}

// value is what an expression gives, or why it does not.
func value(v any, err error) any {
	if err != nil {
		return "error: " + err.Error()
	}
	return v
}
