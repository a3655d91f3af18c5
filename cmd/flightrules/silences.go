package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/url"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/flightrules/flightrules/internal/client"
)

func silencesCommand() *cobra.Command {
	cmd := &cobra.Command{Use: "silences", Short: "List the silences of a running engine"}
	var r remote
	var all bool
	list := r.command(&cobra.Command{Use: "list", Short: "List the silences that are not over", Args: args(cobra.NoArgs)},
		func(cmd *cobra.Command, c *client.Client, _ []string) error {
			path := "/api/v1/silences?open=true"
			if all {
				path = "/api/v1/silences"
			}
			answer, err := c.List(cmd.Context(), path)
			if err != nil {
				return err
			}
			return show(&r, cmd.OutOrStdout(), answer, func(w io.Writer, list []client.Silence) error {
				table := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
				fmt.Fprintln(table, "ID\tSTART\tEND\tBY\tMATCH\tREASON")
				for _, s := range list {
					fmt.Fprintf(table, "%s\t%s\t%s\t%s\t%s\t%s\n", s.ID, s.Start.UTC().Format(time.RFC3339), s.End.UTC().Format(time.RFC3339),
						s.Author, strings.Join(strings.Fields(s.Match), " "), s.Reason)
				}
				return table.Flush()
			})
		})
	list.Flags().BoolVar(&all, "all", false, "also those that are over")
	cmd.AddCommand(list)
	return cmd
}

func silenceCommand() *cobra.Command {
	cmd := &cobra.Command{Use: "silence", Short: "Make a silence, or end one"}
	cmd.AddCommand(silenceAddCommand(), silenceEndCommand())
	return cmd
}

func silenceAddCommand() *cobra.Command {
	var r remote
	var s struct {
		ID       string `json:"id,omitempty"`
		Match    string `json:"match"`
		Start    string `json:"start,omitempty"`
		End      string `json:"end,omitempty"`
		Duration string `json:"duration,omitempty"`
		Reason   string `json:"reason"`
	}
	cmd := r.command(&cobra.Command{
		Use: "add", Short: "Have what an expression matches recorded and not run, for a time", Args: args(cobra.NoArgs),
		Example: `  flightrules silence add --match 'event.entity.id == "db-1"' --for 2h --reason "it gets new disks"`,
	}, func(cmd *cobra.Command, c *client.Client, _ []string) error {
		switch {
		case s.Match == "" || s.Reason == "":
			return misused(cmd, errors.New("--match and --reason are wanted"))
		case (s.Duration == "") == (s.End == ""):
			return misused(cmd, errors.New("either --for or --end is wanted"))
		}
		var answer json.RawMessage
		if err := c.Post(cmd.Context(), "/api/v1/silences", s, &answer); err != nil {
			return err
		}
		return show(&r, cmd.OutOrStdout(), answer, func(w io.Writer, made client.Silence) error {
			_, err := fmt.Fprintf(w, "silence %s: from %s until %s\n", made.ID, made.Start.UTC().Format(time.RFC3339), made.End.UTC().Format(time.RFC3339))
			return err
		})
	})
	flags := cmd.Flags()
	flags.StringVar(&s.ID, "id", "", "id of the silence (default: one is made)")
	flags.StringVar(&s.Match, "match", "", "expression over event and trigger")
	flags.StringVar(&s.Duration, "for", "", "how long, such as 2h")
	flags.StringVar(&s.Start, "start", "", "when it starts, such as 2030-01-31T12:00:00Z (default: now)")
	flags.StringVar(&s.End, "end", "", "when it ends")
	flags.StringVar(&s.Reason, "reason", "", "why")
	return cmd
}

func silenceEndCommand() *cobra.Command {
	var r remote
	return r.command(&cobra.Command{Use: "end ID", Short: "End a silence now", Args: args(cobra.ExactArgs(1))},
		func(cmd *cobra.Command, c *client.Client, ids []string) error {
			if err := c.Delete(cmd.Context(), "/api/v1/silences/"+url.PathEscape(ids[0])); err != nil {
				return err
			}
			answer, err := json.Marshal(map[string]any{"id": ids[0], "ended": true})
			if err != nil {
				return err
			}
			return show(&r, cmd.OutOrStdout(), answer, func(w io.Writer, ended struct{ ID string }) error {
				_, err := fmt.Fprintf(w, "silence %s ends now\n", ended.ID)
				return err
			})
		})
}
