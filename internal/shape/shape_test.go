package shape_test

import (
	"encoding/json"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/santhosh-tekuri/jsonschema/v6"

	"github.com/flightrules/flightrules/internal/duration"
	"github.com/flightrules/flightrules/internal/shape"
)

type base struct {
	ID     string `json:"id" doc:"Who it is."`
	Hidden string `json:"status"`
}

type color string

type satellite struct {
	base
	*extra
	Status   string            `json:"status" enum:"online,offline"`
	LastSeen time.Time         `json:"last_seen,omitzero" reactive:"false" doc:"The last heartbeat."`
	After    duration.Text     `json:"after"`
	Color    color             `json:"color,omitempty"`
	Note     *string           `json:"note" enum:"a,b"`
	Count    uint16            `json:"count"`
	Load     float32           `json:"load"`
	Address  netip.Addr        `json:"address"`
	Tags     []string          `json:"tags"`
	Pair     [2]int            `json:"pair"`
	Labels   map[color]string  `json:"labels"`
	Any      any               `json:"any"`
	Raw      json.RawMessage   `json:"raw"`
	Number   json.Number       `json:"number"`
	Bytes    []byte            `json:"bytes"`
	Quoted   int               `json:"quoted,string"`
	Named    base              `json:"named"`
	Deep     []map[string]base `json:"deep,omitempty"`
	Plain    bool
	Skipped  string `json:"-"`
	private  int
}

type extra struct {
	More int `json:"more"`
}

func TestOfAStruct(t *testing.T) {
	s, err := shape.Of[satellite]()
	if err != nil {
		t.Fatal(err)
	}
	want := []string{
		`status string required enum=online,offline`,
		`last_seen time quiet doc=The last heartbeat.`,
		`after duration required`,
		`color string`,
		`note string? enum=a,b`,
		`count integer required`,
		`load number required`,
		`address string required`,
		`tags list? of string`,
		`pair list of integer required`,
		`labels map? of string`,
		`any any?`,
		`raw any?`,
		`number number required`,
		`bytes string?`,
		`quoted string required`,
		`named object {id string required doc=Who it is.; status string required} required`,
		`deep list? of map? of object {id string required doc=Who it is.; status string required}`,
		`Plain boolean required`,
		`id string required doc=Who it is.`,
		`more integer`,
	}
	if diff := cmp.Diff(want, fieldTexts(s)); diff != "" {
		t.Error(diff)
	}
	if f, ok := s.Field("load"); !ok || f.Name != "load" {
		t.Error("the field load is not found")
	}
	if _, ok := s.Field("private"); ok {
		t.Error("a field that is not exported is found")
	}
}

// fieldTexts writes the fields of an object in short.
func fieldTexts(s *shape.Shape) []string {
	var texts []string
	for _, f := range s.Fields {
		text := f.Name + " " + shapeText(f.Shape)
		if f.Required {
			text += " required"
		}
		if !f.Reactive {
			text += " quiet"
		}
		if len(f.Shape.Enum) > 0 {
			text += " enum=" + strings.Join(f.Shape.Enum, ",")
		}
		if f.Doc != "" {
			text += " doc=" + f.Doc
		}
		texts = append(texts, text)
	}
	return texts
}

func shapeText(s *shape.Shape) string {
	text := string(s.Type)
	if s.Nullable {
		text += "?"
	}
	if s.Elem != nil {
		text += " of " + shapeText(s.Elem)
	}
	if s.Type == shape.Object {
		text += " {" + strings.Join(fieldTexts(s), "; ") + "}"
	}
	return text
}

func TestOfRefuses(t *testing.T) {
	type loop struct {
		Next []*struct{ Back map[string]any }
		Self *satellite
	}
	type node struct {
		Children []node `json:"children"`
	}
	type left struct{ A int }
	type right struct{ A int }
	for _, tt := range []struct {
		name string
		of   func() (*shape.Shape, error)
		want string
	}{
		{"a bare duration", shape.Of[struct{ D time.Duration }], "D: time.Duration is a bare number in JSON: use duration.Text"},
		{"a channel", shape.Of[struct{ A struct{ C []chan int } }], "A: C: chan int has no JSON form"},
		{"a function", shape.Of[func()], "func() has no JSON form"},
		{"a complex number", shape.Of[struct{ C complex128 }], "C: complex128 has no JSON form"},
		{"other keys", shape.Of[struct{ M map[int]string }], "M: the keys of a map must be strings, not int"},
		{"an interface with methods", shape.Of[struct{ E error }], "E: error has no JSON form"},
		{"a JSON form of its own", shape.Of[struct{ V strange }], "V: shape_test.strange has a JSON form of its own, which its fields do not tell"},
		{"a type that contains itself", shape.Of[node], "Children: shape_test.node contains itself"},
		{"an enum of numbers", shape.Of[struct {
			N int `enum:"1,2"`
		}], "N: the tag enum is for strings, not for integer"},
		{"two embedded fields of one name", shape.Of[struct {
			left
			right
		}], `two embedded structs have a field "A"`},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s, err := tt.of()
			if err == nil {
				t.Fatalf("got %v", shapeText(s))
			}
			if !strings.HasSuffix(err.Error(), ": "+tt.want) {
				t.Errorf("got  %v\nwant %s", err, tt.want)
			}
		})
	}
	if _, err := shape.Of[loop](); err != nil {
		t.Errorf("a type that is used twice is taken for one that contains itself: %v", err)
	}
}

type strange struct{ A int }

func (strange) MarshalJSON() ([]byte, error) { return []byte(`"x"`), nil }

