// Command reference writes the parts of the reference of rules that the code
// knows: what can stand in a file, and what plugins bring. It is given the
// document, in which markers say where they stand.
package main

import (
	"context"
	"fmt"
	"os"

	"github.com/flightrules/flightrules/internal/app"
	"github.com/flightrules/flightrules/rules"
)

//go:generate go run . ../../docs/reference/rules.md

func main() {
	if len(os.Args) != 2 {
		fmt.Fprintln(os.Stderr, "usage: reference DOCUMENT")
		os.Exit(2)
	}
	if err := write(context.Background(), os.Args[1]); err != nil {
		fmt.Fprintln(os.Stderr, "reference:", err)
		os.Exit(1)
	}
}

func write(ctx context.Context, name string) error {
	before, err := os.ReadFile(name)
	if err != nil {
		return err
	}
	var after string
	err = app.Language(ctx, func(c *rules.Compiler) (err error) {
		after, err = c.Reference(string(before))
		return err
	})
	if err != nil || after == string(before) {
		return err
	}
	return os.WriteFile(name, []byte(after), 0o644)
}
