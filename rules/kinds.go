package rules

import (
	"fmt"
	"regexp"
	"slices"
	"strings"

	"github.com/flightrules/flightrules/entities"
	"github.com/flightrules/flightrules/internal/db"
	"github.com/flightrules/flightrules/internal/expression"
	"github.com/flightrules/flightrules/internal/shape"
	"github.com/flightrules/flightrules/internal/yamlx"
	"github.com/flightrules/flightrules/triggers"
)

var kindName = regexp.MustCompile(`^[a-z][a-z0-9_]*$`)

// kinds parses the section: kinds of entities, and the events of their changes.
func (p *parser) kinds(found []item) (kinds []entities.Declared, events []triggers.DeclaredEvent) {
	first := map[string]yamlx.Node{}
	for _, one := range found {
		k, of, ok := p.kind(one.node)
		if !ok {
			continue
		}
		name := one.node.At("name")
		if before, ok := first[k.Name]; ok {
			file, line, _ := before.Place()
			p.ps.Add(name, fmt.Sprintf("duplicate kind %q", k.Name), fmt.Sprintf("%s:%d has it already", file, line))
			continue
		}
		first[k.Name] = name
		if info, taken := p.Events.Kind(k.Name); taken && !info.Declared || k.Name == triggers.RuleKind {
			p.ps.Add(name, fmt.Sprintf("kind %q belongs to a plugin or to the engine", k.Name), "take another name")
		}
		for _, e := range of {
			if slices.ContainsFunc(events, func(other triggers.DeclaredEvent) bool { return other.Name == e.Name }) {
				p.ps.Add(name, fmt.Sprintf("event %q is declared twice", e.Name), "")
			}
		}
		kinds, events = append(kinds, k), append(events, of...)
	}
	return kinds, events
}

// see makes what is declared known to the rest of the load.
func (p *parser) see(kinds []entities.Declared, events []triggers.DeclaredEvent) {
	c := *p.Compiler
	c.Events = c.Events.With(kinds, events)
	p.Compiler = &c
}

func (p *parser) kind(n yamlx.Node) (k entities.Declared, events []triggers.DeclaredEvent, ok bool) {
	m, ok := n.Map(p.ps)
	if !ok {
		return k, nil, false
	}
	name, fields := m.Require(p.ps, "name"), m.Require(p.ps, "fields")
	k.Name, k.Doc = p.text(name), p.text(m.Take("doc"))
	if k.Name != "" && !kindName.MatchString(k.Name) {
		p.ps.Add(name, fmt.Sprintf("bad kind name %q", k.Name), "a name is lower case letters, digits and _")
	}
	required, stale, eventNodes := m.Take("required"), m.Take("stale"), m.Take("events")
	m.Done(p.ps)
	k.Shape = p.fieldSpecs(fields, false)
	p.required(required, k.Shape)
	k.Stale = p.stale(stale, k.Shape)
	if eventNodes.IsZero() {
		return k, nil, true
	}
	nodes, _ := eventNodes.List(p.ps)
	for _, node := range nodes {
		if e, ok := p.kindEvent(node, k); ok {
			events = append(events, e)
		}
	}
	return k, events, k.Name != ""
}

func (p *parser) required(n yamlx.Node, form *shape.Shape) {
	if n.IsZero() {
		return
	}
	nodes, _ := n.List(p.ps)
	for _, one := range nodes {
		name, ok := one.Text(p.ps)
		if !ok {
			continue
		}
		f, ok := form.Field(name)
		if !ok {
			p.ps.Add(one, fmt.Sprintf("there is no field %q", name), p.suggest(name, fieldNames(form)))
			continue
		}
		f.Required = true
	}
}

func (p *parser) stale(n yamlx.Node, form *shape.Shape) *entities.Stale {
	if n.IsZero() {
		return nil
	}
	m, ok := n.Map(p.ps)
	if !ok {
		return nil
	}
	after, set := m.Require(p.ps, "after"), m.Require(p.ps, "set")
	m.Done(p.ps)
	stale := &entities.Stale{}
	stale.After, _ = after.Duration(p.ps)
	if set.IsZero() {
		return stale
	}
	s := &scope{parser: p, env: p.cached("nothing", expression.NewEnv)}
	s.config(set, form, true)
	if set.IsMap() && len(set.Children()) == 0 {
		p.ps.Add(set, "set says nothing", "name the fields that say that the entity is stale")
	}
	set.Each(func(one yamlx.Node) {
		if isTemplate(one) {
			p.ps.Add(one, "what a stale entity is set to is constant", "")
		}
	})
	stale.Set, _ = set.Value().(map[string]any)
	return stale
}

