package main

import (
	"encoding/json"
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"github.com/flightrules/flightrules/internal/client"
)

// remote is a command that asks a running engine. What the API answered is
// printed as it is, or by show.
type remote struct {
	api

	output string
}

func (r *remote) command(cmd *cobra.Command, do func(cmd *cobra.Command, c *client.Client, args []string) error) *cobra.Command {
	cmd.PreRunE = func(cmd *cobra.Command, _ []string) error { return fromEnvironment(cmd.Flags()) }
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		if r.output != "text" && r.output != "json" {
			return misused(cmd, fmt.Errorf("unknown output %q: it is text or json", r.output))
		}
		c, err := r.client()
		if err != nil {
			return err
		}
		return do(cmd, c, args)
	}
	r.flags(cmd.Flags())
	cmd.Flags().StringVarP(&r.output, "output", "o", "text", "text or json")
	return cmd
}

// did shows what became of something: it is removed, or stored.
func (r *remote) did(cmd *cobra.Command, became, what, name string) error {
	if r.output == "json" {
		answer, err := json.Marshal(map[string]any{what: name, became: true})
		if err != nil {
			return err
		}
		return indented(cmd.OutOrStdout(), answer)
	}
	_, err := fmt.Fprintf(cmd.OutOrStdout(), "%s %s is %s\n", what, name, became)
	return err
}

// show prints an answer: as JSON or, decoded, as a text.
func show[T any](r *remote, w io.Writer, answer json.RawMessage, text func(w io.Writer, v T) error) error {
	if r.output == "json" {
		return indented(w, answer)
	}
	var v T
	if err := json.Unmarshal(answer, &v); err != nil {
		return err
	}
	return text(w, v)
}
