package app_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"math/rand/v2"
	"net/http"
	"net/url"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"testing/fstest"
	"time"

	"github.com/pb33f/libopenapi"
	validator "github.com/pb33f/libopenapi-validator"

	"github.com/flightrules/flightrules/internal/app"
	"github.com/flightrules/flightrules/internal/client"
	"github.com/flightrules/flightrules/internal/dbtest"
)

const (
	envCalls = "FLIGHTRULES_API_CALLS" // how many random calls are made
	// defaultCalls is how many without envCalls.
	defaultCalls = 2500
)

var apiFiles = fstest.MapFS{"rules.yaml": {Data: []byte(`
kinds:
  - name: room
    fields:
      name: {type: string}
      status: {type: string, enum: [ok, failing]}
satellites: [{name: edge-1, region: eu}]
checks: [{id: website, http: {url: "http://127.0.0.1:1/"}, local: true}]
secrets: [{name: KEY, stored: true}]
rules:
  - id: hello
    triggers: [{event: custom.hello}]
    actions: [{log: "hello ${{ event.payload.name }}"}]
  - id: slow
    triggers: [{state: room.status, to: failing}]
    actions: [{wait: 1h}]
`)}}

// openAPI is the document, as callers read it.
type openAPI struct {
	Paths      map[string]map[string]apiOperation `json:"paths"`
	Components struct {
		Schemas map[string]schema `json:"schemas"`
	} `json:"components"`
}

type apiOperation struct {
	ID         string `json:"operationId"`
	Parameters []struct {
		Name, In string
		Required bool
		Schema   schema
	} `json:"parameters"`
	RequestBody *struct {
		Content map[string]struct{ Schema schema }
	} `json:"requestBody"`
}

type schema struct {
	Ref        string            `json:"$ref"`
	Type       any               `json:"type"`
	Format     string            `json:"format"`
	Enum       []any             `json:"enum"`
	Properties map[string]schema `json:"properties"`
	Required   []string          `json:"required"`
	Items      *schema           `json:"items"`
	AnyOf      []schema          `json:"anyOf"`
}

// caller makes random calls of what a document describes.
type caller struct {
	t      *testing.T
	url    string
	token  string
	own    string // the id of the token, which is not to be revoked
	doc    openAPI
	random *rand.Rand
	known  []string // what answers had as ids and names
}

// odd are texts that nobody would send who means well.
var odd = []string{
	"", " ", "0", "-1", "99999999999999999999", "1.5", "null", "true", "[]", "{}", "'", `"`, "%", "_", "..", "../../etc/passwd", "a/b", "a b", "é", "𝕏", "\u202e", "<b>",
	"' OR 1=1 --", "${{ secrets.KEY }}", "2026-02-30T00:00:00Z", "9999-12-31T23:59:59Z", "0001-01-01T00:00:00Z", "1ns", "-5m", strings.Repeat("x", 600), "\x00", "\n",
}

func (c *caller) text(format string) string {
	switch n := c.random.IntN(10); {
	case n < 4 && len(c.known) > 0:
		return c.known[c.random.IntN(len(c.known))]
	case n < 6 && format == "date-time":
		return time.Unix(c.random.Int64N(4e9), 0).UTC().Format(time.RFC3339)
	case n < 8:
		return []string{"room", "satellite", "kitchen", "custom.hello", "hello", "slow", "edge-1", "website", "viewer", "1h", "KEY", `event.name == "x"`}[c.random.IntN(12)]
	}
	return odd[c.random.IntN(len(odd))]
}

// value makes one of a schema, and now and then one that is none.
func (c *caller) value(s schema, depth int) any {
	if s.Ref != "" {
		s = c.doc.Components.Schemas[strings.TrimPrefix(s.Ref, "#/components/schemas/")]
	}
	if c.random.IntN(25) == 0 || depth > 5 {
		return []any{nil, true, -1, 1.5, "text", []any{}, map[string]any{}, []any{[]any{nil}}}[c.random.IntN(8)]
	}
	if len(s.Enum) > 0 && c.random.IntN(10) > 0 {
		return s.Enum[c.random.IntN(len(s.Enum))]
	}
	kind, _ := s.Type.(string)
	if list, ok := s.Type.([]any); ok && len(list) > 0 {
		kind, _ = list[c.random.IntN(len(list))].(string)
	}
	switch kind {
	case "integer", "number":
		return []any{0, 1, 2, 50, 1000, 10001, -1, int64(1) << 62, 0.5}[c.random.IntN(9)]
	case "boolean":
		return c.random.IntN(2) == 0
	case "string":
		return c.text(s.Format)
	case "array":
		list := []any{}
		for range c.random.IntN(3) {
			if s.Items != nil {
				list = append(list, c.value(*s.Items, depth+1))
			}
		}
		return list
	case "null":
		return nil
	}
	object := map[string]any{}
	for _, name := range slices.Sorted(maps.Keys(s.Properties)) {
		if slices.Contains(s.Required, name) && c.random.IntN(20) > 0 || c.random.IntN(3) == 0 {
			object[name] = c.value(s.Properties[name], depth+1)
		}
	}
	if len(s.Properties) == 0 {
		object[c.text("")] = c.text("")
		object["status"] = "ok"
	}
	return object
}

