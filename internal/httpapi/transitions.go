package httpapi

import (
	"context"
	"net/http"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"github.com/flightrules/flightrules/entities"
	"github.com/flightrules/flightrules/plugins"
)

type transition struct {
	Seq      int64             `json:"seq"`
	Kind     string            `json:"kind"`
	EntityID string            `json:"entity_id"`
	Version  int64             `json:"version"`
	At       time.Time         `json:"at"`
	Changes  map[string][2]any `json:"changes" doc:"For each field that changed: what it was and what it became. null is absent."`
	Removed  bool              `json:"removed" doc:"The entity went away."`
	Actor    string            `json:"actor"`
	RunID    *string           `json:"run_id" doc:"The run that made the change."`
	Depth    int               `json:"depth" doc:"How many runs stand between the change and the outside world."`
}

func showTransition(t entities.Transition) transition {
	return transition{
		Seq: t.Seq, Kind: t.Kind, EntityID: t.ID, Version: t.Version, At: t.At, Changes: t.Delta, Removed: t.Removed(),
		Actor: t.Cause.Actor, RunID: absent(t.Cause.RunID), Depth: t.Cause.Depth,
	}
}

// TransitionFilter narrows the log.
type TransitionFilter struct {
	Paging
	Field string    `query:"field" maxLength:"200" doc:"Only where that field changed."`
	Actor string    `query:"actor" maxLength:"200" example:"token:admin"`
	Run   string    `query:"run" maxLength:"200" doc:"Only what that run changed."`
	From  time.Time `query:"from" doc:"At that time or later."`
	To    time.Time `query:"to" doc:"Before that time."`
}

type listTransitions struct {
	TransitionFilter
	Kind string `query:"kind" maxLength:"200"`
	ID   string `query:"id" maxLength:"500" doc:"The entity's id."`
}

type entityTransitions struct {
	EntityPath
	TransitionFilter
}

func (s *Server) transitionOperations() {
	huma.Register(s.api, operation("list-transitions", http.MethodGet, "/api/v1/transitions", plugins.Viewer, "What changed, newest first"),
		func(ctx context.Context, in *listTransitions) (*reply[page[transition]], error) {
			return s.transitions(ctx, in.Kind, in.ID, in.TransitionFilter)
		})
	huma.Register(s.api, operation("list-entity-transitions", http.MethodGet, "/api/v1/entities/{kind}/{id}/transitions", plugins.Viewer, "What changed of one entity, newest first"),
		func(ctx context.Context, in *entityTransitions) (*reply[page[transition]], error) {
			return s.transitions(ctx, in.Kind, in.ID, in.TransitionFilter)
		})
}

func (s *Server) transitions(ctx context.Context, kind, id string, f TransitionFilter) (*reply[page[transition]], error) {
	before, err := f.seq()
	if err != nil {
		return nil, err
	}
	list, err := s.Entities.Transitions(ctx, s.DB.Read(), entities.Filter{
		Kind: kind, ID: id, Field: f.Field, Actor: f.Actor, RunID: f.Run, From: f.From, To: f.To, Before: before, Limit: f.ask(),
	})
	if err != nil {
		return nil, err
	}
	return &reply[page[transition]]{pageOf(f.Paging, list, showTransition, func(t entities.Transition) string { return number(t.Seq) })}, nil
}
