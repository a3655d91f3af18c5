package rules

import (
	"fmt"
	"maps"
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

// kinds parses all items of `kinds:`, and lets what is parsed from now on see
// the kinds and events that they declare instead of those in force.
func (p *parser) kinds(nodes []yamlx.Node, into *Declarations) {
	firstKind, firstEvent := map[string]yamlx.Node{}, map[string]yamlx.Node{}
	for _, n := range nodes {
		k := &kindParser{parser: p, firstEvent: firstEvent}
		if !k.parse(n, firstKind) {
			continue
		}
		into.Kinds = append(into.Kinds, k.Declared)
		into.Events = append(into.Events, k.events...)
		into.mark("kind "+k.Name, n.At("name"))
	}
	with := *p.Compiler
	with.Events = p.Events.With(into.Kinds, into.Events)
	p.Compiler = &with
}

// kindParser parses one kind.
type kindParser struct {
	*parser
	entities.Declared
	events     []triggers.DeclaredEvent
	firstEvent map[string]yamlx.Node // where each name stands first
}

// parse is false when there is no kind that others could be checked against.
func (k *kindParser) parse(n yamlx.Node, first map[string]yamlx.Node) bool {
	m, ok := n.Map(k.ps)
	if !ok {
		return false
	}
	name, doc, fields := m.Require(k.ps, "name"), m.Take("doc"), m.Require(k.ps, "fields")
	required, stale, events := m.Take("required"), m.Take("stale"), m.Take("events")
	m.Done(k.ps)
	k.Doc = k.text(doc)
	k.Shape = k.fieldSpecs(fields, false)
	k.Shape.Doc = k.Doc
	if fields.IsMap() && len(fields.Children()) == 0 {
		k.ps.Add(fields, "a kind needs at least one field", "")
	}
	k.required(required)
	k.stale(stale)
	named := k.named(name, first)
	k.deriveEvents(events)
	return named
}

func (k *kindParser) named(n yamlx.Node, first map[string]yamlx.Node) bool {
	if k.Name = k.text(n); k.Name == "" {
		return false
	}
	if !kindName.MatchString(k.Name) {
		k.ps.Add(n, fmt.Sprintf("bad kind name %q", k.Name), "a name is lower case letters, digits and _")
		return false
	}
	if info, ok := k.Events.Kind(k.Name); ok && !info.Declared {
		k.ps.Add(n, fmt.Sprintf("kind %s belongs to a plugin", k.Name), "take another name")
		return false
	}
	if k.Name == triggers.RuleKind {
		k.ps.Add(n, fmt.Sprintf("kind %s belongs to the engine", k.Name), "take another name")
		return false
	}
	if before, ok := first[k.Name]; ok {
		file, line, _ := before.Place()
		k.ps.Add(n, fmt.Sprintf("duplicate kind %q", k.Name), fmt.Sprintf("%s:%d has it already", file, line))
		return false
	}
	first[k.Name] = n
	return true
}

// required marks the fields that every state must have.
func (k *kindParser) required(n yamlx.Node) {
	if n.IsZero() {
		return
	}
	nodes, _ := n.List(k.ps)
	for _, one := range nodes {
		name, ok := one.Text(k.ps)
		if !ok {
			continue
		}
		f, ok := k.Shape.Field(name)
		switch {
		case !ok:
			k.ps.Add(one, fmt.Sprintf("there is no field %q", name), k.suggest(name, fieldNames(k.Shape)))
		case f.Required:
			k.ps.Add(one, fmt.Sprintf("%s is required already", name), "")
		default:
			f.Required = true
		}
	}
}

// stale reads what becomes of an entity that is not updated.
func (k *kindParser) stale(n yamlx.Node) {
	if n.IsZero() {
		return
	}
	m, ok := n.Map(k.ps)
	if !ok {
		return
	}
	after, set := m.Require(k.ps, "after"), m.Require(k.ps, "set")
	m.Done(k.ps)
	stale := &entities.Stale{Set: map[string]any{}}
	if !after.IsZero() {
		var ok bool
		if stale.After, ok = after.Duration(k.ps); ok && stale.After <= 0 {
			k.ps.Add(after, "after must be longer than nothing", "")
		}
	}
	fields, ok := set.Map(k.ps)
	if !ok {
		return
	}
	if len(fields.Keys()) == 0 {
		k.ps.Add(set, "set says nothing", "name the fields that change, such as status: overdue")
	}
	for _, name := range fields.Keys() {
		value := fields.Take(name)
		f, ok := k.Shape.Field(name)
		switch {
		case !ok:
			k.ps.Add(fields.KeyNode(name), fmt.Sprintf("there is no field %q", name), k.suggest(name, fieldNames(k.Shape)))
		case isTemplate(value):
			k.ps.Add(value, "a value stands here, not an expression", "an event of the kind may have one in its payload")
		case value.IsNull() && !f.Required, k.literal(value, f.Shape):
			stale.Set[name] = value.Value()
		}
	}
	k.Stale = stale
}

// deriveEvents reads what the changes of an entity mean.
func (k *kindParser) deriveEvents(n yamlx.Node) {
	if n.IsZero() {
		return
	}
	nodes, _ := n.List(k.ps)
	for _, one := range nodes {
		if e, ok := k.event(one); ok {
			k.events = append(k.events, e)
		}
	}
}

func (k *kindParser) event(n yamlx.Node) (e triggers.DeclaredEvent, ok bool) {
	m, ok := n.Map(k.ps)
	if !ok {
		return e, false
	}
	name, doc, when, payload := m.Require(k.ps, "name"), m.Take("doc"), m.Require(k.ps, "when"), m.Take("payload")
	m.Done(k.ps)
	e = triggers.DeclaredEvent{Name: k.text(name), Doc: k.text(doc), Kind: k.Name, Payload: object()}
	ok = k.eventNamed(name, e.Name)

	s := k.changeScope()
	d := deriver{form: k.Shape}
	if !when.IsZero() {
		d.when = s.condition(when)
	}
	if !payload.IsZero() {
		d.payload, e.Payload = s.payload(payload)
	}
	e.Derive = d.derive
	return e, ok
}

// eventNamed says whether an event can have its name.
func (k *kindParser) eventNamed(n yamlx.Node, name string) bool {
	if name == "" {
		return false
	}
	if err := k.Events.CheckDeclarable(name); err != nil {
		message, hint, _ := strings.Cut(err.Error(), ": ")
		k.ps.Add(n, message, hint)
		return false
	}
	if before, ok := k.firstEvent[name]; ok {
		file, line, _ := before.Place()
		k.ps.Add(n, fmt.Sprintf("duplicate event %q", name), fmt.Sprintf("%s:%d has it already", file, line))
		return false
	}
	k.firstEvent[name] = n
	return true
}

// changeScope is what `when` and `payload` see: one change and nothing else.
func (k *kindParser) changeScope() *scope {
	change := object(
		shape.Field{Name: "prev", Shape: k.Shape}, shape.Field{Name: "next", Shape: k.Shape},
		shape.Field{Name: "fields", Shape: &shape.Shape{Type: shape.List, Elem: &shape.Shape{Type: shape.String}}},
	)
	entity := object(field("kind", shape.String), field("id", shape.String))
	return &scope{parser: k.parser, env: expression.NewEnv().With("change", change.Expr()).With("entity", entity.Expr())}
}

// payload compiles a map of values whose texts may hold ${{ }}, and gives the
// form of what it makes.
func (s *scope) payload(n yamlx.Node) (*expression.Tree, *shape.Shape) {
	m, ok := n.Map(s.ps)
	if !ok {
		return nil, object()
	}
	for _, name := range m.Keys() {
		if !identifier.MatchString(name) {
			s.ps.Add(m.KeyNode(name), fmt.Sprintf("bad field name %q", name), "a name is letters, digits and _, so that event.payload.NAME can be written")
		}
	}
	before := s.ps.Len()
	tree := s.tree(n, nil)
	if tree == nil || s.ps.Len() > before {
		return nil, &shape.Shape{Type: shape.Any} // of which nothing more is to be said
	}
	results := map[string]expression.Result{}
	tree.Each(func(path []any, t *expression.Template) { results[fmt.Sprintf("%q", path)] = t.Type() })
	return tree, inferred(n.Value(), nil, results)
}

// resultTypes are the types of what expressions give. Every number is one with
// decimals: nobody knows better before it is there.
var resultTypes = map[expression.Result]shape.Type{
	expression.AnyResult: shape.Any, expression.BoolResult: shape.Boolean, expression.StringResult: shape.String,
	expression.NumberResult: shape.Number, expression.DurationResult: shape.Duration, expression.TimeResult: shape.Time,
	expression.ListResult: shape.List, expression.MapResult: shape.Map,
}

// inferred is the form of a value in which the templates at some paths give
// these results.
func inferred(v any, path []any, results map[string]expression.Result) *shape.Shape {
	switch v := v.(type) {
	case string:
		if result, ok := results[fmt.Sprintf("%q", path)]; ok {
			return &shape.Shape{Type: resultTypes[result], Nullable: true}
		}
		return &shape.Shape{Type: shape.String}
	case bool:
		return &shape.Shape{Type: shape.Boolean}
	case int:
		return &shape.Shape{Type: shape.Integer}
	case float64:
		return &shape.Shape{Type: shape.Number}
	case []any:
		return &shape.Shape{Type: shape.List}
	case map[string]any:
		form := object()
		for _, name := range slices.Sorted(maps.Keys(v)) {
			form.Fields = append(form.Fields, shape.Field{Name: name, Shape: inferred(v[name], append(slices.Clip(path), name), results)})
		}
		return form
	}
	return &shape.Shape{Type: shape.Any, Nullable: true}
}

// deriver makes an event of changes.
type deriver struct {
	form    *shape.Shape // of the states
	when    *expression.Program
	payload *expression.Tree // nil: the payload is empty
}

// derive looks at a change. Where the entity went away there is no next state,
// and an event whose condition needs one did not happen.
func (d deriver) derive(t entities.Transition) (payload db.JSON, ok bool, err error) {
	vars, err := d.vars(t)
	if err != nil {
		return nil, false, err
	}
	yes, err := d.when.Bool(vars)
	switch {
	case err != nil && t.Removed():
		return nil, false, nil
	case err != nil:
		return nil, false, fmt.Errorf("when: %w", err)
	case !yes:
		return nil, false, nil
	case d.payload == nil:
		return db.JSON("{}"), true, nil
	}
	v, err := d.payload.Eval(vars)
	if err != nil {
		return nil, false, fmt.Errorf("payload: %w", err)
	}
	return db.ToJSON(shape.Encode(v)), true, nil
}

func (d deriver) vars(t entities.Transition) (map[string]any, error) {
	states := map[string]any{}
	for name, view := range map[string]entities.View{"prev": t.Prev(), "next": t.Next} {
		states[name] = nil
		if view == nil {
			continue
		}
		state, err := d.form.Decode(map[string]any(view))
		if err != nil {
			return nil, fmt.Errorf("%s: %w", name, err)
		}
		states[name] = state
	}
	states["fields"] = t.Fields()
	return map[string]any{"change": states, "entity": map[string]any{"kind": t.Kind, "id": t.ID}}, nil
}
