// Package triggers knows what can happen: the types of events with the forms
// of their payloads, the derivers that make events of changes, and the kinds
// of triggers by which rules wait for them.
//
// Derivers are pure: they look at one change and nothing else. A Catalogue is
// safe for concurrent use.
package triggers

import (
	"errors"
	"fmt"
	"maps"
	"regexp"
	"runtime/debug"
	"slices"
	"strings"
	"sync"

	"github.com/flightrules/flightrules/entities"
	"github.com/flightrules/flightrules/internal/db"
	"github.com/flightrules/flightrules/internal/shape"
)

// CustomPrefix begins the names of events that nobody has to declare: they
// come from outside or from `emit`, and their payload may be anything.
const CustomPrefix = "custom."

// EnginePrefix begins the names of events that only the engine makes.
const EnginePrefix = "engine."

// DeriverFailed is the event that says that a deriver gave an error or
// panicked, so that the loss of its event is on record.
const DeriverFailed = EnginePrefix + "deriver_failed"

// deriversFailed is the payload of DeriverFailed: there is one such event for a
// change, whatever the number of derivers that failed on it.
type deriversFailed struct {
	Failures []deriverFailure `json:"failures"`
}

type deriverFailure struct {
	Event string `json:"event" doc:"The event that would have been derived."`
	Error string `json:"error" doc:"What went wrong."`
}

// EventType is a type of event in the catalogue.
type EventType struct {
	Name    string       // dotted, lower case: "satellite.heartbeat_lost"
	Doc     string       // a sentence for people
	Kind    string       // the kind of entity it is about; "" for none
	Payload *shape.Shape // nil: anything
	Derived bool         // a deriver makes it of changes
}

// Catalogue holds every type of event, and the derivers.
type Catalogue struct {
	kinds *entities.Registry

	mu       sync.RWMutex
	events   map[string]EventType
	derivers map[string][]deriver // by kind
	declared declared

	// instead are the declared kinds of a copy that With made, by name; they
	// stand for those of kinds. nil for a catalogue of its own.
	instead map[string]entities.KindInfo
}

type deriver struct {
	event  string
	derive func(entities.Transition) (payload db.JSON, ok bool, err error)
}

// NewCatalogue makes a catalogue of the events of the engine itself; kinds is
// where the states of entities are described.
func NewCatalogue(kinds *entities.Registry) *Catalogue {
	return &Catalogue{kinds: kinds, events: builtin(), derivers: map[string][]deriver{}}
}

// EventSpec describes an event to Define.
type EventSpec struct {
	Name string
	Doc  string
	Kind string // the kind of entity it is about; "" for none
}

// Handle is a type of event whose payloads are of type P.
type Handle[P any] struct{ name string }

// Name is the name of the event.
func (h *Handle[P]) Name() string { return h.name }

var eventName = regexp.MustCompile(`^[a-z][a-z0-9_]*(\.[a-z][a-z0-9_]*)+$`)

// CheckName says whether name can be the name of an event: two or more
// lower-case words with dots between them.
func CheckName(name string) error {
	if !eventName.MatchString(name) {
		return fmt.Errorf("bad event name %q: write lower-case words with dots between them, such as satellite.heartbeat_lost", name)
	}
	return nil
}

// Define adds a type of event whose payload is the JSON form of a P, a struct.
func Define[P any](c *Catalogue, spec EventSpec) (*Handle[P], error) {
	if err := CheckName(spec.Name); err != nil {
		return nil, err
	}
	if Open(spec.Name) || strings.HasPrefix(spec.Name, EnginePrefix) || strings.HasSuffix(spec.Name, changedSuffix) {
		return nil, fmt.Errorf("define event %q: names under %s, %s and %s and names ending in %s are taken", spec.Name, CustomPrefix, WebhookPrefix, EnginePrefix, changedSuffix)
	}
	payload, err := shape.Of[P]()
	if err != nil {
		return nil, fmt.Errorf("define event %q: %w", spec.Name, err)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if _, ok := c.events[spec.Name]; ok {
		return nil, fmt.Errorf("define event %q: the name is taken", spec.Name)
	}
	c.events[spec.Name] = EventType{Name: spec.Name, Doc: spec.Doc, Kind: spec.Kind, Payload: payload}
	return &Handle[P]{name: spec.Name}, nil
}

// Derive makes events of the changes of a kind: fn looks at a change and gives
// the payload, or false where the event did not happen. Several derivers may
// look at one kind; each makes its own event at most once for a change.
func Derive[S, P any](c *Catalogue, h *entities.Handle[S], e *Handle[P], fn func(entities.Change[S]) (P, bool)) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	kind := h.Name()
	if slices.ContainsFunc(c.derivers[kind], func(d deriver) bool { return d.event == e.name }) {
		return fmt.Errorf("derive %q of %s: it is derived already", e.name, kind)
	}
	c.derivers[kind] = append(c.derivers[kind], deriver{event: e.name, derive: func(t entities.Transition) (db.JSON, bool, error) {
		change, err := entities.ChangeOf[S](t)
		if err != nil {
			return nil, false, err
		}
		payload, ok := fn(change)
		if !ok {
			return nil, false, nil
		}
		return db.ToJSON(payload), true, nil
	}})
	known := c.events[e.name]
	known.Derived, known.Kind = true, kind
	c.events[e.name] = known
	return nil
}

