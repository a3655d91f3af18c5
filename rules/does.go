package rules

import (
	"fmt"
	"strings"

	"github.com/flightrules/flightrules/engine/action"
	"github.com/flightrules/flightrules/internal/expression"
	"github.com/flightrules/flightrules/internal/shape"
	"github.com/flightrules/flightrules/internal/yamlx"
	"github.com/flightrules/flightrules/triggers"
)

func (s *scope) wait(n yamlx.Node) Do {
	if !n.IsMap() {
		return Wait{For: s.moment(n, shape.Duration)}
	}
	m, _ := n.Map(s.ps)
	until := m.Require(s.ps, "until")
	m.Done(s.ps)
	return Wait{Until: s.moment(until, shape.Time)}
}

// moment parses a duration or a time that may be a template.
func (s *scope) moment(n yamlx.Node, form shape.Type) *expression.Template {
	switch {
	case n.IsZero():
		return nil
	case form == shape.Duration && !isTemplate(n):
		if _, ok := n.Duration(s.ps); !ok {
			return nil
		}
	case !isTemplate(n):
		if !s.literal(n, &shape.Shape{Type: form}) {
			return nil
		}
	}
	t := s.template(n)
	if t != nil {
		s.gives(n, t, &shape.Shape{Type: form})
	}
	return t
}

func (s *scope) choose(m *yamlx.Map, n yamlx.Node, path string) Do {
	var do Choose
	nodes, ok := n.List(s.ps)
	if ok && len(nodes) == 0 {
		s.ps.Add(n, "choose needs at least one branch", "a branch has the keys when and do")
	}
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
	name, id, set := m.Require(s.ps, "kind"), m.Require(s.ps, "id"), m.Require(s.ps, "set")
	m.Done(s.ps)
	do := Update{Kind: s.text(name)}
	if !id.IsZero() {
		do.ID = s.template(id)
	}
	form := s.kept(name, do.Kind)
	if _, ok := set.Map(s.ps); ok {
		s.config(set, form, true)
		do.Set = s.tree(set, form)
	}
	return do
}

// kept is the form of a kind whose state the engine keeps; nil when it is not
// one.
func (s *scope) kept(n yamlx.Node, name string) *shape.Shape {
	kind, ok := s.Events.Kind(name)
	switch {
	case name == "": // reported already
	case !ok:
		s.ps.Add(n, fmt.Sprintf("unknown kind %q", name), s.suggest(name, s.kindNames()))
	case !kind.Kept:
		s.ps.Add(n, fmt.Sprintf("the state of kind %s belongs to its plugin and cannot be updated", name), "use an action of the plugin")
	default:
		return kind.Shape
	}
	return nil
}

func (s *scope) emit(n yamlx.Node) Do {
	m, ok := n.Map(s.ps)
	if !ok {
		return nil
	}
	name, payload := m.Require(s.ps, "event"), m.Take("payload")
	m.Done(s.ps)
	do := Emit{Event: s.text(name)}
	if do.Event != "" {
		s.emittable(name, do.Event)
	}
	if _, ok := payload.Map(s.ps); ok {
		do.Payload = s.tree(payload, nil)
	}
	return do
}

func (s *scope) emittable(n yamlx.Node, name string) {
	if err := triggers.CheckName(name); err != nil {
		message, hint, _ := strings.Cut(err.Error(), ": ")
		s.ps.Add(n, message, hint)
		return
	}
	_, err := s.Events.Lookup(name)
	if strings.HasPrefix(name, triggers.EnginePrefix) || err == nil && !strings.HasPrefix(name, triggers.CustomPrefix) {
		other := triggers.CustomPrefix + name[strings.LastIndex(name, ".")+1:]
		s.ps.Add(n, fmt.Sprintf("event %s is not for rules to emit: it says what has really happened", name), "take another name, such as "+other)
	}
}

func (s *scope) act(a action.Action, n yamlx.Node) Do {
	before := s.ps.Len()
	s.config(n, a.Config, false)
	tree := s.tree(n, a.Config)
	if s.ps.Len() > before {
		return nil
	}
	if v, ok := tree.Literal(); ok {
		if err := a.Check(v); err != nil {
			s.ps.Add(blamed(n, err), err.Error(), "")
		}
	}
	return Act{Action: a, Config: tree}
}

// blamed is the part of a configuration that an error is about: the field with
// whose name it begins, or all of it.
func blamed(n yamlx.Node, err error) yamlx.Node {
	word, _, _ := strings.Cut(err.Error(), " ")
	if at := n.At(strings.TrimSuffix(word, ":")); !at.IsZero() {
		return at
	}
	return n
}
