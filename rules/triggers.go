package rules

import (
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/flightrules/flightrules/internal/shape"
	"github.com/flightrules/flightrules/internal/yamlx"
	"github.com/flightrules/flightrules/triggers"
)

// triggerKinds are the keys by which a trigger says what it is.
var triggerKinds = []struct {
	key   string
	parse func(p *parser, m *yamlx.Map, at yamlx.Node) triggers.Trigger
}{
	{"event", (*parser).onEvent},
	{"state", (*parser).onState},
}

func triggerKeys() []string {
	var keys []string
	for _, kind := range triggerKinds {
		keys = append(keys, kind.key)
	}
	return keys
}

func (p *parser) triggers(n yamlx.Node, r *Rule, known names) []Trigger {
	if n.IsZero() {
		return nil
	}
	nodes, ok := n.List(p.ps)
	if ok && len(nodes) == 0 {
		p.ps.Add(n, "a rule needs at least one trigger", "")
	}
	var list []Trigger
	seen := map[string]bool{}
	for i, node := range nodes {
		t, ok := p.trigger(node, known)
		if !ok {
			continue
		}
		if t.ID == "" {
			t.ID = strconv.Itoa(i + 1)
		}
		if seen[t.ID] {
			p.ps.Add(node, fmt.Sprintf("duplicate trigger id %q", t.ID), "")
		}
		seen[t.ID] = true
		list = append(list, t)
	}
	return list
}

func (p *parser) trigger(n yamlx.Node, known names) (Trigger, bool) {
	m, ok := n.Map(p.ps)
	if !ok {
		return Trigger{}, false
	}
	t := Trigger{ID: p.text(m.Take("id")), Enabled: p.boolean(m.Take("enabled"), true)}
	where := m.Take("where")
	found := 0
	for _, kind := range triggerKinds {
		if !m.Has(kind.key) {
			continue
		}
		found++
		if found > 1 {
			p.ps.Add(m.KeyNode(kind.key), "a trigger is of one kind", "make two triggers of it")
		}
		t.Trigger = kind.parse(p, m, m.Take(kind.key))
	}
	if found == 0 {
		hint := "a trigger has one of these keys: " + strings.Join(triggerKeys(), ", ")
		for _, key := range m.Keys() {
			if suggestion := yamlx.Suggest(key, triggerKeys()); suggestion != "" {
				hint = suggestion
			}
		}
		p.ps.Add(n, "a trigger must say what it waits for", hint)
	}
	if !where.IsZero() && t.Trigger != nil {
		seen, err := p.Events.Lookup(t.Event())
		if err != nil {
			seen = triggers.EventType{}
		}
		t.Where = p.scopeOf(seen, known).condition(where)
	}
	m.Done(p.ps)
	return t, t.Trigger != nil
}

func (p *parser) onEvent(_ *yamlx.Map, n yamlx.Node) triggers.Trigger {
	name, ok := n.Text(p.ps)
	if !ok {
		return nil
	}
	if _, err := p.Events.Lookup(name); err != nil && !p.emitted(name) {
		hint := yamlx.Suggest(name, p.eventNames())
		if hint == "" {
			hint = "an event is one that a plugin derives, one that a rule emits, or one whose name begins with " + triggers.CustomPrefix
		}
		p.ps.Add(n, firstLine(err), hint)
		if !errors.Is(err, triggers.ErrUnknownEvent) {
			return nil
		}
	}
	return triggers.OnEvent{Name: name}
}

func firstLine(err error) string {
	line, _, _ := strings.Cut(err.Error(), "\n")
	return line
}

func (p *parser) eventNames() []string {
	var list []string
	for _, e := range p.Events.Events() {
		list = append(list, e.Name)
	}
	return list
}

func (p *parser) onState(m *yamlx.Map, n yamlx.Node) triggers.Trigger {
	from, to, hold, entity := m.Take("from"), m.Take("to"), m.Take("for"), m.Take("entity")
	text, ok := n.Text(p.ps)
	if !ok {
		return nil
	}
	kindName, fieldName, ok := strings.Cut(text, ".")
	if !ok {
		p.ps.Add(n, fmt.Sprintf("%q does not name a field", text), "write KIND.FIELD, such as satellite.status")
		return nil
	}
	kind, ok := p.Events.Kind(kindName)
	if !ok {
		p.ps.Add(n, fmt.Sprintf("unknown kind %q", kindName), yamlx.Suggest(kindName, p.kindNames()))
		return nil
	}
	form, ok := kind.Shape.Field(fieldName)
	if !ok {
		p.ps.AddInside(n, len(kindName)+1, fmt.Sprintf("kind %s has no field %q", kindName, fieldName), yamlx.Suggest(fieldName, fieldNames(kind.Shape)))
		return nil
	}
	if !form.Reactive {
		p.ps.AddInside(n, len(kindName)+1, fmt.Sprintf("a change of %s alone is not recorded, so nothing can wait for it", text), "")
		return nil
	}
	t := triggers.OnState{Kind: kindName, Field: fieldName, From: p.values(from, form.Shape), To: p.values(to, form.Shape)}
	if !hold.IsZero() {
		t.Hold, _ = hold.Duration(p.ps)
	}
	switch {
	case entity.IsZero():
	case entity.IsList():
		t.Entities = p.texts(entity)
	default:
		t.Entities = []string{p.text(entity)}
	}
	return t
}

// values reads one value or a list of them, for a field of that form.
func (p *parser) values(n yamlx.Node, form *shape.Shape) []any {
	if n.IsZero() {
		return nil
	}
	nodes := []yamlx.Node{n}
	if n.IsList() && form.Type != shape.List {
		nodes, _ = n.List(p.ps)
	}
	list := []any{}
	for _, one := range nodes {
		v := one.Value()
		if v != nil {
			p.literal(one, form)
		}
		list = append(list, likeView(v))
	}
	return list
}

// likeView brings a YAML value to the form of the values in an entities.View.
func likeView(v any) any {
	switch v := v.(type) {
	case int:
		return int64(v)
	case float64:
		if v == float64(int64(v)) {
			return int64(v)
		}
	case []any:
		for i := range v {
			v[i] = likeView(v[i])
		}
	case map[string]any:
		for key := range v {
			v[key] = likeView(v[key])
		}
	}
	return v
}

// literal reports a constant that does not fit its form.
func (p *parser) literal(n yamlx.Node, form *shape.Shape) {
	err := form.Check(shape.Encode(n.Value()))
	if err == nil {
		return
	}
	hint := ""
	if text, ok := n.Value().(string); ok && form.Enum != nil {
		hint = yamlx.Suggest(text, form.Enum)
		if hint == "" {
			hint = "it is one of: " + strings.Join(form.Enum, ", ")
		}
	}
	p.ps.Add(n, err.Error(), hint)
}
