package sim

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"sync/atomic"

	"github.com/flightrules/flightrules/engine/action"
	"github.com/flightrules/flightrules/internal/app"
	"github.com/flightrules/flightrules/plugins"
	"github.com/flightrules/flightrules/rules"
)

// Lab is what many simulations of the same files have in common: the rules,
// compiled once, and an empty database that was migrated once. Their actions
// have no effect: they are answered. It is safe for concurrent use.
type Lab struct {
	Set      *rules.Set      // of the files
	Compiler *rules.Compiler // that made it; it also compiles single rules

	plugins  func() []plugins.Plugin
	core     *app.Core
	dir      string
	template []byte
	made     atomic.Int64
}

// NewLab compiles files; dir is what they are named under in problems, which
// are a *yamlx.Error. Close it.
func NewLab(ctx context.Context, files fs.FS, dir string, brought func() []plugins.Plugin) (*Lab, error) {
	lab := &Lab{plugins: brought}
	if err := lab.open(ctx, files, dir); err != nil {
		return nil, errors.Join(err, lab.Close(ctx))
	}
	return lab, nil
}

func (l *Lab) open(ctx context.Context, files fs.FS, dir string) (err error) {
	if l.dir, err = scratch(); err != nil {
		return err
	}
	path := filepath.Join(l.dir, "template.db")
	// The rules come later: their first load must be that of each simulation.
	l.core, err = app.Open(ctx, app.Config{DB: "sqlite:" + path, NoSync: true, Plugins: l.plugins(), Act: Answered})
	if err != nil {
		return err
	}
	l.Compiler = l.core.Compiler
	if l.Set, err = l.Compiler.Load(files, dir); err != nil {
		return err
	}
	if err := l.core.DB.CopyTo(ctx, path+".copy"); err != nil {
		return err
	}
	if l.template, err = os.ReadFile(path + ".copy"); err != nil {
		return err
	}
	return l.core.Apply(ctx, l.Set) // the compiler knows the kinds of the files from here on
}

// Verbs are what can happen outside of the plugins, and be given there, in
// simulations whose Options say Worlds.
func (l *Lab) Verbs() []plugins.Verb { return l.core.Plugins.Verbs() }

// scratch makes a folder for databases: in memory, where the system has a place
// for that. SQLite's own databases in memory cannot be read beside a writer.
func scratch() (string, error) {
	const memory, name = "/dev/shm", "flightrules-sim-"
	if dir, err := os.MkdirTemp(memory, name); err == nil {
		return dir, nil
	}
	return os.MkdirTemp("", name)
}

// Close ends what the simulations had in common; they must be closed by then.
func (l *Lab) Close(ctx context.Context) (err error) {
	if l.core != nil {
		err = l.core.Close(ctx)
	}
	return errors.Join(err, os.RemoveAll(l.dir))
}

// Open brings up a simulation of some of the rules; o.DB, Files, Plugins and Act
// are the lab's. Until Use puts rules in force there are only the kinds and
// sections of the files, so that a world can be made without any rule seeing it.
// done ends the simulation and removes its database.
func (l *Lab) Open(ctx context.Context, o Options) (s *Sim, done func() error, err error) {
	path := filepath.Join(l.dir, fmt.Sprintf("%d.db", l.made.Add(1)))
	if err := os.WriteFile(path, l.template, 0o600); err != nil {
		return nil, nil, err
	}
	remove := func() error {
		var errs []error
		for _, suffix := range []string{"", "-wal", "-shm", ".lock"} {
			if err := os.Remove(path + suffix); !errors.Is(err, fs.ErrNotExist) {
				errs = append(errs, err)
			}
		}
		return errors.Join(errs...)
	}
	o.DB, o.Files, o.Plugins, o.Act = "sqlite:"+path, nil, l.plugins, Answered
	if o.Secret == nil {
		o.Secret = func(_ context.Context, name, _ string) (string, error) {
			return "", fmt.Errorf("there is no secret %s", name)
		}
	}
	if o.Set == nil {
		o.Set = l.Set.Only(func(*rules.Rule) bool { return false })
	}
	if s, err = Open(ctx, o); err != nil {
		return nil, nil, errors.Join(err, remove())
	}
	return s, func() error { return errors.Join(s.Close(context.WithoutCancel(ctx)), remove()) }, nil
}

// Outside stands for the world that actions act on.
type Outside interface {
	// Act is what an action that is called gets: its output or its error, which
	// may be an *action.Pending.
	Act(ctx context.Context, a action.Action, call action.Call, config any) (output any, err error)
}

type outsideKey struct{}

// WithOutside gives the context for the steps of a simulation whose actions meet
// that world.
func WithOutside(ctx context.Context, o Outside) context.Context {
	return context.WithValue(ctx, outsideKey{}, o)
}

// Answered is an action that does nothing but to ask the world of its context.
func Answered(a action.Action) action.Action {
	acts := a
	a.Run = func(ctx context.Context, call action.Call, config any) (any, error) {
		world, ok := ctx.Value(outsideKey{}).(Outside)
		if !ok {
			return nil, errors.New("there is nothing outside of this simulation")
		}
		return world.Act(ctx, acts, call, config)
	}
	return a
}
