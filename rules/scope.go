package rules

import (
	"errors"
	"fmt"
	"time"

	"github.com/flightrules/flightrules/internal/duration"
	"github.com/flightrules/flightrules/internal/expression"
	"github.com/flightrules/flightrules/internal/shape"
	"github.com/flightrules/flightrules/internal/yamlx"
	"github.com/flightrules/flightrules/triggers"
)

// Functions are the functions of the expression environment, as samples of
// their types; whoever evaluates supplies the real ones under the same names.
var Functions = map[string]any{
	"now":         func() (t time.Time) { return },
	"state":       func(kind, id string) (v any, err error) { return },
	"entities":    func(kind string) (v []any, err error) { return },
	"since":       func(kind, id, field string) (t time.Time, err error) { return },
	"held":        func(kind, id, field string) (d time.Duration, err error) { return },
	"transitions": func(kind, id, field string, window any) (n int, err error) { return },
}

// scope is what the expressions of one place can see.
type scope struct {
	*parser
	env *expression.Env
}

func object(fields ...shape.Field) *shape.Shape {
	return &shape.Shape{Type: shape.Object, Fields: fields}
}

func field(name string, t shape.Type) shape.Field {
	return shape.Field{Name: name, Shape: &shape.Shape{Type: t}}
}

// scopeOf is the scope of a place that sees one type of event.
func (p *parser) scopeOf(event triggers.EventType, n names) *scope {
	env := expression.NewEnv().
		With("event", p.Events.Shape(event).Expr()).
		With("trigger", object(field("id", shape.String), field("rule", shape.String)).Expr())
	vars := object()
	for name := range n.vars {
		vars.Fields = append(vars.Fields, field(name, shape.Any))
	}
	env = env.With("vars", vars.Expr())
	for name, sample := range Functions {
		env = env.WithFunc(name, sample)
	}
	return &scope{parser: p, env: env}
}

// scope is the scope of conditions and actions: they see the event of whichever
// trigger fired.
func (p *parser) scope(r *Rule, n names) *scope {
	var types []triggers.EventType
	for _, t := range r.Triggers {
		if e, err := p.Events.Lookup(t.Event()); err == nil {
			types = append(types, e)
		} else {
			types = append(types, triggers.EventType{})
		}
	}
	return p.scopeOf(union(types), n)
}

// union is the type of an event that is one of several: it has the fields of
// all of them.
func union(types []triggers.EventType) triggers.EventType {
	if len(types) == 0 {
		return triggers.EventType{}
	}
	all := types[0]
	for _, e := range types[1:] {
		if e.Kind != all.Kind {
			all.Kind = ""
		}
		all.Derived = all.Derived && e.Derived
		all.Payload = either(all.Payload, e.Payload)
	}
	return all
}

func either(a, b *shape.Shape) *shape.Shape {
	if a == nil || b == nil {
		return nil
	}
	both := object(a.Fields...)
	for _, f := range b.Fields {
		known, ok := both.Field(f.Name)
		switch {
		case !ok:
			both.Fields = append(both.Fields, f)
		case known.Shape.Type != f.Shape.Type:
			known.Shape = &shape.Shape{Type: shape.Any}
		}
	}
	return both
}

// inRun adds what only the steps of a run see.
func (s *scope) inRun(n names) *scope {
	steps := object()
	for id, key := range n.steps {
		output := &shape.Shape{Type: shape.Any}
		if a, ok := s.Actions.Lookup(key); ok {
			output = a.Output
		}
		steps.Fields = append(steps.Fields, shape.Field{Name: id, Shape: object(
			shape.Field{Name: "output", Shape: output}, field("status", shape.String), field("error", shape.String),
		)})
	}
	run := object(field("id", shape.String), field("rule", shape.String), field("started_at", shape.Time), field("attempt", shape.Integer))
	return &scope{parser: s.parser, env: s.env.With("steps", steps.Expr()).With("run", run.Expr())}
}

// condition compiles an expression that must be true or false.
func (s *scope) condition(n yamlx.Node) *expression.Program {
	text, ok := n.Scalar(s.ps)
	if !ok {
		return nil
	}
	program, err := s.env.Compile(text, expression.BoolResult)
	if err != nil {
		s.problem(n, err)
		return nil
	}
	s.calls(n, program.Calls())
	return program
}

// template compiles a text that may hold ${{ }}.
func (s *scope) template(n yamlx.Node) *expression.Template {
	text, ok := n.Scalar(s.ps)
	if !ok {
		return nil
	}
	t, err := s.env.ParseTemplate(text)
	if err != nil {
		s.problem(n, err)
		return nil
	}
	s.calls(n, t.Calls())
	return t
}

// tree compiles a whole value whose strings may hold ${{ }}.
func (s *scope) tree(n yamlx.Node) *expression.Tree {
	tree, err := s.env.ParseTree(n.Value())
	var several expression.TreeErrors
	if errors.As(err, &several) {
		for _, one := range several {
			s.problem(n.At(one.Path...), one.Err)
		}
		return nil
	}
	tree.Each(func(path []any, t *expression.Template) { s.calls(n.At(path...), t.Calls()) })
	return tree
}

func (s *scope) problem(n yamlx.Node, err error) {
	var place *expression.Error
	if errors.As(err, &place) {
		s.ps.AddInside(n, place.Offset, place.Message, place.Hint)
		return
	}
	s.ps.Add(n, err.Error(), "")
}

// calls checks the kinds and fields that an expression names, where they are
// constants.
func (s *scope) calls(n yamlx.Node, calls []expression.Call) {
	for _, call := range calls {
		if _, ours := Functions[call.Name]; !ours || len(call.Args) == 0 {
			continue
		}
		name, ok := call.Args[0].(string)
		if !ok {
			continue
		}
		kind, ok := s.Events.Kind(name)
		if !ok {
			s.ps.AddInside(n, call.Offset, fmt.Sprintf("unknown kind %q", name), yamlx.Suggest(name, s.kindNames()))
			continue
		}
		named := call.Member
		if len(call.Args) >= 3 {
			if text, ok := call.Args[2].(string); ok {
				named = []string{text}
			}
		}
		if len(named) > 0 {
			if _, ok := kind.Shape.Field(named[0]); !ok {
				s.ps.AddInside(n, call.Offset, fmt.Sprintf("kind %s has no field %q", name, named[0]), yamlx.Suggest(named[0], fieldNames(kind.Shape)))
			}
		}
		if len(call.Args) == 4 {
			if text, ok := call.Args[3].(string); ok {
				if _, err := duration.Parse(text); err != nil {
					s.ps.AddInside(n, call.Offset, err.Error(), "")
				}
			}
		}
	}
}

func (p *parser) kindNames() []string {
	var list []string
	for _, k := range p.Events.Kinds() {
		list = append(list, k.Name)
	}
	return list
}

func fieldNames(form *shape.Shape) []string {
	var list []string
	for _, f := range form.Fields {
		list = append(list, f.Name)
	}
	return list
}
