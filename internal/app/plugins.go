package app

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/flightrules/flightrules/internal/yamlx"
	"github.com/flightrules/flightrules/plugins"
	"github.com/flightrules/flightrules/plugins/httpcall"
	"github.com/flightrules/flightrules/plugins/satellite"
)

// Plugins are those that every engine has.
func Plugins(satellites satellite.Config) []plugins.Plugin {
	return []plugins.Plugin{httpcall.New(), satellite.New(satellites)}
}

// Check checks the rules in a folder against those plugins and any others, and
// says how many there are. Problems are a *yamlx.Error.
func Check(ctx context.Context, dir string, more ...plugins.Plugin) (n int, err error) {
	return checkFiles(ctx, os.DirFS(dir), dir, more)
}

func checkFiles(ctx context.Context, files fs.FS, dir string, more []plugins.Plugin) (n int, err error) {
	// What plugins bring is known once they are registered, and that wants a
	// database; an empty one that is thrown away will do.
	scratch, err := os.MkdirTemp("", "flightrules-check-")
	if err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(scratch)) }()
	core, err := Open(ctx, Config{
		DB: "sqlite:" + filepath.Join(scratch, "check.db"), NoSync: true, Dir: dir, Files: files,
		Plugins: append(Plugins(satellite.Config{}), more...),
	})
	if err != nil {
		var problems *yamlx.Error
		if errors.As(err, &problems) {
			return 0, problems
		}
		return 0, err
	}
	return len(core.Engine.Rules().Rules), core.Close(ctx)
}
