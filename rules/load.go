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
	p.items = map[string][]string{}
	found := sections{}
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
	declared := Declarations{Sections: map[string][]any{}}
	p.kinds(found["kinds"], &declared)
	for _, section := range c.Sections {
		p.section(section, found[section.Name], &declared)
	}
	items := make([]item, 0, len(found["rules"]))
	emitted := map[string]bool{}
	for _, node := range found["rules"] {
		one := item{node, node.Value()}
		items = append(items, one)
		if rule, ok := one.value.(map[string]any); ok {
			gatherEmitted(emitted, rule["actions"])
		}
	}
	p.emits = emitted
	list := p.rules(items)
	silences := p.silences(found["silences"])
	if err := p.ps.Err(); err != nil {
		return nil, err
	}
	p.warnOfLoops(list)
	set := NewSet(list)
	set.Declarations, set.Silences, set.Warnings = declared, silences, p.ps.Warnings()
	return set, nil
}

// item is one rule that was read, and the same as a plain value.
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
	for _, check := range p.later {
		check(first)
	}
	return list
}
