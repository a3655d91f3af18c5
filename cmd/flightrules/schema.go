package main

import (
	"context"
	"io"

	"github.com/spf13/cobra"

	"github.com/flightrules/flightrules/internal/app"
)

func schemaCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "schema",
		Short: "Print the JSON Schema of files of rules, for editors",
		Long: "Prints the JSON Schema of files of rules, with the events, kinds and actions of this binary.\n" +
			"An editor that is given it completes and checks as one writes; flightrules init sets that up.",
		Args: args(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error { return writeSchema(cmd.Context(), cmd.OutOrStdout()) },
	}
}

func writeSchema(ctx context.Context, w io.Writer) error {
	schema, err := app.Schema(ctx)
	if err != nil {
		return err
	}
	return indented(w, schema)
}
