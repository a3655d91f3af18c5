package rules

import (
	"fmt"
	"regexp"
	"slices"
	"strings"

	"github.com/flightrules/flightrules/engine/action"
	"github.com/flightrules/flightrules/internal/expression"
	"github.com/flightrules/flightrules/internal/yamlx"
	"github.com/flightrules/flightrules/triggers"
)

// Compiler makes rules, against the events, kinds and actions that there are.
// It is safe for concurrent use.
type Compiler struct {
	Events    *triggers.Catalogue
	Actions   *action.Set
	Sections  []Section  // of plugins
	Functions []Function // of plugins
}

// Compile makes the rule of a Text again, as it was when it was loaded: how a
// run goes on with the version that it began with. The error is a
// *yamlx.Error.
func (c *Compiler) Compile(text string) (*Rule, error) {
	const name = "(a stored rule)"
	p := c.parser()
	node, ok := yamlx.Parse(name, []byte(text), p.ps)
	if ok && node.IsZero() {
		p.ps.AddFile(name, "there is no rule", "")
	}
	rule := p.rule(node, node.Value())
	if err := p.ps.Err(); err != nil {
		return nil, err
	}
	return rule, nil
}

// parser is one load under way.
type parser struct {
	*Compiler
	ps       *yamlx.Problems
	emits    map[string]bool // the events that rules emit; nil: any
	envs     map[string]*expression.Env
	stepIDs  map[string]int                // of the rule at hand, with their lines
	special  map[string]triggers.EventType // events of one rule alone: runs by hand
	webhooks map[string]*Webhook           // the first of each name
	places   map[string]yamlx.Node         // of the ids of rules
	later    []func(map[string]*Rule)      // what is checked when all rules are read
	items    map[string][]string           // the keys of the items of sections; absent where nobody knows all of them
}

func (c *Compiler) parser() *parser {
	return &parser{
		Compiler: c, ps: &yamlx.Problems{}, envs: map[string]*expression.Env{},
		special: map[string]triggers.EventType{}, webhooks: map[string]*Webhook{}, places: map[string]yamlx.Node{},
	}
}

// emitted says whether some rule emits the event.
func (p *parser) emitted(event string) bool { return p.emits == nil || p.emits[event] }

// emittedBelow says whether some rule emits an event that the name covers.
func (p *parser) emittedBelow(name string) bool {
	for event := range p.emits {
		if triggers.Covers(name, event) {
			return true
		}
	}
	return p.emits == nil
}

var ruleID = regexp.MustCompile(`^[a-z0-9][a-z0-9-]*$`)

// rule parses one rule, which as a plain value is v; nil when it is not even a
// map. When there were problems the result is of no use.
func (p *parser) rule(n yamlx.Node, v any) *Rule {
	m, ok := n.Map(p.ps)
	if !ok {
		return nil
	}
	plain, _ := v.(map[string]any)
	r := &Rule{Source: n.Source()}
	r.File, r.Line, _ = n.Place()
	r.ID = p.name(m.Require(p.ps, "id"), "rule", ruleID, "lower case letters, digits and dashes, such as page-when-lost")
	p.places[r.ID] = n.At("id")
	p.ps.SetRule(r.ID)
	defer p.ps.SetRule("")
	if r.Name = p.text(m.Take("name")); r.Name == "" {
		r.Name = r.ID
	}
	r.Description = p.text(m.Take("description"))
	r.Enabled = p.boolean(m.Take("enabled"), true)
	r.Tags = p.texts(m.Take("tags"))
	per := p.mode(r, m)
	if retry := m.Take("retry"); !retry.IsZero() {
		r.Retry = p.retry(retry)
	}

	known := p.names(plain)
	variables, conditions := m.Take("variables"), m.Take("conditions")
	events := p.triggers(r, m.Require(p.ps, "triggers"), known)
	r.Per = p.scope(known.where(events...)).per(per)
	if slices.ContainsFunc(r.Triggers, func(t Trigger) bool { return t.Group != nil }) {
		known.grouped = true
	}
	if !variables.IsZero() {
		r.Variables = p.scope(known.variables(events)).variables(variables)
	}
	if !conditions.IsZero() {
		r.Conditions = p.scope(known.where(events...)).conditions(conditions)
	}
	if actions := m.Require(p.ps, "actions"); !actions.IsZero() {
		p.stepIDs = map[string]int{}
		r.Actions = p.scope(known.run(events)).actions(actions)
	}
	m.Done(p.ps)
	r.Text, r.Version = normalForm(plain)
	return r
}

// mode reads the keys that say what happens to matches while a run is active,
// and gives the one that is an expression.
func (p *parser) mode(r *Rule, m *yamlx.Map) (per yamlx.Node) {
	r.Mode = Mode(p.choice(m.Take("mode"), "mode", string(Single), string(Single), string(Restart), string(Queued), string(Parallel)))
	r.Max = DefaultMax
	most, cooldown := m.Take("max"), m.Take("cooldown")
	if !most.IsZero() {
		r.Max = p.within(most, 1, 10_000)
		if r.Mode != Queued && r.Mode != Parallel {
			p.ps.Add(most, fmt.Sprintf("max goes with mode queued or parallel, not with %s", r.Mode), "")
		}
	}
	if !cooldown.IsZero() {
		r.Cooldown, _ = cooldown.Duration(p.ps)
	}
	return m.Take("per")
}

func (s *scope) per(n yamlx.Node) Per {
	if n.IsZero() {
		return Per{}
	}
	switch text, ok := n.Text(s.ps); {
	case !ok || text == "entity":
		return Per{}
	case text == "rule":
		return Per{Rule: true}
	}
	return Per{Expr: s.value(n)}
}

// name reads a name of something; wanted says in words what the pattern does.
// It is "" where there is none.
func (p *parser) name(n yamlx.Node, of string, pattern *regexp.Regexp, wanted string) string {
	if n.IsZero() {
		return ""
	}
	text, ok := n.Text(p.ps)
	if ok && !pattern.MatchString(text) {
		p.ps.Add(n, fmt.Sprintf("bad %s id %q", of, text), "an id is "+wanted)
	}
	return text
}

func (p *parser) text(n yamlx.Node) string {
	if n.IsZero() {
		return ""
	}
	text, _ := n.Text(p.ps)
	return text
}

func (p *parser) boolean(n yamlx.Node, absent bool) bool {
	if n.IsZero() {
		return absent
	}
	b, _ := n.Bool(p.ps)
	return b
}

func (p *parser) texts(n yamlx.Node) []string {
	if n.IsZero() {
		return nil
	}
	nodes, _ := n.List(p.ps)
	list := make([]string, 0, len(nodes))
	for _, one := range nodes {
		if text, ok := one.Text(p.ps); ok {
			list = append(list, text)
		}
	}
	return list
}

// choice reads one of a few words.
func (p *parser) choice(n yamlx.Node, what, absent string, words ...string) string {
	if n.IsZero() {
		return absent
	}
	text, ok := n.Text(p.ps)
	if ok && !slices.Contains(words, text) {
		last := len(words) - 1
		p.ps.Add(n, fmt.Sprintf("unknown %s %q", what, text), "it is "+strings.Join(words[:last], ", ")+" or "+words[last])
	}
	return text
}
