package rules

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"regexp"
	"strconv"

	"github.com/flightrules/flightrules/engine/action"
	"github.com/flightrules/flightrules/internal/yamlx"
	"github.com/flightrules/flightrules/triggers"
)

// Compiler makes rules, against the events, kinds and actions that there are.
// It is safe for concurrent use.
type Compiler struct {
	Events  *triggers.Catalogue
	Actions *action.Set
}

// Compile makes the rule of a Text again, as it was when it was loaded: how a
// run goes on with the version that it began with. The error is a
// *yamlx.Error.
func (c *Compiler) Compile(text string) (*Rule, error) {
	var ps yamlx.Problems
	node, ok := yamlx.Parse("(a stored rule)", []byte(text), &ps)
	if !ok {
		return nil, ps.Err()
	}
	p := parser{Compiler: c, ps: &ps, emitted: func(string) bool { return true }}
	rule := p.rule(node)
	return rule, ps.Err()
}

// parser is one load under way.
type parser struct {
	*Compiler
	ps      *yamlx.Problems
	emitted func(event string) bool // whether some rule emits the event
}

var ruleID = regexp.MustCompile(`^[a-z0-9][a-z0-9-]*$`)

// rule parses one rule; nil when it is not even a map. When there were
// problems the result is of no use.
func (p *parser) rule(n yamlx.Node) *Rule {
	m, ok := n.Map(p.ps)
	if !ok {
		return nil
	}
	r := &Rule{Enabled: true, Mode: Single, Source: n.Source()}
	r.File, r.Line, _ = n.Place()
	if id := m.Require(p.ps, "id"); !id.IsZero() {
		if text, ok := id.Text(p.ps); ok {
			r.ID = text
			if !ruleID.MatchString(text) {
				p.ps.Add(id, fmt.Sprintf("bad rule id %q", text), "an id is lower case letters, digits and dashes, such as page-when-lost")
			}
		}
	}
	p.ps.SetRule(r.ID)
	defer p.ps.SetRule("")
	r.Name = p.text(m.Take("name"))
	if r.Name == "" {
		r.Name = r.ID
	}
	r.Description = p.text(m.Take("description"))
	r.Enabled = p.boolean(m.Take("enabled"), true)
	r.Tags = p.texts(m.Take("tags"))
	p.mode(m)

	variables, list := m.Take("variables"), m.Require(p.ps, "actions")
	names := collect(variables, list)
	p.duplicates(list)
	r.Triggers = p.triggers(m.Require(p.ps, "triggers"), r, names)
	within := p.scope(r, names)
	if !variables.IsZero() {
		r.Variables = within.tree(variables)
	}
	if conditions := m.Take("conditions"); !conditions.IsZero() {
		nodes, _ := conditions.List(p.ps)
		for _, one := range nodes {
			r.Conditions = append(r.Conditions, within.condition(one))
		}
	}
	if !list.IsZero() {
		r.Actions = within.inRun(names).steps(list, "actions")
	}
	m.Done(p.ps)
	r.Text, r.Version = normalForm(n)
	return r
}

// mode checks the keys that say what happens to matches while a run is active.
func (p *parser) mode(m *yamlx.Map) {
	if mode := m.Take("mode"); !mode.IsZero() {
		if text, ok := mode.Text(p.ps); ok && Mode(text) != Single {
			p.ps.Add(mode, fmt.Sprintf("unknown mode %q", text), "this version knows one mode: single")
		}
	}
	if per := m.Take("per"); !per.IsZero() {
		if text, ok := per.Text(p.ps); ok && text != "entity" {
			p.ps.Add(per, fmt.Sprintf("the mode cannot count over %q", text), "this version counts over one thing: entity")
		}
	}
}

// normalForm is a rule as JSON with sorted keys, so that comments, layout and
// the order of keys do not make another version of it; and the version.
func normalForm(n yamlx.Node) (text, version string) {
	b, err := json.Marshal(n.Value())
	if err != nil {
		// Only numbers that JSON has no form for; they are problems elsewhere.
		b = []byte(strconv.Quote(n.Source()))
	}
	sum := sha256.Sum256(b)
	return string(b), hex.EncodeToString(sum[:8])
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

// SameButDurations says whether two rules, as their Texts, differ in nothing
// but how long their triggers hold.
func SameButDurations(a, b string) bool {
	return withoutDurations(a) == withoutDurations(b)
}

func withoutDurations(text string) string {
	var rule map[string]any
	if json.Unmarshal([]byte(text), &rule) != nil {
		return text
	}
	list, _ := rule["triggers"].([]any)
	for _, one := range list {
		if trigger, ok := one.(map[string]any); ok {
			delete(trigger, "for")
		}
	}
	b, err := json.Marshal(rule)
	if err != nil {
		return text
	}
	return string(b)
}
