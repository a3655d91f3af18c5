package httpapi

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"github.com/flightrules/flightrules/entities"
	"github.com/flightrules/flightrules/plugins"
)

type entity struct {
	Kind      string               `json:"kind"`
	ID        string               `json:"id"`
	Version   int64                `json:"version"`
	State     map[string]any       `json:"state"`
	Since     map[string]time.Time `json:"since,omitempty" doc:"When each field took its value; not for a state of the past."`
	UpdatedAt time.Time            `json:"updated_at"`
}

func showEntity(e entities.Entity) entity {
	return entity{Kind: e.Kind, ID: e.ID, Version: e.Version, State: e.State, Since: e.Since, UpdatedAt: e.UpdatedAt}
}

// EntityPath names an entity.
type EntityPath struct {
	Kind string `path:"kind" maxLength:"200" example:"satellite"`
	ID   string `path:"id" maxLength:"500"`
}

// Condition is the version that a write is made on.
type Condition struct {
	IfMatch string `header:"If-Match" doc:"The ETag of the entity, such as \"7\": the write fails with 412 when the entity is at another version. * is any version."`
}

// object is a JSON object whose numbers are as exact as they were sent.
type object map[string]any

// UnmarshalJSON implements json.Unmarshaler.
func (o *object) UnmarshalJSON(text []byte) error {
	decoder := json.NewDecoder(bytes.NewReader(text))
	decoder.UseNumber()
	return decoder.Decode((*map[string]any)(o))
}

type listEntities struct {
	Paging
	Kind   string `query:"kind" required:"true" maxLength:"200" example:"satellite"`
	Search string `query:"search" maxLength:"200" doc:"Only those with that text in the id or in the field name, whatever the case."`
	Status string `query:"status" maxLength:"100" doc:"Only those whose field status was recorded as that."`
}

type getEntity struct {
	EntityPath
	At time.Time `query:"at" doc:"Give the state as it was recorded at that time."`
}

type writeEntity struct {
	EntityPath
	Condition
	Body object
}

type deleteEntity struct {
	EntityPath
	Condition
}

type entityReply struct {
	Status int
	ETag   string `header:"ETag"`
	Body   entity
}

func (s *Server) entityOperations() {
	const one = "/api/v1/entities/{kind}/{id}"
	huma.Register(s.api, operation("list-entities", http.MethodGet, "/api/v1/entities", plugins.Viewer, "The entities of a kind, by id"), s.listEntities)
	huma.Register(s.api, operation("get-entity", http.MethodGet, one, plugins.Viewer, "One entity, now or at a time"), s.getEntity)
	huma.Register(s.api, operation("put-entity", http.MethodPut, one, plugins.Operator, "Make an entity, or replace its state; for kinds that the engine keeps"), s.putEntity)
	huma.Register(s.api, operation("patch-entity", http.MethodPatch, one, plugins.Operator, "Change fields of an entity, by a JSON merge patch (RFC 7396)"), s.patchEntity)
	huma.Register(s.api, operation("delete-entity", http.MethodDelete, one, plugins.Operator, "Remove an entity; its history stays"), s.deleteEntity)
}

func (s *Server) listEntities(ctx context.Context, in *listEntities) (*reply[page[entity]], error) {
	search := entities.Search{Kind: in.Kind, Text: in.Search, Status: in.Status, After: in.After, Limit: in.ask()}
	list, err := s.Entities.Find(ctx, s.DB.Read(), search)
	if err != nil {
		return nil, err
	}
	return &reply[page[entity]]{pageOf(in.Paging, list, showEntity, search.Cursor)}, nil
}

func (s *Server) getEntity(ctx context.Context, in *getEntity) (*entityReply, error) {
	info, ok := s.Entities.Kind(in.Kind)
	if !ok {
		return nil, fmt.Errorf("%w: %q", entities.ErrUnknownKind, in.Kind)
	}
	if !in.At.IsZero() {
		t, err := s.Entities.AsOf(ctx, s.DB.Read(), in.Kind, in.ID, in.At)
		if err != nil {
			return nil, err
		}
		return &entityReply{Status: http.StatusOK, Body: entity{Kind: t.Kind, ID: t.ID, Version: t.Version, State: t.Next, UpdatedAt: t.At}}, nil
	}
	e, err := s.Entities.Get(ctx, s.DB.Read(), in.Kind, in.ID)
	if err != nil {
		return nil, err
	}
	out := &entityReply{Status: http.StatusOK, Body: showEntity(e)}
	if info.Kept { // the state that a plugin reads can move without a version
		out.ETag = versionTag(e.Version)
	}
	return out, nil
}

func (s *Server) putEntity(ctx context.Context, in *writeEntity) (*entityReply, error) {
	return s.write(ctx, in, func(entities.View) (map[string]any, error) { return in.Body, nil })
}

func (s *Server) patchEntity(ctx context.Context, in *writeEntity) (*entityReply, error) {
	return s.write(ctx, in, func(prev entities.View) (map[string]any, error) {
		if prev == nil {
			return nil, fmt.Errorf("%w: %s %s", entities.ErrNotFound, in.Kind, in.ID)
		}
		return merge(map[string]any(prev), in.Body), nil
	})
}

func (s *Server) write(ctx context.Context, in *writeEntity, change func(prev entities.View) (map[string]any, error)) (*entityReply, error) {
	exists, opts, err := in.options()
	if err != nil {
		return nil, err
	}
	status := http.StatusOK
	e, err := s.Entities.Put(ctx, in.Kind, in.ID, func(prev entities.View) (map[string]any, error) {
		status = http.StatusOK
		if prev == nil {
			status = http.StatusCreated
		}
		if prev == nil && exists {
			return nil, errNothingMatches
		}
		return change(prev)
	}, opts...)
	if err != nil {
		return nil, err
	}
	return &entityReply{Status: status, ETag: versionTag(e.Version), Body: showEntity(e)}, nil
}

func (s *Server) deleteEntity(ctx context.Context, in *deleteEntity) (*struct{}, error) {
	exists, opts, err := in.options()
	if err != nil {
		return nil, err
	}
	err = s.Entities.Delete(ctx, in.Kind, in.ID, opts...)
	if exists && errors.Is(err, entities.ErrNotFound) {
		return nil, errNothingMatches
	}
	return nil, err
}

var errNothingMatches = newProblem(http.StatusPreconditionFailed, "version_mismatch", "there is no such entity, so no version of it matches")

func versionTag(version int64) string { return `"` + number(version) + `"` }

// options reads an If-Match of one version; exists is If-Match: *.
func (c Condition) options() (exists bool, opts []entities.Option, err error) {
	switch text := strings.TrimSpace(c.IfMatch); text {
	case "":
		return false, nil, nil
	case "*":
		return true, nil, nil
	default:
		version, err := strconv.ParseInt(strings.Trim(text, `"`), 10, 64)
		if err != nil || version < 0 {
			return false, nil, newProblem(http.StatusUnprocessableEntity, "", "validation failed",
				Detail{Location: "header.If-Match", Message: `write one version, such as "7", or *`})
		}
		return false, []entities.Option{entities.IfVersion(version)}, nil
	}
}

// merge applies a JSON merge patch (RFC 7396): null takes a member away, and
// objects are merged member by member.
func merge(into, patch map[string]any) map[string]any {
	if into == nil {
		into = map[string]any{}
	}
	for name, value := range patch {
		switch value := value.(type) {
		case nil:
			delete(into, name)
		case map[string]any:
			inner, _ := into[name].(map[string]any)
			into[name] = merge(inner, value)
		default:
			into[name] = value
		}
	}
	return into
}
