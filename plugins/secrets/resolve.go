package secrets

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"strings"
)

// Where a secret is.
const (
	inEnvironment = "env"
	inFile        = "file"
	inDatabase    = "stored"
)

// prefix is of the variables that are secrets without being declared.
const prefix = "FLIGHTRULES_SECRET_"

// MaxValue is how long a secret may be, in bytes.
const MaxValue = 64 << 10

// Secret looks a secret up and notes who is given it. A use that cannot be noted
// is refused.
func (p *Plugin) Secret(ctx context.Context, name, by string) (string, error) {
	value, source, err := p.lookUp(ctx, name)
	if noted := p.note(ctx, name, by, source, err); noted != nil && err == nil {
		return "", fmt.Errorf("secret %s: its use cannot be noted: %w", name, noted)
	}
	return value, err
}

// lookUp finds a secret where the files say that it is or, where they do not say
// it, in the database, the folder or the environment, whichever has it first.
func (p *Plugin) lookUp(ctx context.Context, name string) (value, source string, err error) {
	if d, ok := (*p.declared.Load())[name]; ok {
		value, source, err = p.from(ctx, d)
	} else {
		value, source, err = p.anywhere(ctx, name)
	}
	switch {
	case err != nil:
		return "", source, fmt.Errorf("secret %s: %w", name, err)
	case value == "":
		return "", source, fmt.Errorf("secret %s: it is empty", name)
	}
	return value, source, nil
}

func (p *Plugin) from(ctx context.Context, d Declaration) (value, source string, err error) {
	switch {
	case d.Env != "":
		value, ok := os.LookupEnv(d.Env)
		if !ok {
			return "", inEnvironment, fmt.Errorf("the variable %s is not set", d.Env)
		}
		return value, inEnvironment, nil
	case d.File != "":
		value, err = p.readFile(d.File)
		return value, inFile, err
	default:
		value, err = p.stored(ctx, d.Name)
		return value, inDatabase, err
	}
}

func (p *Plugin) anywhere(ctx context.Context, name string) (value, source string, err error) {
	if value, err = p.stored(ctx, name); !errors.Is(err, errUnknown) {
		return value, inDatabase, err
	}
	if p.config.Dir != "" {
		if value, err = p.readFile(name); !errors.Is(err, fs.ErrNotExist) {
			return value, inFile, err
		}
	}
	if value, ok := os.LookupEnv(prefix + name); ok {
		return value, inEnvironment, nil
	}
	return "", "", fmt.Errorf("there is none: it is not stored, no file has its name, and %s%s is not set", prefix, name)
}

// readFile reads a secret from the folder, which it cannot leave, without the
// line break at its end.
func (p *Plugin) readFile(name string) (string, error) {
	if p.config.Dir == "" {
		return "", errors.New("there is no folder of secrets: start the engine with --secrets-dir")
	}
	root, err := os.OpenRoot(p.config.Dir)
	if err != nil {
		return "", err
	}
	defer func() { _ = root.Close() }() // it was only read
	file, err := root.Open(name)
	if err != nil {
		return "", err
	}
	defer func() { _ = file.Close() }() // it was only read
	text, err := io.ReadAll(io.LimitReader(file, MaxValue+1))
	if err == nil && len(text) > MaxValue {
		err = fmt.Errorf("the file %s is longer than %d KiB", name, MaxValue>>10)
	}
	if err != nil {
		return "", err
	}
	return strings.TrimSuffix(strings.TrimSuffix(string(text), "\n"), "\r"), nil
}
