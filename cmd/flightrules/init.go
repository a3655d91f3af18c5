package main

import (
	"bytes"
	"context"
	"embed"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"
)

//go:embed starter
var starter embed.FS

// schemaFile and testSchemaFile are where the files of a starter folder look for their schemas. The dot
// keeps it out of what is read as rules.
const (
	schemaFile     = ".flightrules.schema.json"
	testSchemaFile = ".flightrules-test.schema.json"
)

func initCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "init [DIR]",
		Short: "Write a folder of rules to begin from",
		Long: "Writes a file with rules that work, one with tests of them, the schemas that let editors complete and\n" +
			"check them, and a README.\n" +
			"DIR is the current folder unless it is given. Nothing is overwritten.",
		Args: args(cobra.MaximumNArgs(1)),
		RunE: func(cmd *cobra.Command, dirs []string) error {
			dir := "."
			if len(dirs) > 0 {
				dir = dirs[0]
			}
			files, err := starterFiles(cmd.Context())
			if err != nil {
				return err
			}
			if err := writeNew(dir, files); err != nil {
				return err
			}
			out := cmd.OutOrStdout()
			for _, f := range files {
				if _, err := fmt.Fprintln(out, "wrote", filepath.Join(dir, f.name)); err != nil {
					return err
				}
			}
			_, err = fmt.Fprintf(out, "next:\n  flightrules check %[1]s\n  flightrules test %[1]s\n  flightrules serve %[1]s\n", dir)
			return err
		},
	}
}

// starterFile is one file of a starter folder.
type starterFile struct {
	name string
	text []byte
}

func starterFiles(ctx context.Context) ([]starterFile, error) {
	var files []starterFile
	for _, name := range []string{"rules.yaml", "rules.test.yaml", "README.md"} {
		text, err := starter.ReadFile(path.Join("starter", name))
		if err != nil {
			return nil, err
		}
		files = append(files, starterFile{name, text})
	}
	for _, one := range []struct {
		name  string
		write func(context.Context, io.Writer) error
	}{{schemaFile, writeSchema}, {testSchemaFile, writeTestSchema}} {
		var schema bytes.Buffer
		if err := one.write(ctx, &schema); err != nil {
			return nil, err
		}
		files = append(files, starterFile{one.name, schema.Bytes()})
	}
	return files, nil
}

// writeNew writes files into a folder, which it makes; where one of them is
// there already, it writes none.
func writeNew(dir string, files []starterFile) error {
	var taken []string
	for _, f := range files {
		switch _, err := os.Lstat(filepath.Join(dir, f.name)); {
		case err == nil:
			taken = append(taken, filepath.Join(dir, f.name))
		case !errors.Is(err, os.ErrNotExist):
			return err
		}
	}
	if taken != nil {
		return fmt.Errorf("nothing was written: there is already %s", strings.Join(taken, ", "))
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	for _, f := range files {
		if err := create(filepath.Join(dir, f.name), f.text); err != nil {
			return err
		}
	}
	return nil
}

// create writes a file that must not be there.
func create(name string, text []byte) error {
	f, err := os.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o644)
	if err != nil {
		return err
	}
	_, err = f.Write(text)
	return errors.Join(err, f.Close())
}
