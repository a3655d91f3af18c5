package rules

import (
	"fmt"
	"slices"
	"strings"

	"github.com/flightrules/flightrules/engine/action"
	"github.com/flightrules/flightrules/internal/expression"
	"github.com/flightrules/flightrules/internal/shape"
	"github.com/flightrules/flightrules/internal/yamlx"
	"github.com/flightrules/flightrules/triggers"
)

// engineSteps are the keys of the steps that the engine does itself; every
// other key is a registered action.
var engineSteps = []string{"log", "set", "wait", "choose", "update", "emit"}

// engineStep parses what stands under one of engineSteps.
func (s *scope) engineStep(key string, m *yamlx.Map, at yamlx.Node, path string) Do {
	switch key {
	case "log":
		return s.log(m, at)
	case "set":
		return s.set(at)
	case "wait":
		return s.wait(at)
	case "choose":
		return s.choose(m, at, path)
	case "update":
		return s.update(at)
	default:
		return s.emit(at)
	}
}

// stepKeys are the keys by which a step can say what it does.
func (p *parser) stepKeys() []string {
	keys := slices.Clone(engineSteps)
	for _, a := range p.Actions.List() {
		keys = append(keys, a.Name)
	}
	slices.Sort(keys)
	return keys
}

// steps parses a list of steps; path is where the list stands in the rule.
func (s *scope) steps(n yamlx.Node, path string) []*Step {
	nodes, ok := n.List(s.ps)
	if !ok {
		return nil
	}
	list := make([]*Step, 0, len(nodes))
	for i, node := range nodes {
		if step := s.step(node, fmt.Sprintf("%s[%d]", path, i)); step != nil {
			list = append(list, step)
		}
	}
	return list
}

func (s *scope) step(n yamlx.Node, path string) *Step {
	m, ok := n.Map(s.ps)
	if !ok {
		return nil
	}
	step := &Step{Path: path, ID: s.text(m.Take("id")), Name: s.text(m.Take("name")), Enabled: s.boolean(m.Take("enabled"), true)}
	if condition := m.Take("if"); !condition.IsZero() {
		step.If = s.condition(condition)
	}
	if timeout := m.Take("timeout"); !timeout.IsZero() {
		step.Timeout, _ = timeout.Duration(s.ps)
	}
	if onError := m.Take("on_error"); !onError.IsZero() {
		switch text := s.text(onError); text {
		case "fail":
		case "continue":
			step.ContinueOnError = true
		default:
			s.ps.Add(onError, fmt.Sprintf("unknown on_error %q", text), "it is fail or continue")
		}
	}
	for _, key := range m.Keys() {
		ours := slices.Contains(engineSteps, key)
		a, registered := s.Actions.Lookup(key)
		if !ours && !registered {
			continue
		}
		node := m.Take(key)
		if step.Action != "" {
			s.ps.Add(m.KeyNode(key), fmt.Sprintf("a step does one thing, and this one does %s and %s", step.Action, key), "make two steps of it")
			continue
		}
		step.Action = key
		if ours {
			step.Do = s.engineStep(key, m, node, path)
		} else {
			step.Do = s.act(a, node)
		}
	}
	if step.Action == "" {
		s.noAction(n, m)
	}
	m.Done(s.ps)
	return step
}

// noAction reports a step that does nothing that is known.
func (s *scope) noAction(n yamlx.Node, m *yamlx.Map) {
	for _, key := range m.Keys() {
		if common[key] {
			continue
		}
		hint := yamlx.Suggest(key, s.stepKeys())
		if hint == "" {
			hint = "a step has one of these keys: " + strings.Join(s.stepKeys(), ", ")
		}
		s.ps.Add(m.KeyNode(key), fmt.Sprintf("unknown action %q", key), hint)
		m.Take(key)
		return
	}
	s.ps.Add(n, "a step must say what it does", "it has one of these keys: "+strings.Join(s.stepKeys(), ", "))
}

func (s *scope) log(m *yamlx.Map, n yamlx.Node) Do {
	do := Log{Text: s.template(n), Level: "info"}
	if level := m.Take("level"); !level.IsZero() {
		do.Level = s.text(level)
		if !slices.Contains([]string{"debug", "info", "warn", "error"}, do.Level) {
			s.ps.Add(level, fmt.Sprintf("unknown level %q", do.Level), "it is debug, info, warn or error")
		}
	}
	return do
}

func (s *scope) set(n yamlx.Node) Do {
	if _, ok := n.Map(s.ps); !ok {
		return nil
	}
	return SetVars{Values: s.tree(n)}
}

func (s *scope) wait(n yamlx.Node) Do {
	if n.IsMap() {
		m, _ := n.Map(s.ps)
		until := m.Require(s.ps, "until")
		m.Done(s.ps)
		if until.IsZero() {
			return nil
		}
		t := s.template(until)
		s.wants(until, t, shape.Time)
		return Wait{Until: t}
	}
	t := s.template(n)
	s.wants(n, t, shape.Duration)
	return Wait{For: t}
}

