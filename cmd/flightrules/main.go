// Command flightrules is the engine, its agent and its tools in one binary.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"runtime/debug"
	"syscall"

	"github.com/spf13/cobra"
)

// The exit codes: 1 when what was asked for failed, 2 when it was asked wrongly
// or, for an agent, when the core refuses it for good.
const (
	exitFailed  = 1
	exitMisused = 2
)

// exit is an error that has been shown and asks for an exit code.
type exit struct{ code int }

func (e exit) Error() string { return fmt.Sprintf("exit %d", e.code) }

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	err := root().ExecuteContext(ctx)
	var asked exit
	switch {
	case err == nil:
	case errors.As(err, &asked):
		os.Exit(asked.code)
	default:
		fmt.Fprintln(os.Stderr, "flightrules:", err)
		os.Exit(exitFailed)
	}
}

func root() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "flightrules",
		Short: "Turns things that happen into things that get done",
		Long: "Flight Rules records every change of what it watches, matches it against rules in YAML,\n" +
			"and runs their actions durably. Begin with: flightrules demo",
		SilenceErrors: true,
		SilenceUsage:  true,
	}
	cmd.SetFlagErrorFunc(misused)
	cmd.AddCommand(serveCommand(), demoCommand(), checkCommand(), testCommand(), initCommand(), schemaCommand(), explainCommand(),
		runCommand(), rulesCommand(), runsCommand(), silencesCommand(), silenceCommand(), entitiesCommand(), transitionsCommand(), eventsCommand(), decisionsCommand(), overviewCommand(), auditCommand(), tokenCommand(), satelliteCommand(), satellitesCommand(), checksCommand(), secretsCommand(), scriptsCommand(), benchCommand(), crowdCommand(), replayCommand(), exportCommand(), pruneCommand(), versionCommand())
	return cmd
}

// misused shows what is wrong with how a command was called.
func misused(cmd *cobra.Command, err error) error {
	fmt.Fprintf(os.Stderr, "flightrules: %v\nsee: %s --help\n", err, cmd.CommandPath())
	return exit{exitMisused}
}

// args is cobra's check of arguments with our exit code.
func args(check cobra.PositionalArgs) cobra.PositionalArgs {
	return func(cmd *cobra.Command, given []string) error {
		if err := check(cmd, given); err != nil {
			return misused(cmd, err)
		}
		return nil
	}
}

func versionCommand() *cobra.Command {
	return &cobra.Command{
		Use: "version", Short: "Print the version", Args: args(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			_, err := fmt.Fprintln(cmd.OutOrStdout(), "flightrules", version())
			return err
		},
	}
}

// version is that of the module or, when built from a checkout, of the commit.
func version() string {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return "unknown"
	}
	v := info.Main.Version
	if v == "" || v == "(devel)" {
		v = "devel"
	}
	for _, s := range info.Settings {
		if s.Key == "vcs.revision" && v == "devel" {
			v += " " + s.Value[:min(12, len(s.Value))]
		}
	}
	return v + " " + info.GoVersion
}
