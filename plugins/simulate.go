package plugins

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/flightrules/flightrules/internal/loop"
	"github.com/flightrules/flightrules/internal/shape"
	"github.com/flightrules/flightrules/internal/suggest"
)

// Simulated is a plugin whose outside can be played in a simulation, such as a
// unit test of rules: the agents that connect to it, the services that it hears
// of. What can happen there are verbs, which it declares with AddVerb.
type Simulated interface {
	Plugin
	// Simulate makes the outside of the plugin, which is initialised. before is
	// what it was until the engine went down, of another instance of the plugin;
	// nil at first.
	Simulate(before World) World
}

// World is the outside of a plugin in a simulation. It reaches the plugin where
// the network would, at the time that Host.Now says. One goroutine at a time
// uses it.
//
// Step does what the outside does by itself, up to now. It is called before the
// engine does anything at a time, and before a verb. Next is when the
// simulation has to stop for it. Otherwise the clock goes straight to where
// something falls due or somebody looks, however far away that is: what nobody
// would notice on the way, like a heartbeat that is on time, is made up for in
// the next Step.
type World interface {
	loop.Stepper
	// Leap says that the clock was set, forward or back, as when the engine was
	// frozen: what the outside did meanwhile has not reached it. Step is next.
	Leap()
	// Stop says that the engine goes down. From then on there are only verbs,
	// which must not reach the plugin any more, until Simulate makes another
	// world of this one.
	Stop()
}

// Verb is what can happen outside of a plugin: a key of the steps of a test, or
// of what is given at its beginning. AddVerb makes it of a Go type.
type Verb struct {
	Name  string // lower case letters, digits and underscores: "satellite"
	Doc   string
	Given bool         // it is how the world is at the beginning, and no step
	Arg   *shape.Shape // what is written behind the name
	// Decode makes of an argument as plain values what the others take.
	Decode func(v any) (arg any, err error)
	// Check looks at an argument; nil: there is nothing to look at.
	Check func(arg any) error
	// Do makes it happen in the world of the plugin.
	Do func(ctx context.Context, w World, arg any) error
}

// VerbSpec describes a verb of a world W whose argument is a T, a struct in JSON
// form; see Verb. An error of Check that begins with the name of a field is
// shown at that field.
type VerbSpec[W World, T any] struct {
	Name  string
	Doc   string
	Given bool
	Check func(T) error // may be nil
	// Do is a method of the world, written (*W).Method.
	Do func(w W, ctx context.Context, arg T) error
}

// AddVerb declares a verb of a plugin that is Simulated and makes Ws.
func AddVerb[W World, T any](h *Host, spec VerbSpec[W, T]) error {
	form, err := shape.Of[T]()
	if err != nil {
		return fmt.Errorf("verb %q: %w", spec.Name, err)
	}
	if !sectionName.MatchString(spec.Name) {
		return fmt.Errorf("verb %q: a name is lower case letters, digits and underscores", spec.Name)
	}
	v := Verb{
		Name: spec.Name, Doc: spec.Doc, Given: spec.Given, Arg: form, Decode: decodeItem[T],
		Do: func(ctx context.Context, w World, arg any) error { return spec.Do(w.(W), ctx, arg.(T)) },
	}
	if spec.Check != nil {
		v.Check = func(arg any) error { return spec.Check(arg.(T)) }
	}
	h.verbs = append(h.verbs, v)
	return nil
}

func (v Verb) title() string {
	if v.Given {
		return fmt.Sprintf("given verb %q", v.Name)
	}
	return fmt.Sprintf("verb %q", v.Name)
}

// read checks an argument in all ways and decodes it.
func (v Verb) read(plain any) (any, error) {
	if err := v.Arg.Check(plain); err != nil {
		return nil, err
	}
	arg, err := v.Decode(plain)
	if err == nil && v.Check != nil {
		err = v.Check(arg)
	}
	return arg, err
}

// Verbs are those of all plugins. A name stands for one verb at most among
// those that are Given, and for one among the others.
func (s *Set) Verbs() []Verb {
	var list []Verb
	for _, m := range s.members {
		list = append(list, m.host.verbs...)
	}
	return list
}

// Worlds are the outsides of the plugins of a Set, as one.
type Worlds struct {
	list []played
	down bool
}

