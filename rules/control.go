package rules

import (
	"fmt"
	"strconv"

	"github.com/flightrules/flightrules/internal/expression"
	"github.com/flightrules/flightrules/internal/shape"
	"github.com/flightrules/flightrules/internal/yamlx"
)

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

// repeat reads a loop. Its steps see item and index besides what is seen
// outside.
func (s *scope) repeat(m *yamlx.Map, n yamlx.Node, path string) Do {
	do := Repeat{Max: DefaultRepeatMax}
	if most := m.Take("max"); !most.IsZero() {
		do.Max = s.within(most, 1, 1_000_000)
	}
	how, ok := n.Map(s.ps)
	if !ok {
		return nil
	}
	inside := s.inLoop()
	given := 0
	for _, key := range []string{"times", "for_each", "while", "until"} {
		at := how.Take(key)
		if at.IsZero() {
			continue
		}
		given++
		switch key {
		case "times":
			do.Times = s.times(at, do.Max)
		case "for_each":
			do.ForEach = s.list(at)
		case "while":
			do.While = inside.condition(at)
		default:
			do.Until = inside.condition(at)
		}
	}
	how.Done(s.ps)
	if given != 1 {
		s.ps.Add(n, "repeat has one of times, for_each, while and until", "")
	}
	if list := m.Require(s.ps, "do"); !list.IsZero() {
		do.Do = inside.steps(list, path+".do")
	}
	return do
}

// times reads how often; a constant is checked here.
func (s *scope) times(n yamlx.Node, most int) *expression.Template {
	if isTemplate(n) {
		t := s.template(n)
		if t != nil {
			s.gives(n, t, &shape.Shape{Type: shape.Integer})
		}
		return t
	}
	v := s.within(n, 0, 1_000_000)
	if v > most {
		s.ps.Add(n, fmt.Sprintf("it is repeated %d times, and max is %d", v, most), "raise max")
	}
	t, _ := s.env.ParseTemplate(strconv.Itoa(v)) // it holds no expression that could be wrong
	return t
}

// list compiles an expression that must give a list.
func (s *scope) list(n yamlx.Node) *expression.Program {
	program := s.value(n)
	if program == nil {
		return nil
	}
	if got := program.Type(); got != expression.AnyResult && got != expression.ListResult {
		s.ps.Add(n, label(n)+" must be a list, but the expression gives "+got.String(), "")
	}
	return program
}

func (s *scope) fork(n yamlx.Node, path string) Do {
	var do Fork
	nodes, ok := n.List(s.ps)
	if ok && len(nodes) == 0 {
		s.ps.Add(n, "parallel needs at least one branch", "a branch is a list of steps")
	}
	for i, node := range nodes {
		do.Branches = append(do.Branches, s.steps(node, fmt.Sprintf("%s.parallel[%d]", path, i)))
	}
	return do
}

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

// waitFor reads what is waited for. Its where sees the event that comes as
// `event`, and the one that the run began with as `trigger.event`.
func (s *scope) waitFor(m *yamlx.Map, n yamlx.Node) Do {
	do := WaitFor{Timeout: s.moment(m.Take("timeout"), shape.Duration)}
	end := m.Take("on_timeout")
	do.Fail = s.choice(end, "on_timeout", "continue", "continue", "fail") == "fail"
	if !end.IsZero() && do.Timeout == nil {
		s.ps.Add(end, "on_timeout says what happens when a timeout is over, and there is none", "")
	}
	what, ok := n.Map(s.ps)
	if !ok {
		return nil
	}
	event, where, condition := what.Take("event"), what.Take("where"), what.Take("condition")
	what.Done(s.ps)
	switch {
	case event.IsZero() == condition.IsZero():
		s.ps.Add(n, "wait_for has one of event and condition", "")
	case !condition.IsZero():
		do.Condition = s.condition(condition)
		if !where.IsZero() {
			s.ps.Add(where, "where goes with event", "a condition says all by itself")
		}
	default:
		do.Event = s.text(event)
		names := s.awaited(event, do.Event)
		if !where.IsZero() && names != nil {
			do.Where = s.onEvents(names).condition(where)
		}
	}
	return do
}

func (s *scope) stop(m *yamlx.Map, n yamlx.Node) Do {
	failure := s.choice(m.Take("outcome"), "outcome", "success", "success", "failure") == "failure"
	return Stop{Reason: s.template(n), Failure: failure}
}
