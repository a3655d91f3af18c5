package main

import (
	"encoding/json"
	"fmt"
	"io"
	"net/url"

	"github.com/spf13/cobra"

	"github.com/flightrules/flightrules/internal/client"
)

func explainCommand() *cobra.Command {
	var r remote
	return r.command(&cobra.Command{
		Use: "explain RULE EVENT", Short: "Say why a rule did or did not fire for an event",
		Long: "Works out from the log what the rule saw at the time of the event, and which gate said no.\nEVENT is the id of an event: see GET /api/v1/events.",
		Args: args(cobra.ExactArgs(2)),
	}, func(cmd *cobra.Command, c *client.Client, given []string) error {
		var answer json.RawMessage
		if err := c.Get(cmd.Context(), rulePath(given[0], "/explain")+"?event="+url.QueryEscape(given[1]), &answer); err != nil {
			return err
		}
		return show(&r, cmd.OutOrStdout(), answer, printExplanation)
	})
}

func printExplanation(w io.Writer, e client.Explanation) error {
	p := &printer{w: w}
	p.line("rule %s, event %s (%s)", e.Rule, e.Event.Name, e.Event.ID)
	for _, t := range e.Triggers {
		p.considered(t)
	}
	p.line("")
	if len(e.Decisions) == 0 {
		p.line("no decision is recorded: the event was no match")
	}
	for _, d := range e.Decisions {
		p.line("decided: %s (trigger %s) %s", d.Outcome, d.Trigger, d.Detail)
	}
	return p.err
}

// printer prints lines until the first that fails.
type printer struct {
	w   io.Writer
	err error
}

func (p *printer) line(format string, args ...any) {
	if p.err == nil {
		_, p.err = fmt.Fprintf(p.w, format+"\n", args...)
	}
}

func (p *printer) considered(t client.Considered) {
	verdict := "it matches, and every condition is true"
	if t.Gate != "" {
		verdict = "no: " + t.Gate + ": " + t.Detail
	}
	p.line("\ntrigger %s: %s\n  %s", t.ID, t.Summary, verdict)
	if t.Where != nil {
		p.evaluated("where", *t.Where)
	}
	for _, one := range t.Conditions {
		p.evaluated("condition", one)
	}
}

func (p *printer) evaluated(what string, v client.Evaluated) {
	p.line("  %s %s = %s", what, v.Text, came(v.Value, v.Error))
	for _, part := range v.Parts {
		p.line("    %s = %s", part.Text, came(part.Value, part.Error))
	}
}

func came(value json.RawMessage, failure string) string {
	if failure != "" {
		return "error: " + failure
	}
	return string(value)
}