type played struct {
	member member
	world  World
}

// Worlds makes the outsides of the plugins that are Simulated, once they are
// initialised. before is what they were until the engine went down; nil at
// first.
func (s *Set) Worlds(before *Worlds) (*Worlds, error) {
	was := map[string]World{}
	if before != nil {
		for _, p := range before.list {
			was[p.member.plugin.Name()] = p.world
		}
	}
	w := &Worlds{}
	for _, m := range s.members {
		p, ok := m.plugin.(Simulated)
		if !ok {
			continue
		}
		one := played{member: m}
		if err := m.call("simulate", func() error { one.world = p.Simulate(was[p.Name()]); return nil }); err != nil {
			return nil, err
		}
		w.list = append(w.list, one)
	}
	return w, nil
}

// Happen makes something happen: a verb that is not Given, with its argument as
// plain JSON values. The error says what is wrong with them, or why it cannot
// happen.
func (w *Worlds) Happen(ctx context.Context, verb string, arg any) error {
	return w.do(ctx, verb, false, arg)
}

// Given makes something be there: as Happen, of a verb that is Given.
func (w *Worlds) Given(ctx context.Context, verb string, arg any) error {
	return w.do(ctx, verb, true, arg)
}

func (w *Worlds) do(ctx context.Context, verb string, given bool, plain any) error {
	var names []string
	for _, p := range w.list {
		for _, v := range p.member.host.verbs {
			if v.Given != given {
				continue
			}
			if v.Name == verb {
				return p.do(ctx, v, plain, !w.down)
			}
			names = append(names, v.Name)
		}
	}
	err := fmt.Errorf("no plugin knows how %q could happen", verb)
	if closest, ok := suggest.Closest(verb, names); ok {
		err = fmt.Errorf("%w, did you mean %q?", err, closest)
	}
	return err
}

func (p played) do(ctx context.Context, v Verb, plain any, up bool) error {
	arg, err := v.read(plain)
	if err != nil {
		return fmt.Errorf("%s: %w", v.Name, err)
	}
	if up {
		if _, err := p.step(ctx); err != nil {
			return err
		}
	}
	var cannot error // the test's mistake and not the plugin's
	err = p.member.call(v.Name, func() error { cannot = v.Do(ctx, p.world, arg); return nil })
	if cannot != nil {
		return fmt.Errorf("%s: %w", v.Name, cannot)
	}
	return err
}

func (p played) step(ctx context.Context) (more bool, err error) {
	err = p.member.call("step", func() (err error) { more, err = p.world.Step(ctx); return err })
	return more, err
}

// Step implements loop.Stepper: it does what the outsides do by themselves.
func (w *Worlds) Step(ctx context.Context) (more bool, err error) {
	if w.down {
		return false, nil
	}
	for _, p := range w.list {
		again, err := p.step(ctx)
		if err != nil {
			return false, err
		}
		more = more || again
	}
	return more, nil
}

// Next implements loop.Stepper.
func (w *Worlds) Next(ctx context.Context) (next time.Time, err error) {
	if w.down {
		return next, nil
	}
	for _, p := range w.list {
		if err := p.member.call("next", func() error {
			due, err := p.world.Next(ctx)
			if !due.IsZero() && (next.IsZero() || due.Before(next)) {
				next = due
			}
			return err
		}); err != nil {
			return time.Time{}, err
		}
	}
	return next, nil
}

// Leap says that the clock was set; see World.
func (w *Worlds) Leap() {
	if w.down {
		return
	}
	for _, p := range w.list {
		p.world.Leap()
	}
}

// Stop says that the engine goes down; see World.
func (w *Worlds) Stop() {
	w.down = true
	for _, p := range w.list {
		p.world.Stop()
	}
}

// playable says of which plugin the verbs could not happen.
func (s *Set) playable() error {
	var errs []error
	for _, m := range s.members {
		if _, ok := m.plugin.(Simulated); !ok && len(m.host.verbs) > 0 {
			errs = append(errs, fmt.Errorf("plugin %s: verb %q: the plugin is not Simulated", m.plugin.Name(), m.host.verbs[0].Name))
		}
	}
	return errors.Join(errs...)
}
