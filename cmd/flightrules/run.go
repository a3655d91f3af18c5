package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"gopkg.in/yaml.v3"

	"github.com/flightrules/flightrules/internal/client"
)

// shownDryRun is what is printed of a dry run.
type shownDryRun struct {
	client.Explanation

	Run     *shownRun `json:"run"`
	Actions []struct {
		Step   string          `json:"step"`
		Action string          `json:"action"`
		Config json.RawMessage `json:"config"`
		At     time.Time       `json:"at"`
	} `json:"actions"`
	Notes []string `json:"notes"`
}

// dryRunFlags say what is tried.
type dryRunFlags struct {
	on                                          bool
	event, payload, name, entity, trigger, file string
	force                                       bool
}

// runCommand is `run` and `rules run`.
func runCommand() *cobra.Command {
	var r remote
	var given []string
	var dry dryRunFlags
	cmd := r.command(&cobra.Command{
		Use: "run RULE", Short: "Run a rule by hand, or see with --dry-run what it would do",
		Long: "Runs a rule, whatever its triggers and conditions say; its mode counts. Prints the event that does it.\n\n" +
			"With --dry-run nothing is run, sent or changed: what the rule would decide and do is worked out and\n" +
			"printed, in simulated time; actions are answered as if they had succeeded. It is tried with an event\n" +
			"that happened (--event), with one that is made up (--payload), or as a run by hand.",
		Args: args(cobra.ExactArgs(1)),
	}, func(cmd *cobra.Command, c *client.Client, ids []string) error {
		inputs, err := inputsOf(given)
		if err != nil {
			return misused(cmd, err)
		}
		if dry.on {
			return dryRun(cmd, &r, c, ids[0], dry, inputs)
		}
		if dry != (dryRunFlags{}) {
			return misused(cmd, errors.New("--event, --payload, --name, --entity, --trigger, --force and --file go with --dry-run"))
		}
		var answer json.RawMessage
		if err := c.Post(cmd.Context(), rulePath(ids[0], "/run"), map[string]any{"inputs": inputs}, &answer); err != nil {
			return err
		}
		return show(&r, cmd.OutOrStdout(), answer, func(w io.Writer, event struct{ ID string }) error {
			_, err := fmt.Fprintf(w, "%s runs: event %s\n", ids[0], event.ID)
			return err
		})
	})
	flags := cmd.Flags()
	flags.StringArrayVar(&given, "input", nil, "an input, as NAME=VALUE; the value is read as YAML reads it (may be given more than once)")
	flags.BoolVar(&dry.on, "dry-run", false, "show what the rule would decide and do, without any effect")
	flags.StringVar(&dry.event, "event", "", "with --dry-run: the id of an event that happened")
	flags.StringVar(&dry.payload, "payload", "", "with --dry-run: a file (JSON or YAML; - for standard input) with the payload of an event that is made up")
	flags.StringVar(&dry.name, "name", "", "with --payload: the event's name, if not the one that the trigger looks at")
	flags.StringVar(&dry.entity, "entity", "", "with --payload: what the event is about, as KIND/ID")
	flags.StringVar(&dry.trigger, "trigger", "", "with --dry-run: the id of the only trigger that looks at the event")
	flags.BoolVar(&dry.force, "force", false, "with --dry-run: take the trigger to have fired, and conditions to be true")
	flags.StringVar(&dry.file, "file", "", "with --dry-run: a file with the rule as it is to be tried, in the place of the one in force")
	return cmd
}

func dryRun(cmd *cobra.Command, r *remote, c *client.Client, rule string, dry dryRunFlags, inputs map[string]any) error {
	body, err := dry.body(cmd.InOrStdin(), rule, inputs)
	if err != nil {
		return misused(cmd, err)
	}
	var answer json.RawMessage
	if err := c.Post(cmd.Context(), rulePath(rule, "/dry-run"), body, &answer); err != nil {
		return err
	}
	out := cmd.OutOrStdout()
	return show(r, out, answer, func(_ io.Writer, d shownDryRun) error {
		return printDryRun(&tracer{printer: &printer{w: out}, palette: colours(out)}, d)
	})
}

// body is the request.
func (dry dryRunFlags) body(stdin io.Reader, rule string, inputs map[string]any) (map[string]any, error) {
	body := map[string]any{}
	for name, value := range map[string]string{"event_id": dry.event, "name": dry.name, "trigger": dry.trigger} {
		if value != "" {
			body[name] = value
		}
	}
	if dry.force {
		body["force"] = true
	}
	if len(inputs) > 0 {
		body["inputs"] = inputs
	}
	if dry.entity != "" {
		kind, id, ok := strings.Cut(dry.entity, "/")
		if !ok || kind == "" || id == "" {
			return nil, fmt.Errorf("--entity is KIND/ID, not %q", dry.entity)
		}
		body["entity"] = map[string]any{"kind": kind, "id": id}
	}
	if dry.payload != "" {
		payload, err := valueIn(stdin, dry.payload)
		if err != nil {
			return nil, err
		}
		if payload == nil {
			return nil, fmt.Errorf("%s: there is no payload in it", dry.payload)
		}
		body["payload"] = payload
	}
	if dry.file != "" {
		source, err := ruleIn(dry.file, rule)
		if err != nil {
			return nil, err
		}
		body["source"] = source
	}
	return body, nil
}

func contents(stdin io.Reader, path string) ([]byte, error) {
	if path == "-" {
		return io.ReadAll(stdin)
	}
	return os.ReadFile(path)
}

// ruleIn is the YAML of a rule in a file of rules.
func ruleIn(path, id string) (string, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return "", err
	}
	var file struct {
		Rules []yaml.Node `yaml:"rules"`
	}
	if err := yaml.Unmarshal(text, &file); err != nil {
		return "", fmt.Errorf("%s: %w", path, err)
	}
	for _, node := range file.Rules {
		var rule struct {
			ID string `yaml:"id"`
		}
		if err := node.Decode(&rule); err != nil || rule.ID != id {
			continue
		}
		source, err := yaml.Marshal(&node)
		return string(source), err
	}
	return "", fmt.Errorf("%s: there is no rule %s in it", path, id)
}

// printDryRun prints what would be decided, what the run would do, and what of
// that has an effect.
func printDryRun(t *tracer, d shownDryRun) error {
	t.line("dry run of rule %s, event %s (%s): nothing was sent or changed", d.Rule, d.Event.Name, d.Event.ID)
	for _, trigger := range d.Triggers {
		t.considered(trigger)
	}
	t.line("")
	if len(d.Decisions) == 0 {
		t.line("nothing would be decided: the event is no match")
	}
	for _, one := range d.Decisions {
		t.line("%s", strings.TrimSpace(fmt.Sprintf("would decide: %s (trigger %s) %s", one.Outcome, one.Trigger, one.Detail)))
	}
	if d.Run != nil {
		t.line("\n%s", t.status(*d.Run))
		client.WalkSteps(d.Run.Steps, func(s client.Step, above *client.Step, depth int) { t.line("%s", t.step(s, above, depth)) })
		t.line("")
		if len(d.Actions) == 0 {
			t.line("none of this has an effect")
		}
		for _, a := range d.Actions {
			t.line("would do at %s: %s (%s), not sent\n    %s", clock(a.At), a.Action, a.Step, oneLine(string(a.Config), 1000))
		}
	}
	for _, note := range d.Notes {
		t.line("note: %s", note)
	}
	return t.err
}
