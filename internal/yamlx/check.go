package yamlx

import (
	"fmt"
	"slices"

	"gopkg.in/yaml.v3"
)

// maxAliased bounds how many nodes all aliases of a file may stand for together. Without a bound, a few lines of
// aliases to aliases stand for billions of nodes.
const maxAliased = 100_000

// check walks all that was written, notes the order, and reports what plain YAML does not have. It returns false when
// the nodes cannot be walked because aliases contain themselves or expand too far.
func (f *file) check(root *yaml.Node, ps *Problems) bool {
	f.walk(root, ps)
	expansion := &expansion{file: f, ps: ps, sizes: make(map[*yaml.Node]int), open: make(map[*yaml.Node]bool)}
	expansion.size(root)
	return !expansion.broken
}

func (f *file) walk(n *yaml.Node, ps *Problems) {
	f.order = append(f.order, n)
	f.checkTag(n, ps)
	if n.Kind == yaml.MappingNode {
		f.checkKeys(n, ps)
	}
	for _, child := range n.Content {
		f.walk(child, ps)
	}
	f.last[n] = len(f.order) - 1
}

// coreTags holds the tags that may be written, with the kind of node that each is for.
var coreTags = map[string]yaml.Kind{
	"!!str": yaml.ScalarNode, "!!int": yaml.ScalarNode, "!!float": yaml.ScalarNode, "!!bool": yaml.ScalarNode,
	"!!null": yaml.ScalarNode, "!!map": yaml.MappingNode, "!!seq": yaml.SequenceNode,
}

func (f *file) checkTag(n *yaml.Node, ps *Problems) {
	at := Node{file: f, n: n, at: n}
	if n.Style&yaml.TaggedStyle != 0 && coreTags[n.ShortTag()] != n.Kind {
		ps.Add(at, fmt.Sprintf("unknown tag %s", n.Tag), "put a text that begins with ! in quotes")
		return
	}
	if n.Kind != yaml.ScalarNode {
		return
	}
	if _, err := scalarValue(n); err != nil {
		ps.Add(at, err.Error(), "")
	}
}

// checkKeys reports keys that are no unique strings, and marks them as bad.
func (f *file) checkKeys(n *yaml.Node, ps *Problems) {
	first := make(map[string]int)
	for pair := range slices.Chunk(n.Content, 2) {
		written := pair[0]
		key, at := written, Node{file: f, n: written, at: written}
		if key.Kind == yaml.AliasNode {
			key = key.Alias
		}
		line, duplicate := first[key.Value]
		switch {
		case key.Kind != yaml.ScalarNode:
			ps.Add(at, "a key must be a string, not "+kindName(key), "")
		case key.ShortTag() == "!!merge":
			ps.Add(at, "merge keys (<<) are not supported", "write the keys out")
		case !isText(key):
			ps.Add(at, "a key must be a string: put it in quotes", fmt.Sprintf("write %q", key.Value))
		case duplicate:
			ps.Add(at, fmt.Sprintf("duplicate key %q", key.Value), fmt.Sprintf("it is already on line %d", line))
		default:
			first[key.Value] = written.Line
			continue
		}
		f.bad[written] = true
	}
}

// expansion measures what nodes stand for when aliases are followed, without following any twice.
type expansion struct {
	file    *file
	ps      *Problems
	sizes   map[*yaml.Node]int
	open    map[*yaml.Node]bool
	aliased int
	broken  bool
}

// size returns the number of nodes that n stands for, at most a little over maxAliased.
func (e *expansion) size(n *yaml.Node) int {
	if size, ok := e.sizes[n]; ok {
		return size
	}
	e.open[n] = true
	size := 1
	for _, child := range n.Content {
		size += e.size(child)
	}
	if n.Kind == yaml.AliasNode {
		size = e.aliasSize(n)
	}
	delete(e.open, n)
	e.sizes[n] = min(size, maxAliased+1)
	return e.sizes[n]
}

func (e *expansion) aliasSize(n *yaml.Node) int {
	at := Node{file: e.file, n: n, at: n}
	if e.open[n.Alias] {
		e.fail(at, fmt.Sprintf("the alias *%s contains itself", n.Value))
		return 1
	}
	size := e.size(n.Alias)
	e.aliased += size
	if e.aliased > maxAliased {
		e.fail(at, fmt.Sprintf("the aliases up to here stand for more than %d values", maxAliased))
	}
	return size
}

// fail reports the first such problem only: those behind it are mostly the same one again.
func (e *expansion) fail(at Node, message string) {
	if !e.broken {
		e.ps.Add(at, message, "")
	}
	e.broken = true
}
