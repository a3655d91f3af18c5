package main

import (
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"os"
	"slices"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"github.com/flightrules/flightrules/internal/client"
)

// pruned is an answer of the API, and the sum of several.
type pruned struct {
	DryRun bool           `json:"dry_run"`
	Rows   map[string]int `json:"rows"`
	Next   string         `json:"next,omitempty"`
}

func pruneCommand() *cobra.Command {
	var r remote
	var dry bool
	cmd := r.command(&cobra.Command{
		Use: "prune", Short: "Remove history that is older than what is kept, now", Args: args(cobra.NoArgs),
		Long: "Remove runs, decisions, events and transitions that are older, or more, than the section\n" +
			"retention of the rules says. The engine does so by itself once an hour.",
		Example: "  flightrules prune --dry-run",
	}, func(cmd *cobra.Command, c *client.Client, _ []string) error {
		sum := pruned{DryRun: dry, Rows: map[string]int{}}
		shows := terminal(os.Stderr)
		for after, more := "", true; more; {
			var answer pruned
			if err := c.Post(cmd.Context(), "/api/v1/prune", map[string]any{"dry_run": dry, "after": after}, &answer); err != nil {
				return err
			}
			for table, rows := range answer.Rows {
				sum.Rows[table] += rows
			}
			after, more = answer.Next, answer.Next != ""
			if shows {
				showPruning(cmd.ErrOrStderr(), sum, more)
			}
		}
		text, err := json.Marshal(sum)
		if err != nil {
			return err
		}
		return show(&r, cmd.OutOrStdout(), text, showPruned)
	})
	cmd.Flags().BoolVar(&dry, "dry-run", false, "remove nothing, and say about how much would go")
	return cmd
}

// showPruning tells on a terminal how far it is, and takes that back at the end.
func showPruning(w io.Writer, p pruned, more bool) {
	rows := 0
	for _, n := range p.Rows {
		rows += n
	}
	text := fmt.Sprintf(clearLine+"%d rows so far", rows)
	if !more {
		text = clearLine
	}
	_, _ = fmt.Fprint(w, text) // nobody to tell
}

func showPruned(w io.Writer, p pruned) error {
	if len(p.Rows) == 0 {
		_, err := fmt.Fprintln(w, "there is nothing to remove")
		return err
	}
	head := "REMOVED"
	if p.DryRun {
		head = "WOULD GO"
	}
	table := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintf(table, "TABLE\t%s\n", head)
	for _, name := range slices.Sorted(maps.Keys(p.Rows)) {
		fmt.Fprintf(table, "%s\t%d\n", name, p.Rows[name])
	}
	return table.Flush()
}
