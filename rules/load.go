package rules

import (
	"fmt"
	"io/fs"
	"path"
	"slices"
	"strings"

	"github.com/flightrules/flightrules/internal/yamlx"
	"github.com/flightrules/flightrules/triggers"
)

// Load reads every *.yaml and *.yml file below the root of files, in sorted
// order, but for tests of rules (*.test.yaml) and names that begin with a dot.
// dir is what the files' names are given under in problems. All problems of
// all files come back at once as a *yamlx.Error, and then there is no set.
func (c *Compiler) Load(files fs.FS, dir string) (*Set, error) {
	p := c.parser()
	found := map[string][]item{}
	for _, name := range p.list(files, dir) {
		shown := path.Join(dir, name)
		src, err := fs.ReadFile(files, name)
		if err != nil {
			p.unreadable(shown, err)
			continue
		}
		if root, ok := yamlx.Parse(shown, src, p.ps); ok && !root.IsZero() {
			p.sections(root, found)
		}
	}
	p.emits = map[string]bool{}
	for _, one := range found[rulesSection] {
		if rule, ok := one.value.(map[string]any); ok {
			gatherEmitted(p.emits, rule["actions"])
		}
	}
	set := &Set{Sections: map[string][]any{}}
	// What rules are about comes before them.
	set.Kinds, set.Events = p.kinds(found[kindsSection])
	p.see(set.Kinds, set.Events)
	list := p.rules(found[rulesSection])
	set.Silences = p.silences(found[silencesSection])
	for _, section := range c.Sections {
		set.Sections[section.Name] = p.section(section, found[section.Name])
	}
	if err := p.ps.Err(); err != nil {
		return nil, err
	}
	p.warnOfLoops(list)
	set.Warnings = p.ps.Warnings()
	set.add(list)
	return set, nil
}

// The sections of the engine itself.
const (
	rulesSection    = "rules"
	kindsSection    = "kinds"
	silencesSection = "silences"
)

// sectionNames are the sections that a file may have.
func (c *Compiler) sectionNames() []string {
	names := []string{rulesSection, kindsSection, silencesSection}
	for _, s := range c.Sections {
		names = append(names, s.Name)
	}
	slices.Sort(names)
	return names
}

// item is one item of a section that was read, and the same as a plain value.
type item struct {
	node  yamlx.Node
	value any
}

// list names the files to read, sorted.
func (p *parser) list(files fs.FS, dir string) []string {
	var names []string
	_ = fs.WalkDir(files, ".", func(name string, d fs.DirEntry, err error) error {
		if err != nil {
			p.unreadable(path.Join(dir, name), err)
			return nil // the others are read all the same
		}
		base := path.Base(name)
		hidden := strings.HasPrefix(base, ".") && name != "."
		switch {
		case hidden && d.IsDir():
			return fs.SkipDir
		case d.IsDir() || hidden || IsTest(base):
			return nil
		}
		if ext := path.Ext(base); ext == ".yaml" || ext == ".yml" {
			names = append(names, name)
		}
		return nil
	})
	slices.Sort(names)
	return names
}

func (p *parser) unreadable(name string, err error) {
	p.ps.AddFile(name, fmt.Sprintf("cannot be read: %v", err), "")
}

// IsTest says whether a file of that name holds tests of rules.
func IsTest(name string) bool {
	return strings.HasSuffix(name, ".test.yaml") || strings.HasSuffix(name, ".test.yml")
}

// sections adds the items of one file to what was found.
func (p *parser) sections(root yamlx.Node, found map[string][]item) {
	if root.IsList() {
		p.ps.Add(root, "a file is a map of sections, not a list", "begin it with rules: and indent the list")
		return
	}
	m, ok := root.Map(p.ps)
	if !ok {
		return
	}
	known := p.sectionNames()
	for _, key := range m.Keys() {
		if !slices.Contains(known, key) {
			p.ps.Add(m.KeyNode(key), fmt.Sprintf("unknown section %q", key), p.suggest(key, known))
			continue
		}
		section := m.Take(key)
		if section.IsNull() {
			continue
		}
		nodes, _ := section.List(p.ps)
		for _, node := range nodes {
			found[key] = append(found[key], item{node, node.Value()})
		}
	}
}

// gatherEmitted adds the names of the events that steps emit.
func gatherEmitted(names map[string]bool, v any) {
	switch v := v.(type) {
	case []any:
		for _, one := range v {
			gatherEmitted(names, one)
		}
	case map[string]any:
		if emit, ok := v["emit"].(map[string]any); ok {
			if name, ok := emit["event"].(string); ok && triggers.CheckName(name) == nil {
				names[name] = true
			}
		}
		for _, key := range nested {
			gatherEmitted(names, v[key])
		}
	}
}

// rules parses all rules.
func (p *parser) rules(found []item) []*Rule {
	var list []*Rule
	first := map[string]*Rule{}
	for _, one := range found {
		r := p.rule(one.node, one.value)
		if r == nil {
			continue
		}
		list = append(list, r)
		before, ok := first[r.ID]
		switch {
		case r.ID == "": // reported already
		case ok:
			p.ps.SetRule(r.ID)
			p.ps.Add(one.node.At("id"), fmt.Sprintf("duplicate rule id %q", r.ID), fmt.Sprintf("%s:%d has it already", before.File, before.Line))
			p.ps.SetRule("")
		default:
			first[r.ID] = r
		}
	}
	return list
}
