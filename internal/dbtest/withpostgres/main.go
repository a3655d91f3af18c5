// Command withpostgres runs a command with a throw-away PostgreSQL, whose URL it
// hands on in FLIGHTRULES_TEST_POSTGRES, so that the tests of all packages share
// one server:
//
//	go run ./internal/dbtest/withpostgres go test ./...
//
// Where the variable is already set, or PostgreSQL is not installed, it just runs
// the command. It exits with the command's code.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"syscall"

	"github.com/flightrules/flightrules/internal/dbtest/cluster"
)

const envServer = "FLIGHTRULES_TEST_POSTGRES"

func main() {
	if len(os.Args) < 2 {
		fmt.Fprintln(os.Stderr, "usage: withpostgres COMMAND [ARGUMENT...]")
		os.Exit(2)
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	err := run(ctx, os.Args[1], os.Args[2:]...)
	var exit *exec.ExitError
	switch {
	case errors.As(err, &exit) && exit.ExitCode() > 0:
		os.Exit(exit.ExitCode())
	case err != nil:
		fmt.Fprintln(os.Stderr, "withpostgres:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, name string, args ...string) error {
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
	cmd.Cancel = func() error { return cmd.Process.Signal(os.Interrupt) }
	if os.Getenv(envServer) != "" {
		return cmd.Run()
	}
	server, err := start(ctx)
	if errors.Is(err, cluster.ErrNotInstalled) {
		fmt.Fprintln(os.Stderr, "withpostgres: PostgreSQL is not installed; going on without")
		return cmd.Run()
	}
	if err != nil {
		return err
	}
	cmd.Env = append(os.Environ(), envServer+"="+server.URL())
	return errors.Join(cmd.Run(), server.Stop())
}

func start(ctx context.Context) (*cluster.Cluster, error) {
	programs, err := cluster.Find()
	if err != nil {
		return nil, err
	}
	return cluster.Start(ctx, programs)
}
