package ruletest

import (
	"encoding/json"
	"fmt"
	"maps"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/flightrules/flightrules/internal/duration"
	"github.com/flightrules/flightrules/internal/shape"
	"github.com/flightrules/flightrules/internal/yamlx"
)

// pattern is the regular expression that a text is which stands between
// slashes; false for other texts.
func pattern(v any) (string, bool) {
	text, ok := v.(string)
	if !ok || len(text) < 2 || text[0] != '/' || text[len(text)-1] != '/' {
		return "", false
	}
	return text[1 : len(text)-1], true
}

// want reads a value that another is to have: of maps some keys, of lists all
// items. form says which keys there are, and which of them are moments.
func (p *parser) want(n yamlx.Node, form *shape.Shape) any {
	switch {
	case n.IsZero() || n.IsNull():
		return nil
	case n.IsList():
		var elem *shape.Shape
		if form != nil {
			if form.Type != shape.List && form.Type != shape.Any {
				p.Add(n, "this is no list", "")
				return nil
			}
			elem = form.Elem
		}
		list := []any{}
		for _, item := range n.Children() {
			list = append(list, p.want(item, elem))
		}
		return list
	case n.IsMap():
		return p.wantMap(n, form)
	}
	if text, ok := pattern(n.Value()); ok {
		if _, err := regexp.Compile(text); err != nil {
			p.Add(n, fmt.Sprintf("bad regular expression: %v", err), "a text between slashes is a regular expression")
		}
		return n.Value()
	}
	if form != nil && form.Type == shape.Duration { // of a row: when something was
		at, ok := p.moment(n)
		if !ok {
			return nil
		}
		return duration.Format(at)
	}
	if form != nil && form.Type != shape.Any {
		if form.Type == shape.Object || form.Type == shape.List || form.Type == shape.Map {
			fits(p.Problems, n, form, false)
		} else {
			fitsScalar(p.Problems, n, form)
		}
	}
	return n.Value()
}

func (p *parser) wantMap(n yamlx.Node, form *shape.Shape) any {
	m, _ := n.Map(p.Problems)
	out := map[string]any{}
	for _, key := range m.Keys() {
		var inner *shape.Shape
		switch {
		case form == nil || form.Type == shape.Any:
		case form.Type == shape.Map:
			inner = form.Elem
		case form.Type == shape.Object:
			f, ok := form.Field(key)
			if !ok {
				p.unknown(m, key, form)
				continue
			}
			inner = f.Shape
		default:
			p.Add(n, "this is no map", "")
			return nil
		}
		out[key] = p.want(m.Take(key), inner)
	}
	return out
}

func (p *parser) unknown(m *yamlx.Map, key string, form *shape.Shape) {
	var known []string
	for _, f := range form.Fields {
		known = append(known, f.Name)
	}
	hint := yamlx.Suggest(key, known)
	if hint == "" {
		hint = "known: " + strings.Join(known, ", ")
	}
	p.Add(m.KeyNode(key), fmt.Sprintf("unknown key %q", key), hint)
}

// differences says where a value is not as another wants it, each with its path.
func differences(path string, want, got any) []string {
	switch want := want.(type) {
	case map[string]any:
		have, ok := got.(map[string]any)
		if !ok {
			return []string{differ(path, want, got)}
		}
		var list []string
		for _, key := range slices.Sorted(maps.Keys(want)) {
			below := key
			if path != "" {
				below = path + "." + key
			}
			list = append(list, differences(below, want[key], have[key])...)
		}
		return list
	case []any:
		have, ok := got.([]any)
		if !ok || len(have) != len(want) {
			return []string{differ(path, want, got)}
		}
		var list []string
		for i := range want {
			list = append(list, differences(fmt.Sprintf("%s[%d]", path, i), want[i], have[i])...)
		}
		return list
	}
	if !same(want, got) {
		return []string{differ(path, want, got)}
	}
	return nil
}

// same says whether a value is what is wanted, which is no map and no list.
func same(want, got any) bool {
	if text, ok := pattern(want); ok {
		have, isText := got.(string)
		re, err := regexp.Compile(text)
		return isText && (err == nil && re.MatchString(have) || have == want)
	}
	if a, ok := number(want); ok {
		b, ok := number(got)
		return ok && a == b
	}
	return reflect.DeepEqual(want, got)
}

func number(v any) (float64, bool) {
	switch v := v.(type) {
	case int:
		return float64(v), true
	case int64:
		return float64(v), true
	case float64:
		return v, true
	case json.Number:
		f, err := v.Float64()
		return f, err == nil
	}
	return 0, false
}

func differ(path string, want, got any) string {
	if path == "" {
		path = "it"
	}
	if got == nil {
		return fmt.Sprintf("%s: want %s, there is none", path, brief(want))
	}
	return fmt.Sprintf("%s: want %s, got %s", path, brief(want), brief(got))
}

// brief is a value in one line that is not too long.
func brief(v any) string {
	const most = 200
	if v == nil {
		return "nothing"
	}
	text, err := json.Marshal(v)
	if err != nil {
		return fmt.Sprint(v)
	}
	line := string(text)
	if utf8.RuneCountInString(line) > most {
		line = string([]rune(line)[:most]) + "..."
	}
	return line
}