// call makes a random call of an operation.
func (c *caller) call(method, path string, op apiOperation) (*http.Request, *http.Response, []byte) {
	c.t.Helper()
	query := url.Values{}
	headers := http.Header{}
	for _, p := range op.Parameters {
		if !p.Required && c.random.IntN(2) == 0 {
			continue
		}
		value := fmt.Sprint(c.value(p.Schema, 0))
		switch p.In {
		case "path":
			if value == "" || value == "." || value == ".." || value == c.own {
				value = "x" // a client would clean the address
			}
			path = strings.ReplaceAll(path, "{"+p.Name+"}", url.PathEscape(value))
		case "query":
			query.Set(p.Name, value)
		case "header":
			if !strings.ContainsAny(value, "\x00\n") {
				headers.Set(p.Name, value)
			}
		}
	}
	if op.ID == "stream" {
		query.Set("after", "none") // a good one would go on for ever
		headers.Del("Last-Event-ID")
	}
	var body io.Reader = http.NoBody
	if op.RequestBody != nil {
		for contentType, content := range op.RequestBody.Content {
			text, err := json.Marshal(c.value(content.Schema, 0))
			if err != nil {
				c.t.Fatal(err)
			}
			if c.random.IntN(20) == 0 {
				text = text[:c.random.IntN(len(text)+1)]
			}
			headers.Set("Content-Type", contentType)
			body = bytes.NewReader(text)
			break
		}
	}
	req, err := http.NewRequestWithContext(c.t.Context(), strings.ToUpper(method), c.url+path+"?"+query.Encode(), body)
	if err != nil {
		c.t.Fatalf("%s %q: %v", method, path, err)
	}
	maps.Copy(req.Header, headers)
	req.Header.Set("Authorization", "Bearer "+c.token)
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		c.t.Fatalf("%s %s: %v", method, req.URL, err)
	}
	defer func() { _ = res.Body.Close() }()
	text, err := io.ReadAll(res.Body)
	if err != nil {
		c.t.Fatalf("%s %s: %v", method, req.URL, err)
	}
	return req, res, text
}

// learn keeps ids and names of an answer, to call with.
func (c *caller) learn(value any) {
	switch v := value.(type) {
	case map[string]any:
		for name, inner := range v {
			if text, ok := inner.(string); ok && (name == "id" || name == "next" || strings.HasSuffix(name, "_id") || name == "name") && text != "" {
				if len(c.known) < 300 {
					c.known = append(c.known, text)
				} else {
					c.known[c.random.IntN(len(c.known))] = text
				}
			}
			c.learn(inner)
		}
	case []any:
		for _, inner := range v {
			c.learn(inner)
		}
	}
}

// TestRandomCalls makes calls that fit the document, and such that nearly do. None
// breaks the engine, and each answer is what the document says.
func TestRandomCalls(t *testing.T) {
	calls := fromEnv(t, envCalls, defaultCalls)
	seed := fromEnv(t, envSeed, rand.Uint64()>>1)
	t.Logf("to do the same again: %s=%d", envSeed, seed)
	dbtest.Each(t, func(t *testing.T, database string) {
		dir := t.TempDir()
		ctx, stop := context.WithCancel(context.Background())
		up, ended := make(chan *app.Serving, 1), make(chan error, 1)
		config := app.ServeConfig{Data: dir, Listen: "127.0.0.1:0", Version: "test", Started: func(s *app.Serving) { up <- s }}
		config.DB, config.Files, config.NoSync = database, apiFiles, true
		config.Plugins = app.Plugins(app.PluginConfig{})
		go func() { ended <- app.Serve(ctx, config) }()
		t.Cleanup(func() {
			stop()
			if err := <-ended; err != nil {
				t.Error(err)
			}
		})
		c := &caller{t: t, random: rand.New(rand.NewPCG(seed, 0))}
		select {
		case s := <-up:
			c.url = s.URL
		case err := <-ended:
			ended <- nil
			t.Fatal(err)
		}
		var err error
		if c.token, err = client.ReadToken(filepath.Join(dir, "admin.token")); err != nil {
			t.Fatal(err)
		}
		api := client.New(c.url, c.token)
		var tokens struct{ Items []struct{ ID string } }
		if err := api.Get(t.Context(), "/api/v1/tokens", &tokens); err != nil {
			t.Fatal(err)
		}
		c.own = tokens.Items[0].ID
		var text json.RawMessage
		if err := api.Get(t.Context(), "/openapi.json", &text); err != nil {
			t.Fatal(err)
		}
		if err := json.Unmarshal(text, &c.doc); err != nil {
			t.Fatal(err)
		}
		document, err := libopenapi.NewDocument(text)
		if err != nil {
			t.Fatal(err)
		}
		check, errs := validator.NewValidator(document)
		if errs != nil {
			t.Fatal(errs)
		}
		if ok, problems := check.ValidateDocument(); !ok {
			for _, p := range problems {
				t.Errorf("the document: %s: %s", p.Message, p.Reason)
			}
		}

		c.compareTypes()

		type one struct{ method, path string }
		var operations []one
		for path, methods := range c.doc.Paths {
			for method := range methods {
				operations = append(operations, one{method, path})
			}
		}
		slices.SortFunc(operations, func(a, b one) int { return strings.Compare(a.method+a.path, b.method+b.path) })
		done := map[int]int{}
		for range calls {
			o := operations[c.random.IntN(len(operations))]
			req, res, answer := c.call(o.method, o.path, c.doc.Paths[o.path][o.method])
			done[res.StatusCode/100]++
			if res.StatusCode >= 500 && res.StatusCode != http.StatusServiceUnavailable || res.StatusCode == http.StatusUnauthorized {
				t.Errorf("%s %s: %d: %s", req.Method, req.URL, res.StatusCode, answer)
			}
			var value any
			if json.Unmarshal(answer, &value) == nil {
				c.learn(value)
			}
			if !strings.HasPrefix(res.Header.Get("Content-Type"), "application/json") {
				continue
			}
			res.Body = io.NopCloser(bytes.NewReader(answer))
			if ok, problems := check.ValidateHttpResponse(req, res); !ok {
				for _, p := range problems {
					for _, e := range p.SchemaValidationErrors {
						t.Errorf("%s %s answers what the document does not say: %s at %s\n%s", req.Method, req.URL, e.Reason, e.FieldPath, answer)
					}
				}
			}
		}
		t.Logf("%d calls were answered with 2xx, %d with 4xx", done[2], done[4])
		if done[2] < int(calls)/20 {
			t.Errorf("only %d of %d calls were good", done[2], calls)
		}
	})
}

