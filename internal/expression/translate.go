package expression

import (
	"errors"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/expr-lang/expr/ast"
	"github.com/expr-lang/expr/builtin"
	"github.com/expr-lang/expr/file"

	"github.com/flightrules/flightrules/internal/suggest"
)

// rewordings says in other words what expr says when it parses and checks.
var rewordings = []struct {
	pattern *regexp.Regexp
	reword  func(m []string) string
}{
	{regexp.MustCompile(`^type (\S+) has no (field|method) (\S+)$`), func(m []string) string {
		return fmt.Sprintf("%s has no %s %q", nameOfType(m[1]), m[2], m[3])
	}},
	{regexp.MustCompile(`^invalid operation: (\S+) \(mismatched types (.+) and (.+)\)$`), func(m []string) string {
		verb := "use " + m[1] + " on %s and %s"
		if strings.ContainsAny(m[1], "=<>") {
			verb = "compare %s with %s"
		}
		return "cannot " + fmt.Sprintf(verb, nameOfType(m[2]), nameOfType(m[3]))
	}},
	{regexp.MustCompile(`^invalid operation: (\S+) \(mismatched type (.+)\)$`), func(m []string) string {
		return fmt.Sprintf("cannot use %s on %s", m[1], nameOfType(m[2]))
	}},
	{regexp.MustCompile(`^cannot use (.+) as type (.+) in array$`), func(m []string) string {
		return fmt.Sprintf("%s cannot be in a list whose items are each %s", nameOfType(m[1]), nameOfType(m[2]))
	}},
	{regexp.MustCompile(`^cannot use (.+) as argument \(type (.+)\) to call (\S+)`), func(m []string) string {
		return fmt.Sprintf("%s needs %s here, not %s", m[3], nameOfType(m[2]), nameOfType(m[1]))
	}},
	{regexp.MustCompile(`^(not enough|too many) arguments to call (\S+)$`), func(m []string) string {
		return fmt.Sprintf("%s arguments for %s", m[1], m[2])
	}},
	{regexp.MustCompile(`^non-bool expression \(type (.+)\) used as condition$`), func(m []string) string {
		return fmt.Sprintf("a condition must be true or false, not %s", nameOfType(m[1]))
	}},
	{regexp.MustCompile(`^predicate should return boolean \(got (.+)\)$`), func(m []string) string {
		return fmt.Sprintf("this must give true or false for each item, but it gives %s", nameOfType(m[1]))
	}},
	{regexp.MustCompile(`^builtin (\S+) takes only array \(got (.+)\)$`), func(m []string) string {
		return fmt.Sprintf("%s needs a list, not %s", m[1], nameOfType(m[2]))
	}},
	{regexp.MustCompile(`^(?:unexpected token EOF|unexpected end of expression)$`), func([]string) string {
		return "the expression ends too early"
	}},
	{regexp.MustCompile(`^unexpected token \w+\((.+)\)$`), func(m []string) string { return "unexpected " + m[1] }},
	{regexp.MustCompile(`^literal not terminated$`), func([]string) string { return "a string is not closed" }},
	{regexp.MustCompile(`^unrecognized character: U\+\w+ (.+)$`), func(m []string) string {
		return "unexpected character " + m[1]
	}},
	{regexp.MustCompile(`coalesce expressions \(\?\?\) cannot be mixed`), func([]string) string {
		return "?? beside another operator needs parentheses, such as (a ?? b) == c"
	}},
	{regexp.MustCompile(`^array elements can only be selected using an integer`), func([]string) string {
		return "an item of a list is taken by its number, such as [0]"
	}},
	{regexp.MustCompile(`^invalid argument for (\S+) \(type (.+)\)$`), func(m []string) string {
		return fmt.Sprintf("%s cannot take %s", m[1], nameOfType(m[2]))
	}},
	{regexp.MustCompile(`^error parsing regexp: (.+)$`), func(m []string) string { return "bad regular expression: " + m[1] }},
	{regexp.MustCompile(`exceeds maximum allowed nodes$`), func([]string) string {
		return fmt.Sprintf("the expression has more than %d parts", MaxNodes)
	}},
}

var (
	unknownName  = regexp.MustCompile(`^unknown name (.+)$`)
	unknownField = regexp.MustCompile(`^unknown field (.+)$`)
)

// operatorHints helps those who come from other languages.
var operatorHints = map[string]string{
	`unexpected "="`:   "write == to compare",
	`unexpected "==="`: "write == to compare",
	`unexpected "&"`:   "write and, or &&",
}

