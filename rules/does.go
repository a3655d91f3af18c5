package rules

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/flightrules/flightrules/engine/action"
	"github.com/flightrules/flightrules/internal/shape"
	"github.com/flightrules/flightrules/internal/yamlx"
	"github.com/flightrules/flightrules/triggers"
)

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
	tree, secrets := s.configTree(n, a.Config)
	if s.ps.Len() > before {
		return nil
	}
	if v, ok := tree.Literal(); ok {
		if err := a.Check(v); err != nil {
			s.ps.Add(yamlx.Blamed(n, err), err.Error(), "")
		}
	}
	return Act{Action: a, Config: tree, Secrets: secrets}
}

// runRule reads what rule runs and with which inputs. The rule may stand in
// another file, so that it is looked for when all have been read.
func (s *scope) runRule(m *yamlx.Map, n yamlx.Node) Do {
	do, inputs := RunRule{Rule: s.text(n)}, m.Take("inputs")
	if !inputs.IsZero() {
		if _, ok := inputs.Map(s.ps); ok {
			do.Inputs = s.tree(inputs, nil)
		}
	}
	rule := s.ps.Rule()
	s.later = append(s.later, func(rules map[string]*Rule) {
		s.ps.SetRule(rule)
		defer s.ps.SetRule("")
		other := rules[do.Rule]
		if other == nil && do.Rule != "" {
			s.ps.Add(n, fmt.Sprintf("there is no rule %q", do.Rule), yamlx.Suggest(do.Rule, slices.Sorted(maps.Keys(rules))))
		}
		if form := other.inputs(); form != nil && !inputs.IsZero() {
			s.config(inputs, form, false)
		} else if form != nil {
			for _, f := range form.Fields {
				if f.Required {
					s.ps.Add(n, fmt.Sprintf("rule %s wants the input %q", do.Rule, f.Name), "give it under inputs")
				}
			}
		}
	})
	return do
}

// inputs is the form of what a rule takes when it is run; nil: anything.
func (r *Rule) inputs() *shape.Shape {
	if r == nil {
		return nil
	}
	for i := range r.Triggers {
		if manual := r.Triggers[i].Manual; manual != nil {
			return manual.Inputs
		}
	}
	return nil
}

func (s *scope) hush(n yamlx.Node) Do {
	m, ok := n.Map(s.ps)
	if !ok {
		return nil
	}
	match, length, end := m.Require(s.ps, "match"), m.Take("for"), m.Take("end")
	reason, id := m.Take("reason"), m.Take("id")
	m.Done(s.ps)
	do := Hush{For: s.moment(length, shape.Duration), End: s.moment(end, shape.Time)}
	if (do.For == nil) == (do.End == nil) && length.IsZero() == end.IsZero() {
		s.ps.Add(n, "a silence ends: it has one of for and end", "")
	}
	if !match.IsZero() {
		if do.Match = s.template(match); do.Match != nil && do.Match.IsLiteral() {
			if _, err := s.CompileMatcher(do.Match.Source()); err != nil {
				s.problem(match, err)
			}
		}
	}
	if !reason.IsZero() {
		do.Reason = s.template(reason)
	}
	if !id.IsZero() {
		do.ID = s.template(id)
	}
	return do
}
