package rules

import (
	"maps"
	"regexp"
	"slices"
)

// names are what a rule brings into its expressions, known before any of them
// is compiled.
type names struct {
	own   map[string]bool // the rule's variables
	set   map[string]bool // what its steps store
	steps map[string]string

	grouped bool // some trigger gives a batch: `events`
}

// nested are the keys of a step under which further steps stand.
var nested = []string{"choose", "do", "else", "parallel"}

// identifier is what can stand behind a dot in an expression.
var identifier = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_]*$`)

// names collects those of a rule as plain values.
func (p *parser) names(rule map[string]any) names {
	n := names{own: map[string]bool{}, set: map[string]bool{}, steps: map[string]string{}}
	if variables, ok := rule["variables"].(map[string]any); ok {
		for name := range variables {
			n.own[name] = true
		}
	}
	p.gather(n, rule["actions"])
	return n
}

func (p *parser) gather(n names, v any) {
	switch v := v.(type) {
	case []any:
		for _, one := range v {
			p.gather(n, one)
		}
	case map[string]any:
		if id, ok := v["id"].(string); ok {
			n.steps[id] = p.registered(v)
		}
		if set, ok := v["set"].(map[string]any); ok {
			for name := range set {
				n.set[name] = true
			}
		}
		for _, key := range nested {
			p.gather(n, v[key])
		}
	}
}

// registered is the key of a step that is a registered action; "" when there
// is none.
func (p *parser) registered(step map[string]any) string {
	for _, key := range slices.Sorted(maps.Keys(step)) {
		if _, ok := p.Actions.Lookup(key); ok {
			return key
		}
	}
	return ""
}
