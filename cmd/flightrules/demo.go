package main

import (
	"os"

	"github.com/spf13/cobra"

	"github.com/flightrules/flightrules/internal/demo"
)

func demoCommand() *cobra.Command {
	var o demo.Options
	cmd := &cobra.Command{
		Use:   "demo",
		Short: "Show the main job: a satellite goes dark, a rule fires, the history shows it",
		Long: "Runs an engine on a database in a temporary folder, three satellites as processes of their own, and\n" +
			"the rules of examples/demo. One satellite is killed, and the account of what follows is printed.",
		Args: args(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			var err error
			if o.Program, err = os.Executable(); err != nil {
				return err
			}
			o.Out, o.Version = cmd.OutOrStdout(), version()
			return demo.Run(cmd.Context(), o)
		},
	}
	cmd.Flags().BoolVar(&o.Once, "once", false, "end when the history shows what it should, with 0")
	cmd.Flags().StringVar(&o.Listen, "listen", "", "address of the engine (default: a free port of this machine)")
	return cmd
}
