package secrets

import (
	"context"
	"errors"
	"maps"
	"net/http"
	"slices"
	"strconv"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"github.com/flightrules/flightrules/plugins"
)

type (
	byPath struct {
		Name string `path:"name" maxLength:"100" doc:"The name of the secret."`
	}
	putInput struct {
		Name string `path:"name" maxLength:"100" doc:"The name of the secret."`
		Body struct {
			Value string `json:"value" minLength:"1" maxLength:"65536" doc:"It is never shown again."`
		}
	}
	usesInput struct {
		Name  string `query:"name" maxLength:"100" doc:"Of this secret alone."`
		Limit int    `query:"limit" minimum:"1" maximum:"1000" default:"50" doc:"At most so many."`
		After string `query:"after" maxLength:"20" doc:"What the list before this one gave as next."`
	}
	reply[T any] struct{ Body T }
	list[T any]  struct {
		Items []T     `json:"items" nullable:"false"`
		Next  *string `json:"next" doc:"Pass it as after to go on; null at the end."`
	}
)

// Item is a secret as the API shows it: all but its value.
type Item struct {
	Name      string     `json:"name"`
	Source    string     `json:"source" enum:"env,file,stored"`
	From      string     `json:"from" doc:"The variable or the file; empty where it is stored."`
	Declared  bool       `json:"declared" doc:"The files say where it is."`
	Readable  bool       `json:"readable" doc:"It can be had now."`
	Problem   string     `json:"problem" doc:"Why it cannot."`
	OldKey    bool       `json:"old_key" doc:"It is encrypted with a key that is not the first any more; rotate encrypts it anew."`
	UpdatedAt *time.Time `json:"updated_at" doc:"When it was stored last; null where it is not stored."`
}

// UseItem is one time that somebody wanted a secret.
type UseItem struct {
	At     time.Time `json:"at"`
	Name   string    `json:"name"`
	By     string    `json:"by" example:"satellite:edge-1 check:shop" doc:"Who."`
	Source string    `json:"source" enum:"env,file,stored," doc:"Where it was; empty where it was not found."`
	Error  string    `json:"error" doc:"Why it was not given; empty: it was."`
}

// Rotated says how many secrets were encrypted anew.
type Rotated struct {
	Rotated int `json:"rotated"`
}

func (p *Plugin) operations(api huma.API) {
	const path = "/api/v1/secrets"
	huma.Register(api, operation("list-secrets", http.MethodGet, path, plugins.Viewer, http.StatusOK, "List the secrets that are declared or stored, without their values"), p.list)
	huma.Register(api, operation("put-secret", http.MethodPut, path+"/{name}", plugins.Admin, http.StatusNoContent, "Store a secret, encrypted"), p.putSecret)
	huma.Register(api, operation("remove-secret", http.MethodDelete, path+"/{name}", plugins.Admin, http.StatusNoContent, "Remove a stored secret"), p.removeSecret)
	huma.Register(api, operation("rotate-secrets", http.MethodPost, path+"/rotate", plugins.Admin, http.StatusOK, "Encrypt stored secrets with the first key"), p.rotateSecrets)
	huma.Register(api, operation("list-secret-uses", http.MethodGet, "/api/v1/secret-uses", plugins.Admin, http.StatusOK, "List who was given which secret, newest first"), p.listUses)
}

func operation(id, method, path string, role plugins.Role, status int, summary string) huma.Operation {
	return huma.Operation{
		OperationID: id, Method: method, Path: path, Summary: summary, DefaultStatus: status, Tags: []string{"secrets"},
		Metadata: map[string]any{plugins.RoleKey: role},
	}
}

func (p *Plugin) list(ctx context.Context, _ *struct{}) (*reply[list[Item]], error) {
	rows, err := p.rows(ctx)
	if err != nil {
		return nil, err
	}
	stored := map[string]row{}
	for _, r := range rows {
		stored[r.Name] = r
	}
	declared := *p.declared.Load()
	out := list[Item]{Items: []Item{}}
	names := slices.AppendSeq(slices.Collect(maps.Keys(declared)), maps.Keys(stored))
	slices.Sort(names)
	for _, name := range slices.Compact(names) {
		d, isDeclared := declared[name]
		item := Item{Name: name, Source: inDatabase, From: d.Env + d.File, Declared: isDeclared}
		if d.Env != "" {
			item.Source = inEnvironment
		} else if d.File != "" {
			item.Source = inFile
		}
		if r, ok := stored[name]; ok && item.Source == inDatabase {
			item.UpdatedAt, item.OldKey = &r.UpdatedAt.Time, len(p.config.Keys) > 0 && r.KeyID != p.config.Keys[0].id
		}
		_, _, err := p.lookUp(ctx, name) // nobody is given it
		if item.Readable = err == nil; err != nil {
			item.Problem = err.Error()
		}
		out.Items = append(out.Items, item)
	}
	return &reply[list[Item]]{out}, nil
}

func (p *Plugin) putSecret(ctx context.Context, in *putInput) (*struct{}, error) {
	if !isName(in.Name) {
		return nil, huma.Error422UnprocessableEntity("validation failed", &huma.ErrorDetail{Location: "path.name", Message: errName.Error(), Value: in.Name})
	}
	return nil, answer(p.put(ctx, in.Name, in.Body.Value))
}

func (p *Plugin) removeSecret(ctx context.Context, in *byPath) (*struct{}, error) {
	return nil, answer(p.remove(ctx, in.Name))
}

func (p *Plugin) rotateSecrets(ctx context.Context, _ *struct{}) (*reply[Rotated], error) {
	n, err := p.rotate(ctx)
	if err != nil {
		return nil, answer(err)
	}
	return &reply[Rotated]{Rotated{n}}, nil
}

func (p *Plugin) listUses(ctx context.Context, in *usesInput) (*reply[list[UseItem]], error) {
	var before int64
	if in.After != "" {
		var err error
		if before, err = strconv.ParseInt(in.After, 10, 64); err != nil || before < 1 {
			return nil, huma.Error422UnprocessableEntity("validation failed", &huma.ErrorDetail{Location: "query.after", Message: "this is not what a list gave as next"})
		}
	}
	uses, err := p.uses(ctx, in.Name, before, in.Limit+1)
	if err != nil {
		return nil, err
	}
	out := list[UseItem]{Items: []UseItem{}}
	if len(uses) > in.Limit {
		uses = uses[:in.Limit]
		next := strconv.FormatInt(uses[in.Limit-1].ID, 10)
		out.Next = &next
	}
	for _, u := range uses {
		out.Items = append(out.Items, UseItem{At: u.At.Time, Name: u.Name, By: u.By, Source: u.Source, Error: u.Error})
	}
	return &reply[list[UseItem]]{out}, nil
}

// answer turns the errors of a caller into what the caller is told.
func answer(err error) error {
	var lost *unreadable
	switch {
	case errors.Is(err, errUnknown):
		return huma.Error404NotFound("no such stored secret")
	case errors.Is(err, errNoKey), errors.As(err, &lost):
		return huma.Error409Conflict(err.Error())
	default:
		return err
	}
}
