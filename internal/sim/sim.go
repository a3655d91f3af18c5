// Package sim runs a whole engine with its clock in hand: no goroutine works by
// itself, time moves when the caller says so, and everything that falls due on
// the way happens in order. It is the engine of production, with its plugins and
// a database of its own; nothing but what the actions of the plugins do, and
// what time it is, may be another.
package sim

import (
	"context"
	"errors"
	"io/fs"
	"log/slog"
	"time"

	"github.com/uptrace/bun"

	"github.com/flightrules/flightrules/engine"
	"github.com/flightrules/flightrules/engine/action"
	"github.com/flightrules/flightrules/internal/app"
	"github.com/flightrules/flightrules/internal/clock"
	"github.com/flightrules/flightrules/internal/loop"
	"github.com/flightrules/flightrules/plugins"
	"github.com/flightrules/flightrules/rules"
)

// Options are what a simulation is made of.
type Options struct {
	DB    string // URL of the database
	Start time.Time
	// Set, or else Files, are the rules.
	Set   *rules.Set
	Files fs.FS
	// Plugins makes the plugins, anew at each start; nil: there are none.
	Plugins func() []plugins.Plugin
	// Worlds makes what is outside of the plugins take part: see Happen.
	Worlds bool
	// Act stands for every action; nil: they act. See action.Set.Wrap.
	Act func(action.Action) action.Action
	// Secret is what ${{ secrets.NAME }} stands for; nil: as in production, but
	// in a Lab, where there are none then.
	Secret func(ctx context.Context, name, by string) (string, error)
	// NewID makes ids; nil: as in production.
	NewID  func() string
	Shadow bun.IDB     // see engine.Options
	Twin   engine.Twin // see engine.Options
	// Looked is called whenever the engine looks at the clock; nil: nobody is
	// told.
	Looked func()
	Log    *slog.Logger // nil: discarded
}

// Sim is a simulation. One goroutine at a time may use it.
type Sim struct {
	*app.Core

	options Options
	clock   *clock.Manual
	first   *Sim            // the one that is not a Peer
	worlds  *plugins.Worlds // of the first; nil: nothing is outside
}

// Open brings a simulation up at its start. Rules that have problems are a
// *yamlx.Error.
func Open(ctx context.Context, o Options) (*Sim, error) {
	s := &Sim{options: o, clock: clock.At(o.Start)}
	s.first = s
	return s, s.open(ctx)
}

func (s *Sim) open(ctx context.Context) error {
	o := s.options
	var brought []plugins.Plugin
	if o.Plugins != nil {
		brought = o.Plugins()
	}
	core, err := app.Open(ctx, app.Config{
		DB: o.DB, NoSync: true, Node: "sim", Plugins: brought, Now: s.now, Inline: true, Log: o.Log, Secret: o.Secret,
		Set: o.Set, Files: o.Files, Act: o.Act, NewID: o.NewID, Shadow: o.Shadow, Twin: o.Twin,
	})
	if err != nil {
		return err // the core of before stays, for Close
	}
	s.Core = core
	if o.Worlds && s == s.first {
		s.worlds, err = core.Plugins.Worlds(s.worlds)
	}
	return err
}

func (s *Sim) now() time.Time {
	if s.options.Looked != nil {
		s.options.Looked()
	}
	return s.clock.Now()
}

// Time is what the clock says, without the engine having looked.
func (s *Sim) Time() time.Time { return s.clock.Now() }

// Close ends the simulation; the database stays.
func (s *Sim) Close(ctx context.Context) error { return s.Core.Close(ctx) }

// Restart ends the engine and brings it up again on the same database, at the
// same time. Nothing that matters is in memory.
func (s *Sim) Restart(ctx context.Context) error {
	return errors.Join(s.Stop(ctx), s.Start(ctx))
}

// Stop ends the engine. Until Start there are only Jump, for the time that it is
// down, and Happen, for what happens meanwhile.
func (s *Sim) Stop(ctx context.Context) error {
	if s.worlds != nil {
		s.worlds.Stop()
	}
	return s.Close(ctx)
}

