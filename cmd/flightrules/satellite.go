package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/flightrules/flightrules/internal/client"
	"github.com/flightrules/flightrules/internal/scriptrun"
	"github.com/flightrules/flightrules/plugins"
	"github.com/flightrules/flightrules/plugins/healthcheck/probe"
	"github.com/flightrules/flightrules/plugins/satellite/agent"
)

func satelliteCommand() *cobra.Command {
	cmd := &cobra.Command{Use: "satellite", Short: "Run a satellite, or make its token"}
	cmd.AddCommand(satelliteRunCommand(), satelliteTokenCommand())
	return cmd
}

func satelliteRunCommand() *cobra.Command {
	var c agent.Config
	var scripts scriptrun.Config
	var noScripts bool
	var tokenFile, level string
	cmd := &cobra.Command{
		Use:   "run",
		Short: "Run the agent of a satellite",
		Long: "Connects out to the core, proves that this place is alive, and looks at the checks that the core\n" +
			"tells it, until it is told to stop. Results that the core has not taken yet are kept in a folder.\n" +
			"Exits 2 when the core refuses the token: trying again would not help.",
		Args:    args(cobra.NoArgs),
		PreRunE: func(cmd *cobra.Command, _ []string) error { return fromEnvironment(cmd.Flags()) },
		RunE: func(cmd *cobra.Command, _ []string) error {
			var err error
			if c.Log, err = logger(os.Stderr, level); err != nil {
				return misused(cmd, err)
			}
			if c.Core == "" || c.ID == "" || tokenFile == "" {
				return misused(cmd, errors.New("--core, --id and --token-file are wanted"))
			}
			if c.Token, err = client.ReadToken(tokenFile); err != nil {
				return err
			}
			if c.Dir == "" {
				if c.Dir, err = stateDir(c.ID); err != nil {
					return misused(cmd, err)
				}
			}
			looks := probe.Runner{Scripts: &scripts}
			if noScripts {
				looks.Scripts = nil
			}
			c.Version, c.Runners = version(), map[string]plugins.Runner{"check": looks}
			err = agent.Run(cmd.Context(), c)
			if errors.Is(err, agent.ErrAuthFailed) {
				fmt.Fprintln(os.Stderr, "flightrules:", err)
				return exit{exitMisused}
			}
			return err
		},
	}
	flags := cmd.Flags()
	flags.StringVar(&c.Core, "core", "", "address of the core, such as https://core.example.org")
	flags.StringVar(&c.ID, "id", "", "id of the satellite, or its name")
	flags.StringVar(&tokenFile, "token-file", "", "file with its token")
	flags.StringVar(&c.Dir, "data", "", "folder for what must outlast a restart (default: $STATE_DIRECTORY, or flightrules/satellites/ID in $XDG_STATE_HOME or ~/.local/state)")
	flags.BoolVar(&c.AllowInsecure, "insecure", false, "allow an address without TLS that is not on this machine")
	flags.BoolVar(&noScripts, "no-scripts", false, "run no scripts here, whatever the core says")
	flags.StringVar(&scripts.User, "script-user", "", "user whose rights scripts have, a name or a number (default: the agent's own, unless that is root)")
	flags.StringVar(&level, "log-level", "info", "debug, info, warn or error")
	return cmd
}

// stateDir is where a satellite keeps what must outlast a restart.
func stateDir(id string) (string, error) {
	if dir := os.Getenv("STATE_DIRECTORY"); dir != "" {
		return dir, nil // systemd made it for this service alone
	}
	if id != filepath.Base(id) || id == ".." || id == "." {
		return "", fmt.Errorf("--id: %q is no id and no name of a satellite", id)
	}
	base := os.Getenv("XDG_STATE_HOME")
	if base == "" {
		home, err := os.UserHomeDir()
		if err != nil {
			return "", fmt.Errorf("--data is wanted: %w", err)
		}
		base = filepath.Join(home, ".local", "state")
	}
	return filepath.Join(base, "flightrules", "satellites", id), nil
}

func satelliteTokenCommand() *cobra.Command {
	var a api
	var n client.NewSatellite
	var file, grace, output string
	cmd := &cobra.Command{
		Use:   "token NAME",
		Short: "Make a token for a satellite",
		Long: "Makes a token for the satellite NAME, which is created where it does not exist. The token is shown\n" +
			"once, or written to a file that only you can read. One from before ends, at once or after --grace.",
		Args:    args(cobra.ExactArgs(1)),
		PreRunE: func(cmd *cobra.Command, _ []string) error { return fromEnvironment(cmd.Flags()) },
		RunE: func(cmd *cobra.Command, names []string) error {
			n.Name = names[0]
			c, err := a.client()
			if err != nil {
				return err
			}
			s, err := c.SatelliteToken(cmd.Context(), n, grace)
			if err != nil {
				return err
			}
			if file != "" {
				if err := os.WriteFile(file, []byte(s.Token+"\n"), 0o600); err != nil {
					return fmt.Errorf("the token was made and could not be kept; make another one: %w", err)
				}
				s.Token = ""
			}
			return showToken(cmd.OutOrStdout(), a.server, s, file, output)
		},
	}
	flags := cmd.Flags()
	a.flags(flags)
	flags.StringVar(&n.Region, "region", "", "region of a satellite that is new")
	flags.StringVar(&n.Threshold, "threshold", "", "silence after which a satellite that is new is lost, such as 15s (default 45s)")
	flags.StringVar(&file, "file", "", "write the token to this file instead of showing it")
	flags.StringVar(&grace, "grace", "", "how long a token from before goes on, such as 1h (default: it ends at once)")
	flags.StringVarP(&output, "output", "o", "text", "text or json")
	return cmd
}

func showToken(w io.Writer, server string, s client.Satellite, file, output string) error {
	if output == "json" {
		return json.NewEncoder(w).Encode(map[string]string{"id": s.ID, "name": s.Name, "token": s.Token, "file": file})
	}
	if file == "" {
		file = "FILE"
		if _, err := fmt.Fprintf(w, "token: %s\n(shown this once; keep it in a file)\n", s.Token); err != nil {
			return err
		}
	}
	_, err := fmt.Fprintf(w, "run the satellite with:\n  flightrules satellite run --core %s --id %s --token-file %s\n", server, s.ID, file)
	return err
}

// api says where the engine is and how to get in.
type api struct {
	server, tokenFile, data string
}

func (a *api) flags(flags *pflag.FlagSet) {
	flags.StringVar(&a.server, "server", "http://127.0.0.1:8080", "address of the engine")
	flags.StringVar(&a.tokenFile, "token-file", "", "file with an API token (default: admin.token in --data)")
	flags.StringVar(&a.data, "data", "flightrules-data", "folder of the engine's data")
}

func (a *api) client() (*client.Client, error) {
	file := a.tokenFile
	if file == "" {
		file = filepath.Join(a.data, "admin.token")
	}
	token, err := client.ReadToken(file)
	if err != nil {
		return nil, fmt.Errorf("read the API token (see --token-file): %w", err)
	}
	return client.New(a.server, token), nil
}
