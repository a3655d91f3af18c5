package rules

import (
	"fmt"

	"github.com/flightrules/flightrules/internal/expression"
	"github.com/flightrules/flightrules/internal/shape"
	"github.com/flightrules/flightrules/internal/yamlx"
)

// Section is a section of the files that a plugin has registered: a list of
// items of one form.
type Section struct {
	Name string
	Doc  string
	Item *shape.Shape // of each item; an Object
	// Key names an item; two of one key are a mistake. May be nil.
	Key func(item any) string
	// Check looks at one item that has its form. May be nil.
	Check func(item any) error
}

// Function is a function that a plugin adds to the expressions.
type Function struct {
	Name string
	Doc  string
	Fn   any // a Go func that gives a value, or a value and an error
}

// section decodes the items of a plugin's section.
func (p *parser) section(s Section, found []item) []any {
	var list []any
	first := map[string]yamlx.Node{}
	for _, one := range found {
		before := p.ps.Len()
		sc := &scope{parser: p, env: p.cached("section", expression.NewEnv)}
		sc.config(one.node, s.Item, false)
		if p.ps.Len() > before {
			continue
		}
		value, err := s.Item.Decode(one.value)
		if err == nil {
			err = s.Item.Check(one.value)
		}
		if err != nil {
			p.ps.Add(one.node, err.Error(), "")
			continue
		}
		if s.Check != nil {
			if err := s.Check(shape.Encode(value)); err != nil {
				p.ps.Add(blamed(one.node, err), err.Error(), "")
			}
		}
		if s.Key != nil {
			key := s.Key(shape.Encode(value))
			if other, ok := first[key]; ok {
				file, line, _ := other.Place()
				p.ps.Add(one.node, fmt.Sprintf("%s has two items %q", s.Name, key), fmt.Sprintf("%s:%d is the first", file, line))
			}
			first[key] = one.node
		}
		list = append(list, shape.Encode(value))
	}
	return list
}
