package scripts

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"github.com/flightrules/flightrules/internal/bundle"
	"github.com/flightrules/flightrules/plugins"
)

type (
	byPath struct {
		Name string `path:"name" maxLength:"63" doc:"The name of the scripts."`
	}
	filesInput struct {
		Name    string `path:"name" maxLength:"63" doc:"The name of the scripts."`
		Version string `query:"version" maxLength:"64" doc:"The beginning of its hash; absent: the newest."`
	}
	publishInput struct {
		Name    string `path:"name" maxLength:"63" doc:"The name of the scripts."`
		RawBody []byte `contentType:"application/gzip" doc:"A gzipped tar."`
	}
	reply[T any] struct{ Body T }
)

// Page is the list of scripts, by name.
type Page struct {
	Items []Item  `json:"items" nullable:"false"`
	Next  *string `json:"next" doc:"null: the list is whole."`
}

// Item is scripts as the API shows them.
type Item struct {
	Name       string            `json:"name"`
	Versions   []Version         `json:"versions" nullable:"false" doc:"The newest first."`
	Satellites *plugins.Selector `json:"satellites" doc:"Which are to have them, as the files say; null: none."`
	Pinned     string            `json:"pinned" doc:"The version that the files name; empty: the newest."`
	Problem    string            `json:"problem" doc:"Why satellites do not get what the files say."`
}

// Version is a folder as it was published.
type Version struct {
	Hash        string    `json:"hash"`
	PublishedAt time.Time `json:"published_at"`
	Files       int       `json:"files"`
	Size        int64     `json:"size" doc:"Bytes of all files."`
}

// Contents are the files of a version.
type Contents struct {
	Hash  string        `json:"hash"`
	Files []bundle.File `json:"files" nullable:"false"`
}

func (p *Plugin) operations(api huma.API) {
	const path = "/api/v1/scripts"
	huma.Register(api, operation("list-scripts", http.MethodGet, path, plugins.Viewer, http.StatusOK, "List what is published for satellites"), p.list)
	huma.Register(api, operation("list-script-files", http.MethodGet, path+"/{name}", plugins.Viewer, http.StatusOK, "List the files of a version"), p.contents)
	publish := operation("publish-scripts", http.MethodPut, path+"/{name}", plugins.Admin, http.StatusOK, "Publish a folder, a gzipped tar, as the newest version")
	publish.MaxBodyBytes = bundle.MaxSize
	publish.BodyReadTimeout = 5 * time.Minute
	huma.Register(api, publish, p.publishArchive)
	huma.Register(api, operation("remove-scripts", http.MethodDelete, path+"/{name}", plugins.Admin, http.StatusNoContent, "Remove all versions of scripts"), p.removeScripts)
}

func operation(id, method, path string, role plugins.Role, status int, summary string) huma.Operation {
	return huma.Operation{
		OperationID: id, Method: method, Path: path, Summary: summary, DefaultStatus: status, Tags: []string{"scripts"},
		Metadata: map[string]any{plugins.RoleKey: role},
	}
}

func (v version) show() (Version, error) {
	m, err := v.decode()
	return Version{Hash: v.Hash, PublishedAt: v.PublishedAt.Time, Files: len(m.Files), Size: m.Size()}, err
}

func (p *Plugin) list(ctx context.Context, _ *struct{}) (*reply[Page], error) {
	versions, err := versionsOf(ctx, p.host.Read(), "")
	if err != nil {
		return nil, err
	}
	targets, err := allTargets(ctx, p.host.Read())
	if err != nil {
		return nil, err
	}
	byName := map[string]*Item{}
	item := func(name string) *Item {
		if byName[name] == nil {
			byName[name] = &Item{Name: name, Versions: []Version{}}
		}
		return byName[name]
	}
	for _, v := range versions {
		shown, err := v.show()
		if err != nil {
			return nil, err
		}
		one := item(v.Name)
		one.Versions = append(one.Versions, shown)
	}
	for _, t := range targets {
		one := item(t.Name)
		one.Satellites, one.Pinned = &plugins.Selector{}, t.Version
		if err := json.Unmarshal(t.Selector, one.Satellites); err != nil {
			return nil, fmt.Errorf("satellites of scripts %s: %w", t.Name, err)
		}
		if !slices.ContainsFunc(one.Versions, func(v Version) bool { return strings.HasPrefix(v.Hash, t.Version) }) {
			one.Problem = "nothing is published under this name"
			if t.Version != "" {
				one.Problem = "no such version is published"
			}
		}
	}
	out := Page{Items: []Item{}}
	for _, one := range byName {
		out.Items = append(out.Items, *one)
	}
	slices.SortFunc(out.Items, func(a, b Item) int { return strings.Compare(a.Name, b.Name) })
	return &reply[Page]{out}, nil
}

func (p *Plugin) contents(ctx context.Context, in *filesInput) (*reply[Contents], error) {
	versions, err := versionsOf(ctx, p.host.Read(), in.Name)
	if err != nil {
		return nil, err
	}
	i := slices.IndexFunc(versions, func(v version) bool { return has(v, in.Version) })
	if i < 0 {
		return nil, answer(errUnknown)
	}
	m, err := versions[i].decode()
	if err != nil {
		return nil, err
	}
	return &reply[Contents]{Contents{versions[i].Hash, append([]bundle.File{}, m.Files...)}}, nil
}

func (p *Plugin) publishArchive(ctx context.Context, in *publishInput) (*reply[Version], error) {
	if !namePattern.MatchString(in.Name) {
		return nil, invalid("path.name", errName)
	}
	m, contents, err := bundle.Unpack(in.RawBody)
	if err != nil {
		return nil, invalid("body", err)
	}
	v, err := p.publish(ctx, in.Name, m, contents)
	if err != nil {
		return nil, err
	}
	shown, err := v.show()
	return &reply[Version]{shown}, err
}

func (p *Plugin) removeScripts(ctx context.Context, in *byPath) (*struct{}, error) {
	return nil, answer(p.remove(ctx, in.Name))
}

func invalid(location string, err error) error {
	return huma.Error422UnprocessableEntity("validation failed", &huma.ErrorDetail{Location: location, Message: err.Error()})
}

// answer turns the errors of a caller into what the caller is told.
func answer(err error) error {
	switch {
	case errors.Is(err, errUnknown):
		return huma.Error404NotFound(err.Error())
	case errors.Is(err, errTargeted):
		return huma.Error409Conflict(err.Error())
	default:
		return err
	}
}
