package httpapi

import (
	"context"
	"fmt"
	"net/http"

	"github.com/danielgtaylor/huma/v2"

	"github.com/flightrules/flightrules/entities"
	"github.com/flightrules/flightrules/plugins"
)

type kind struct {
	Name   string         `json:"name"`
	Doc    string         `json:"doc"`
	Kept   bool           `json:"kept" doc:"The engine keeps the state, and it can be written here; otherwise it belongs to a plugin."`
	State  map[string]any `json:"state" doc:"The JSON Schema of the state."`
	Events []string       `json:"events" nullable:"false" doc:"The events about entities of this kind."`
}

type kinds struct {
	Items       []kind                 `json:"items" nullable:"false"`
	Next        *string                `json:"next"`
	NonReactive []entities.NonReactive `json:"non_reactive" nullable:"false" doc:"Tables that hold no entities, and why."`
}

type kindPath struct {
	Kind string `path:"kind" maxLength:"200" example:"satellite"`
}

func (s *Server) kindOperations() {
	huma.Register(s.api, operation("list-kinds", http.MethodGet, "/api/v1/kinds", plugins.Viewer, "The kinds of entities"),
		func(context.Context, *struct{}) (*reply[kinds], error) {
			list := whole(s.Entities.Kinds(), s.kind)
			return &reply[kinds]{kinds{Items: list.Items, NonReactive: s.Entities.NonReactive()}}, nil
		})
	huma.Register(s.api, operation("get-kind", http.MethodGet, "/api/v1/kinds/{kind}", plugins.Viewer, "One kind of entities"),
		func(_ context.Context, in *kindPath) (*reply[kind], error) {
			info, ok := s.Entities.Kind(in.Kind)
			if !ok {
				return nil, fmt.Errorf("%w: %q", entities.ErrUnknownKind, in.Kind)
			}
			return &reply[kind]{s.kind(info)}, nil
		})
}

func (s *Server) kind(info entities.KindInfo) kind {
	k := kind{Name: info.Name, Doc: info.Doc, Kept: info.Kept, State: info.Shape.JSONSchema(), Events: []string{}}
	for _, e := range s.Events.Events() {
		if e.Kind == info.Name {
			k.Events = append(k.Events, e.Name)
		}
	}
	return k
}
