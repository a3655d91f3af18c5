package shape

import (
	"encoding"
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"time"

	"github.com/flightrules/flightrules/internal/duration"
)

var (
	timeType      = reflect.TypeFor[time.Time]()
	durationType  = reflect.TypeFor[time.Duration]()
	textType      = reflect.TypeFor[duration.Text]()
	rawType       = reflect.TypeFor[json.RawMessage]()
	numberType    = reflect.TypeFor[json.Number]()
	marshaler     = reflect.TypeFor[json.Marshaler]()
	textMarshaler = reflect.TypeFor[encoding.TextMarshaler]()
)

// Of returns the shape of a Go type's JSON. See OfType.
func Of[T any]() (*Shape, error) { return OfType(reflect.TypeFor[T]()) }

// OfType returns the shape of a Go type's JSON, by the json tags of its structs. Further tags of a field: doc:"..."
// describes it, enum:"a,b" lists the values of a string, reactive:"false" marks a field that changes without being a
// change, secret:"true" one that may hold secrets, names:"section" one that names an item of a section. Pointers, slices,
// maps and any may be null. A field is required unless it may be null or has omitempty or omitzero. Types that JSON or expressions cannot hold are an error that names the field: time.Duration (use
// duration.Text), channels, functions, complex numbers, maps whose keys are no strings, types with a MarshalJSON of their
// own, and types that contain themselves.
func OfType(t reflect.Type) (*Shape, error) {
	b := builder{}
	s, err := b.shape(t)
	if err != nil {
		return nil, fmt.Errorf("describe %s: %w", t, err)
	}
	return s, nil
}

// builder holds the structs that are being described, outermost first.
type builder struct{ open []reflect.Type }

func (b *builder) shape(t reflect.Type) (*Shape, error) {
	if t.Kind() == reflect.Pointer {
		s, err := b.shape(t.Elem())
		if err != nil {
			return nil, err
		}
		s.Nullable = true
		return s, nil
	}
	if s, err := special(t); s != nil || err != nil {
		return s, err
	}
	switch t.Kind() {
	case reflect.String:
		return &Shape{Type: String}, nil
	case reflect.Bool:
		return &Shape{Type: Boolean}, nil
	case reflect.Int, reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64,
		reflect.Uint, reflect.Uint8, reflect.Uint16, reflect.Uint32, reflect.Uint64:
		return &Shape{Type: Integer}, nil
	case reflect.Float32, reflect.Float64:
		return &Shape{Type: Number}, nil
	case reflect.Slice:
		if t.Elem().Kind() == reflect.Uint8 {
			return &Shape{Type: String, Nullable: true}, nil // base64
		}
		return b.container(List, t, true)
	case reflect.Array:
		return b.container(List, t, false)
	case reflect.Map:
		if t.Key().Kind() != reflect.String {
			return nil, fmt.Errorf("the keys of a map must be strings, not %s", t.Key())
		}
		return b.container(Map, t, true)
	case reflect.Struct:
		return b.object(t)
	}
	return nil, fmt.Errorf("%s has no JSON form", t)
}

// special returns the shape of the types that are not what their kind says, and nil for all others.
func special(t reflect.Type) (*Shape, error) {
	switch {
	case t == timeType:
		return &Shape{Type: Time}, nil
	case t == textType:
		return &Shape{Type: Duration}, nil
	case t == durationType:
		return nil, errors.New("time.Duration is a bare number in JSON: use duration.Text")
	case t == rawType, t.Kind() == reflect.Interface && t.NumMethod() == 0:
		return &Shape{Type: Any, Nullable: true}, nil
	case t == numberType:
		return &Shape{Type: Number}, nil
	case t.Implements(marshaler), reflect.PointerTo(t).Implements(marshaler):
		return nil, fmt.Errorf("%s has a JSON form of its own, which its fields do not tell", t)
	case t.Kind() != reflect.Interface && (t.Implements(textMarshaler) || reflect.PointerTo(t).Implements(textMarshaler)):
		return &Shape{Type: String}, nil
	}
	return nil, nil
}

func (b *builder) container(typ Type, t reflect.Type, nullable bool) (*Shape, error) {
	elem, err := b.shape(t.Elem())
	if err != nil {
		return nil, err
	}
	return &Shape{Type: typ, Nullable: nullable, Elem: elem}, nil
}

func (b *builder) object(t reflect.Type) (*Shape, error) {
	if slices.Contains(b.open, t) {
		return nil, fmt.Errorf("%s contains itself", t)
	}
	b.open = append(b.open, t)
	defer func() { b.open = b.open[:len(b.open)-1] }()
	s := &Shape{Type: Object}
	var embedded []Field
	for i := range t.NumField() {
		f := t.Field(i)
		inner, flatten, err := b.embedded(f)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", f.Name, err)
		}
		if flatten {
			embedded = append(embedded, inner...)
			continue
		}
		field, ok, err := b.field(f)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", f.Name, err)
		}
		if ok {
			s.Fields = append(s.Fields, field)
		}
	}
	return s, addEmbedded(s, embedded)
}

// addEmbedded adds the fields of embedded structs; a field of the struct itself hides one of the same name.
func addEmbedded(s *Shape, embedded []Field) error {
	own := s.fieldNames()
	for _, f := range embedded {
		if slices.Contains(own, f.Name) {
			continue
		}
		if _, twice := s.Field(f.Name); twice {
			return fmt.Errorf("two embedded structs have a field %q", f.Name)
		}
		s.Fields = append(s.Fields, f)
	}
	return nil
}

// embedded returns the fields of an embedded struct that JSON treats as fields of the outer one.
func (b *builder) embedded(f reflect.StructField) (fields []Field, flatten bool, err error) {
	t := f.Type
	pointer := t.Kind() == reflect.Pointer
	if pointer {
		t = t.Elem()
	}
	if name, _, _ := strings.Cut(f.Tag.Get("json"), ","); !f.Anonymous || name != "" || t.Kind() != reflect.Struct {
		return nil, false, nil
	}
	if s, err := special(t); s != nil || err != nil {
		return nil, false, err
	}
	s, err := b.object(t)
	if err != nil {
		return nil, false, err
	}
	for i := range s.Fields {
		s.Fields[i].Required = s.Fields[i].Required && !pointer
	}
	return s.Fields, true, nil
}

// field returns how a struct's field is in JSON, and false when it is not in it.
func (b *builder) field(f reflect.StructField) (Field, bool, error) {
	tag := f.Tag.Get("json")
	if !f.IsExported() || tag == "-" {
		return Field{}, false, nil
	}
	name, options, _ := strings.Cut(tag, ",")
	if name == "" {
		name = f.Name
	}
	s, err := b.shape(f.Type)
	if err != nil {
		return Field{}, false, err
	}
	optional := false
	for option := range strings.SplitSeq(options, ",") {
		switch option {
		case "omitempty", "omitzero":
			optional = true
		case "string":
			s = &Shape{Type: String, Nullable: s.Nullable}
		}
	}
	if enum := f.Tag.Get("enum"); enum != "" {
		if s.Type != String {
			return Field{}, false, fmt.Errorf("the tag enum is for strings, not for %s", s.Type)
		}
		s.Enum = strings.Split(enum, ",")
	}
	field := Field{
		Name: name, Doc: f.Tag.Get("doc"), Shape: s, Reactive: f.Tag.Get("reactive") != "false",
		Secret: f.Tag.Get("secret") == "true", Names: f.Tag.Get("names"),
	}
	field.Required = !optional && !s.Nullable
	return field, true, nil
}
