package rules

import (
	"slices"
	"strings"
	"time"

	"github.com/flightrules/flightrules/internal/duration"
	"github.com/flightrules/flightrules/internal/expression"
	"github.com/flightrules/flightrules/internal/shape"
	"github.com/flightrules/flightrules/internal/yamlx"
)

// values reads one value of a field, or a list of them, in the form of the
// values in an entities.View.
func (p *parser) values(n yamlx.Node, form *shape.Shape) []any {
	if n.IsZero() {
		return nil
	}
	nodes := []yamlx.Node{n}
	if n.IsList() && form.Type != shape.List {
		p.notEmpty(n)
		nodes = n.Children()
	}
	list := []any{}
	for _, one := range nodes {
		v := one.Value()
		if v != nil { // null is "does not exist", which every field may be
			if !p.literal(one, form) {
				continue
			}
			v, _ = form.Decode(v) // literal has found that it fits
		}
		list = append(list, likeView(v))
	}
	return list
}

func likeView(v any) any {
	switch v := v.(type) {
	case int:
		return int64(v)
	case float64:
		if v == float64(int64(v)) {
			return int64(v)
		}
	case time.Time:
		return v.Format(time.RFC3339Nano) // Decode has made it UTC
	case time.Duration:
		return duration.Format(v)
	case []any:
		list := make([]any, len(v))
		for i := range v {
			list[i] = likeView(v[i])
		}
		return list
	case map[string]any:
		m := make(map[string]any, len(v))
		for key := range v {
			if v[key] != nil {
				m[key] = likeView(v[key])
			}
		}
		return m
	}
	return v
}

// literal says whether a constant has its form, and reports it if not.
func (p *parser) literal(n yamlx.Node, form *shape.Shape) bool {
	err := form.Check(n.Value())
	if err == nil {
		return true
	}
	message, hint := err.Error(), ""
	if strings.HasPrefix(message, "must be ") {
		message = label(n) + " " + message
	}
	if text, ok := n.Value().(string); ok && form.Enum != nil {
		hint = yamlx.Suggest(text, form.Enum)
	}
	p.ps.Add(n, message, hint)
	return false
}

// label is what messages call a value: the last part of its path.
func label(n yamlx.Node) string {
	path := n.Path()
	if key := strings.LastIndex(path, `["`); key >= 0 && strings.HasSuffix(path, `"]`) {
		return path[key+1 : len(path)-1]
	}
	return path[strings.LastIndex(path, ".")+1:]
}

// accepted says what the types are called and which results of expressions
// they accept, besides those that are known only when the rule runs.
var accepted = map[shape.Type]struct {
	name    string
	results []expression.Result
}{
	shape.String:   {"a string", []expression.Result{expression.StringResult, expression.TimeResult, expression.DurationResult}},
	shape.Number:   {"a number", []expression.Result{expression.NumberResult}},
	shape.Integer:  {"a whole number", []expression.Result{expression.NumberResult}},
	shape.Boolean:  {"true or false", []expression.Result{expression.BoolResult}},
	shape.Time:     {"a time", []expression.Result{expression.TimeResult, expression.StringResult}},
	shape.Duration: {"a duration", []expression.Result{expression.DurationResult, expression.StringResult}},
	shape.List:     {"a list", []expression.Result{expression.ListResult}},
	shape.Map:      {"a map", []expression.Result{expression.MapResult}},
	shape.Object:   {"a map", []expression.Result{expression.MapResult}},
}

// gives reports a template whose value cannot have the form; nil is any form.
func (s *scope) gives(n yamlx.Node, t *expression.Template, form *shape.Shape) {
	if form == nil {
		return
	}
	got, takes := t.Type(), accepted[form.Type]
	if takes.results != nil && got != expression.AnyResult && !slices.Contains(takes.results, got) {
		s.ps.Add(n, label(n)+" must be "+takes.name+", but the expression gives "+got.String(), "")
	}
}

// inside is the form of what a path leads to in a value of a form; nil: nobody
// knows.
func inside(form *shape.Shape, path []any) *shape.Shape {
	for _, part := range path {
		if form == nil {
			return nil
		}
		name, _ := part.(string)
		if f, ok := form.Field(name); ok {
			form = f.Shape
		} else {
			form = form.Elem
		}
	}
	return form
}

// config checks a value against its form as far as it can be known before the
// templates in it are filled in. With partial, what is required may be missing.
func (s *scope) config(n yamlx.Node, form *shape.Shape, partial bool) {
	switch {
	case form == nil || form.Type == shape.Any || isTemplate(n):
	case form.Type == shape.Object:
		s.fields(n, form, partial)
	case form.Type == shape.Map && n.IsMap(), form.Type == shape.List && n.IsList():
		for _, value := range n.Children() {
			s.config(value, form.Elem, false)
		}
	default:
		s.literal(n, form)
	}
}

func (s *scope) fields(n yamlx.Node, form *shape.Shape, partial bool) {
	m, ok := n.Map(s.ps)
	if !ok {
		return
	}
	for _, f := range form.Fields {
		value := m.Take(f.Name)
		switch {
		case value.IsZero() && f.Required && !partial:
			m.Require(s.ps, f.Name)
		case !value.IsZero() && (f.Required || !value.IsNull()):
			s.config(value, f.Shape, false)
			s.named(value, f.Names)
		}
	}
	m.Done(s.ps)
}

func isTemplate(n yamlx.Node) bool {
	if !n.IsScalar() {
		return false
	}
	text, _ := n.Value().(string)
	return strings.Contains(text, "${{")
}