// translate makes an *Error of what expr reports about a source. root may be nil.
func translate(err error, e *Env, src string, root ast.Node) *Error {
	var from *file.Error
	if !errors.As(err, &from) {
		return &Error{Message: firstLine(err.Error())}
	}
	out := &Error{Offset: byteOffset(src, from.From), Message: firstLine(from.Message)}
	if m := unknownName.FindStringSubmatch(out.Message); m != nil {
		e.unknownName(out, m[1], src)
		return out
	}
	if m := unknownField.FindStringSubmatch(out.Message); m != nil {
		out.Message = fmt.Sprintf("unknown field %q", m[1])
		out.Hint = hint(m[1], fieldsAt(root, from.Location), "known fields: ")
		return out
	}
	for _, r := range rewordings {
		if m := r.pattern.FindStringSubmatch(out.Message); m != nil {
			out.Message = r.reword(m)
			break
		}
	}
	if strings.HasSuffix(out.Message, "too early") {
		out.Offset = len(src)
	}
	out.Hint = operatorHints[out.Message]
	if m := unexpectedWord.FindStringSubmatch(out.Message); m != nil && out.Hint == "" {
		out.Hint = hint(m[1], wordOperators, "")
	}
	return out
}

var unexpectedWord = regexp.MustCompile(`^unexpected "(\pL+)"$`)

// wordOperators are the operators that are words, which may be misspelt.
var wordOperators = []string{"and", "contains", "endsWith", "in", "matches", "not", "or", "startsWith"}

func (e *Env) unknownName(out *Error, name, src string) {
	out.Message = fmt.Sprintf("unknown name %q", name)
	known := e.Names()
	if strings.HasPrefix(strings.TrimSpace(src[min(out.Offset+len(name), len(src)):]), "(") {
		out.Message = fmt.Sprintf("unknown function %q", name)
		known = nil
		for n, t := range e.names {
			if nature := t.Nature(); nature.IsFunc() {
				known = append(known, n)
			}
		}
		for _, f := range builtin.Names {
			if f != "now" {
				known = append(known, f)
			}
		}
		slices.Sort(known)
		out.Hint = hint(name, known, "")
		return
	}
	out.Hint = hint(name, known, "known names: ")
}

// hint returns the known name that was probably meant, or, introduced so, the names there are.
func hint(name string, known []string, introduction string) string {
	if closest, ok := suggest.Closest(name, known); ok {
		return fmt.Sprintf("did you mean %q?", closest)
	}
	if introduction == "" || len(known) == 0 {
		return ""
	}
	return introduction + strings.Join(known, ", ")
}

// fieldsAt returns the fields of what a member at that place is taken from.
func fieldsAt(root ast.Node, place file.Location) []string {
	var fields []string
	ast.Find(root, func(n ast.Node) bool {
		member, ok := n.(*ast.MemberNode)
		if !ok || member.Property.Location() != place {
			return false
		}
		if base := member.Node.Nature(); base.TypeData != nil {
			fields = slices.Sorted(maps.Keys(base.Fields))
		}
		return fields != nil
	})
	return fields
}

// nameOfType names a Go type as expr prints it.
func nameOfType(t string) string {
	switch t {
	case "string":
		return "a string"
	case "bool":
		return "true or false"
	case "int", "int64", "uint":
		return "a whole number"
	case "float64":
		return "a number"
	case "time.Time":
		return "a time"
	case "time.Duration":
		return "a duration"
	case "nil", "<nil>":
		return "nil"
	case "unknown", "interface {}":
		return "a value of unknown type"
	}
	switch {
	case strings.HasPrefix(t, "[]"):
		return "a list"
	case strings.HasPrefix(t, "map["):
		return "a map"
	case strings.HasPrefix(t, "func("):
		return "a function"
	}
	return t
}

func nameOfValue(v any) string { return nameOfType(fmt.Sprintf("%T", v)) }

// byteOffset converts an offset in characters, as expr counts, into one in bytes.
func byteOffset(src string, characters int) int {
	offset := 0
	for ; characters > 0 && offset < len(src); characters-- {
		_, size := utf8.DecodeRuneInString(src[offset:])
		offset += size
	}
	return offset
}

func firstLine(s string) string {
	line, _, _ := strings.Cut(s, "\n")
	return strings.TrimSpace(line)
}