// wants checks the constant text of a template, or the type of its one
// expression, against what its place takes.
func (s *scope) wants(n yamlx.Node, t *expression.Template, form shape.Type) {
	if t == nil {
		return
	}
	if t.IsLiteral() {
		s.literal(n, &shape.Shape{Type: form})
		return
	}
	fits := map[shape.Type]expression.Result{shape.Time: expression.TimeResult, shape.Duration: expression.DurationResult}
	if got := t.Type(); got != expression.AnyResult && got != expression.StringResult && got != fits[form] {
		s.ps.Add(n, fmt.Sprintf("a %s is wanted here", form), "")
	}
}

func (s *scope) choose(m *yamlx.Map, n yamlx.Node, path string) Do {
	var do Choose
	nodes, _ := n.List(s.ps)
	for i, node := range nodes {
		branch, ok := node.Map(s.ps)
		if !ok {
			continue
		}
		var b Branch
		if when := branch.Require(s.ps, "when"); !when.IsZero() {
			b.When = s.condition(when)
		}
		if list := branch.Require(s.ps, "do"); !list.IsZero() {
			b.Do = s.steps(list, fmt.Sprintf("%s.choose[%d].do", path, i))
		}
		branch.Done(s.ps)
		do.Branches = append(do.Branches, b)
	}
	if otherwise := m.Take("else"); !otherwise.IsZero() {
		do.Else = s.steps(otherwise, path+".else")
	}
	return do
}

func (s *scope) update(n yamlx.Node) Do {
	m, ok := n.Map(s.ps)
	if !ok {
		return nil
	}
	kindNode, id, set := m.Require(s.ps, "kind"), m.Require(s.ps, "id"), m.Require(s.ps, "set")
	m.Done(s.ps)
	if kindNode.IsZero() || id.IsZero() || set.IsZero() {
		return nil
	}
	do := Update{Kind: s.text(kindNode), ID: s.template(id)}
	kind, ok := s.Events.Kind(do.Kind)
	switch {
	case !ok:
		s.ps.Add(kindNode, fmt.Sprintf("unknown kind %q", do.Kind), yamlx.Suggest(do.Kind, s.kindNames()))
	case !kind.Kept:
		s.ps.Add(kindNode, fmt.Sprintf("the state of kind %s belongs to its plugin and cannot be updated", do.Kind), "use an action of the plugin")
	default:
		partial := *kind.Shape
		partial.Fields = slices.Clone(partial.Fields)
		for i := range partial.Fields {
			partial.Fields[i].Required = false
		}
		s.config(set, &partial)
	}
	if _, ok := set.Map(s.ps); ok {
		do.Set = s.tree(set)
	}
	return do
}

func (s *scope) emit(n yamlx.Node) Do {
	m, ok := n.Map(s.ps)
	if !ok {
		return nil
	}
	name, payload := m.Require(s.ps, "event"), m.Take("payload")
	m.Done(s.ps)
	if name.IsZero() {
		return nil
	}
	do := Emit{Event: s.text(name)}
	if err := triggers.CheckName(do.Event); err != nil {
		s.ps.Add(name, err.Error(), "")
	} else if e, err := s.Events.Lookup(do.Event); err == nil && !strings.HasPrefix(e.Name, triggers.CustomPrefix) {
		s.ps.Add(name, fmt.Sprintf("event %s is made by its plugin alone", do.Event), "choose another name, such as "+triggers.CustomPrefix+strings.ReplaceAll(do.Event, ".", "_"))
	}
	if !payload.IsZero() {
		if _, ok := payload.Map(s.ps); ok {
			do.Payload = s.tree(payload)
		}
	}
	return do
}

func (s *scope) act(a action.Action, n yamlx.Node) Do {
	before := s.ps.Len()
	s.config(n, a.Config)
	tree := s.tree(n)
	if s.ps.Len() == before {
		if v, ok := tree.Literal(); ok {
			if err := a.Check(v); err != nil {
				s.ps.Add(n, err.Error(), "")
			}
		}
	}
	return Act{Action: a, Config: tree}
}

// config checks a value against its form as far as it can be known before the
// templates in it are filled in.
func (s *scope) config(n yamlx.Node, form *shape.Shape) {
	switch {
	case form == nil || form.Type == shape.Any:
	case form.Type == shape.Object:
		m, ok := n.Map(s.ps)
		if !ok {
			return
		}
		for i := range form.Fields {
			f := &form.Fields[i]
			value := m.Take(f.Name)
			switch {
			case !value.IsZero():
				s.config(value, f.Shape)
			case f.Required:
				m.Require(s.ps, f.Name)
			}
		}
		m.Done(s.ps)
	case form.Type == shape.Map && n.IsMap(), form.Type == shape.List && n.IsList():
		for _, value := range n.Children() {
			s.config(value, form.Elem)
		}
	case isTemplate(n):
	default:
		s.literal(n, form)
	}
}

func isTemplate(n yamlx.Node) bool {
	text, ok := plain(n).(string)
	return ok && strings.Contains(text, "${{")
}
