package main

import (
	"encoding/json"
	"fmt"
	"io"
	"net/url"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"
	"gopkg.in/yaml.v3"

	"github.com/flightrules/flightrules/internal/client"
)

func rulesCommand() *cobra.Command {
	cmd := &cobra.Command{Use: "rules", Short: "List, show, pause, resume and run the rules of a running engine"}
	cmd.AddCommand(rulesListCommand(), rulesShowCommand(), rulesPauseCommand(), rulesResumeCommand(), runCommand())
	return cmd
}

func rulesListCommand() *cobra.Command {
	var r remote
	return r.command(&cobra.Command{Use: "list", Short: "List the rules in force", Args: args(cobra.NoArgs)},
		func(cmd *cobra.Command, c *client.Client, _ []string) error {
			all, err := c.List(cmd.Context(), "/api/v1/rules")
			if err != nil {
				return err
			}
			return show(&r, cmd.OutOrStdout(), all, func(w io.Writer, list []client.Rule) error {
				table := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
				fmt.Fprintln(table, "ID\tSTATE\tMODE\tFILE")
				for _, rule := range list {
					fmt.Fprintf(table, "%s\t%s\t%s\t%s:%d\n", rule.ID, rule.State(), rule.Mode, rule.File, rule.Line)
				}
				return table.Flush()
			})
		})
}

func rulesShowCommand() *cobra.Command {
	var r remote
	return r.command(&cobra.Command{Use: "show RULE", Short: "Show a rule with its state and its YAML", Args: args(cobra.ExactArgs(1))},
		func(cmd *cobra.Command, c *client.Client, ids []string) error {
			var answer json.RawMessage
			if err := c.Get(cmd.Context(), rulePath(ids[0], ""), &answer); err != nil {
				return err
			}
			return show(&r, cmd.OutOrStdout(), answer, func(w io.Writer, rule client.Rule) error {
				if err := showState(w, rule); err != nil {
					return err
				}
				_, err := fmt.Fprintf(w, "%s:%d\n\n%s\n", rule.File, rule.Line, strings.TrimRight(rule.Source, "\n"))
				return err
			})
		})
}

func rulesPauseCommand() *cobra.Command {
	var r remote
	var reason string
	cmd := r.command(&cobra.Command{
		Use: "pause RULE", Short: "Drop the matches of a rule until it is resumed",
		Long: "Drops the matches of a rule, with a record of each, until somebody resumes it: also across restarts and edits.", Args: args(cobra.ExactArgs(1)),
	}, func(cmd *cobra.Command, c *client.Client, ids []string) error {
		return changeRule(cmd, &r, c, rulePath(ids[0], "/pause"), map[string]string{"reason": reason})
	})
	cmd.Flags().StringVar(&reason, "reason", "", "why; shown with each match that is dropped")
	return cmd
}

func rulesResumeCommand() *cobra.Command {
	var r remote
	return r.command(&cobra.Command{Use: "resume RULE", Short: "End the pause of a rule, also of one that was tripped", Args: args(cobra.ExactArgs(1))},
		func(cmd *cobra.Command, c *client.Client, ids []string) error {
			return changeRule(cmd, &r, c, rulePath(ids[0], "/resume"), nil)
		})
}

// inputsOf reads NAME=VALUE pairs.
func inputsOf(given []string) (map[string]any, error) {
	inputs := map[string]any{}
	for _, pair := range given {
		name, text, ok := strings.Cut(pair, "=")
		if !ok || name == "" {
			return nil, fmt.Errorf("an input is NAME=VALUE, not %q", pair)
		}
		value, err := inputOf(text)
		if err == nil {
			_, err = json.Marshal(value) // there are numbers in YAML that JSON has not
		}
		if err != nil {
			return nil, fmt.Errorf("input %s: %w", name, err)
		}
		inputs[name] = value
	}
	return inputs, nil
}

// inputOf reads a value as YAML does, but for what is a text to whoever writes
// it here: times, and what would be a map or a list without brackets.
func inputOf(text string) (value any, err error) {
	var document yaml.Node
	if err := yaml.Unmarshal([]byte(text), &document); err != nil || len(document.Content) == 0 {
		return nil, err
	}
	node := document.Content[0]
	block := node.Kind != yaml.ScalarNode && node.Style&yaml.FlowStyle == 0
	if block || node.Tag == "!!timestamp" {
		return text, nil
	}
	err = node.Decode(&value)
	return value, err
}

func rulePath(id, verb string) string { return "/api/v1/rules/" + url.PathEscape(id) + verb }

func changeRule(cmd *cobra.Command, r *remote, c *client.Client, path string, body any) error {
	var answer json.RawMessage
	if err := c.Post(cmd.Context(), path, body, &answer); err != nil {
		return err
	}
	return show(r, cmd.OutOrStdout(), answer, showState)
}

func showState(w io.Writer, rule client.Rule) error {
	text := rule.ID + " is " + rule.State()
	if p := rule.Paused; p != nil {
		text += fmt.Sprintf(" by %s since %s", p.By, p.At.UTC().Format(time.RFC3339))
		if p.Reason != "" {
			text += ": " + p.Reason
		}
	}
	_, err := fmt.Fprintln(w, text)
	return err
}