// kindEnv is what the derivers of a kind see.
func (p *parser) kindEnv(k entities.Declared) *expression.Env {
	change := object(
		shape.Field{Name: "prev", Shape: k.Shape}, shape.Field{Name: "next", Shape: k.Shape},
		shape.Field{Name: "fields", Shape: &shape.Shape{Type: shape.List, Elem: &shape.Shape{Type: shape.String}}},
	)
	return expression.NewEnv().With("change", change.Expr()).
		With("entity", object(field("kind", shape.String), field("id", shape.String)).Expr())
}

func (p *parser) kindEvent(n yamlx.Node, k entities.Declared) (e triggers.DeclaredEvent, ok bool) {
	m, ok := n.Map(p.ps)
	if !ok {
		return e, false
	}
	name, when, payload := m.Require(p.ps, "name"), m.Require(p.ps, "when"), m.Take("payload")
	e.Name, e.Doc, e.Kind = p.text(name), p.text(m.Take("doc")), k.Name
	m.Done(p.ps)
	s := &scope{parser: p, env: p.kindEnv(k)}
	if e.Name != "" {
		if err := triggers.CheckDeclared(e.Name, k.Name); err != nil {
			message, hint, _ := strings.Cut(err.Error(), ": ")
			p.ps.Add(name, message, hint)
		} else if known, err := p.Events.Lookup(e.Name); err == nil && !known.Declared {
			p.ps.Add(name, fmt.Sprintf("event %q belongs to a plugin", e.Name), "take another name")
		}
	}
	d := deriver{form: k.Shape}
	if !when.IsZero() {
		d.when = s.condition(when)
	}
	e.Payload = object()
	if !payload.IsZero() {
		e.Payload = s.payload(payload)
		d.payload = s.tree(payload, nil)
	}
	e.Derive = d.derive
	return e, e.Name != ""
}

// resultTypes are the types of fields by what their expressions give.
var resultTypes = map[expression.Result]shape.Type{
	expression.StringResult: shape.String, expression.NumberResult: shape.Number, expression.BoolResult: shape.Boolean,
	expression.TimeResult: shape.Time, expression.DurationResult: shape.Duration,
}

// payload is the form of a payload: that of its templates and constants.
func (s *scope) payload(n yamlx.Node) *shape.Shape {
	form := object()
	m, ok := n.Map(s.ps)
	if !ok {
		return form
	}
	for _, name := range m.Keys() {
		if !identifier.MatchString(name) {
			s.ps.Add(m.KeyNode(name), fmt.Sprintf("bad field name %q", name), "a name is letters, digits and _, so that it can stand behind a dot")
		}
		f := shape.Field{Name: name, Shape: &shape.Shape{Type: shape.Any, Nullable: true}}
		value := m.Take(name)
		switch v := value.Value().(type) {
		case string:
			if !isTemplate(value) {
				f.Shape = &shape.Shape{Type: shape.String, Nullable: true}
			} else if t, err := s.env.ParseTemplate(v); err == nil {
				if typ, ok := resultTypes[t.Type()]; ok {
					f.Shape = &shape.Shape{Type: typ, Nullable: true}
				}
			}
		case bool:
			f.Shape = &shape.Shape{Type: shape.Boolean, Nullable: true}
		case int, int64, float64:
			f.Shape = &shape.Shape{Type: shape.Number, Nullable: true}
		}
		form.Fields = append(form.Fields, f)
	}
	return form
}

// deriver makes a declared event of changes.
type deriver struct {
	form    *shape.Shape
	when    *expression.Program
	payload *expression.Tree // nil: empty
}

func (d deriver) derive(t entities.Transition) (db.JSON, bool, error) {
	change := map[string]any{"fields": t.Fields(), "prev": nil, "next": nil}
	for name, view := range map[string]entities.View{"prev": t.Prev(), "next": t.Next} {
		if view == nil {
			continue
		}
		state, err := d.form.Decode(map[string]any(view))
		if err != nil {
			return nil, false, err
		}
		change[name] = state
	}
	if t.Next == nil {
		return nil, false, nil // what is gone has no next to look at
	}
	env := map[string]any{"change": change, "entity": map[string]any{"kind": t.Kind, "id": t.ID}}
	yes, err := d.when.Bool(env)
	if err != nil || !yes {
		return nil, false, err
	}
	if d.payload == nil {
		return db.JSON("{}"), true, nil
	}
	payload, err := d.payload.Eval(env)
	if err != nil {
		return nil, false, err
	}
	return db.ToJSON(shape.Encode(payload)), true, nil
}
