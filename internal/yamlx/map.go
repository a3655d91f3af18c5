package yamlx

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/flightrules/flightrules/internal/suggest"
)

// Map is a map whose reader takes the keys that it knows. Keys that Parse reported are not in it.
type Map struct {
	node    Node
	entries []entry
	index   map[string]int // of a key in entries
	known   map[string]bool
}

type entry struct{ key, value Node }

func newMap(n Node) *Map {
	m := &Map{node: n, index: make(map[string]int), known: make(map[string]bool)}
	for _, pair := range n.written() {
		key := Node{file: n.file}.resolve(pair[0])
		below := n.below(key.n.Value)
		key.path, key.label = below.path, below.label
		m.index[key.n.Value] = len(m.entries)
		m.entries = append(m.entries, entry{key: key, value: below.resolve(pair[1])})
	}
	return m
}

// Take returns the value of a key and marks the key as known. It is absent when the map has no such key.
func (m *Map) Take(key string) Node {
	m.known[key] = true
	return m.value(key)
}

// Require is Take for a key that must be there: it reports a missing one at the map.
func (m *Map) Require(ps *Problems, key string) Node {
	n := m.Take(key)
	if n.IsZero() {
		ps.Add(m.node, fmt.Sprintf("missing key %q", key), "")
	}
	return n
}

// Has reports whether the map has the key, and does not mark it as known.
func (m *Map) Has(key string) bool { return !m.value(key).IsZero() }

// Keys returns the keys in the order of the file.
func (m *Map) Keys() []string {
	keys := make([]string, len(m.entries))
	for i, e := range m.entries {
		keys[i] = e.key.n.Value
	}
	return keys
}

// KeyNode returns the key itself, for its place. It is absent when the map has no such key.
func (m *Map) KeyNode(key string) Node {
	if i, ok := m.index[key]; ok {
		return m.entries[i].key
	}
	return m.node.below(key)
}

// Node returns the map as a node.
func (m *Map) Node() Node { return m.node }

// Done reports every key that was never taken.
func (m *Map) Done(ps *Problems) {
	known := slices.Sorted(maps.Keys(m.known))
	for _, e := range m.entries {
		key := e.key.n.Value
		if m.known[key] {
			continue
		}
		hint := Suggest(key, known)
		if hint == "" && len(known) > 0 {
			hint = "known keys: " + strings.Join(known, ", ")
		}
		ps.Add(e.key, fmt.Sprintf("unknown key %q", key), hint)
	}
}

func (m *Map) value(key string) Node {
	if i, ok := m.index[key]; ok {
		return m.entries[i].value
	}
	return m.node.below(key)
}

// Suggest returns the hint `did you mean "x"?` when a known name is close to the name, else "".
func Suggest(name string, known []string) string {
	closest, ok := suggest.Closest(name, known)
	if !ok {
		return ""
	}
	return fmt.Sprintf("did you mean %q?", closest)
}
