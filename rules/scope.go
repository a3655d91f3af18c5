package rules

import (
	"errors"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"
	"time"

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

// view is what the expressions of one place in a rule can see.
type view struct {
	events  []string          // the event is one of these; nil: nobody knows, as the triggers have mistakes
	began   []string          // in runs: the event with which it began is one of these
	vars    []string          // sorted
	steps   map[string]string // nil outside of runs; step id -> its registered action
	batch   bool              // there is `events`
	loop    bool              // there are `item` and `index`
	secrets bool              // there is `secrets`
}

// where is the view of a trigger, or of several: of the conditions.
func (n names) where(events ...string) view {
	return view{events: events, vars: slices.Sorted(maps.Keys(n.own)), batch: n.grouped}
}

// variables is the view of the rule's variables, which do not see each other.
func (n names) variables(events []string) view { return view{events: events} }

// run is the view of the actions.
func (n names) run(events []string) view {
	vars := maps.Clone(n.own)
	maps.Copy(vars, n.set)
	return view{events: events, began: events, vars: slices.Sorted(maps.Keys(vars)), steps: n.steps, batch: n.grouped}
}

// inLoop is the scope of what stands inside of a loop.
func (s *scope) inLoop() *scope {
	v := s.view
	v.loop = true
	return s.scope(v)
}

// onEvents is the scope of an expression over another event than the run's.
func (s *scope) onEvents(names []string) *scope {
	v := s.view
	v.events = names
	return s.scope(v)
}

// withSecrets is the scope of fields that may hold secrets.
func (s *scope) withSecrets() *scope {
	v := s.view
	v.secrets = true
	return s.scope(v)
}

// scope compiles the expressions of one place.
type scope struct {
	*parser
	view view
	env  *expression.Env
}

// scope makes the scope of a view. Many rules see the same, so that their
// environments are made once in a load.
func (p *parser) scope(v view) *scope {
	key := fmt.Sprintf("%q %q %q %q %t %t %t %t", v.events, v.began, v.vars, v.steps, v.steps == nil, v.batch, v.loop, v.secrets)
	return &scope{parser: p, view: v, env: p.cached(key, func() *expression.Env { return p.environment(v) })}
}

// cached is the environment of that name in this load.
func (p *parser) cached(name string, make func() *expression.Env) *expression.Env {
	env, ok := p.envs[name]
	if !ok {
		env = make()
		p.envs[name] = env
	}
	return env
}

func (p *parser) environment(v view) *expression.Env {
	vars := object()
	for _, name := range v.vars {
		vars.Fields = append(vars.Fields, field(name, shape.Any))
	}
	event := p.event(v.events)
	trigger := object(field("id", shape.String), field("rule", shape.String))
	if v.steps != nil {
		trigger.Fields = append(trigger.Fields, shape.Field{Name: "event", Shape: p.event(v.began)})
	}
	env := expression.NewEnv().
		With("event", event.Expr()).
		With("trigger", trigger.Expr()).
		With("vars", vars.Expr())
	for name, sample := range Functions {
		env = env.WithFunc(name, sample)
	}
	for _, f := range p.Functions {
		env = env.WithFunc(f.Name, f.Fn)
	}
	if v.batch {
		env = env.With("events", (&shape.Shape{Type: shape.List, Elem: event}).Expr())
	}
	if v.loop {
		env = env.With("item", (&shape.Shape{Type: shape.Any}).Expr()).With("index", (&shape.Shape{Type: shape.Integer}).Expr())
	}
	if v.secrets {
		env = env.With("secrets", (&shape.Shape{Type: shape.Map, Elem: &shape.Shape{Type: shape.String}}).Expr())
	}
	if v.steps == nil {
		return env
	}
	steps := object()
	for id, key := range v.steps {
		output := &shape.Shape{Type: shape.Any}
		if a, ok := p.Actions.Lookup(key); ok {
			output = a.Output
		}
		steps.Fields = append(steps.Fields, shape.Field{Name: id, Shape: object(
			shape.Field{Name: "output", Shape: output}, field("status", shape.String), field("error", shape.String),
		)})
	}
	run := object(field("id", shape.String), field("rule", shape.String), field("started_at", shape.Time), field("attempt", shape.Integer))
	return env.With("steps", steps.Expr()).With("run", run.Expr())
}

// event is the form of an event that has one of these names: it has the fields
// of all of them.
func (p *parser) event(names []string) *shape.Shape {
	var all *shape.Shape
	for _, name := range names {
		e, err := p.Events.Lookup(name)
		if special, ok := p.special[name]; ok {
			e = special
		} else if err != nil {
			e = triggers.EventType{} // one that a rule emits: its payload may be anything
		}
		form := p.Events.Shape(e)
		if all == nil {
			all = form
		} else {
			all = either(all, form)
		}
	}
	if all == nil {
		return &shape.Shape{Type: shape.Any}
	}
	return all
}

// either is the form of a value that has one of two; neither is changed.
func either(a, b *shape.Shape) *shape.Shape {
	switch {
	case a.Type != b.Type:
		return &shape.Shape{Type: shape.Any}
	case a.Type == shape.List || a.Type == shape.Map:
		if a.Elem == nil || b.Elem == nil {
			return &shape.Shape{Type: a.Type}
		}
		return &shape.Shape{Type: a.Type, Elem: either(a.Elem, b.Elem)}
	case a.Type != shape.Object:
		return a
	}
	both := object(slices.Clone(a.Fields)...)
	for _, f := range b.Fields {
		if known, ok := both.Field(f.Name); ok {
			known.Shape = either(known.Shape, f.Shape)
		} else {
			both.Fields = append(both.Fields, f)
		}
	}
	return both
}

func object(fields ...shape.Field) *shape.Shape {
	return &shape.Shape{Type: shape.Object, Fields: fields}
}

func field(name string, t shape.Type) shape.Field {
	return shape.Field{Name: name, Shape: &shape.Shape{Type: t}}
}

// condition compiles an expression that must be true or false.
func (s *scope) condition(n yamlx.Node) *expression.Program {
	if !n.IsScalar() || n.IsNull() {
		s.ps.Add(n, label(n)+" must be an expression", "")
		return nil
	}
	text, _ := n.Scalar(s.ps)
	program, err := s.env.Compile(text, expression.BoolResult)
	if err != nil {
		s.problem(n, err)
		return nil
	}
	s.calls(n, program.Calls())
	return program
}

// value compiles an expression that may give anything.
func (s *scope) value(n yamlx.Node) *expression.Program {
	text, ok := n.Scalar(s.ps)
	if !ok {
		return nil
	}
	program, err := s.env.Compile(text, expression.AnyResult)
	if err != nil {
		s.problem(n, err)
		return nil
	}
	s.calls(n, program.Calls())
	return program
}

// template compiles a text that may hold ${{ }}.
func (s *scope) template(n yamlx.Node) *expression.Template {
	text, ok := n.Text(s.ps)
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

// tree compiles a whole value whose strings may hold ${{ }}. form is what the
// value must be when they are filled in; nil: anything.
func (s *scope) tree(n yamlx.Node, form *shape.Shape) *expression.Tree {
	return s.treeIn(n, form, func([]any) *expression.Env { return s.env })
}

// treeIn is tree with an environment for each string.
func (s *scope) treeIn(n yamlx.Node, form *shape.Shape, at func(path []any) *expression.Env) *expression.Tree {
	tree, err := expression.ParseTree(n.Value(), at)
	var several expression.TreeErrors
	if errors.As(err, &several) {
		for _, one := range several {
			s.problem(n.At(one.Path...), one.Err)
		}
		return nil
	}
	tree.Each(func(path []any, t *expression.Template) {
		at := n.At(path...)
		s.calls(at, t.Calls())
		s.gives(at, t, inside(form, path))
	})
	return tree
}

// configTree is tree for the configuration of an action, some fields of which
// may hold secrets, and the names of those that it uses, sorted.
func (s *scope) configTree(n yamlx.Node, form *shape.Shape) (*expression.Tree, []string) {
	secrets := s.withSecrets()
	at := func(path []any) *scope {
		if maySecret(form, path) {
			return secrets
		}
		return s
	}
	tree := s.treeIn(n, form, func(path []any) *expression.Env { return at(path).env })
	if tree == nil {
		return nil, nil
	}
	var names []string
	tree.Each(func(path []any, t *expression.Template) {
		used, whole := t.Members("secrets")
		if whole {
			s.ps.Add(n.At(path...), "a secret is named one by one", "write ${{ secrets.NAME }}")
		}
		names = append(names, used...)
	})
	slices.Sort(names)
	return tree, slices.Compact(names)
}

// maySecret says whether what a path leads to in a configuration may hold
// secrets.
func maySecret(form *shape.Shape, path []any) bool {
	for _, part := range path {
		name, _ := part.(string)
		if form == nil {
			return false
		}
		f, ok := form.Field(name)
		switch {
		case ok && f.Secret:
			return true
		case ok:
			form = f.Shape
		default:
			form = form.Elem
		}
	}
	return false
}

// ourNames is what stands before a name that the rule itself brings.
var ourNames = regexp.MustCompile(`(?:^|[^.\w])(vars|steps)\??\.$`)

// problem reports what is wrong with an expression in n.
func (s *scope) problem(n yamlx.Node, err error) {
	e := &expression.Error{Message: err.Error()}
	errors.As(err, &e)
	message, hint := e.Message, e.Hint
	text, _ := n.Value().(string)
	base := ourNames.FindStringSubmatch(text[:min(e.Offset, len(text))])
	if name, ok := strings.CutPrefix(message, "unknown field "); ok && base != nil {
		what := map[string]string{"vars": "variable", "steps": "step"}[base[1]]
		message = "unknown " + what + " " + name
		hint = strings.Replace(hint, "known fields", "known "+what+"s", 1)
		if hint == "" {
			hint = "there is no " + what + " that can be seen here"
		}
	}
	if message == `unknown name "secrets"` {
		message, hint = "a secret cannot be used here", "secrets go into fields that are never written down, such as the headers and the body of http"
	}
	s.ps.AddInside(n, e.Offset, message, hint)
}
