package main

import (
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net/url"
	"slices"
	"text/tabwriter"

	"github.com/flightrules/flightrules/internal/client"
	"github.com/spf13/cobra"
)

func entityPath(kind, id string) string {
	return "/api/v1/entities/" + url.PathEscape(kind) + "/" + url.PathEscape(id)
}

func entitiesCommand() *cobra.Command {
	cmd := &cobra.Command{Use: "entities", Short: "List, show, set and remove entities"}
	cmd.AddCommand(entitiesListCommand(), entitiesShowCommand(), entitiesSetCommand(), entitiesRemoveCommand())
	return cmd
}

func entitiesListCommand() *cobra.Command {
	var r remote
	var search, status string
	var limit int
	cmd := r.command(&cobra.Command{Use: "list KIND", Short: "List the entities of a kind", Args: args(cobra.ExactArgs(1))},
		func(cmd *cobra.Command, c *client.Client, kinds []string) error {
			query := url.Values{"kind": {kinds[0]}, "search": {search}, "status": {status}}
			items, more, err := c.First(cmd.Context(), "/api/v1/entities?"+query.Encode(), limit)
			if err != nil {
				return err
			}
			err = show(&r, cmd.OutOrStdout(), items, func(w io.Writer, list []client.Entity) error {
				table := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
				fmt.Fprintln(table, "ID\tNAME\tSTATUS\tCHANGED")
				for _, e := range list {
					fmt.Fprintf(table, "%s\t%s\t%s\t%s\n", e.ID, inShort(e.State["name"]), inShort(e.State["status"]), clock(e.UpdatedAt))
				}
				return table.Flush()
			})
			if err == nil && more && r.output == "text" {
				fmt.Fprintf(cmd.ErrOrStderr(), "there are more than %d: see --limit\n", limit)
			}
			return err
		})
	cmd.Flags().StringVar(&search, "search", "", "only those with a text in the id or the name")
	cmd.Flags().StringVar(&status, "status", "", "only those whose field status is that")
	cmd.Flags().IntVar(&limit, "limit", 100, "at most so many")
	return cmd
}

func entitiesShowCommand() *cobra.Command {
	var r remote
	var at string
	cmd := r.command(&cobra.Command{Use: "show KIND ID", Short: "Show an entity, now or at a time", Args: args(cobra.ExactArgs(2))},
		func(cmd *cobra.Command, c *client.Client, names []string) error {
			path := entityPath(names[0], names[1])
			if at != "" {
				path += "?at=" + url.QueryEscape(at)
			}
			var answer json.RawMessage
			if err := c.Get(cmd.Context(), path, &answer); err != nil {
				return err
			}
			return show(&r, cmd.OutOrStdout(), answer, func(w io.Writer, e client.Entity) error {
				p := &printer{w: w}
				p.line("%s %s, version %d, changed %s", e.Kind, e.ID, e.Version, clock(e.UpdatedAt))
				for _, field := range slices.Sorted(maps.Keys(e.State)) {
					p.line("  %s: %s", field, inShort(e.State[field]))
				}
				return p.err
			})
		})
	cmd.Flags().StringVar(&at, "at", "", "as it was recorded at a time, such as 2030-01-31T12:00:00Z")
	return cmd
}

func entitiesSetCommand() *cobra.Command {
	var r remote
	var merge bool
	cmd := r.command(&cobra.Command{
		Use: "set KIND ID FILE", Short: "Make an entity of a kind that the engine keeps, or replace its state", Args: args(cobra.ExactArgs(3)),
		Long: "Makes an entity of a kind that the engine keeps, or replaces its state, by a file of JSON or YAML; - is\nstandard input. With --merge only the fields of the file change; null takes one away.",
	}, func(cmd *cobra.Command, c *client.Client, names []string) error {
		state, err := valueIn(cmd.InOrStdin(), names[2])
		if err != nil {
			return err
		}
		put := c.Put
		if merge {
			put = c.Patch
		}
		if err := put(cmd.Context(), entityPath(names[0], names[1]), state); err != nil {
			return err
		}
		return r.did(cmd, "set", names[0], names[1])
	})
	cmd.Flags().BoolVar(&merge, "merge", false, "change only the fields that are given")
	return cmd
}

func entitiesRemoveCommand() *cobra.Command {
	var r remote
	return r.command(&cobra.Command{Use: "remove KIND ID", Short: "Remove an entity of a kind that the engine keeps; its history stays", Args: args(cobra.ExactArgs(2))},
		func(cmd *cobra.Command, c *client.Client, names []string) error {
			if err := c.Delete(cmd.Context(), entityPath(names[0], names[1])); err != nil {
				return err
			}
			return r.did(cmd, "removed", names[0], names[1])
		})
}
