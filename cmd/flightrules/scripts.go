package main

import (
	"cmp"
	"encoding/json"
	"fmt"
	"io"
	"net/url"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/flightrules/flightrules/internal/bundle"
	"github.com/flightrules/flightrules/internal/client"
	"github.com/flightrules/flightrules/plugins/scripts"
)

const scriptsPath = "/api/v1/scripts"

func scriptsCommand() *cobra.Command {
	cmd := &cobra.Command{Use: "scripts", Short: "Publish, list and remove files for satellites"}
	cmd.AddCommand(scriptsListCommand(), scriptsShowCommand(), scriptsPublishCommand(), scriptsRemoveCommand())
	return cmd
}

func scriptsPublishCommand() *cobra.Command {
	var r remote
	return r.command(&cobra.Command{
		Use: "publish NAME DIR", Short: "Publish a folder for satellites, as the newest version", Args: args(cobra.ExactArgs(2)),
		Long: "Publishes the files of DIR under NAME. The satellites that scripts: gives them to in the files of the\n" +
			"rules fetch what they have not got, and have them in a folder of that name. Links are refused.",
	}, func(cmd *cobra.Command, c *client.Client, given []string) error {
		archive, err := bundle.Pack(given[1])
		if err != nil {
			return err
		}
		var answer json.RawMessage
		if err := c.Upload(cmd.Context(), scriptsPath+"/"+url.PathEscape(given[0]), "application/gzip", archive, &answer); err != nil {
			return err
		}
		return show(&r, cmd.OutOrStdout(), answer, func(w io.Writer, v scripts.Version) error {
			_, err := fmt.Fprintf(w, "scripts %s are published: version %.12s, %d files, %d bytes\n", given[0], v.Hash, v.Files, v.Size)
			return err
		})
	})
}

func scriptsListCommand() *cobra.Command {
	var r remote
	return r.command(&cobra.Command{Use: "list", Short: "List what is published for satellites, and its versions", Args: args(cobra.NoArgs)},
		func(cmd *cobra.Command, c *client.Client, _ []string) error {
			answer, err := c.List(cmd.Context(), scriptsPath)
			if err != nil {
				return err
			}
			return show(&r, cmd.OutOrStdout(), answer, func(w io.Writer, list []scripts.Item) error {
				table := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
				fmt.Fprintln(table, "NAME\tVERSION\tPUBLISHED\tFILES\tSIZE\tGIVEN")
				for _, s := range list {
					for i, v := range s.Versions {
						fmt.Fprintf(table, "%s\t%.12s\t%s\t%d\t%d\t%s\n", s.Name, v.Hash, v.PublishedAt.UTC().Format(time.RFC3339), v.Files, v.Size, cmp.Or(given(s, i), "-"))
					}
					if s.Problem != "" {
						fmt.Fprintf(table, "%s\t-\t-\t-\t-\t%s\n", s.Name, s.Problem)
					}
				}
				return table.Flush()
			})
		})
}

// given says whether satellites are given a version.
func given(s scripts.Item, i int) string {
	switch {
	case s.Satellites == nil:
		return ""
	case s.Pinned == "" && i == 0:
		return "to satellites, as the newest"
	case s.Pinned != "" && len(s.Versions[i].Hash) >= len(s.Pinned) && s.Versions[i].Hash[:len(s.Pinned)] == s.Pinned:
		return "to satellites, as the files name it"
	}
	return ""
}

func scriptsShowCommand() *cobra.Command {
	var r remote
	var version string
	cmd := r.command(&cobra.Command{Use: "show NAME", Short: "List the files of a version, the newest", Args: args(cobra.ExactArgs(1))},
		func(cmd *cobra.Command, c *client.Client, names []string) error {
			var answer json.RawMessage
			if err := c.Get(cmd.Context(), scriptsPath+"/"+url.PathEscape(names[0])+"?version="+url.QueryEscape(version), &answer); err != nil {
				return err
			}
			return show(&r, cmd.OutOrStdout(), answer, func(w io.Writer, v scripts.Contents) error {
				table := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
				fmt.Fprintln(table, "PATH\tSIZE\tEXECUTABLE\tSHA-256")
				for _, f := range v.Files {
					fmt.Fprintf(table, "%s\t%d\t%t\t%s\n", f.Path, f.Size, f.Executable, f.Digest)
				}
				return table.Flush()
			})
		})
	cmd.Flags().StringVar(&version, "version", "", "the beginning of its hash (default: the newest)")
	return cmd
}

func scriptsRemoveCommand() *cobra.Command {
	var r remote
	return r.command(&cobra.Command{Use: "remove NAME", Short: "Remove all versions of scripts that no file gives to satellites", Args: args(cobra.ExactArgs(1))},
		func(cmd *cobra.Command, c *client.Client, names []string) error {
			if err := c.Delete(cmd.Context(), scriptsPath+"/"+url.PathEscape(names[0])); err != nil {
				return err
			}
			return r.did(cmd, "removed", "scripts", names[0])
		})
}
