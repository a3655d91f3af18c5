package app

import (
	"context"
	"errors"
	"os"
	"path/filepath"

	"github.com/flightrules/flightrules/plugins"
	"github.com/flightrules/flightrules/rules"
)

// Language gives use what makes rules with the plugins that every engine has
// and any others. It is gone when use returns.
func Language(ctx context.Context, use func(*rules.Compiler) error, more ...plugins.Plugin) (err error) {
	// As for Check: plugins are registered on a database, and an empty one that
	// is thrown away will do.
	scratch, err := os.MkdirTemp("", "flightrules-language-")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(scratch)) }()
	core, err := Open(ctx, Config{
		DB: "sqlite:" + filepath.Join(scratch, "language.db"), NoSync: true,
		Plugins: append(Plugins(PluginConfig{}), more...),
	})
	if err != nil {
		return err
	}
	return errors.Join(use(core.Compiler), core.Close(ctx))
}

// Schema is the JSON Schema of files of rules with those plugins.
func Schema(ctx context.Context, more ...plugins.Plugin) (schema map[string]any, err error) {
	err = Language(ctx, func(c *rules.Compiler) error {
		schema = c.Schema()
		return nil
	}, more...)
	return schema, err
}
