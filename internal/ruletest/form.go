package ruletest

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/flightrules/flightrules/internal/duration"
	"github.com/flightrules/flightrules/internal/shape"
	"github.com/flightrules/flightrules/internal/yamlx"
)

// form is the shape of a Go type of this package.
func form[T any]() *shape.Shape {
	s, err := shape.Of[T]()
	if err != nil {
		panic(err) // a mistake in this package
	}
	return s
}

// read makes a T of a node, which must have its form. With problems it is
// false.
func read[T any](ps *yamlx.Problems, n yamlx.Node) (v T, ok bool) {
	before := ps.Len()
	fits(ps, n, form[T](), true)
	if ps.Len() > before {
		return v, false
	}
	text, err := json.Marshal(n.Value())
	if err == nil {
		err = json.Unmarshal(text, &v)
	}
	if err != nil {
		ps.Add(n, err.Error(), "")
		return v, false
	}
	return v, true
}

// fits reports what of a node does not have a form. Of a whole one nothing may
// be missing.
func fits(ps *yamlx.Problems, n yamlx.Node, form *shape.Shape, whole bool) {
	switch {
	case form == nil || form.Type == shape.Any || n.IsZero() || n.IsNull() && form.Nullable:
	case form.Type == shape.Object:
		fitsObject(ps, n, form, whole)
	case form.Type == shape.List:
		items, _ := n.List(ps)
		for _, item := range items {
			fits(ps, item, form.Elem, whole)
		}
	case form.Type == shape.Map:
		if m, ok := n.Map(ps); ok {
			for _, key := range m.Keys() {
				fits(ps, m.Take(key), form.Elem, whole)
			}
		}
	default:
		fitsScalar(ps, n, form)
	}
}

func fitsObject(ps *yamlx.Problems, n yamlx.Node, form *shape.Shape, whole bool) {
	m, ok := n.Map(ps)
	if !ok {
		return
	}
	for _, f := range form.Fields {
		if f.Required && whole {
			fits(ps, m.Require(ps, f.Name), f.Shape, whole)
		} else if value := m.Take(f.Name); !value.IsNull() {
			fits(ps, value, f.Shape, whole)
		}
	}
	m.Done(ps)
}

func fitsScalar(ps *yamlx.Problems, n yamlx.Node, form *shape.Shape) {
	if form.Type == shape.String {
		text, ok := n.Text(ps)
		if ok && len(form.Enum) > 0 && !slices.Contains(form.Enum, text) {
			ps.Add(n, fmt.Sprintf("%q is not one of %s", text, strings.Join(form.Enum, ", ")), yamlx.Suggest(text, form.Enum))
		}
		return
	}
	if !n.IsScalar() {
		ps.Add(n, "this must be "+word[form.Type], "")
		return
	}
	if err := form.Check(n.Value()); err != nil {
		ps.Add(n, err.Error(), "")
	}
}

// word says what a scalar must be.
var word = map[shape.Type]string{
	shape.Number: "a number", shape.Integer: "a whole number", shape.Boolean: "true or false",
	shape.Time: "a time", shape.Duration: "a duration",
}

// completed is a value of a form with what is missing in it: the default, the
// first of an enum, what is zero, and for times now. The fields id and name
// become id.
func completed(form *shape.Shape, v any, id string, now time.Time) any {
	given, ok := v.(map[string]any)
	if form.Type != shape.Object || v != nil && !ok {
		return v
	}
	full := map[string]any{}
	for name, value := range given {
		full[name] = value
	}
	for _, f := range form.Fields {
		value := full[f.Name]
		switch {
		case value != nil && f.Shape.Type == shape.Object:
			full[f.Name] = completed(f.Shape, value, id, now)
		case value == nil && f.Shape.Default != nil:
			full[f.Name] = f.Shape.Default
		case value == nil && f.Required && f.Shape.Type == shape.String && (f.Name == "id" || f.Name == "name") && id != "":
			full[f.Name] = id
		case value == nil && f.Required:
			full[f.Name] = zero(f.Shape, id, now)
		}
	}
	return full
}

// zero is the value of what nobody has said.
func zero(form *shape.Shape, id string, now time.Time) any {
	switch form.Type {
	case shape.String:
		if len(form.Enum) > 0 {
			return form.Enum[0]
		}
		return ""
	case shape.Number, shape.Integer:
		if form.Minimum != nil && *form.Minimum > 0 {
			return *form.Minimum
		}
		return 0
	case shape.Boolean:
		return false
	case shape.Time:
		return shape.Encode(now)
	case shape.Duration:
		return duration.Format(0)
	case shape.List:
		return []any{}
	case shape.Map:
		return map[string]any{}
	case shape.Object:
		return completed(form, nil, id, now)
	}
	return nil
}
