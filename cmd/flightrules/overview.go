package main

import (
	"encoding/json"
	"io"
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/flightrules/flightrules/internal/client"
	"github.com/spf13/cobra"
)

func overviewCommand() *cobra.Command {
	var r remote
	return r.command(&cobra.Command{Use: "overview", Short: "Show what there is, in numbers, and whether the engine is ready", Args: args(cobra.NoArgs)},
		func(cmd *cobra.Command, c *client.Client, _ []string) error {
			var answer json.RawMessage
			if err := c.Get(cmd.Context(), "/api/v1/overview", &answer); err != nil {
				return err
			}
			return show(&r, cmd.OutOrStdout(), answer, printOverview)
		})
}

func printOverview(w io.Writer, o client.Overview) error {
	p := &printer{w: w}
	p.line("engine: %s, %s", o.Version, o.Ready.Status)
	for _, check := range o.Ready.Checks {
		if !check.OK {
			p.line("  %s: %s", check.Name, check.Error)
		}
	}
	for _, k := range o.Kinds {
		var by []string
		for _, status := range slices.Sorted(maps.Keys(k.Statuses)) {
			if status != "" {
				by = append(by, strconv.FormatInt(k.Statuses[status], 10)+" "+status)
			}
		}
		p.line("%s: %d  %s", k.Name, k.Count, strings.Join(by, ", "))
	}
	p.line("rules: %d, %d enabled, %d paused, %d problems of the files", o.Rules.Count, o.Rules.Enabled, o.Rules.Paused, o.Rules.Problems)
	p.line("runs: %d queued, %d running, %d waiting, %d given up", o.Runs.Queued, o.Runs.Running, o.Runs.Waiting, o.Runs.Dead)
	return p.err
}