// Derived is an event that a change means.
type Derived struct {
	Name    string
	Payload db.JSON
}

// Derive runs the derivers of the transition's kind. One that fails or panics
// does not stop the others; DeriverFailed then stands last.
func (c *Catalogue) Derive(t entities.Transition) []Derived {
	c.mu.RLock()
	derivers := slices.Concat(c.derivers[t.Kind], c.declared.derivers[t.Kind])
	c.mu.RUnlock()
	var list []Derived
	var failed deriversFailed
	for _, d := range derivers {
		payload, ok, err := d.run(t)
		switch {
		case err != nil:
			failed.Failures = append(failed.Failures, deriverFailure{Event: d.event, Error: err.Error()})
		case ok:
			list = append(list, Derived{Name: d.event, Payload: payload})
		}
	}
	if failed.Failures != nil {
		list = append(list, Derived{Name: DeriverFailed, Payload: db.ToJSON(failed)})
	}
	return list
}

func (d deriver) run(t entities.Transition) (payload db.JSON, ok bool, err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("panic: %v\n%s", p, debug.Stack())
		}
	}()
	return d.derive(t)
}

// ErrUnknownEvent is returned for a name that is not in the catalogue.
var ErrUnknownEvent = errors.New("unknown event")

// Lookup finds a type of event. Names under CustomPrefix and the changes of
// every kind (KIND.changed) are always known.
func (c *Catalogue) Lookup(name string) (EventType, error) {
	c.mu.RLock()
	e, ok := c.events[name]
	if !ok {
		e, ok = c.declared.events[name]
	}
	c.mu.RUnlock()
	if ok {
		return e, nil
	}
	if err := CheckName(name); err != nil {
		return EventType{}, err
	}
	if strings.HasPrefix(name, CustomPrefix) {
		return EventType{Name: name, Doc: "An event from outside or from a rule."}, nil
	}
	if strings.HasPrefix(name, WebhookPrefix) && strings.Count(name, ".") == 1 {
		return webhookType(name), nil
	}
	if kind, ok := strings.CutSuffix(name, changedSuffix); ok {
		if _, known := c.Kind(kind); known {
			return changedType(kind), nil
		}
	}
	return EventType{}, fmt.Errorf("%w %q", ErrUnknownEvent, name)
}

// Events lists every declared type of event, and the change of every kind, by
// name.
func (c *Catalogue) Events() []EventType {
	c.mu.RLock()
	defer c.mu.RUnlock()
	list := make([]EventType, 0, len(c.events)+len(c.declared.events))
	list = slices.AppendSeq(list, maps.Values(c.events))
	list = slices.AppendSeq(list, maps.Values(c.declared.events))
	for _, k := range c.Kinds() {
		list = append(list, changedType(k.Name))
	}
	slices.SortFunc(list, func(a, b EventType) int { return strings.Compare(a.Name, b.Name) })
	return list
}

// changedSuffix ends the name of the event that a state trigger sees: the
// change of an entity, whatever it means.
const changedSuffix = ".changed"

// ChangedEvent is the name of the event "an entity of this kind changed".
func ChangedEvent(kind string) string { return kind + changedSuffix }

// ChangedKind is the kind of a ChangedEvent; false for other names.
func ChangedKind(name string) (string, bool) { return strings.CutSuffix(name, changedSuffix) }

func changedType(kind string) EventType {
	return EventType{
		Name: ChangedEvent(kind), Doc: "A field of the entity changed, whatever that means.", Kind: kind, Derived: true,
		Payload: &shape.Shape{Type: shape.Object},
	}
}
