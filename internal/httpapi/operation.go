package httpapi

import (
	"context"
	"net/http"
	"path"
	"reflect"
	"strings"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"github.com/flightrules/flightrules/plugins"
)

// maxBody bounds the body of a request, in bytes.
const maxBody = 1 << 20

// document is the OpenAPI document before any operation is in it. It keeps
// huma's own pages off: they load scripts from the internet and ask for no
// token.
func document(version string) huma.Config {
	doc := &huma.OpenAPI{
		OpenAPI: "3.1.0",
		Info:    &huma.Info{Title: "Flight Rules", Version: version},
		Components: &huma.Components{
			Schemas:         huma.NewMapRegistry("#/components/schemas/", schemaName),
			SecuritySchemes: map[string]*huma.SecurityScheme{"token": {Type: "http", Scheme: "bearer"}},
		},
		Security:       []map[string][]string{{"token": {}}},
		OnAddOperation: []huma.AddOpFunc{complete},
	}
	return huma.Config{OpenAPI: doc, Formats: huma.DefaultFormats, DefaultFormat: "application/json"}
}

// complete brings an operation in line, those of plugins too: its body is
// bounded, and the document says which role it wants.
func complete(_ *huma.OpenAPI, op *huma.Operation) {
	if op.RequestBody != nil && op.MaxBodyBytes <= 0 {
		op.MaxBodyBytes = maxBody
	}
	if op.Extensions == nil {
		op.Extensions = map[string]any{}
	}
	role := wanted(op)
	op.Extensions["x-role"] = string(role)
	if role == anyone {
		op.Extensions["x-role"] = "none"
		op.Security = []map[string][]string{{}}
	}
}

// schemaName puts the package before the names of types that are not of this
// one, so that two plugins may each have a Token.
func schemaName(t reflect.Type, hint string) string {
	name := huma.DefaultSchemaNamer(t, hint)
	for t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	from := path.Base(t.PkgPath())
	if t.Name() == "" || from == "httpapi" || strings.HasPrefix(strings.ToLower(name), from) {
		return name
	}
	return strings.ToUpper(from[:1]) + from[1:] + name
}

// nullable has the document say of fields that are pointers to structs, or of
// values from a list, that they can be null, unless they are left out then: huma
// says so of all others.
func nullable(schemas huma.Registry) {
	for name, s := range schemas.Map() {
		t := schemas.TypeFromRef("#/components/schemas/" + name)
		for t != nil && t.Kind() == reflect.Pointer {
			t = t.Elem()
		}
		if t != nil && t.Kind() == reflect.Struct {
			nullableFields(s, t)
		}
	}
}

func nullableFields(s *huma.Schema, t reflect.Type) {
	for i := range t.NumField() {
		f := t.Field(i)
		if f.Anonymous && f.Type.Kind() == reflect.Struct {
			nullableFields(s, f.Type)
			continue
		}
		name, options, _ := strings.Cut(f.Tag.Get("json"), ",")
		property := s.Properties[name]
		if f.Type.Kind() != reflect.Pointer || strings.Contains(options, "omitempty") || property == nil {
			continue
		}
		if property.Ref == "" {
			if property.Enum != nil {
				property.Enum = append(property.Enum, nil)
			}
			continue
		}
		s.Properties[name] = &huma.Schema{AnyOf: []*huma.Schema{{Ref: property.Ref}, {Type: "null"}}, Description: f.Tag.Get("doc")}
	}
}

// operation describes an operation; its id is what OpenAPI calls it.
func operation(id, method, path string, role plugins.Role, summary string) huma.Operation {
	status := 0
	if method == http.MethodDelete {
		status = http.StatusNoContent
	}
	return huma.Operation{
		OperationID: id, Method: method, Path: path, Summary: summary, DefaultStatus: status,
		Metadata: map[string]any{plugins.RoleKey: role},
	}
}

// unhurriedKey marks an operation that bounds itself how long it takes.
const unhurriedKey = "unhurried"

// requestLimit bounds how long any other operation may take.
const requestLimit = time.Minute

// unhurried marks an operation.
func unhurried(op huma.Operation) huma.Operation {
	op.Metadata[unhurriedKey] = true
	return op
}

// limit bounds how long an operation takes.
func (s *Server) limit(ctx huma.Context, next func(huma.Context)) {
	if ctx.Operation().Metadata[unhurriedKey] == true {
		next(ctx)
		return
	}
	inner, cancel := context.WithTimeout(ctx.Context(), s.requestLimit)
	defer cancel()
	next(huma.WithContext(ctx, inner))
}

// reply is an answer with a body.
type reply[T any] struct{ Body T }
