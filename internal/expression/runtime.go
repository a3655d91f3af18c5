package expression

import (
	"errors"
	"fmt"
	"regexp"
	"strings"

	"github.com/expr-lang/expr/ast"
	"github.com/expr-lang/expr/file"
	"github.com/expr-lang/expr/parser/utils"
)

var (
	fetchFromNil = regexp.MustCompile(`^cannot fetch (.+) from <nil>$`)
	wrongOperand = regexp.MustCompile(`^invalid operation: (.+) (\S+) (.+)$`)
	wrongKind    = regexp.MustCompile(`interface conversion: interface \{\} is (.+), not (.+)$`)
	wrongCall    = regexp.MustCompile(`^reflect: Call using (.+) as type (.+)$`)
)

// translateRuntime makes an *Error of what ended an evaluation.
func (p *Program) translateRuntime(err error) *Error {
	var from *file.Error
	if !errors.As(err, &from) {
		return &Error{Message: firstLine(err.Error()), cause: err}
	}
	out := &Error{Offset: byteOffset(p.source, from.From), Message: strings.TrimPrefix(firstLine(from.Message), "runtime error: ")}
	out.cause = from.Prev
	var missing *nilError
	if errors.As(err, &missing) || errors.Is(err, errBudget) || errors.Is(err, errOverflow) {
		out.Message = from.Prev.Error()
		return out
	}
	if out.Message == "memory budget exceeded" {
		out.Message = errBudget.Error()
		return out
	}
	if fetchFromNil.MatchString(out.Message) {
		out.Message = p.baseAt(from.Location) + " is nil; use ?. or ??"
		return out
	}
	if m := wrongOperand.FindStringSubmatch(out.Message); m != nil {
		out.Message = fmt.Sprintf("cannot use %s on %s and %s", m[2], nameOfType(m[1]), nameOfType(m[3]))
		return out
	}
	if m := wrongKind.FindStringSubmatch(out.Message); m != nil {
		out.Message = fmt.Sprintf("%s is needed here, not %s", nameOfType(m[2]), nameOfType(m[1]))
	} else if m := wrongCall.FindStringSubmatch(out.Message); m != nil {
		out.Message = fmt.Sprintf("%s is needed here, not %s", nameOfType(m[2]), nameOfType(m[1]))
	}
	if name := nameAt(p.source, out.Offset); name != "" {
		out.Message = name + ": " + out.Message
	}
	return out
}

// baseAt returns the text of what a member at that place is taken from.
func (p *Program) baseAt(place file.Location) string {
	text := "a value"
	root := p.code.Node()
	ast.Find(root, func(n ast.Node) bool {
		member, ok := n.(*ast.MemberNode)
		if ok && member.Location() == place {
			text = describe(member.Node)
			return true
		}
		return false
	})
	return text
}

// nameAt returns the function that is called at an offset of the source, or "".
func nameAt(src string, offset int) string {
	name, _, ok := strings.Cut(src[offset:], "(")
	if name = strings.TrimSpace(name); ok && utils.IsValidIdentifier(name) {
		return name
	}
	return ""
}
