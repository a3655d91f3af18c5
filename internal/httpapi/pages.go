package httpapi

import (
	"bytes"
	"cmp"
	"encoding/json"
	"fmt"
	"html/template"
	"maps"
	"net/http"
	"slices"
	"strings"
	"sync"

	"github.com/danielgtaylor/huma/v2"
)

// openapi serves the OpenAPI document. It is made at the first request: by
// then it is complete.
func (s *Server) openapi() http.HandlerFunc {
	text := sync.OnceValues(func() ([]byte, error) { return json.Marshal(s.api.OpenAPI()) })
	return func(w http.ResponseWriter, r *http.Request) {
		b, err := text()
		if err != nil {
			unexpected(r.Context(), http.StatusInternalServerError, err).write(w)
			return
		}
		w.Header().Set("Content-Type", "application/json")
		_, _ = w.Write(b) // it fails only when the client is gone
	}
}

var docsPage = template.Must(template.New("docs").Parse(`<!doctype html>
<html lang="en">
<head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1"><title>{{.Title}} API</title></head>
<body>
<h1>{{.Title}} API {{.Version}}</h1>
<p>The whole of it, with all forms, is <a href="/openapi.json">the OpenAPI document</a>.</p>
<table>
<thead><tr><th scope="col">operation</th><th scope="col">does</th><th scope="col">role</th></tr></thead>
<tbody>
{{range .Operations}}<tr><td><code>{{.Method}} {{.Path}}</code></td><td>{{.Summary}}</td><td>{{index .Extensions "x-role"}}</td></tr>
{{end}}</tbody>
</table>
</body>
</html>
`))

// docs serves a page that lists the operations. It loads nothing and runs
// nothing.
func (s *Server) docs() http.HandlerFunc {
	page := sync.OnceValues(func() ([]byte, error) {
		doc := s.api.OpenAPI()
		var out bytes.Buffer
		err := docsPage.Execute(&out, map[string]any{
			"Title": doc.Info.Title, "Version": doc.Info.Version, "Operations": operationsOf(doc),
		})
		return out.Bytes(), err
	})
	return func(w http.ResponseWriter, r *http.Request) {
		b, err := page()
		if err != nil {
			unexpected(r.Context(), http.StatusInternalServerError, err).write(w)
			return
		}
		w.Header().Set("Content-Type", "text/html; charset=utf-8")
		w.Header().Set("Content-Security-Policy", "default-src 'none'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'")
		_, _ = w.Write(b) // it fails only when the client is gone
	}
}

// operationsOf lists the operations of a document by path.
func operationsOf(doc *huma.OpenAPI) []*huma.Operation {
	var list []*huma.Operation
	for _, path := range slices.Sorted(maps.Keys(doc.Paths)) {
		item := doc.Paths[path]
		for _, op := range []*huma.Operation{item.Get, item.Post, item.Put, item.Patch, item.Delete} {
			if op != nil {
				list = append(list, op)
			}
		}
	}
	return list
}

// nothing answers for what is not there: another method may be.
func (s *Server) nothing(w http.ResponseWriter, r *http.Request) {
	var methods []string
	for _, method := range []string{http.MethodGet, http.MethodPost, http.MethodPut, http.MethodPatch, http.MethodDelete} {
		other := r.Clone(r.Context())
		other.Method = method
		if _, pattern := s.mux.Handler(other); cmp.Or(pattern, "/") != "/" {
			methods = append(methods, method)
		}
	}
	if methods == nil {
		newProblem(http.StatusNotFound, "", fmt.Sprintf("there is nothing at %s", r.URL.Path)).write(w)
		return
	}
	newProblem(http.StatusMethodNotAllowed, "", fmt.Sprintf("there is no %s at %s", r.Method, r.URL.Path)).
		with("Allow", strings.Join(methods, ", ")).write(w)
}
