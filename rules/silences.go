package rules

import (
	"fmt"
	"time"

	"github.com/flightrules/flightrules/internal/expression"
	"github.com/flightrules/flightrules/internal/shape"
	"github.com/flightrules/flightrules/internal/yamlx"
	"github.com/flightrules/flightrules/triggers"
)

// Silence is a time in which what it matches is recorded and not run.
type Silence struct {
	ID     string
	Match  *Matcher
	Start  time.Time // zero: from when it is first seen
	End    time.Time
	Reason string
	Author string
}

// Matcher says which matches a silence is about: an expression over `event` and
// `trigger`.
type Matcher struct{ *expression.Program }

// Matches says whether a match is silenced; event and trigger are their values
// in expressions. An expression that cannot be evaluated silences nothing.
func (m *Matcher) Matches(event, trigger map[string]any) (bool, error) {
	return m.Bool(map[string]any{"event": event, "trigger": trigger})
}

// CompileMatcher compiles the matcher of a silence. The error is an
// *expression.Error.
func (c *Compiler) CompileMatcher(text string) (*Matcher, error) {
	program, err := c.parser().matcherEnv().Compile(text, expression.BoolResult)
	if err != nil {
		return nil, err
	}
	return &Matcher{program}, nil
}

// matcherEnv is what a matcher sees: what all events have in common.
func (p *parser) matcherEnv() *expression.Env {
	return p.cached("silence", func() *expression.Env {
		form := p.Events.Shape(triggers.EventType{})
		form.Fields = append(form.Fields, field("change", shape.Any))
		return expression.NewEnv().With("event", form.Expr()).
			With("trigger", object(field("id", shape.String), field("rule", shape.String)).Expr())
	})
}

// silences parses the section.
func (p *parser) silences(found []yamlx.Node) []*Silence {
	var list []*Silence
	first := map[string]*yamlx.Node{}
	for _, one := range found {
		if s := p.silence(one, first); s != nil {
			list = append(list, s)
		}
	}
	return list
}

// silence parses one item of `silences:`.
func (p *parser) silence(n yamlx.Node, first map[string]*yamlx.Node) *Silence {
	m, ok := n.Map(p.ps)
	if !ok {
		return nil
	}
	idNode, match, end := m.Require(p.ps, "id"), m.Require(p.ps, "match"), m.Require(p.ps, "end")
	start, reason, author := m.Take("start"), m.Require(p.ps, "reason"), m.Take("author")
	m.Done(p.ps)
	s := &Silence{ID: p.name(idNode, "silence", ruleID, "lower case letters, digits and dashes, such as night-of-the-move")}
	s.Reason, s.Author = p.text(reason), p.text(author)
	s.Start, s.End = p.time(start), p.time(end)
	if !s.Start.IsZero() && !s.End.IsZero() && !s.End.After(s.Start) {
		p.ps.Add(end, "a silence ends after it starts", "")
	}
	if !match.IsZero() {
		sc := &scope{parser: p, env: p.matcherEnv()}
		if program := sc.condition(match); program != nil {
			s.Match = &Matcher{program}
		}
	}
	if before, ok := first[s.ID]; ok && s.ID != "" {
		file, line, _ := before.Place()
		p.ps.Add(idNode, fmt.Sprintf("duplicate silence id %q", s.ID), fmt.Sprintf("%s:%d has it already", file, line))
	}
	first[s.ID] = &idNode
	return s
}

// time reads a time of RFC 3339; zero where there is none.
func (p *parser) time(n yamlx.Node) time.Time {
	if n.IsZero() || !p.literal(n, &shape.Shape{Type: shape.Time}) {
		return time.Time{}
	}
	v, err := (&shape.Shape{Type: shape.Time}).Decode(n.Value())
	if err != nil {
		p.ps.Add(n, err.Error(), "")
		return time.Time{}
	}
	t, _ := v.(time.Time)
	return t
}
