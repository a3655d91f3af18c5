package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/flightrules/flightrules/internal/app"
	"github.com/flightrules/flightrules/internal/dryrun"
	"github.com/flightrules/flightrules/internal/yamlx"
)

func serveCommand() *cobra.Command {
	var c app.ServeConfig
	var level string
	var brought app.PluginConfig
	var keyFile string
	cmd := &cobra.Command{
		Use:   "serve [DIR]",
		Short: "Run the engine with the rules in DIR",
		Long: "Runs the engine with the rules in DIR until it is told to stop. The database is migrated on the\n" +
			"way up. Files are watched: a set of rules without problems replaces the one in force as a whole.\n\n" +
			"Every flag can be given as an environment variable too: --tls-cert is FLIGHTRULES_TLS_CERT.",
		Args: args(cobra.MaximumNArgs(1)),
		PreRunE: func(cmd *cobra.Command, _ []string) error {
			return fromEnvironment(cmd.Flags())
		},
		RunE: func(cmd *cobra.Command, dirs []string) error {
			if len(dirs) == 1 {
				c.Dir = dirs[0]
			}
			log, err := logger(os.Stderr, level)
			if err != nil {
				return misused(cmd, err)
			}
			if (c.TLSCert == "") != (c.TLSKey == "") {
				return misused(cmd, errors.New("--tls-cert and --tls-key go together"))
			}
			c.Log, c.Version = log, version()
			c.Metrics = app.NewMetrics()
			brought.Secrets.Dir = cmp.Or(brought.Secrets.Dir, os.Getenv("CREDENTIALS_DIRECTORY"))
			brought.Satellites.Registerer = c.Metrics
			if brought.Secrets.Keys, err = secretKeys(keyFile); err != nil {
				return err
			}
			c.Plugins = app.Plugins(brought)
			trials := dryrun.New(standardPlugins)
			c.DryRun = trials.Run
			c.Replay = replayForAPI(c.Dir)
			c.Started = func(up *app.Serving) {
				out := cmd.OutOrStdout()
				fmt.Fprintf(out, "flightrules serves %s with %d rules\n", up.URL, up.RulesCount)
				if up.NewToken {
					fmt.Fprintf(out, "the admin token is in %s\n", up.TokenFile)
				}
			}
			served := app.Serve(cmd.Context(), c)
			return errors.Join(shown(cmd.ErrOrStderr(), served), trials.Close(context.WithoutCancel(cmd.Context())))
		},
	}
	flags := cmd.Flags()
	flags.StringVar(&c.Data, "data", "flightrules-data", "folder of the database and of the admin token")
	flags.StringVar(&c.DB, "db", "", "sqlite:PATH or postgres://USER@HOST/NAME (default sqlite:flightrules.db in --data)")
	flags.StringVar(&c.Listen, "listen", "127.0.0.1:8080", "address to serve on")
	flags.StringVar(&c.Node, "node", "", "prefix of this node's name (default: the host's name)")
	flags.StringVar(&c.Dir, "config", "", "folder of the rules, as DIR")
	flags.StringVar(&c.TLSCert, "tls-cert", "", "PEM file with the certificate")
	flags.StringVar(&c.TLSKey, "tls-key", "", "PEM file with the key")
	flags.Float64Var(&brought.Satellites.MassShare, "mass-loss-share", 0.3, "part of the satellites that must fall silent together, more than this, for satellite.mass_loss; 1: never")
	flags.DurationVar(&brought.Satellites.MassWindow, "mass-loss-window", 30*time.Second, "how far apart they may fall silent")
	flags.StringVar(&brought.Secrets.Dir, "secrets-dir", "", "folder of secrets that are files (default: $CREDENTIALS_DIRECTORY)")
	flags.StringVar(&keyFile, "secrets-key-file", "", "file with the keys of stored secrets, the newest first (default: the keys in $FLIGHTRULES_SECRETS_KEY)")
	flags.StringVar(&level, "log-level", "info", "debug, info, warn or error")
	return cmd
}

// fromEnvironment fills in the flags that were not given.
func fromEnvironment(flags *pflag.FlagSet) error {
	var errs []error
	flags.VisitAll(func(f *pflag.Flag) {
		name := "FLIGHTRULES_" + strings.ToUpper(strings.ReplaceAll(f.Name, "-", "_"))
		value, ok := os.LookupEnv(name)
		if !ok || f.Changed {
			return
		}
		if err := f.Value.Set(value); err != nil {
			errs = append(errs, fmt.Errorf("%s: %w", name, err))
		}
	})
	return errors.Join(errs...)
}

func logger(w io.Writer, level string) (*slog.Logger, error) {
	var l slog.Level
	if err := l.UnmarshalText([]byte(level)); err != nil {
		return nil, fmt.Errorf("unknown log level %q", level)
	}
	return slog.New(slog.NewTextHandler(w, &slog.HandlerOptions{Level: l})), nil
}

// shown prints the problems of rules as they are and leaves other errors to
// the caller.
func shown(w io.Writer, err error) error {
	var list *yamlx.Error
	if !errors.As(err, &list) {
		return err
	}
	for _, p := range list.Problems {
		fmt.Fprintln(w, p)
	}
	fmt.Fprintln(w, summary(list.Problems))
	return exit{exitFailed}
}

func summary(list []yamlx.Problem) string {
	files := map[string]bool{}
	for _, p := range list {
		files[p.File] = true
	}
	return fmt.Sprintf("%s in %s", count(len(list), "problem"), count(len(files), "file"))
}

func count(n int, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return fmt.Sprintf("%d %ss", n, what)
}