// Start brings the engine up again after Stop, on the same database.
func (s *Sim) Start(ctx context.Context) error { return s.open(ctx) }

// Peer is another node on the same database, with the same clock. What is
// outside of plugins stays with the first node, and goes on whichever of them is
// driven.
func (s *Sim) Peer(ctx context.Context) (*Sim, error) {
	peer := &Sim{options: s.options, clock: s.clock, first: s.first}
	return peer, peer.open(ctx)
}

// Reload puts other rules in force, also after the next restart. With an error
// nothing changes.
func (s *Sim) Reload(ctx context.Context, files fs.FS) error {
	set, err := s.Compiler.Load(files, "")
	if err != nil {
		return err
	}
	if err := s.Apply(ctx, set); err != nil {
		return err
	}
	s.options.Set, s.options.Files = nil, files
	return nil
}

// Use is Reload with rules that are compiled, by an engine with the same
// plugins whose actions are stood for, as Act says.
func (s *Sim) Use(ctx context.Context, set *rules.Set) error {
	if err := s.Apply(ctx, set); err != nil {
		return err
	}
	s.options.Set, s.options.Files = set, nil
	return nil
}

var errNoWorlds = errors.New("nothing is outside of this simulation")

// Happen makes something happen outside of a plugin, now: a verb of Plugins.Verbs
// with its argument as plain JSON values. What the engine makes of it comes with
// Settle or AdvanceTo.
func (s *Sim) Happen(ctx context.Context, verb string, arg any) error {
	if s.first.worlds == nil {
		return errNoWorlds
	}
	return s.first.worlds.Happen(ctx, verb, arg)
}

// Given is Happen for the verbs that say how the world is at the beginning.
func (s *Sim) Given(ctx context.Context, verb string, arg any) error {
	if s.first.worlds == nil {
		return errNoWorlds
	}
	return s.first.worlds.Given(ctx, verb, arg)
}

// steppers are all that works, what is outside first: at each time the engine
// sees what it would have been sent.
func (s *Sim) steppers() []loop.Stepper {
	if s.first.worlds == nil {
		return s.Engine.Steppers()
	}
	return append([]loop.Stepper{s.first.worlds}, s.Engine.Steppers()...)
}

// Settle does all that can be done at the present time.
func (s *Sim) Settle(ctx context.Context) error {
	for idle := false; !idle; {
		idle = true
		for _, stepper := range s.steppers() {
			more, err := stepper.Step(ctx)
			if err != nil {
				return err
			}
			idle = idle && !more
		}
	}
	return nil
}

// Next is when the next thing falls due; zero: nothing does.
func (s *Sim) Next(ctx context.Context) (next time.Time, err error) {
	for _, stepper := range s.steppers() {
		due, err := stepper.Next(ctx)
		if err != nil {
			return next, err
		}
		if !due.IsZero() && (next.IsZero() || due.Before(next)) {
			next = due
		}
	}
	return next, nil
}

// AdvanceTo moves the clock, stopping wherever something falls due.
func (s *Sim) AdvanceTo(ctx context.Context, end time.Time) error {
	if err := s.Settle(ctx); err != nil {
		return err
	}
	for {
		next, err := s.Next(ctx)
		if err != nil {
			return err
		}
		if next.IsZero() || next.After(end) {
			next = end
		}
		if next.Before(s.clock.Now()) {
			next = s.clock.Now()
		}
		s.clock.Set(next)
		if err := s.Settle(ctx); err != nil || !next.Before(end) {
			return err
		}
	}
}

// Jump sets the clock at once, as when the engine was down meanwhile or
// somebody set the clock: what falls due on the way happens late, at the next
// Settle. What is outside of plugins cannot have reached them meanwhile.
func (s *Sim) Jump(to time.Time) {
	s.clock.Set(to)
	if s.first.worlds != nil {
		s.first.worlds.Leap()
	}
}
