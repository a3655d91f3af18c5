package rules

import (
	"fmt"

	"github.com/flightrules/flightrules/internal/yamlx"
)

// names are what the steps of a rule bring into its expressions, known before
// any expression is compiled.
type names struct {
	vars  map[string]bool
	steps map[string]string // step id -> the key of its action
}

// nested are the keys of a step under which further steps stand.
var nested = []string{"choose", "do", "else"}

// common are the keys that every step may have.
var common = map[string]bool{"id": true, "name": true, "if": true, "timeout": true, "on_error": true, "enabled": true}

func collect(variables, actions yamlx.Node) names {
	n := names{vars: map[string]bool{}, steps: map[string]string{}}
	if m, ok := plain(variables).(map[string]any); ok {
		for name := range m {
			n.vars[name] = true
		}
	}
	n.gather(plain(actions))
	return n
}

func plain(n yamlx.Node) any {
	if n.IsZero() {
		return nil
	}
	return n.Value()
}

func (n names) gather(v any) {
	switch v := v.(type) {
	case []any:
		for _, one := range v {
			n.gather(one)
		}
	case map[string]any:
		if id, ok := v["id"].(string); ok {
			for key := range v {
				if !common[key] && key != "else" {
					n.steps[id] = key
				}
			}
		}
		if set, ok := v["set"].(map[string]any); ok {
			for name := range set {
				n.vars[name] = true
			}
		}
		for _, key := range nested {
			n.gather(v[key])
		}
	}
}

// duplicates reports step ids that are used twice.
func (p *parser) duplicates(actions yamlx.Node) {
	lines := map[string]int{}
	var visit func(yamlx.Node)
	visit = func(n yamlx.Node) {
		if n.IsList() {
			for _, one := range n.Children() {
				visit(one)
			}
			return
		}
		if !n.IsMap() {
			return
		}
		for _, key := range nested {
			visit(n.At(key))
		}
		id := n.At("id")
		text, ok := plain(id).(string)
		if !ok {
			return
		}
		_, line, _ := id.Place()
		if before, ok := lines[text]; ok {
			p.ps.Add(id, fmt.Sprintf("duplicate step id %q", text), fmt.Sprintf("line %d has it already", before))
			return
		}
		lines[text] = line
	}
	visit(actions)
}
