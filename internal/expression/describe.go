package expression

import (
	"strconv"

	"github.com/expr-lang/expr/ast"
)

// describe names a part of an expression in messages: event.payload.region, state(...).status, xs[0].
func describe(node ast.Node) string {
	switch n := node.(type) {
	case *ast.IdentifierNode:
		return n.Value
	case *ast.PointerNode:
		return "#" + n.Name
	case *ast.ChainNode:
		return describe(n.Node)
	case *ast.BuiltinNode:
		return n.Name + "(...)"
	case *ast.CallNode:
		return describe(n.Callee) + "(...)"
	case *ast.MemberNode:
		return describe(n.Node) + describeProperty(n)
	}
	return "a value"
}

func describeProperty(n *ast.MemberNode) string {
	dot := "."
	if n.Optional {
		dot = "?."
	}
	switch property := n.Property.(type) {
	case *ast.StringNode:
		return dot + property.Value
	case *ast.IntegerNode:
		return "[" + strconv.Itoa(property.Value) + "]"
	}
	return "[...]"
}
