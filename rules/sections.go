package rules

import (
	"fmt"
	"maps"
	"slices"

	"github.com/flightrules/flightrules/entities"
	"github.com/flightrules/flightrules/internal/shape"
	"github.com/flightrules/flightrules/internal/yamlx"
	"github.com/flightrules/flightrules/triggers"
)

// EngineSections are the names of the sections of a file that are the engine's
// own.
var EngineSections = []string{"rules", "kinds", "silences", retentionSection}

// retentionSection is the one that is a map and not a list.
const retentionSection = "retention"

// Section is a section of the files that a plugin owns: a list of items.
type Section struct {
	Name string
	Doc  string
	Item *shape.Shape
	// Decode makes of an item as plain values, which has its form, what the
	// others take.
	Decode func(v any) (item any, err error)
	// Key is what no two items may have in common; nil: nothing.
	Key func(item any) string
	// Check looks at an item. An error that begins with the name of a field is
	// shown there. May be nil.
	Check func(item any) error
}

// Declarations are what files hold besides rules.
type Declarations struct {
	Kinds    []entities.Declared
	Events   []triggers.DeclaredEvent
	Sections map[string][]any // the items of the plugins' sections, decoded; absent for those that are in no file

	places map[string]yamlx.Problem
}

// mark remembers where something stands.
func (d *Declarations) mark(what string, n yamlx.Node) {
	if _, ok := d.places[what]; ok {
		return
	}
	var place yamlx.Problems
	place.Add(n, "", "")
	if d.places == nil {
		d.places = map[string]yamlx.Problem{}
	}
	d.places[what] = place.All()[0]
}

// KindProblem is a problem at the place where a kind is declared.
func (d *Declarations) KindProblem(kind, message, hint string) yamlx.Problem {
	return d.problem("kind "+kind, message, hint)
}

// SectionProblem is a problem at the place where a plugin's section begins; it
// has no place where no file has the section.
func (d *Declarations) SectionProblem(section, message, hint string) yamlx.Problem {
	return d.problem("section "+section, message, hint)
}

func (d *Declarations) problem(what, message, hint string) yamlx.Problem {
	p := d.places[what]
	p.Message, p.Hint = message, hint
	return p
}

// sections are the items of the sections of all files, by name.
type sections map[string][]yamlx.Node

// sections adds those of one file.
func (p *parser) sections(root yamlx.Node, found sections) {
	if root.IsList() {
		p.ps.Add(root, "a file is a map of sections, not a list", "begin it with rules: and indent the list")
		return
	}
	m, ok := root.Map(p.ps)
	if !ok {
		return
	}
	known := p.sectionNames()
	for _, name := range m.Keys() {
		if !slices.Contains(known, name) {
			p.ps.Add(m.KeyNode(name), fmt.Sprintf("unknown section %q", name), p.suggest(name, known))
			continue
		}
		section := m.Take(name)
		if section.IsNull() {
			continue
		}
		if name == retentionSection {
			found[name] = append(found[name], section)
			continue
		}
		nodes, _ := section.List(p.ps)
		found[name] = append(found[name], nodes...)
	}
}

func (p *parser) sectionNames() []string {
	names := slices.Clone(EngineSections)
	for _, s := range p.Sections {
		names = append(names, s.Name)
	}
	return names
}

// section reads the items of a plugin's section.
func (p *parser) section(s Section, nodes []yamlx.Node, into *Declarations) {
	first := map[string]yamlx.Node{}
	before := p.ps.Len()
	for _, n := range nodes {
		into.mark("section "+s.Name, n)
		v, ok := p.item(s, n, first)
		if ok {
			into.Sections[s.Name] = append(into.Sections[s.Name], v)
		}
	}
	if s.Key != nil && p.ps.Len() == before {
		p.items[s.Name] = slices.Sorted(maps.Keys(first))
	}
}

// named checks a constant, or each of a list, that names an item of a section.
func (p *parser) named(n yamlx.Node, section string) {
	known, all := p.items[section]
	if !all || isTemplate(n) {
		return
	}
	if n.IsList() {
		for _, one := range n.Children() {
			p.named(one, section)
		}
		return
	}
	if name, ok := n.Value().(string); ok && !slices.Contains(known, name) {
		p.ps.Add(n, fmt.Sprintf("%q is not in section %s", name, section), p.suggest(name, known))
	}
}

// item reads one; what it holds are values, and not expressions.
func (p *parser) item(s Section, n yamlx.Node, first map[string]yamlx.Node) (v any, ok bool) {
	before := p.ps.Len()
	(&scope{parser: p}).config(n, s.Item, false)
	if p.ps.Len() > before || !p.literal(n, s.Item) {
		return nil, false
	}
	var key string
	err := contained(func() (err error) {
		if v, err = s.Decode(n.Value()); err != nil {
			return err
		}
		if s.Key != nil {
			key = s.Key(v)
		}
		if s.Check != nil {
			return s.Check(v)
		}
		return nil
	})
	if err != nil {
		p.ps.Add(yamlx.Blamed(n, err), err.Error(), "")
		return nil, false
	}
	if s.Key == nil {
		return v, true
	}
	if other, ok := first[key]; ok {
		file, line, _ := other.Place()
		p.ps.Add(keyNode(n, key), fmt.Sprintf("duplicate item %q in section %s", key, s.Name), fmt.Sprintf("%s:%d has it already", file, line))
		return nil, false
	}
	first[key] = keyNode(n, key)
	return v, true
}

// keyNode is the value in an item that is its key, or the whole of it.
func keyNode(n yamlx.Node, key string) yamlx.Node {
	for _, child := range n.Children() {
		if text, ok := child.Value().(string); ok && text == key {
			return child
		}
	}
	return n
}

func contained(fn func() error) (err error) {
	defer func() {
		if r := recover(); r != nil {
			err = fmt.Errorf("panic: %v", r)
		}
	}()
	return fn()
}
