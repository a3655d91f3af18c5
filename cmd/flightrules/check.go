package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/spf13/cobra"

	"github.com/flightrules/flightrules/internal/app"
	"github.com/flightrules/flightrules/internal/yamlx"
)

func checkCommand() *cobra.Command {
	var output string
	cmd := &cobra.Command{
		Use:   "check DIR",
		Short: "Check the rules in DIR, without a server",
		Long:  "Checks every file in DIR and shows every problem. Exits 0 when there is none, else 1.",
		Args:  args(cobra.ExactArgs(1)),
		RunE: func(cmd *cobra.Command, dirs []string) error {
			show, ok := checkOutputs[output]
			if !ok {
				return misused(cmd, fmt.Errorf("unknown output %q: it is text, json or github", output))
			}
			if info, err := os.Stat(dirs[0]); err != nil {
				return err
			} else if !info.IsDir() {
				return fmt.Errorf("%s is not a folder", dirs[0])
			}
			found, err := app.Check(cmd.Context(), dirs[0])
			var list *yamlx.Error
			if err != nil && !errors.As(err, &list) {
				return err
			}
			var problems []yamlx.Problem
			if list != nil {
				problems = list.Problems
			}
			if err := show(cmd.OutOrStdout(), found, problems); err != nil {
				return err
			}
			if len(problems) > 0 {
				return exit{exitFailed}
			}
			return nil
		},
	}
	cmd.Flags().StringVarP(&output, "output", "o", "text", "text, json or github")
	return cmd
}

var checkOutputs = map[string]func(w io.Writer, found app.Checked, problems []yamlx.Problem) error{
	"text":   checkText,
	"json":   checkJSON,
	"github": checkGitHub,
}

func checkText(w io.Writer, found app.Checked, problems []yamlx.Problem) error {
	for _, warning := range found.Warnings {
		warning.Message = "warning: " + warning.Message
		if _, err := fmt.Fprintln(w, warning); err != nil {
			return err
		}
	}
	for _, p := range problems {
		if _, err := fmt.Fprintln(w, p); err != nil {
			return err
		}
	}
	text := "ok: " + count(found.Rules, "rule")
	if len(problems) > 0 {
		text = summary(problems)
	}
	_, err := fmt.Fprintln(w, text)
	return err
}

func checkJSON(w io.Writer, found app.Checked, problems []yamlx.Problem) error {
	list := func(some []yamlx.Problem) []yamlx.Problem { return append([]yamlx.Problem{}, some...) }
	return indented(w, map[string]any{"ok": len(problems) == 0, "problems": list(problems), "warnings": list(found.Warnings)})
}

// checkGitHub prints the commands by which a workflow annotates a change.
func checkGitHub(w io.Writer, found app.Checked, problems []yamlx.Problem) error {
	for level, list := range map[string][]yamlx.Problem{"error": problems, "warning": found.Warnings} {
		for _, p := range list {
			message := p.Message
			if p.Hint != "" {
				message += " (" + p.Hint + ")"
			}
			if _, err := fmt.Fprintf(w, "::%s file=%s,line=%d,col=%d::%s\n", level, p.File, p.Line, p.Column, githubEscape.Replace(message)); err != nil {
				return err
			}
		}
	}
	return nil
}

// githubEscape is how a message stands in a workflow command.
var githubEscape = strings.NewReplacer("%", "%25", "\r", "%0D", "\n", "%0A")
