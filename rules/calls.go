package rules

import (
	"fmt"
	"strings"

	"github.com/flightrules/flightrules/internal/duration"
	"github.com/flightrules/flightrules/internal/expression"
	"github.com/flightrules/flightrules/internal/shape"
	"github.com/flightrules/flightrules/internal/yamlx"
)

// calls checks the kinds, fields and windows that an expression in n gives to
// Functions as constants.
func (s *scope) calls(n yamlx.Node, calls []expression.Call) {
	for _, call := range calls {
		if _, ours := Functions[call.Name]; !ours || len(call.Args) == 0 {
			continue
		}
		places := placesOf(n, call)
		if len(call.Args) == 4 {
			s.window(n, places.args[3], call.Args[3])
		}
		name, ok := call.Args[0].(string)
		if !ok {
			continue
		}
		kind, ok := s.Events.Kind(name)
		if ok && len(call.Args) == 4 {
			s.lookback(n, name, call.Args[3])
		}
		if !ok {
			s.ps.AddInside(n, places.args[0], fmt.Sprintf("unknown kind %q", name), s.suggest(name, s.kindNames()))
			continue
		}
		if len(call.Args) >= 3 {
			if text, ok := call.Args[2].(string); ok {
				s.recorded(n, places.args[2], name, text, kind.Shape)
			}
		} else if len(call.Member) > 0 {
			if _, ok := kind.Shape.Field(call.Member[0]); !ok {
				s.ps.AddInside(n, places.member, noField(name, call.Member[0]), s.suggest(call.Member[0], fieldNames(kind.Shape)))
			}
		}
	}
}

// recorded looks for a field whose changes are in the log; offset is its place
// in n.
func (p *parser) recorded(n yamlx.Node, offset int, kind, name string, form *shape.Shape) (*shape.Field, bool) {
	f, ok := form.Field(name)
	switch {
	case !ok:
		p.ps.AddInside(n, offset, noField(kind, name), p.suggest(name, fieldNames(form)))
	case !f.Reactive:
		p.ps.AddInside(n, offset, fmt.Sprintf("a change of %s.%s alone is not recorded", kind, name), p.suggest("", reactive(form)))
	default:
		return f, true
	}
	return nil, false
}

func (p *parser) window(n yamlx.Node, offset int, v any) {
	switch v := v.(type) {
	case nil: // known when the rule runs
	case string:
		if _, err := duration.Parse(v); err != nil {
			p.ps.AddInside(n, offset, err.Error(), "")
		}
	default:
		p.ps.AddInside(n, offset, fmt.Sprintf("a window is a duration, not %v", v), `write "10m"`)
	}
}

func noField(kind, name string) string { return fmt.Sprintf("kind %s has no field %q", kind, name) }

// suggest is the hint that names what was probably meant or, failing that, all
// that there is.
func (p *parser) suggest(name string, known []string) string {
	if hint := yamlx.Suggest(name, known); hint != "" || len(known) == 0 {
		return hint
	}
	return "there is: " + strings.Join(known, ", ")
}

func (p *parser) kindNames() []string {
	var list []string
	for _, k := range p.Events.Kinds() {
		list = append(list, k.Name)
	}
	return list
}

func fieldNames(form *shape.Shape) []string {
	var list []string
	for _, f := range form.Fields {
		list = append(list, f.Name)
	}
	return list
}

func reactive(form *shape.Shape) []string {
	var list []string
	for _, f := range form.Fields {
		if f.Reactive {
			list = append(list, f.Name)
		}
	}
	return list
}

// places are where the parts of a call stand, in bytes into the text of its
// node: each argument, without its quote, and the first name that is taken from
// the result.
type places struct {
	args   []int
	member int
}

// placesOf finds the parts of a call. Those that are not where they usually
// are, such as an argument that comes through a pipe, are at the call itself.
func placesOf(n yamlx.Node, call expression.Call) places {
	found := places{member: call.Offset}
	for range call.Args {
		found.args = append(found.args, call.Offset)
	}
	text, _ := n.Value().(string)
	starts, end := arguments(text, call.Offset)
	if len(starts) == len(call.Args) {
		for i, start := range starts {
			if strings.ContainsRune(quotes, rune(text[start])) {
				start++
			}
			found.args[i] = start
		}
	}
	if len(call.Member) > 0 {
		if at := strings.Index(text[end:], call.Member[0]); at >= 0 {
			found.member = end + at
		}
	}
	return found
}

const quotes = "\"'`"

// arguments finds where the arguments of the call at offset begin, and where
// the call ends.
func arguments(text string, offset int) (starts []int, end int) {
	depth, fresh := 0, false
	for i := offset; i < len(text); i++ {
		c := text[i]
		if c == ' ' || c == '\t' || c == '\n' {
			continue
		}
		if fresh && c != ')' {
			starts, fresh = append(starts, i), false
		}
		switch {
		case strings.IndexByte(quotes, c) >= 0:
			i = closing(text, i)
		case c == '(' || c == '[' || c == '{':
			depth++
			fresh = depth == 1
		case c == ')' || c == ']' || c == '}':
			if depth--; depth == 0 {
				return starts, i + 1
			}
		case c == ',' && depth == 1:
			fresh = true
		}
	}
	return starts, len(text)
}

// closing finds the quote that ends the text at start.
func closing(text string, start int) int {
	for i := start + 1; i < len(text); i++ {
		switch {
		case text[i] == text[start]:
			return i
		case text[i] == '\\' && text[start] != '`':
			i++
		}
	}
	return len(text)
}
