package triggers

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/flightrules/flightrules/entities"
	"github.com/flightrules/flightrules/internal/db"
	"github.com/flightrules/flightrules/internal/shape"
)

// DeclaredEvent is a type of event that a file declares, with its deriver.
type DeclaredEvent struct {
	Name    string
	Doc     string
	Kind    string // of the entities whose changes it is derived from
	Payload *shape.Shape
	// Derive looks at a change and gives the payload, or false where the event
	// did not happen. It looks at nothing else.
	Derive func(entities.Transition) (payload db.JSON, ok bool, err error)
}

// declared are the declared events in force.
type declared struct {
	events   map[string]EventType
	derivers map[string][]deriver // by kind
}

// Declare replaces the declared events as a whole. An error is that of
// CheckDeclared, and nothing changes then.
func (c *Catalogue) Declare(list []DeclaredEvent) error {
	if err := c.CheckDeclared(list); err != nil {
		return err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.declared = declaredOf(list)
	return nil
}

// CheckDeclared says which of these events cannot be declared together, and
// why; nil if all can.
func (c *Catalogue) CheckDeclared(list []DeclaredEvent) error {
	seen := map[string]bool{}
	for _, e := range list {
		if err := c.CheckDeclarable(e.Name); err != nil {
			return fmt.Errorf("declare event: %w", err)
		}
		if seen[e.Name] {
			return fmt.Errorf("declare event %q: it is declared twice", e.Name)
		}
		seen[e.Name] = true
	}
	return nil
}

// CheckDeclarable says why a file cannot declare an event of that name: nil if
// it can.
func (c *Catalogue) CheckDeclarable(name string) error {
	if err := CheckName(name); err != nil {
		return err
	}
	c.mu.RLock()
	defer c.mu.RUnlock()
	switch _, taken := c.events[name]; {
	case Open(name), strings.HasPrefix(name, EnginePrefix), strings.HasSuffix(name, changedSuffix):
		return fmt.Errorf("event %q cannot be declared: names under %s, %s and %s and names ending in %s are taken", name, CustomPrefix, WebhookPrefix, EnginePrefix, changedSuffix)
	case taken:
		return fmt.Errorf("event %q cannot be declared: a plugin has it", name)
	}
	return nil
}

func declaredOf(list []DeclaredEvent) declared {
	d := declared{events: map[string]EventType{}, derivers: map[string][]deriver{}}
	for _, e := range list {
		d.events[e.Name] = EventType{Name: e.Name, Doc: e.Doc, Kind: e.Kind, Payload: e.Payload, Derived: true}
		d.derivers[e.Kind] = append(d.derivers[e.Kind], deriver{event: e.Name, derive: e.Derive})
	}
	return d
}

// With is the catalogue as it will be when these are the declared kinds and
// events, for checking rules against them. What is in force stays.
func (c *Catalogue) With(kinds []entities.Declared, events []DeclaredEvent) *Catalogue {
	c.mu.RLock()
	defer c.mu.RUnlock()
	next := &Catalogue{
		kinds: c.kinds, events: maps.Clone(c.events), derivers: maps.Clone(c.derivers), declared: declaredOf(events),
		instead: map[string]entities.KindInfo{},
	}
	for _, k := range kinds {
		next.instead[k.Name] = k.Info()
	}
	return next
}

// Kind describes a kind of entity; false when there is none of that name.
func (c *Catalogue) Kind(name string) (entities.KindInfo, bool) {
	if info, ok := c.instead[name]; ok {
		return info, true
	}
	info, ok := c.kinds.Kind(name)
	if ok && info.Declared && c.instead != nil {
		return entities.KindInfo{}, false
	}
	return info, ok
}

// Kinds lists the kinds of entities by name.
func (c *Catalogue) Kinds() []entities.KindInfo {
	list := c.kinds.Kinds()
	if c.instead == nil {
		return list
	}
	list = slices.DeleteFunc(list, func(k entities.KindInfo) bool { return k.Declared })
	list = slices.AppendSeq(list, maps.Values(c.instead))
	slices.SortFunc(list, func(a, b entities.KindInfo) int { return strings.Compare(a.Name, b.Name) })
	return list
}