// compareTypes looks whether what commands and pages read of answers is what the
// document says that there is.
func (c *caller) compareTypes() {
	c.t.Helper()
	for name, of := range map[string]any{
		"Transition": client.Transition{}, "Entity": client.Entity{}, "Event": client.Event{}, "Decision": client.Decision{}, "Trace": client.Run{}, "RuleSource": client.Rule{},
		"Activity": client.Activity{}, "Explanation": client.Explanation{}, "Kind": client.Kind{}, "Overview": client.Overview{}, "Silence": client.Silence{},
		"AuditEntry": client.AuditEntry{}, "SatelliteItem": client.SatelliteState{}, "SatelliteRegionItem": client.Region{}, "Problem": client.Problem{},
		"HealthcheckItem": client.Check{}, "HealthcheckResultItem": client.CheckResult{},
	} {
		s, ok := c.doc.Components.Schemas[name]
		if !ok {
			c.t.Errorf("the document has no %s, but %v", name, slices.Sorted(maps.Keys(c.doc.Components.Schemas)))
			continue
		}
		c.compare(name, reflect.TypeOf(of), s)
	}
}

func (c *caller) compare(where string, t reflect.Type, s schema) {
	c.t.Helper()
	for len(s.AnyOf) > 0 { // it may be null
		s = s.AnyOf[0]
	}
	if s.Ref != "" {
		s = c.doc.Components.Schemas[strings.TrimPrefix(s.Ref, "#/components/schemas/")]
	}
	for t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	kinds, _ := s.Type.([]any)
	if kind, ok := s.Type.(string); ok {
		kinds = []any{kind}
	}
	want := map[reflect.Kind]string{
		reflect.String: "string", reflect.Bool: "boolean", reflect.Int: "integer", reflect.Int64: "integer", reflect.Float64: "number",
		reflect.Slice: "array", reflect.Map: "object", reflect.Struct: "object",
	}[t.Kind()]
	switch {
	case t == reflect.TypeFor[json.RawMessage]():
		return
	case t == reflect.TypeFor[time.Time]():
		want = "string"
	}
	if t.Kind() != reflect.Interface && !slices.Contains(kinds, any(want)) {
		c.t.Errorf("%s is read as %s, and is %v", where, want, s.Type)
		return
	}
	switch {
	case want == "array" && s.Items != nil:
		c.compare(where+"[]", t.Elem(), *s.Items)
	case t.Kind() == reflect.Struct && want == "object":
		c.compareFields(where, t, s)
	}
}

func (c *caller) compareFields(where string, t reflect.Type, s schema) {
	c.t.Helper()
	for i := range t.NumField() {
		f := t.Field(i)
		name, _, _ := strings.Cut(f.Tag.Get("json"), ",")
		if f.Anonymous {
			c.compareFields(where, f.Type, s)
			continue
		}
		property, ok := s.Properties[name]
		if where == "Activity.last_run" && name == "steps" {
			continue // a run that is not asked for alone has none
		}
		if !ok {
			c.t.Errorf("%s.%s is read, and there is none", where, name)
			continue
		}
		c.compare(where+"."+name, f.Type, property)
	}
}
