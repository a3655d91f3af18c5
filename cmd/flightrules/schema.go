package main

import (
	"context"
	"io"

	"github.com/spf13/cobra"

	"github.com/flightrules/flightrules/internal/app"
	"github.com/flightrules/flightrules/internal/ruletest"
)

func schemaCommand() *cobra.Command {
	var tests bool
	cmd := &cobra.Command{
		Use:   "schema",
		Short: "Print the JSON Schema of files of rules, or of their tests, for editors",
		Long: "Prints the JSON Schema of files of rules, with the events, kinds and actions of this binary; with --tests\n" +
			"that of files of tests (*.test.yaml). An editor that is given it completes and checks as one writes;\n" +
			"flightrules init sets that up.",
		Args: args(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			if tests {
				return writeTestSchema(cmd.Context(), cmd.OutOrStdout())
			}
			return writeSchema(cmd.Context(), cmd.OutOrStdout())
		},
	}
	cmd.Flags().BoolVar(&tests, "tests", false, "the schema of files of tests")
	return cmd
}

func writeSchema(ctx context.Context, w io.Writer) error {
	schema, err := app.Schema(ctx)
	if err != nil {
		return err
	}
	return indented(w, schema)
}

func writeTestSchema(ctx context.Context, w io.Writer) error {
	schema, err := ruletest.Schema(ctx, standardPlugins)
	if err != nil {
		return err
	}
	return indented(w, schema)
}
