package yamlx

import (
	"fmt"
	"math"
	"strings"
	"time"

	"gopkg.in/yaml.v3"

	"github.com/flightrules/flightrules/internal/duration"
)

// Text returns a string. A number or a boolean that is written without quotes is a problem, as is null.
func (n Node) Text(ps *Problems) (string, bool) {
	if n.IsScalar() && isText(n.n) {
		return n.n.Value, true
	}
	if n.IsScalar() && !n.IsNull() {
		ps.Add(n, n.name()+" must be a string: put it in quotes", fmt.Sprintf("write %q", n.n.Value))
		return "", false
	}
	n.wrongType(ps, "a string")
	return "", false
}

// Scalar returns the text of a string, a number or a boolean, as it is written. Null is a problem.
func (n Node) Scalar(ps *Problems) (string, bool) {
	if n.IsScalar() && !n.IsNull() {
		return n.n.Value, true
	}
	n.wrongType(ps, "a single value")
	return "", false
}

// Int returns a whole number.
func (n Node) Int(ps *Problems) (int, bool) {
	if v, ok := n.Value().(int); ok {
		return v, true
	}
	n.wrongType(ps, "a whole number")
	return 0, false
}

// Float returns a number, whole or not.
func (n Node) Float(ps *Problems) (float64, bool) {
	switch v := n.Value().(type) {
	case int:
		return float64(v), true
	case float64:
		return v, true
	}
	n.wrongType(ps, "a number")
	return 0, false
}

// Bool returns true or false.
func (n Node) Bool(ps *Problems) (bool, bool) {
	if v, ok := n.Value().(bool); ok {
		return v, true
	}
	n.wrongType(ps, "true or false")
	return false, false
}

// Duration returns a duration such as 90s, 5m or 1d12h, which is not negative.
func (n Node) Duration(ps *Problems) (time.Duration, bool) {
	if !n.IsScalar() || n.IsNull() {
		n.wrongType(ps, "a duration such as 90s or 5m")
		return 0, false
	}
	d, err := duration.Parse(n.n.Value)
	if err != nil {
		ps.Add(n, err.Error(), "")
		return 0, false
	}
	return d, true
}

// Value returns the node as plain Go values: map[string]any, []any, string, int, float64, bool and nil. Timestamps are
// the string as written; a whole number beyond int is a float64. An absent node is nil.
func (n Node) Value() any {
	switch {
	case n.IsMap():
		m := make(map[string]any)
		for _, e := range newMap(n).entries {
			m[e.key.n.Value] = e.value.Value()
		}
		return m
	case n.IsList():
		items := n.items()
		list := make([]any, len(items))
		for i, item := range items {
			list[i] = item.Value()
		}
		return list
	case n.IsScalar():
		v, err := scalarValue(n.n)
		if err != nil {
			return n.n.Value // reported when the file was parsed
		}
		return v
	}
	return nil
}

// scalarValue returns the Go value of a scalar, or the error that the file's reader is to see.
func scalarValue(n *yaml.Node) (any, error) {
	if isText(n) {
		return n.Value, nil
	}
	var v any
	if err := n.Decode(&v); err != nil {
		return nil, fmt.Errorf("%q cannot be read as %s", n.Value, strings.TrimLeft(n.ShortTag(), "!"))
	}
	switch v := v.(type) {
	case uint64:
		return float64(v), nil
	case float64:
		if math.IsNaN(v) || math.IsInf(v, 0) {
			return nil, fmt.Errorf("%s is not a number that can be used", n.Value)
		}
	}
	return v, nil
}

// isText reports whether a scalar is a string: quoted, or not the form of a number, a boolean or null. Timestamps are
// strings, and so is << where it is a value.
func isText(n *yaml.Node) bool {
	switch n.ShortTag() {
	case "!!str", "!!timestamp", "!!merge":
		return true
	}
	return false
}

// wrongType reports that the node is not what it must be. An absent node is not reported: that is Map.Require's task.
func (n Node) wrongType(ps *Problems, want string) {
	switch {
	case n.IsZero():
	case n.IsNull():
		ps.Add(n, fmt.Sprintf("%s must be %s, but it is empty", n.name(), want), "")
	case n.IsScalar() && isText(n.n) && len(n.n.Value) <= 40:
		ps.Add(n, fmt.Sprintf("%s must be %s, not %q", n.name(), want, n.n.Value), "")
	default:
		ps.Add(n, fmt.Sprintf("%s must be %s, not %s", n.name(), want, kindName(n.n)), "")
	}
}

// name returns what messages call the node.
func (n Node) name() string {
	if n.label == "" {
		return "the file"
	}
	return n.label
}

func kindName(n *yaml.Node) string {
	switch n.Kind {
	case yaml.MappingNode:
		return "a map"
	case yaml.SequenceNode:
		return "a list"
	}
	switch n.ShortTag() {
	case "!!int", "!!float":
		return "a number"
	case "!!bool":
		return "a boolean"
	case "!!null":
		return "null"
	}
	return "a string"
}
