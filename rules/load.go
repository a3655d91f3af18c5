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
	var ps yamlx.Problems
	names, err := list(files)
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", dir, err)
	}
	p := parser{Compiler: c, ps: &ps}
	var nodes []yamlx.Node
	for _, name := range names {
		shown := path.Join(dir, name)
		src, err := fs.ReadFile(files, name)
		if err != nil {
			ps.AddFile(shown, fmt.Sprintf("cannot be read: %v", err), "")
			continue
		}
		if root, ok := yamlx.Parse(shown, src, &ps); ok && !root.IsZero() {
			nodes = append(nodes, p.sections(root)...)
		}
	}
	emitted := emittedBy(nodes)
	p.emitted = func(event string) bool { return emitted[event] }
	var list []*Rule
	first := map[string]*Rule{}
	for _, n := range nodes {
		r := p.rule(n)
		if r == nil {
			continue
		}
		if before, ok := first[r.ID]; ok && r.ID != "" {
			ps.Add(n.At("id"), fmt.Sprintf("duplicate rule id %q", r.ID), fmt.Sprintf("%s:%d has it already", before.File, before.Line))
		} else {
			first[r.ID] = r
		}
		list = append(list, r)
	}
	if err := ps.Err(); err != nil {
		return nil, err
	}
	return NewSet(list), nil
}

func list(files fs.FS) ([]string, error) {
	var names []string
	err := fs.WalkDir(files, ".", func(name string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
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
	return names, err
}

// IsTest says whether a file of that name holds tests of rules.
func IsTest(name string) bool {
	return strings.HasSuffix(name, ".test.yaml") || strings.HasSuffix(name, ".test.yml")
}

// sections gives the rules of one file.
func (p *parser) sections(root yamlx.Node) []yamlx.Node {
	m, ok := root.Map(p.ps)
	if !ok {
		return nil
	}
	section := m.Take("rules")
	m.Done(p.ps)
	if section.IsZero() || section.IsNull() {
		return nil
	}
	nodes, _ := section.List(p.ps)
	return nodes
}

// emittedBy is every name of an event that a rule emits.
func emittedBy(nodes []yamlx.Node) map[string]bool {
	names := map[string]bool{}
	var visit func(v any)
	visit = func(v any) {
		switch v := v.(type) {
		case []any:
			for _, one := range v {
				visit(one)
			}
		case map[string]any:
			if emit, ok := v["emit"].(map[string]any); ok {
				if name, ok := emit["event"].(string); ok && triggers.CheckName(name) == nil {
					names[name] = true
				}
			}
			for _, one := range v {
				visit(one)
			}
		}
	}
	for _, n := range nodes {
		visit(n.At("actions").Value())
	}
	return names
}
