package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/url"
	"os"
	"slices"
	"strconv"
	"text/tabwriter"
	"time"

	"github.com/flightrules/flightrules/internal/client"
	"github.com/spf13/cobra"
)

func tokenCommand() *cobra.Command {
	cmd := &cobra.Command{Use: "token", Short: "Make, list and revoke tokens of the API and the pages"}
	cmd.AddCommand(tokenCreateCommand(), tokenListCommand(), tokenRevokeCommand())
	return cmd
}

func tokenCreateCommand() *cobra.Command {
	var r remote
	var role, ends, file string
	cmd := r.command(&cobra.Command{
		Use: "create NAME", Short: "Make a token, which is shown this once", Args: args(cobra.ExactArgs(1)),
		Example: "  flightrules token create grafana --role viewer --ends 90d",
	}, func(cmd *cobra.Command, c *client.Client, names []string) error {
		body := map[string]any{"name": names[0], "role": role}
		if ends != "" {
			after, at, err := moment(ends)
			if err != nil {
				return misused(cmd, fmt.Errorf("--ends %w", err))
			}
			if after > 0 {
				at = time.Now().Add(after)
			}
			body["expires_at"] = at.UTC().Format(time.RFC3339)
		}
		var answer json.RawMessage
		if err := c.Post(cmd.Context(), "/api/v1/tokens", body, &answer); err != nil {
			return err
		}
		return show(&r, cmd.OutOrStdout(), answer, func(w io.Writer, t client.Token) error {
			if file != "" {
				if err := os.WriteFile(file, []byte(t.Token+"\n"), 0o600); err != nil {
					return errors.Join(err, c.Delete(cmd.Context(), "/api/v1/tokens/"+url.PathEscape(t.ID)))
				}
				_, err := fmt.Fprintf(w, "the token of %s is in %s\n", t.Name, file)
				return err
			}
			_, err := fmt.Fprintln(w, t.Token)
			return err
		})
	})
	cmd.Flags().StringVar(&role, "role", "viewer", "viewer, operator, admin or hook")
	cmd.Flags().StringVar(&ends, "ends", "", "when it ends: after a while, such as 90d, or at a time (default: never)")
	cmd.Flags().StringVar(&file, "file", "", "write it to a file, mode 0600, instead of printing it")
	return cmd
}

func tokenListCommand() *cobra.Command {
	var r remote
	return r.command(&cobra.Command{Use: "list", Short: "List the tokens", Args: args(cobra.NoArgs)},
		func(cmd *cobra.Command, c *client.Client, _ []string) error {
			answer, err := c.List(cmd.Context(), "/api/v1/tokens")
			if err != nil {
				return err
			}
			return show(&r, cmd.OutOrStdout(), answer, func(w io.Writer, list []client.Token) error {
				table := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
				fmt.Fprintln(table, "NAME\tROLE\tENDS\tLAST USED\tID")
				for _, t := range list {
					fmt.Fprintf(table, "%s\t%s\t%s\t%s\t%s\n", t.Name, t.Role, orNever(t.ExpiresAt), orNever(t.LastUsed), t.ID)
				}
				return table.Flush()
			})
		})
}

func orNever(t *time.Time) string {
	if t == nil {
		return "never"
	}
	return clock(*t)
}

func tokenRevokeCommand() *cobra.Command {
	var r remote
	return r.command(&cobra.Command{Use: "revoke NAME", Short: "Revoke a token, by its name or its id, at once", Args: args(cobra.ExactArgs(1))},
		func(cmd *cobra.Command, c *client.Client, names []string) error {
			answer, err := c.List(cmd.Context(), "/api/v1/tokens")
			if err != nil {
				return err
			}
			var list []client.Token
			if err := json.Unmarshal(answer, &list); err != nil {
				return err
			}
			i := slices.IndexFunc(list, func(t client.Token) bool { return t.Name == names[0] || t.ID == names[0] })
			if i < 0 {
				return fmt.Errorf("there is no token %s", names[0])
			}
			if err := c.Delete(cmd.Context(), "/api/v1/tokens/"+url.PathEscape(list[i].ID)); err != nil {
				return err
			}
			return r.did(cmd, "revoked", "token", names[0])
		})
}

func auditCommand() *cobra.Command {
	var r remote
	var limit int
	cmd := r.command(&cobra.Command{Use: "audit", Short: "List every write that came in by HTTP, newest first", Args: args(cobra.NoArgs)},
		func(cmd *cobra.Command, c *client.Client, _ []string) error {
			items, _, err := c.First(cmd.Context(), "/api/v1/audit", limit)
			if err != nil {
				return err
			}
			return show(&r, cmd.OutOrStdout(), items, func(w io.Writer, list []client.AuditEntry) error {
				table := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
				fmt.Fprintln(table, "TIME\tWHO\tWHAT\tFROM\tSTATUS")
				for _, e := range list {
					status := "-"
					if e.Status != nil {
						status = strconv.Itoa(*e.Status)
					}
					fmt.Fprintf(table, "%s\t%s\t%s %s\t%s\t%s\n", clock(e.At), e.Actor, e.Method, e.Path, e.Remote, status)
				}
				return table.Flush()
			})
		})
	cmd.Flags().IntVar(&limit, "limit", 50, "at most so many")
	return cmd
}
