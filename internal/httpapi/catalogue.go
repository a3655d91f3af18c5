package httpapi

import (
	"context"
	"net/http"

	"github.com/danielgtaylor/huma/v2"

	"github.com/flightrules/flightrules/engine/action"
	"github.com/flightrules/flightrules/plugins"
	"github.com/flightrules/flightrules/triggers"
)

type eventType struct {
	Name    string         `json:"name"`
	Doc     string         `json:"doc"`
	Kind    *string        `json:"kind" doc:"The kind of entity it is about."`
	Derived bool           `json:"derived" doc:"It is made of changes of entities."`
	Payload map[string]any `json:"payload" doc:"The JSON Schema of the payload; null: anything."`
}

func showEventType(e triggers.EventType) eventType {
	out := eventType{Name: e.Name, Doc: e.Doc, Kind: absent(e.Kind), Derived: e.Derived}
	if e.Payload != nil {
		out.Payload = e.Payload.JSONSchema()
	}
	return out
}

type actionType struct {
	Name   string         `json:"name"`
	Doc    string         `json:"doc"`
	Config map[string]any `json:"config" doc:"The JSON Schema of what stands in the rule."`
	Output map[string]any `json:"output" doc:"The JSON Schema of what later steps see."`
}

func showActionType(a action.Action) actionType {
	return actionType{Name: a.Name, Doc: a.Doc, Config: a.Config.JSONSchema(), Output: a.Output.JSONSchema()}
}

func (s *Server) catalogueOperations() {
	huma.Register(s.api, operation("list-triggers", http.MethodGet, "/api/v1/triggers", plugins.Viewer, "The events that rules can wait for"),
		func(context.Context, *struct{}) (*reply[page[eventType]], error) {
			return &reply[page[eventType]]{whole(s.Events.Events(), showEventType)}, nil
		})
	huma.Register(s.api, operation("list-actions", http.MethodGet, "/api/v1/actions", plugins.Viewer, "The actions that rules can run"),
		func(context.Context, *struct{}) (*reply[page[actionType]], error) {
			return &reply[page[actionType]]{whole(s.Actions.List(), showActionType)}, nil
		})
}
