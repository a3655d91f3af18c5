package triggers

import (
	"fmt"
	"maps"
	"strings"

	"github.com/flightrules/flightrules/entities"
	"github.com/flightrules/flightrules/internal/db"
	"github.com/flightrules/flightrules/internal/shape"
)

// DeclaredEvent is an event of a kind that was declared in the files.
type DeclaredEvent struct {
	Name    string
	Doc     string
	Kind    string
	Payload *shape.Shape
	Derive  func(entities.Transition) (payload db.JSON, ok bool, err error)
}

func (e DeclaredEvent) eventType() EventType {
	return EventType{Name: e.Name, Doc: e.Doc, Kind: e.Kind, Payload: e.Payload, Derived: true, Declared: true}
}

// CheckDeclared says whether an event of a declared kind may have that name: it
// begins with the kind's.
func CheckDeclared(name, kind string) error {
	if err := CheckName(name); err != nil {
		return err
	}
	if kind != "" && !strings.HasPrefix(name, kind+".") {
		return fmt.Errorf("bad event name %q: the events of kind %s are called %s.SOMETHING", name, kind, kind)
	}
	if Open(name) || strings.HasPrefix(name, EnginePrefix) || strings.HasSuffix(name, changedSuffix) {
		return fmt.Errorf("event name %q is taken: names under %s, %s and %s and names ending in %s are", name, CustomPrefix, WebhookPrefix, EnginePrefix, changedSuffix)
	}
	return nil
}

// Declare replaces all events that were declared in files.
func (c *Catalogue) Declare(events []DeclaredEvent) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.events, c.declared = with(c.events, events)
}

// With is the catalogue as it would be with other declared kinds and events:
// for checking rules against what is not in force yet.
func (c *Catalogue) With(kinds []entities.Declared, events []DeclaredEvent) *Catalogue {
	c.mu.RLock()
	defer c.mu.RUnlock()
	other := &Catalogue{kinds: c.kinds, derivers: c.derivers, overlay: map[string]entities.KindInfo{}}
	other.events, other.declared = with(c.events, events)
	for _, k := range kinds {
		other.overlay[k.Name] = k.Info()
	}
	return other
}

// with is a copy of events in which the declared ones are others.
func with(events map[string]EventType, declared []DeclaredEvent) (map[string]EventType, map[string][]DeclaredEvent) {
	events, byKind := maps.Clone(events), map[string][]DeclaredEvent{}
	maps.DeleteFunc(events, func(_ string, e EventType) bool { return e.Declared })
	for _, e := range declared {
		events[e.Name] = e.eventType()
		byKind[e.Kind] = append(byKind[e.Kind], e)
	}
	return events, byKind
}
