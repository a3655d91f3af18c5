package httpapi

import (
	"net/http"
	"path"
	"reflect"
	"strings"

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

// reply is an answer with a body.
type reply[T any] struct{ Body T }
