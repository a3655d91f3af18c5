// Command reference writes the parts of the references of rules and of their
// tests that the code knows: what can stand in a file, and what plugins bring. It
// is given the documents, in which markers say where they stand, and the file of
// the schema of the satellites' protocol.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"

	"github.com/flightrules/flightrules/internal/app"
	"github.com/flightrules/flightrules/internal/ruletest"
	"github.com/flightrules/flightrules/plugins"
	"github.com/flightrules/flightrules/plugins/satellite/protocol"
	"github.com/flightrules/flightrules/rules"
)

//go:generate go run . ../../docs/reference/rules.md ../../docs/reference/tests.md ../../docs/reference/satellite-protocol.schema.json

func main() {
	if len(os.Args) != 4 {
		fmt.Fprintln(os.Stderr, "usage: reference RULES.md TESTS.md PROTOCOL.json")
		os.Exit(2)
	}
	ctx := context.Background()
	err := errors.Join(
		write(os.Args[1], func(before string) (after string, err error) {
			err = app.Language(ctx, func(c *rules.Compiler) (err error) {
				after, err = c.Reference(before)
				return err
			})
			return after, err
		}),
		write(os.Args[2], func(before string) (string, error) {
			return ruletest.Reference(ctx, func() []plugins.Plugin { return app.Plugins(app.PluginConfig{}) }, before)
		}),
		write(os.Args[3], func(string) (string, error) {
			schema, err := protocol.Schema()
			if err != nil {
				return "", err
			}
			text, err := json.MarshalIndent(schema, "", "  ")
			return string(text) + "\n", err
		}),
	)
	if err != nil {
		fmt.Fprintln(os.Stderr, "reference:", err)
		os.Exit(1)
	}
}

func write(name string, fill func(before string) (after string, err error)) error {
	before, err := os.ReadFile(name)
	if err != nil {
		return err
	}
	after, err := fill(string(before))
	if err != nil || after == string(before) {
		return err
	}
	return os.WriteFile(name, []byte(after), 0o644)
}
