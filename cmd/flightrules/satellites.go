package main

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/url"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/flightrules/flightrules/internal/client"
)

func satellitesCommand() *cobra.Command {
	cmd := &cobra.Command{Use: "satellites", Short: "List, show, change and remove the satellites of a running engine"}
	cmd.AddCommand(satellitesListCommand(), satellitesShowCommand(), satellitesSetCommand(), satellitesRemoveCommand())
	return cmd
}

// shownSatellite is a satellite as it is printed.
type shownSatellite struct{ client.SatelliteState }

func (s shownSatellite) seen() string {
	if s.LastSeenAt == nil {
		return "never"
	}
	return s.LastSeenAt.UTC().Format(time.RFC3339)
}

func satellitesListCommand() *cobra.Command {
	var r remote
	return r.command(&cobra.Command{Use: "list", Short: "List the satellites, newest first", Args: args(cobra.NoArgs)},
		func(cmd *cobra.Command, c *client.Client, _ []string) error {
			answer, err := c.List(cmd.Context(), "/api/v1/satellites")
			if err != nil {
				return err
			}
			return show(&r, cmd.OutOrStdout(), answer, func(w io.Writer, list []shownSatellite) error {
				table := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
				fmt.Fprintln(table, "NAME\tSTATUS\tREGION\tLAST SEEN\tTHRESHOLD\tVERSION\tID")
				for _, s := range list {
					fmt.Fprintf(table, "%s\t%s\t%s\t%s\t%s\t%s\t%s\n", s.Name, s.Status, cmp.Or(s.Region, "-"), s.seen(), s.OfflineThreshold,
						cmp.Or(s.Version, "-"), s.ID)
				}
				return table.Flush()
			})
		})
}

func satellitesShowCommand() *cobra.Command {
	var r remote
	return r.command(&cobra.Command{Use: "show SATELLITE", Short: "Show a satellite, by its name or its id", Args: args(cobra.ExactArgs(1))},
		func(cmd *cobra.Command, c *client.Client, refs []string) error {
			var answer json.RawMessage
			if err := c.Get(cmd.Context(), "/api/v1/satellites/"+url.PathEscape(refs[0]), &answer); err != nil {
				return err
			}
			return show(&r, cmd.OutOrStdout(), answer, writeSatellite)
		})
}

func writeSatellite(w io.Writer, s shownSatellite) error {
	table := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	line := func(name, value string) { fmt.Fprintf(table, "%s\t%s\n", name, value) }
	line("name", s.Name)
	line("id", s.ID)
	line("region", cmp.Or(s.Region, "-"))
	var tags []string
	for _, key := range slices.Sorted(maps.Keys(s.Tags)) {
		tags = append(tags, key+"="+s.Tags[key])
	}
	line("tags", cmp.Or(strings.Join(tags, ", "), "-"))
	status := s.Status
	if s.LastEvent != "" {
		status += ", after " + s.LastEvent
	}
	line("status", status)
	line("last seen", s.seen())
	line("threshold", s.OfflineThreshold)
	if s.Session != nil {
		line("session", fmt.Sprintf("on node %s since %s", s.Session.Node, s.Session.ConnectedAt.UTC().Format(time.RFC3339)))
	}
	line("agent", cmp.Or(s.Version, "-"))
	line("can do", cmp.Or(strings.Join(s.Capabilities, ", "), "-"))
	line("results", fmt.Sprintf("%d not delivered yet, %d refused", s.Results.Buffered, s.Results.Refused))
	for _, does := range s.Work {
		line("does", strings.TrimSuffix(fmt.Sprintf("%s: %d assigned; cannot do %s", does.Capability, does.Assigned, strings.Join(does.Unfit, ", ")), "; cannot do "))
	}
	if s.Files != nil {
		line("files", strings.TrimSpace(fmt.Sprintf("%.12s %s %s", s.Files.Bundle, s.Files.Status, s.Files.Error)))
	}
	if !s.TokenIssued {
		line("token", "none yet: make it with flightrules satellite token "+s.Name)
	}
	line("written", map[string]string{"file": "in a file", "api": "over the API"}[s.Source])
	line("created", s.CreatedAt.UTC().Format(time.RFC3339))
	return table.Flush()
}

func satellitesSetCommand() *cobra.Command {
	var r remote
	var name, region, threshold string
	var tags map[string]string
	cmd := r.command(&cobra.Command{
		Use: "set SATELLITE", Short: "Change a satellite that no file has, by its name or its id; what is not given stays", Args: args(cobra.ExactArgs(1)),
	}, func(cmd *cobra.Command, c *client.Client, refs []string) error {
		changes := map[string]any{}
		for flag, value := range map[string]any{"name": name, "region": region, "offline_threshold": threshold, "tags": tags} {
			if cmd.Flags().Changed(strings.TrimPrefix(flag, "offline_")) {
				changes[flag] = value
			}
		}
		if len(changes) == 0 {
			return misused(cmd, errors.New("one of --name, --region, --tags and --threshold is wanted"))
		}
		if err := c.Patch(cmd.Context(), "/api/v1/satellites/"+url.PathEscape(refs[0]), changes); err != nil {
			return err
		}
		return r.did(cmd, "changed", "satellite", refs[0])
	})
	flags := cmd.Flags()
	flags.StringVar(&name, "name", "", "another name")
	flags.StringVar(&region, "region", "", "its region")
	flags.StringToStringVar(&tags, "tags", nil, "its tags, as KEY=VALUE,..., in the place of all that it has")
	flags.StringVar(&threshold, "threshold", "", `silence after which it is lost, such as 90s; "default": the engine's`)
	return cmd
}

func satellitesRemoveCommand() *cobra.Command {
	var r remote
	return r.command(&cobra.Command{
		Use: "remove SATELLITE", Short: "Remove a satellite, by its name or its id; its token and its connection end at once", Args: args(cobra.ExactArgs(1)),
	}, func(cmd *cobra.Command, c *client.Client, refs []string) error {
		if err := c.Delete(cmd.Context(), "/api/v1/satellites/"+url.PathEscape(refs[0])); err != nil {
			return err
		}
		return r.did(cmd, "removed", "satellite", refs[0])
	})
}
