// Package action is what a rule can do to the world: the set of actions with
// their configuration and output, as the engine's own plugins and others
// register them. Control flow (choose, wait, set) and what the engine does in
// its own transactions (update, emit) are not actions but steps of the engine.
package action

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"regexp"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/flightrules/flightrules/internal/shape"
)

// Call is what an action is told about the step that runs it.
type Call struct {
	Run  string // id of the run
	Rule string // id of the rule
	Step string // path of the step: "actions[0]"
	// IdempotencyKey is the same whenever this step is repeated, by a retry
	// or after a crash: RUN/STEP/ITERATION.
	IdempotencyKey string
	Attempt        int // from 1
	Log            *slog.Logger
}

// Spec describes an action whose configuration, after its templates were
// filled in, is a C and whose result is an O; both are structs in JSON form.
// Fields of C with the tag secret:"true" may hold ${{ secrets.NAME }}: Run gets
// the values, and what is written of them is masked.
type Spec[C, O any] struct {
	// Name is the key of the step: "http" or, for a plugin, "satellite.exec".
	Name string
	Doc  string
	// Check looks at a configuration that has no templates in it, when the rule
	// is loaded. May be nil.
	Check func(C) error
	// Run does it. It may be run again with the same idempotency key, and must
	// end soon after ctx does.
	Run func(ctx context.Context, call Call, config C) (O, error)
	// Answer is what Run makes of what comes from outside, where a simulation
	// says that it was this: an answer may be none that the step wants. nil: it
	// is the output.
	Answer func(config C, output O) (O, error)
	// Retry is what a step does that says nothing of it: how often it is tried
	// in all, and the pauses between. The zero value: once.
	Retry Retry
}

// Retry is how often something is tried. The pause after the first time is
// Backoff and doubles from then on, up to MaxBackoff.
type Retry struct {
	Attempts   int // in all; 0 and 1: once
	Backoff    time.Duration
	MaxBackoff time.Duration
}

// Pause is how long to wait after so many attempts.
func (r Retry) Pause(attempts int) time.Duration {
	pause := r.Backoff
	for range attempts - 1 {
		if pause >= r.MaxBackoff/2 {
			return r.MaxBackoff
		}
		pause *= 2
	}
	return min(pause, r.MaxBackoff)
}

// Later is the error of an action that cannot begin now, since what it needs is
// in use: the run is suspended and the step begins again after that time. It
// is no attempt, and no failure.
type Later struct {
	After  time.Duration
	Reason string
}

// Error gives the reason.
func (l *Later) Error() string { return "not now: " + l.Reason }

// Pending is the error of an action that has begun and not ended: the run is
// suspended, and the action is called again after that time, with the same
// idempotency key and as the same attempt. The step's timeout counts on.
type Pending struct {
	After time.Duration
}

// Error says that it is at work.
func (*Pending) Error() string { return "still at work" }

// Action is a registered action without its types.
type Action struct {
	Name   string
	Doc    string
	Config *shape.Shape
	Output *shape.Shape
	Retry  Retry
	// Check looks at a complete configuration when the rule is loaded.
	Check func(config any) error
	// Answer makes of what a simulation says that came from outside what Run
	// would have.
	Answer func(config, output any) (any, error)
	// Run does it with the configuration as plain JSON values, and gives the
	// output likewise.
	Run func(ctx context.Context, call Call, config any) (output any, err error)
}

// Set holds the actions. It is safe for concurrent use.
type Set struct {
	mu      sync.RWMutex
	actions map[string]Action
}

// NewSet makes an empty set.
func NewSet() *Set { return &Set{actions: map[string]Action{}} }

var actionName = regexp.MustCompile(`^[a-z][a-z0-9_]*(\.[a-z][a-z0-9_]*)?$`)

// Register adds an action.
func Register[C, O any](s *Set, spec Spec[C, O]) error {
	if !actionName.MatchString(spec.Name) {
		return fmt.Errorf("register action %q: a name is lower case letters, digits and underscores, with one dot at most", spec.Name)
	}
	config, err := shape.Of[C]()
	if err != nil {
		return fmt.Errorf("register action %q: configuration: %w", spec.Name, err)
	}
	output, err := shape.Of[O]()
	if err != nil {
		return fmt.Errorf("register action %q: output: %w", spec.Name, err)
	}
	a := Action{Name: spec.Name, Doc: spec.Doc, Config: config, Output: output, Retry: spec.Retry}
	a.Check = func(config any) error {
		c, err := as[C](config)
		if err != nil || spec.Check == nil {
			return err
		}
		return spec.Check(c)
	}
	a.Answer = func(config, output any) (any, error) {
		c, err := as[C](config)
		if err != nil {
			return nil, err
		}
		o, err := as[O](output)
		if err != nil {
			return nil, err
		}
		if spec.Answer != nil {
			if o, err = spec.Answer(c, o); err != nil {
				return nil, err
			}
		}
		return as[any](o)
	}
	a.Run = func(ctx context.Context, call Call, config any) (any, error) {
		c, err := as[C](config)
		if err != nil {
			return nil, err
		}
		o, err := spec.Run(ctx, call, c)
		if err != nil {
			return nil, err
		}
		return as[any](o)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if _, ok := s.actions[spec.Name]; ok {
		return fmt.Errorf("register action %q: the name is taken", spec.Name)
	}
	s.actions[spec.Name] = a
	return nil
}

// Wrap puts what fn makes of each registered action in its place: for
// simulations, where nothing outside may happen.
func (s *Set) Wrap(fn func(Action) Action) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for name, a := range s.actions {
		s.actions[name] = fn(a)
	}
}

// as takes a value through its JSON form to a T.
func as[T any](v any) (T, error) {
	var t T
	text, err := json.Marshal(shape.Encode(v))
	if err != nil {
		return t, err
	}
	return t, json.Unmarshal(text, &t)
}

// Lookup finds an action.
func (s *Set) Lookup(name string) (Action, bool) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	a, ok := s.actions[name]
	return a, ok
}

// List is every action, by name.
func (s *Set) List() []Action {
	s.mu.RLock()
	defer s.mu.RUnlock()
	list := make([]Action, 0, len(s.actions))
	for _, a := range s.actions {
		list = append(list, a)
	}
	slices.SortFunc(list, func(a, b Action) int { return strings.Compare(a.Name, b.Name) })
	return list
}
