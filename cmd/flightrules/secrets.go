package main

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/url"
	"os"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/flightrules/flightrules/internal/client"
	"github.com/flightrules/flightrules/plugins/secrets"
)

const secretsPath = "/api/v1/secrets"

func secretsCommand() *cobra.Command {
	cmd := &cobra.Command{Use: "secrets", Short: "List, store and remove secrets, and see who used them"}
	cmd.AddCommand(secretsListCommand(), secretsSetCommand(), secretsRemoveCommand(), secretsUsesCommand(), secretsRotateCommand(), secretsKeyCommand())
	return cmd
}

// secretKeys are those of the file or, without one, of the environment.
func secretKeys(file string) ([]secrets.Key, error) {
	text, where := os.Getenv("FLIGHTRULES_SECRETS_KEY"), "FLIGHTRULES_SECRETS_KEY"
	if file != "" {
		read, err := os.ReadFile(file)
		if err != nil {
			return nil, fmt.Errorf("--secrets-key-file: %w", err)
		}
		text, where = string(read), file
	}
	keys, err := secrets.ParseKeys(text)
	if err == nil && file != "" && len(keys) == 0 {
		err = errors.New("there is no key in it")
	}
	if err != nil {
		return nil, fmt.Errorf("%s: %w", where, err)
	}
	return keys, nil
}

func secretsListCommand() *cobra.Command {
	var r remote
	return r.command(&cobra.Command{Use: "list", Short: "List the secrets that are declared or stored, without their values", Args: args(cobra.NoArgs)},
		func(cmd *cobra.Command, c *client.Client, _ []string) error {
			answer, err := c.List(cmd.Context(), secretsPath)
			if err != nil {
				return err
			}
			return show(&r, cmd.OutOrStdout(), answer, func(w io.Writer, list []secrets.Item) error {
				table := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
				fmt.Fprintln(table, "NAME\tSOURCE\tSTORED\tSTATE")
				for _, s := range list {
					at, state := "-", "ok"
					if s.UpdatedAt != nil {
						at = s.UpdatedAt.UTC().Format(time.RFC3339)
					}
					if s.OldKey {
						state = "encrypted with an old key"
					}
					fmt.Fprintf(table, "%s\t%s\t%s\t%s\n", s.Name, strings.TrimSpace(s.Source+" "+s.From), at, cmp.Or(s.Problem, state))
				}
				return table.Flush()
			})
		})
}

func secretsSetCommand() *cobra.Command {
	var r remote
	var file string
	cmd := r.command(&cobra.Command{
		Use: "set NAME", Short: "Store a secret, encrypted", Args: args(cobra.ExactArgs(1)),
		Long: "Stores a secret, whose value is read from --file, or from the standard input up to its end. A line\n" +
			"break at the end is left out. The engine needs a key: see flightrules secrets key.",
	}, func(cmd *cobra.Command, c *client.Client, names []string) error {
		value, err := readSecret(cmd, file)
		if err != nil {
			return err
		}
		if err := c.Put(cmd.Context(), secretsPath+"/"+url.PathEscape(names[0]), map[string]string{"value": value}); err != nil {
			return err
		}
		return r.did(cmd, "stored", "secret", names[0])
	})
	cmd.Flags().StringVar(&file, "file", "", "file with the value (default: the standard input)")
	return cmd
}

// readSecret reads a value that must not be seen among the arguments.
func readSecret(cmd *cobra.Command, file string) (string, error) {
	in := cmd.InOrStdin()
	if file != "" {
		opened, err := os.Open(file)
		if err != nil {
			return "", err
		}
		defer func() { _ = opened.Close() }() // it was only read
		in = opened
	} else if terminal(in) {
		fmt.Fprintln(cmd.ErrOrStderr(), "write the value, which is shown, and end it with Ctrl-D:")
	}
	text, err := io.ReadAll(io.LimitReader(in, secrets.MaxValue+2))
	if err != nil {
		return "", err
	}
	value := strings.TrimSuffix(strings.TrimSuffix(string(text), "\n"), "\r")
	switch {
	case value == "":
		return "", errors.New("the value is empty")
	case len(value) > secrets.MaxValue:
		return "", fmt.Errorf("the value is longer than %d KiB", secrets.MaxValue>>10)
	}
	return value, nil
}

func secretsRemoveCommand() *cobra.Command {
	var r remote
	return r.command(&cobra.Command{Use: "remove NAME", Short: "Remove a stored secret", Args: args(cobra.ExactArgs(1))},
		func(cmd *cobra.Command, c *client.Client, names []string) error {
			if err := c.Delete(cmd.Context(), secretsPath+"/"+url.PathEscape(names[0])); err != nil {
				return err
			}
			return r.did(cmd, "removed", "secret", names[0])
		})
}

func secretsUsesCommand() *cobra.Command {
	var r remote
	var limit int
	cmd := r.command(&cobra.Command{Use: "uses [NAME]", Short: "Show who was given a secret, or could not be, the newest first", Args: args(cobra.MaximumNArgs(1))},
		func(cmd *cobra.Command, c *client.Client, names []string) error {
			path := "/api/v1/secret-uses"
			if len(names) > 0 {
				path += "?name=" + url.QueryEscape(names[0])
			}
			answer, _, err := c.First(cmd.Context(), path, limit)
			if err != nil {
				return err
			}
			return show(&r, cmd.OutOrStdout(), answer, func(w io.Writer, list []secrets.UseItem) error {
				table := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
				fmt.Fprintln(table, "AT\tNAME\tBY\tSOURCE\tOUTCOME")
				for _, u := range list {
					fmt.Fprintf(table, "%s\t%s\t%s\t%s\t%s\n", u.At.UTC().Format(time.RFC3339), u.Name, u.By, cmp.Or(u.Source, "-"), cmp.Or(u.Error, "given"))
				}
				return table.Flush()
			})
		})
	cmd.Flags().IntVar(&limit, "limit", 50, "at most so many")
	return cmd
}

func secretsRotateCommand() *cobra.Command {
	var r remote
	return r.command(&cobra.Command{
		Use: "rotate", Short: "Encrypt stored secrets with the first key", Args: args(cobra.NoArgs),
		Long: "Encrypts with the first of the engine's keys what is stored with another. To change the key, put a\n" +
			"new one before the old one in the key file, restart the engine, rotate, and take the old one away.",
	}, func(cmd *cobra.Command, c *client.Client, _ []string) error {
		var answer json.RawMessage
		if err := c.Post(cmd.Context(), secretsPath+"/rotate", nil, &answer); err != nil {
			return err
		}
		return show(&r, cmd.OutOrStdout(), answer, func(w io.Writer, done secrets.Rotated) error {
			_, err := fmt.Fprintf(w, "%d secrets are encrypted anew\n", done.Rotated)
			return err
		})
	})
}

func secretsKeyCommand() *cobra.Command {
	return &cobra.Command{
		Use: "key", Short: "Make a key that stored secrets are encrypted with", Args: args(cobra.NoArgs),
		Long: "Makes a key, for the file of flightrules serve --secrets-key-file or for FLIGHTRULES_SECRETS_KEY.\n" +
			"Keep it apart from backups of the database: without it stored secrets cannot be read.",
		RunE: func(cmd *cobra.Command, _ []string) error {
			_, err := fmt.Fprintln(cmd.OutOrStdout(), secrets.NewKey())
			return err
		},
	}
}
