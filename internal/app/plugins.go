package app

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/flightrules/flightrules/internal/yamlx"
	"github.com/flightrules/flightrules/plugins"
	"github.com/flightrules/flightrules/plugins/healthcheck"
	"github.com/flightrules/flightrules/plugins/httpcall"
	"github.com/flightrules/flightrules/plugins/notify"
	"github.com/flightrules/flightrules/plugins/satellite"
	"github.com/flightrules/flightrules/plugins/scripts"
	"github.com/flightrules/flightrules/plugins/secrets"
)

// PluginConfig are the numbers of the plugins that every engine has.
type PluginConfig struct {
	Satellites satellite.Config
	Secrets    secrets.Config
}

// Plugins are those that every engine has.
func Plugins(c PluginConfig) []plugins.Plugin {
	return []plugins.Plugin{
		httpcall.New(), notify.New(), secrets.New(c.Secrets), satellite.New(c.Satellites), scripts.New(), healthcheck.New(healthcheck.Config{}),
	}
}

// Checked is what was found in files that have no problems.
type Checked struct {
	Rules    int
	Warnings []yamlx.Problem
}

// Check checks the files in a folder against those plugins and any others.
// Problems are a *yamlx.Error.
func Check(ctx context.Context, dir string, more ...plugins.Plugin) (Checked, error) {
	return checkFiles(ctx, os.DirFS(dir), dir, more)
}

func checkFiles(ctx context.Context, files fs.FS, dir string, more []plugins.Plugin) (found Checked, err error) {
	// What plugins bring is known once they are registered, and that wants a
	// database; an empty one that is thrown away will do.
	scratch, err := os.MkdirTemp("", "flightrules-check-")
	if err != nil {
		return found, err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(scratch)) }()
	core, err := Open(ctx, Config{
		DB: "sqlite:" + filepath.Join(scratch, "check.db"), NoSync: true, Dir: dir, Files: files,
		Plugins: append(Plugins(PluginConfig{}), more...),
	})
	if err != nil {
		var problems *yamlx.Error
		if errors.As(err, &problems) {
			return found, problems
		}
		return found, err
	}
	set := core.Engine.Rules()
	return Checked{Rules: len(set.Rules), Warnings: set.Warnings}, core.Close(ctx)
}
