package main

import (
	"cmp"
	"encoding/json"
	"fmt"
	"io"
	"net/url"
	"os"
	"strconv"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"
	"gopkg.in/yaml.v3"

	"github.com/flightrules/flightrules/internal/client"
)

const checksPath = "/api/v1/checks"

func checksCommand() *cobra.Command {
	cmd := &cobra.Command{Use: "checks", Short: "List, show, set and remove checks, and their results"}
	cmd.AddCommand(checksListCommand(), checksShowCommand(), checksResultsCommand(), checksSetCommand(), checksRemoveCommand())
	return cmd
}

// shownCheck is what is shown of a check.
type shownCheck struct {
	ID, Source string
	State      *struct {
		Status    string
		Flapping  bool
		LatencyMS *float64 `json:"latency_ms"`
		Since     time.Time
		Message   string
	}
	Observers []struct {
		Name, Region, Status, Message string
		Observing, Flapping           bool
		LatencyMS                     float64    `json:"latency_ms"`
		ResultAt                      *time.Time `json:"result_at"`
	}
}

func (c shownCheck) status() string {
	switch {
	case c.State == nil:
		return "not known yet"
	case c.State.Flapping:
		return c.State.Status + ", flapping"
	}
	return c.State.Status
}

func (c shownCheck) since() string {
	if c.State == nil {
		return "-"
	}
	return c.State.Since.UTC().Format(time.RFC3339)
}

func (c shownCheck) latency() string {
	if c.State == nil || c.State.LatencyMS == nil {
		return "-"
	}
	return milliseconds(*c.State.LatencyMS)
}

func milliseconds(ms float64) string { return strconv.FormatFloat(ms, 'f', 1, 64) + "ms" }

func checksListCommand() *cobra.Command {
	var r remote
	return r.command(&cobra.Command{Use: "list", Short: "List checks", Args: args(cobra.NoArgs)},
		func(cmd *cobra.Command, c *client.Client, _ []string) error {
			answer, err := c.List(cmd.Context(), checksPath)
			if err != nil {
				return err
			}
			return show(&r, cmd.OutOrStdout(), answer, func(w io.Writer, list []shownCheck) error {
				table := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
				fmt.Fprintln(table, "ID\tSTATUS\tSINCE\tLATENCY\tOBSERVERS\tMESSAGE")
				for _, c := range list {
					message := "-"
					if c.State != nil {
						message = cmp.Or(c.State.Message, "-")
					}
					fmt.Fprintf(table, "%s\t%s\t%s\t%s\t%d\t%s\n", c.ID, c.status(), c.since(), c.latency(), len(c.Observers), message)
				}
				return table.Flush()
			})
		})
}

func checksShowCommand() *cobra.Command {
	var r remote
	return r.command(&cobra.Command{Use: "show CHECK", Short: "Show a check, and what those who look at it think", Args: args(cobra.ExactArgs(1))},
		func(cmd *cobra.Command, c *client.Client, ids []string) error {
			var answer json.RawMessage
			if err := c.Get(cmd.Context(), checksPath+"/"+url.PathEscape(ids[0]), &answer); err != nil {
				return err
			}
			return show(&r, cmd.OutOrStdout(), answer, writeCheck)
		})
}

func writeCheck(w io.Writer, c shownCheck) error {
	table := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintf(table, "id\t%s\nstatus\t%s\nsince\t%s\nlatency\t%s\nwritten\t%s\n\n", c.ID, c.status(), c.since(), c.latency(), map[string]string{
		"file": "in a file", "api": "over the API",
	}[c.Source])
	fmt.Fprintln(table, "OBSERVER\tREGION\tSTATUS\tLATENCY\tLOOKED\tMESSAGE")
	for _, o := range c.Observers {
		status, at := cmp.Or(o.Status, "not known yet"), "-"
		if !o.Observing && o.Status != "" {
			status += ", not observing now"
		}
		if o.ResultAt != nil {
			at = o.ResultAt.UTC().Format(time.RFC3339)
		}
		fmt.Fprintf(table, "%s\t%s\t%s\t%s\t%s\t%s\n", o.Name, cmp.Or(o.Region, "-"), status, milliseconds(o.LatencyMS), at, cmp.Or(o.Message, "-"))
	}
	return table.Flush()
}

func checksResultsCommand() *cobra.Command {
	var r remote
	var limit int
	cmd := r.command(&cobra.Command{Use: "results CHECK", Short: "Show the newest results of a check", Args: args(cobra.ExactArgs(1))},
		func(cmd *cobra.Command, c *client.Client, ids []string) error {
			var answer json.RawMessage
			if err := c.Get(cmd.Context(), fmt.Sprintf("%s/%s/results?limit=%d", checksPath, url.PathEscape(ids[0]), limit), &answer); err != nil {
				return err
			}
			type shown struct {
				Items []struct {
					At                         time.Time
					Observer, Outcome, Message string
					LatencyMS                  float64 `json:"latency_ms"`
				}
			}
			return show(&r, cmd.OutOrStdout(), answer, func(w io.Writer, list shown) error {
				table := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
				fmt.Fprintln(table, "AT\tOBSERVER\tOUTCOME\tLATENCY\tMESSAGE")
				for _, i := range list.Items {
					fmt.Fprintf(table, "%s\t%s\t%s\t%s\t%s\n", i.At.UTC().Format(time.RFC3339), i.Observer, i.Outcome, milliseconds(i.LatencyMS), cmp.Or(i.Message, "-"))
				}
				return table.Flush()
			})
		})
	cmd.Flags().IntVar(&limit, "limit", 20, "how many at most")
	return cmd
}

func checksSetCommand() *cobra.Command {
	var r remote
	return r.command(&cobra.Command{
		Use: "set CHECK FILE", Short: "Make a check, or change one that no file of the rules has", Args: args(cobra.ExactArgs(2)),
		Long: "Makes the check CHECK what FILE says, in the form of an item of checks: without its id; - is the standard\n" +
			"input. One that a file of the rules has is changed there.",
	}, func(cmd *cobra.Command, c *client.Client, given []string) error {
		in := cmd.InOrStdin()
		if given[1] != "-" {
			file, err := os.Open(given[1])
			if err != nil {
				return err
			}
			defer func() { _ = file.Close() }() // it was only read
			in = file
		}
		var settings map[string]any
		if err := yaml.NewDecoder(in).Decode(&settings); err != nil {
			return fmt.Errorf("%s: %w", given[1], err)
		}
		delete(settings, "id") // it is in the address
		if err := c.Put(cmd.Context(), checksPath+"/"+url.PathEscape(given[0]), settings); err != nil {
			return err
		}
		return r.did(cmd, "set", "check", given[0])
	})
}

func checksRemoveCommand() *cobra.Command {
	var r remote
	return r.command(&cobra.Command{
		Use: "remove CHECK", Short: "Remove a check that was made over the API, with its results", Args: args(cobra.ExactArgs(1)),
	}, func(cmd *cobra.Command, c *client.Client, ids []string) error {
		if err := c.Delete(cmd.Context(), checksPath+"/"+url.PathEscape(ids[0])); err != nil {
			return err
		}
		return r.did(cmd, "removed", "check", ids[0])
	})
}
