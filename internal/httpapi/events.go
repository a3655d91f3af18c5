package httpapi

import (
	"bytes"
	"context"
	"encoding/json"
	"net/http"
	"strings"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"github.com/flightrules/flightrules/engine"
	"github.com/flightrules/flightrules/engine/journal"
	"github.com/flightrules/flightrules/plugins"
	"github.com/flightrules/flightrules/triggers"
)

type event struct {
	ID            string          `json:"id"`
	Seq           int64           `json:"seq"`
	Name          string          `json:"name"`
	At            time.Time       `json:"at"`
	Entity        *entityRef      `json:"entity" doc:"The entity that it is about."`
	Payload       json.RawMessage `json:"payload"`
	TransitionSeq *int64          `json:"transition_seq" doc:"The transition that it was derived from."`
	Actor         string          `json:"actor"`
	RunID         *string         `json:"run_id" doc:"The run that emitted it."`
	Depth         int             `json:"depth" doc:"How many runs stand between the event and the outside world."`
}

type entityRef struct {
	Kind string `json:"kind" minLength:"1" maxLength:"200"`
	ID   string `json:"id" minLength:"1" maxLength:"500" pattern:"^[^\\x00-\\x1f]*$"`
}

func showEvent(e journal.Event) event {
	out := event{
		ID: e.ID, Seq: e.Seq, Name: e.Name, At: e.At.Time, Payload: json.RawMessage(e.Payload),
		Actor: e.Actor, RunID: absent(e.RunID), Depth: e.Depth,
	}
	if e.Kind != "" {
		out.Entity = &entityRef{Kind: e.Kind, ID: e.EntityID}
	}
	if e.TransitionSeq != 0 {
		out.TransitionSeq = &e.TransitionSeq
	}
	return out
}

type listEvents struct {
	Paging
	Name   string `query:"name" maxLength:"200" example:"satellite.heartbeat_lost"`
	Kind   string `query:"kind" maxLength:"200" doc:"Only about entities of that kind."`
	Entity string `query:"entity" maxLength:"500" doc:"Only about the entity with that id."`
}

type eventPath struct {
	ID string `path:"id" maxLength:"200"`
}

type postEvent struct {
	Body struct {
		ID      string          `json:"id,omitempty" maxLength:"200" pattern:"^[!-~]*$" doc:"Yours, to send the event again with and be sure that it happens once, as long as it is kept. One is made when there is none."`
		Name    string          `json:"name" maxLength:"200" example:"custom.deployed" doc:"It begins with custom."`
		Entity  *entityRef      `json:"entity,omitempty" doc:"The entity that it is about."`
		Payload json.RawMessage `json:"payload,omitempty" doc:"Any JSON."`
		At      time.Time       `json:"at,omitempty" doc:"When it happened, if not now. It is not in the future."`
	}
}

type postedEvent struct {
	Status int
	Body   event
}

func (s *Server) eventOperations() {
	huma.Register(s.api, operation("list-events", http.MethodGet, "/api/v1/events", plugins.Viewer, "What happened, newest first"), s.listEvents)
	huma.Register(s.api, operation("get-event", http.MethodGet, "/api/v1/events/{id}", plugins.Viewer, "One event"),
		func(ctx context.Context, in *eventPath) (*reply[event], error) {
			e, err := journal.EventByID(ctx, s.DB.Read(), in.ID)
			if err != nil {
				return nil, err
			}
			return &reply[event]{showEvent(e)}, nil
		})
	op := operation("post-event", http.MethodPost, "/api/v1/events", plugins.Operator, "Say that something happened; 201, or 200 when the id is there already")
	op.DefaultStatus = http.StatusCreated
	huma.Register(s.api, op, s.postEvent)
}

func (s *Server) listEvents(ctx context.Context, in *listEvents) (*reply[page[event]], error) {
	before, err := in.seq()
	if err != nil {
		return nil, err
	}
	list, err := journal.Events(ctx, s.DB.Read(), journal.Filter{
		Name: in.Name, Kind: in.Kind, Entity: in.Entity, Before: before, Limit: in.ask(),
	})
	if err != nil {
		return nil, err
	}
	return &reply[page[event]]{pageOf(in.Paging, list, showEvent, func(e journal.Event) string { return number(e.Seq) })}, nil
}

func (s *Server) postEvent(ctx context.Context, in *postEvent) (*postedEvent, error) {
	e := engine.Emitted{ID: in.Body.ID, Name: in.Body.Name, At: in.Body.At}
	if err := customName(e.Name); err != nil {
		return nil, err
	}
	if e.At.After(s.Now()) {
		return nil, newProblem(http.StatusUnprocessableEntity, "invalid_event", "validation failed",
			Detail{Location: "body.at", Message: "an event does not happen in the future"})
	}
	if ref := in.Body.Entity; ref != nil {
		e.Kind, e.EntityID = ref.Kind, ref.ID
		if _, ok := s.Entities.Kind(e.Kind); !ok {
			return nil, newProblem(http.StatusUnprocessableEntity, "unknown_kind", "validation failed",
				Detail{Location: "body.entity.kind", Message: "there is no kind of that name"})
		}
	}
	if in.Body.Payload != nil && string(in.Body.Payload) != "null" {
		var compact bytes.Buffer
		if err := json.Compact(&compact, in.Body.Payload); err != nil {
			return nil, err
		}
		e.Payload = compact.Bytes()
	}
	stored, created, err := s.Emit(ctx, e)
	if err != nil {
		return nil, err
	}
	if !created && stored.Name != e.Name {
		return nil, newProblem(http.StatusConflict, "id_taken", "another event has this id",
			Detail{Location: "body.id", Message: "an event " + stored.Name + " has it"})
	}
	out := &postedEvent{Status: http.StatusOK, Body: showEvent(stored)}
	if created {
		out.Status = http.StatusCreated
	}
	return out, nil
}

// customName refuses the names that only the engine and its plugins may give.
func customName(name string) error {
	message := "a name that comes from outside begins with " + triggers.CustomPrefix
	if strings.HasPrefix(name, triggers.CustomPrefix) {
		err := triggers.CheckName(name)
		if err == nil {
			return nil
		}
		message = err.Error()
	}
	return newProblem(http.StatusUnprocessableEntity, "invalid_event", "validation failed", Detail{Location: "body.name", Message: message})
}