func TestJSONSchemaAcceptsWhatJSONMakesOfTheType(t *testing.T) {
	s, err := shape.Of[satellite]()
	if err != nil {
		t.Fatal(err)
	}
	schema := compileSchema(t, s)
	note := "a"
	for name, v := range map[string]satellite{
		"empty": {Status: "online", Raw: json.RawMessage(`1`), Number: "1"},
		"full": {
			base: base{ID: "x"}, extra: &extra{More: 1}, Status: "offline", LastSeen: time.Unix(5, 0), After: 5, Color: "red",
			Note: &note, Tags: []string{"a"}, Labels: map[color]string{"a": "b"}, Any: 1, Raw: json.RawMessage(`{}`), Number: "1",
			Deep: []map[string]base{{"a": {ID: "y"}}}, private: 1,
		},
	} {
		t.Run(name, func(t *testing.T) {
			decoded := throughJSON(t, v)
			if err := schema.Validate(decoded); err != nil {
				t.Error(err)
			}
			if err := s.Check(decoded); err != nil {
				t.Error(err)
			}
			if _, err := s.Decode(decoded); err != nil {
				t.Error(err)
			}
		})
	}
}

func TestJSONSchemaAndCheckRefuseTheSame(t *testing.T) {
	s := &shape.Shape{Type: shape.Object, Fields: []shape.Field{
		{Name: "status", Required: true, Shape: &shape.Shape{Type: shape.String, Enum: []string{"online", "offline"}}},
		{Name: "count", Shape: &shape.Shape{Type: shape.Integer}},
		{Name: "seen", Shape: &shape.Shape{Type: shape.Time, Nullable: true}},
		{Name: "after", Shape: &shape.Shape{Type: shape.Duration}},
		{Name: "tags", Shape: &shape.Shape{Type: shape.List, Elem: &shape.Shape{Type: shape.String}}},
		{Name: "labels", Shape: &shape.Shape{Type: shape.Map, Elem: &shape.Shape{Type: shape.Boolean}}},
		{Name: "anything", Shape: &shape.Shape{Type: shape.List}},
	}}
	schema := compileSchema(t, s)
	for src, want := range map[string]string{
		`{"status": "online", "count": 3, "seen": null, "after": "-1d12h", "tags": [], "labels": {"a": true}}`: "",
		`{"status": "online", "count": null, "anything": [null, 1, {}]}`:                                       "",
		`{}`:                                     `status: is required`,
		`{"status": null}`:                       `status: is required`,
		`{"status": "lost"}`:                     `status: must be one of online, offline, not "lost"`,
		`{"status": 5}`:                          `status: must be a string, not 5`,
		`{"status": "online", "count": 1.5}`:     `count: must be a whole number, not 1.5`,
		`{"status": "online", "count": "1"}`:     `count: must be a whole number, not "1"`,
		`{"status": "online", "seen": "monday"}`: `seen: bad time "monday": write RFC 3339, such as 2030-01-31T12:00:00Z`,
		`{"status": "online", "after": "soon"}`: `after: bad duration "soon": write a number and a unit, such as 90s, 5m, ` +
			`1h30m, 2d or 1w`,
		`{"status": "online", "tags": ["a", 1, null]}`:      `tags[1]: must be a string, not 1; tags[2]: must be a string, not null`,
		`{"status": "online", "labels": {"a": 1}}`:          `labels.a: must be true or false, not 1`,
		`{"status": "online", "labels": []}`:                `labels: must be a map, not a list`,
		`{"status": "online", "tags": {}}`:                  `tags: must be a list, not a map`,
		`{"status": "online", "stauts": 1, "whatever": {}}`: `stauts: unknown field, did you mean "status"?; whatever: unknown field`,
		`[]`:   `must be an object, not a list`,
		`null`: `must be an object, not null`,
	} {
		t.Run(src, func(t *testing.T) {
			v := decode(t, src)
			got := ""
			if err := s.Check(v); err != nil {
				got = err.Error()
			}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Error(diff)
			}
			if err := schema.Validate(v); (err == nil) != (want == "") {
				t.Errorf("the schema says: %v", err)
			}
		})
	}
}

func TestJSONSchema(t *testing.T) {
	type state struct {
		Status *string   `json:"status" enum:"a,b" doc:"How it is."`
		At     time.Time `json:"at"`
		List   []any     `json:"list"`
	}
	s, err := shape.Of[state]()
	if err != nil {
		t.Fatal(err)
	}
	s.Doc = "A thing."
	want := decode(t, `{
		"type": "object", "description": "A thing.", "additionalProperties": false, "required": ["at"],
		"properties": {
			"status": {"type": ["string", "null"], "enum": ["a", "b", null], "description": "How it is."},
			"at": {"type": "string", "format": "date-time"},
			"list": {"type": ["array", "null"], "items": {}}
		}
	}`)
	if diff := cmp.Diff(want, throughJSON(t, s.JSONSchema())); diff != "" {
		t.Error(diff)
	}
}

func compileSchema(t *testing.T, s *shape.Shape) *jsonschema.Schema {
	t.Helper()
	compiler := jsonschema.NewCompiler()
	compiler.DefaultDraft(jsonschema.Draft2020)
	compiler.AssertFormat()
	if err := compiler.AddResource("shape.json", s.JSONSchema()); err != nil {
		t.Fatal(err)
	}
	schema, err := compiler.Compile("shape.json")
	if err != nil {
		t.Fatal(err)
	}
	return schema
}

func throughJSON(t *testing.T, v any) any {
	t.Helper()
	text, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return decode(t, string(text))
}

func decode(t *testing.T, text string) any {
	t.Helper()
	var v any
	if err := json.Unmarshal([]byte(text), &v); err != nil {
		t.Fatal(err)
	}
	return v
}
