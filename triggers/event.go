package triggers

import (
	"encoding/json"
	"fmt"
	"time"

	"github.com/flightrules/flightrules/entities"
	"github.com/flightrules/flightrules/internal/db"
	"github.com/flightrules/flightrules/internal/shape"
)

// Event is one event, as it stands in the log and as rules see it.
type Event struct {
	ID       string
	Name     string
	At       time.Time
	Kind     string // of the entity it is about; "" for none
	EntityID string
	Payload  db.JSON
	Cause    entities.Cause
	// Change is the transition it was derived from; nil for others.
	Change *entities.Transition
	// About says that Change is only what it is about: the entity was found as
	// that change had left it.
	About bool
}

// Shape is the form of `event` in the expressions of a rule on an event of
// that type.
func (c *Catalogue) Shape(e EventType) *shape.Shape {
	text := func(doc string) *shape.Shape { return &shape.Shape{Type: shape.String, Doc: doc} }
	payload := e.Payload
	if payload == nil {
		payload = &shape.Shape{Type: shape.Any}
	}
	fields := []shape.Field{
		{Name: "id", Shape: text("The event's id.")},
		{Name: "name", Shape: text("The event's name.")},
		{Name: "kind", Shape: text("The kind of the entity it is about.")},
		{Name: "at", Shape: &shape.Shape{Type: shape.Time, Doc: "When it happened."}},
		{Name: "payload", Shape: payload},
		{Name: "actor", Shape: text("Who is behind it.")},
		{Name: "depth", Shape: &shape.Shape{Type: shape.Integer, Doc: "How many runs stand before it."}},
		{Name: "entity", Shape: &shape.Shape{Type: shape.Object, Fields: []shape.Field{
			{Name: "kind", Shape: text("The entity's kind.")}, {Name: "id", Shape: text("The entity's id.")},
		}}},
	}
	if kind, ok := c.Kind(e.Kind); ok && e.Derived {
		fields = append(fields, shape.Field{Name: "change", Shape: &shape.Shape{Type: shape.Object, Fields: []shape.Field{
			{Name: "prev", Shape: kind.Shape}, {Name: "next", Shape: kind.Shape},
			{Name: "fields", Shape: &shape.Shape{Type: shape.List, Elem: &shape.Shape{Type: shape.String}}},
		}}})
	}
	return &shape.Shape{Type: shape.Object, Fields: fields}
}

// Value is `event` for expressions, in the form that Shape tells.
func (c *Catalogue) Value(h Event) (map[string]any, error) {
	value := map[string]any{
		"id": h.ID, "name": h.Name, "kind": h.Kind, "at": h.At, "actor": h.Cause.Actor, "depth": h.Cause.Depth,
		"entity": map[string]any{"kind": h.Kind, "id": h.EntityID}, "payload": nil, "change": nil,
	}
	if h.Payload != nil {
		var payload any
		if err := json.Unmarshal(h.Payload, &payload); err != nil {
			return nil, fmt.Errorf("payload of event %s: %w", h.ID, err)
		}
		if e, err := c.Lookup(h.Name); err == nil && e.Payload != nil {
			if payload, err = e.Payload.Decode(payload); err != nil {
				return nil, fmt.Errorf("payload of event %s: %w", h.ID, err)
			}
		}
		value["payload"] = payload
	}
	if h.Change != nil {
		prev, err := c.State(h.Kind, h.Change.Prev())
		if err != nil {
			return nil, err
		}
		next, err := c.State(h.Kind, h.Change.Next)
		if err != nil {
			return nil, err
		}
		value["change"] = map[string]any{"prev": prev, "next": next, "fields": h.Change.Fields()}
	}
	return value, nil
}

// State is the state of an entity for expressions: times are times, and absent
// fields are nil. A nil view is nil.
func (c *Catalogue) State(kind string, view entities.View) (any, error) {
	if view == nil {
		return nil, nil
	}
	info, ok := c.Kind(kind)
	if !ok {
		return map[string]any(view), nil
	}
	return info.Shape.Decode(map[string]any(view))
}
