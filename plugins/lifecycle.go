package plugins

import (
	"context"
	"errors"
	"fmt"
	"regexp"
	"runtime/debug"
	"slices"
	"strings"

	"github.com/danielgtaylor/huma/v2"
	"golang.org/x/sync/errgroup"

	"github.com/flightrules/flightrules/internal/db"
)

// Set is the plugins of one engine. Its methods are called in the order Init,
// Ready, Run, Close.
type Set struct {
	members []member // each after those it needs
	shared  *shared
}

type member struct {
	plugin Plugin
	host   *Host
}

var pluginName = regexp.MustCompile(`^[a-z][a-z0-9_]*$`)

// NewSet registers plugins, each after those it needs. Bad and doubled names,
// needs that are not there and circles of needs are errors, as are sections,
// functions and verbs that two have; every error names its plugin.
func NewSet(services Services, list ...Plugin) (*Set, error) {
	sorted, err := inOrder(list)
	if err != nil {
		return nil, err
	}
	s := &Set{shared: &shared{}}
	for _, p := range sorted {
		m := member{plugin: p, host: &Host{services: services, plugin: p.Name(), log: services.Log.With("plugin", p.Name()), shared: s.shared}}
		if err := m.call("register", func() error { return p.Register(m.host) }); err != nil {
			return nil, err
		}
		s.members = append(s.members, m)
	}
	if err := errors.Join(s.unique(), s.playable()); err != nil {
		return nil, err
	}
	return s, nil
}

// inOrder sorts plugins so that each comes after those it needs, and otherwise
// as they were given.
func inOrder(list []Plugin) ([]Plugin, error) {
	byName := map[string]Plugin{}
	for _, p := range list {
		name := p.Name()
		if !pluginName.MatchString(name) {
			return nil, fmt.Errorf("plugin %q: a name is lower case letters, digits and underscores", name)
		}
		if byName[name] != nil {
			return nil, fmt.Errorf("plugin %s: the name is taken by another plugin", name)
		}
		byName[name] = p
	}
	var sorted []Plugin
	visited := map[string]bool{} // not the plugins themselves: they may not be comparable
	var visit func(p Plugin, way []string) error
	visit = func(p Plugin, way []string) error {
		if visited[p.Name()] {
			return nil
		}
		if i := slices.Index(way, p.Name()); i >= 0 {
			return fmt.Errorf("plugin %s: it needs itself: %s", p.Name(), strings.Join(append(way[i:], p.Name()), " needs "))
		}
		if needer, ok := p.(Needer); ok {
			for _, name := range needer.Needs() {
				need, ok := byName[name]
				if !ok {
					return fmt.Errorf("plugin %s: it needs plugin %s, which is not there", p.Name(), name)
				}
				if err := visit(need, append(slices.Clone(way), p.Name())); err != nil {
					return err
				}
			}
		}
		visited[p.Name()] = true
		sorted = append(sorted, p)
		return nil
	}
	for _, p := range list {
		if err := visit(p, nil); err != nil {
			return nil, err
		}
	}
	return sorted, nil
}

// call runs one of a plugin's functions; its error or panic names the plugin.
func (m member) call(doing string, fn func() error) (err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("plugin %s: %s: panic: %v\n%s", m.plugin.Name(), doing, p, debug.Stack())
		}
	}()
	if err := fn(); err != nil {
		return fmt.Errorf("plugin %s: %s: %w", m.plugin.Name(), doing, err)
	}
	return nil
}

// Migrations are those of all plugins.
func (s *Set) Migrations() []db.Migrations {
	var sets []db.Migrations
	for _, m := range s.members {
		if m.host.migrations != nil {
			sets = append(sets, db.Migrations{Owner: "plugin." + m.plugin.Name(), Files: m.host.migrations})
		}
	}
	return sets
}

// Init initialises the plugins, each after those it needs. The first error
// ends it.
func (s *Set) Init(ctx context.Context) error {
	for _, m := range s.members {
		if p, ok := m.plugin.(Initializer); ok {
			if err := m.call("init", func() error { return p.Init(ctx, m.host) }); err != nil {
				return err
			}
		}
	}
	return nil
}

// Ready tells the plugins that all are initialised.
func (s *Set) Ready(ctx context.Context) error {
	for _, m := range s.members {
		if p, ok := m.plugin.(Readier); ok {
			if err := m.call("ready", func() error { return p.Ready(ctx) }); err != nil {
				return err
			}
		}
	}
	return nil
}

// Run does the background work of all plugins until ctx ends or a piece of it
// fails, and returns when all of it has ended, with the first error.
func (s *Set) Run(ctx context.Context) error {
	group, ctx := errgroup.WithContext(ctx)
	for _, m := range s.members {
		for _, b := range m.host.background {
			group.Go(func() error {
				err := m.call(b.name, func() error { return b.run(ctx) })
				if ctx.Err() != nil && errors.Is(err, ctx.Err()) {
					return nil
				}
				return err
			})
		}
	}
	return group.Wait()
}

// Close closes the plugins in reverse, all of them even if some fail.
func (s *Set) Close(ctx context.Context) error {
	var errs []error
	for _, m := range slices.Backward(s.members) {
		if p, ok := m.plugin.(Closer); ok {
			errs = append(errs, m.call("close", func() error { return p.Close(ctx) }))
		}
	}
	return errors.Join(errs...)
}

// Operations are what the plugins add to the HTTP API.
func (s *Set) Operations() []func(huma.API) {
	var list []func(huma.API)
	for _, m := range s.members {
		list = append(list, m.host.operations...)
	}
	return list
}

// Mounts are the handlers of the plugins outside of the API.
func (s *Set) Mounts() []Mount {
	var list []Mount
	for _, m := range s.members {
		list = append(list, m.host.mounts...)
	}
	return list
}
