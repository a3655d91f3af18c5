package rules

import (
	"fmt"
	"slices"

	"github.com/flightrules/flightrules/internal/shape"
	"github.com/flightrules/flightrules/internal/yamlx"
)

// fieldTypes are the types that a field of a declared kind, or an input, may
// have.
var fieldTypes = []string{
	string(shape.String), string(shape.Number), string(shape.Integer), string(shape.Boolean), string(shape.Time),
	string(shape.Duration), string(shape.List), string(shape.Map),
}

// fieldSpecs reads a map of fields: their types, and what else is wanted of
// their values. With ownRequired each says for itself whether it must be there.
func (p *parser) fieldSpecs(n yamlx.Node, ownRequired bool) *shape.Shape {
	form := object()
	m, ok := n.Map(p.ps)
	if !ok {
		return form
	}
	for _, name := range m.Keys() {
		if !identifier.MatchString(name) {
			p.ps.Add(m.KeyNode(name), fmt.Sprintf("bad field name %q", name), "a name is letters, digits and _, so that it can stand behind a dot")
		}
		form.Fields = append(form.Fields, p.fieldSpec(name, m.Take(name), ownRequired))
	}
	return form
}

func (p *parser) fieldSpec(name string, n yamlx.Node, ownRequired bool) shape.Field {
	f := shape.Field{Name: name, Reactive: true, Shape: &shape.Shape{Type: shape.Any, Nullable: true}}
	m, ok := n.Map(p.ps)
	if !ok {
		return f
	}
	typ := m.Require(p.ps, "type")
	f.Doc = p.text(m.Take("doc"))
	if ownRequired {
		f.Required = p.boolean(m.Take("required"), false)
	}
	enum, least, most, absent := m.Take("enum"), m.Take("minimum"), m.Take("maximum"), m.Take("default")
	m.Done(p.ps)
	text := p.text(typ)
	if !slices.Contains(fieldTypes, text) {
		if text != "" {
			p.ps.Add(typ, fmt.Sprintf("unknown type %q", text), p.suggest(text, fieldTypes))
		}
		return f
	}
	f.Shape = &shape.Shape{Type: shape.Type(text)}
	f.Shape.Enum = p.enum(enum, f.Shape)
	f.Shape.Minimum, f.Shape.Maximum = p.limit(least, f.Shape), p.limit(most, f.Shape)
	if f.Shape.Minimum != nil && f.Shape.Maximum != nil && *f.Shape.Minimum > *f.Shape.Maximum {
		p.ps.Add(most, fmt.Sprintf("maximum is below minimum (%v)", *f.Shape.Minimum), "")
	}
	if !absent.IsZero() && p.literal(absent, f.Shape) {
		f.Shape.Default = absent.Value()
	}
	return f
}

func (p *parser) enum(n yamlx.Node, of *shape.Shape) []string {
	if n.IsZero() {
		return nil
	}
	if of.Type != shape.String {
		p.ps.Add(n, fmt.Sprintf("enum goes with type string, not with %s", of.Type), "")
		return nil
	}
	list := p.texts(n)
	if n.IsList() && len(n.Children()) == 0 {
		p.ps.Add(n, "enum lists nothing, so that no value is allowed", "leave it out for any")
	}
	return list
}

func (p *parser) limit(n yamlx.Node, of *shape.Shape) *float64 {
	if n.IsZero() {
		return nil
	}
	if of.Type != shape.Number && of.Type != shape.Integer {
		p.ps.Add(n, fmt.Sprintf("%s goes with a number, not with %s", label(n), of.Type), "")
		return nil
	}
	v, ok := n.Float(p.ps)
	if !ok {
		return nil
	}
	return &v
}
