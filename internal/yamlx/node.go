package yamlx

import (
	"regexp"
	"slices"
	"strconv"
	"strings"

	"gopkg.in/yaml.v3"
)

// Node is a value in a file. The zero Node is absent: it is no map, list or scalar, and reading it gives false without a
// problem, so that a key that may be missing needs no special care. Node is a small value, to be copied.
type Node struct {
	file  *file
	n     *yaml.Node // the value, behind its alias; nil: absent
	at    *yaml.Node // where it is written: the alias, if it is one; for an absent value the map that lacks it
	path  string
	label string // the last part of the path
}

// resolve returns n with the value of a written node, which may be an alias.
func (n Node) resolve(written *yaml.Node) Node {
	n.n, n.at = written, written
	if written.Kind == yaml.AliasNode {
		n.n = written.Alias
	}
	return n
}

// IsZero reports whether the node is absent.
func (n Node) IsZero() bool { return n.n == nil }

// Place returns where the node begins, line and column from 1, the column in characters. An absent node that came from a
// map is at the start of that map; the zero Node has no place.
func (n Node) Place() (file string, line, column int) {
	if n.at == nil {
		return "", 0, 0
	}
	return n.file.name, n.at.Line, n.at.Column
}

// Path returns the way to the node, such as rules[0].actions[2].http.url; "" is the whole document.
func (n Node) Path() string { return n.path }

// IsMap reports whether the node is a map.
func (n Node) IsMap() bool { return n.n != nil && n.n.Kind == yaml.MappingNode }

// IsList reports whether the node is a list.
func (n Node) IsList() bool { return n.n != nil && n.n.Kind == yaml.SequenceNode }

// IsScalar reports whether the node is a single value: a string, a number, a boolean or null.
func (n Node) IsScalar() bool { return n.n != nil && n.n.Kind == yaml.ScalarNode }

// IsNull reports whether the node is there, and null or empty.
func (n Node) IsNull() bool { return n.IsScalar() && n.n.ShortTag() == "!!null" }

// Map returns the node as a map. Anything else but an absent node is a problem.
func (n Node) Map(ps *Problems) (*Map, bool) {
	if !n.IsMap() {
		n.wrongType(ps, "a map")
		return nil, false
	}
	return newMap(n), true
}

// List returns the items of a list. Anything else but an absent node is a problem.
func (n Node) List(ps *Problems) ([]Node, bool) {
	if !n.IsList() {
		n.wrongType(ps, "a list")
		return nil, false
	}
	return n.items(), true
}

// Each calls f for the node and for all that it contains, in the order of the file.
func (n Node) Each(f func(Node)) {
	if n.IsZero() {
		return
	}
	f(n)
	for _, child := range n.Children() {
		child.Each(f)
	}
}

// At returns the node below this one that the path leads to, whose parts are keys (string) and indexes (int). It is
// absent when the path leads nowhere.
func (n Node) At(path ...any) Node {
	for _, part := range path {
		next := Node{}
		switch part := part.(type) {
		case string:
			if n.IsMap() {
				next = newMap(n).value(part)
			}
		case int:
			if items := n.items(); part >= 0 && part < len(items) {
				next = items[part]
			}
		}
		n = next
	}
	return n
}

// Children are the items of a list or the values of a map, in the order of the file.
func (n Node) Children() []Node {
	if !n.IsMap() {
		return n.items()
	}
	var values []Node
	for _, e := range newMap(n).entries {
		values = append(values, e.value)
	}
	return values
}

// items returns the items of a list, and nothing for everything else.
func (n Node) items() []Node {
	if !n.IsList() {
		return nil
	}
	items := make([]Node, len(n.n.Content))
	for i, written := range n.n.Content {
		index := "[" + strconv.Itoa(i) + "]"
		items[i] = Node{file: n.file, path: n.path + index, label: n.label + index}.resolve(written)
	}
	return items
}

var plainKey = regexp.MustCompile(`^[\pL\pN_-]+$`)

// below returns an absent node at the place of n, with the path of the key below it.
func (n Node) below(key string) Node {
	path := n.path + "." + key
	switch {
	case !plainKey.MatchString(key):
		path = n.path + "[" + strconv.Quote(key) + "]"
	case n.path == "":
		path = key
	}
	return Node{file: n.file, at: n.at, path: path, label: key}
}

// written returns the pairs of a map without those that were reported as bad.
func (n Node) written() [][]*yaml.Node {
	var pairs [][]*yaml.Node
	for pair := range slices.Chunk(n.n.Content, 2) {
		if !n.file.bad[pair[0]] {
			pairs = append(pairs, pair)
		}
	}
	return pairs
}

// Blamed returns the part of a map that an error is about: the value of the key with whose name it begins, or else all of
// it.
func Blamed(n Node, err error) Node {
	word, _, _ := strings.Cut(err.Error(), " ")
	if at := n.At(strings.TrimSuffix(word, ":")); !at.IsZero() {
		return at
	}
	return n
}
