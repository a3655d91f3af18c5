package expression

import (
	"reflect"

	"github.com/expr-lang/expr/ast"
	"github.com/expr-lang/expr/builtin"
	"github.com/expr-lang/expr/checker/nature"
)

// rewrite changes a checked tree so that evaluating it keeps what the package promises and expr does not: nil is an error
// where a value is needed, whole numbers do not overflow silently, and texts and loops count against the memory budget.
// It runs after the check, so that the check sees what the user wrote.
func rewrite(root *ast.Node) {
	r := &rewriter{optional: optionalVariables(*root)}
	ast.Walk(root, r)
	r.needBool(root) // "a and b" is the condition's value; nil is to be reported where it comes from
}

type rewriter struct {
	optional map[string]bool // variables of let whose value may be nil on purpose
}

// Visit is called for each node after its children.
func (r *rewriter) Visit(node *ast.Node) {
	switch n := (*node).(type) {
	case *ast.BinaryNode:
		r.binary(node, n)
	case *ast.UnaryNode:
		r.need(&n.Node)
	case *ast.ConditionalNode:
		r.need(&n.Cond)
	case *ast.SliceNode:
		r.need(&n.Node)
	case *ast.BuiltinNode:
		r.builtin(node, n)
	case *ast.CallNode:
		r.call(n)
	case *ast.ArrayNode:
		foldArray(node, n)
	}
}

func (r *rewriter) binary(node *ast.Node, n *ast.BinaryNode) {
	switch n.Operator {
	case "==", "!=":
		if isNil(n.Left) || isNil(n.Right) {
			return
		}
		r.compared(&n.Left)
		r.compared(&n.Right)
	case "<", "<=", ">", ">=":
		r.order(node, n)
	case "in":
		r.needUnlessOptional(&n.Left)
		r.needUnlessOptional(&n.Right)
		if _, constant := n.Right.(*ast.ConstantNode); !constant && !n.Right.Nature().IsMap() {
			replace(node, contains, n.Left, n.Right)
		}
	case "contains", "startsWith", "endsWith", "matches":
		r.needUnlessOptional(&n.Left)
		r.needUnlessOptional(&n.Right)
	case "??":
	default:
		r.need(&n.Left)
		r.need(&n.Right)
		r.arithmetic(node, n)
	}
}

// compared prepares one side of == or !=. expr compares two strings, or two ints, without looking for nil; where nil is
// allowed, the type is taken back so that it looks.
func (r *rewriter) compared(side *ast.Node) {
	r.needUnlessOptional(side)
	switch (*side).(type) {
	case *ast.ChainNode, *ast.ConditionalNode, *ast.IdentifierNode, *ast.BuiltinNode, *ast.SequenceNode,
		*ast.VariableDeclaratorNode:
		(*side).SetNature(nature.Nature{})
	}
}

// order prepares a comparison by size. Where one side may be missing on purpose, a missing one makes it false.
func (r *rewriter) order(node *ast.Node, n *ast.BinaryNode) {
	if r.isOptional(n.Left) || r.isOptional(n.Right) {
		replace(node, comparisons[n.Operator], n.Left, n.Right)
		return
	}
	r.need(&n.Left)
	r.need(&n.Right)
}

// arithmetic replaces the operators whose result may not fit. Those on floats, times and durations stay.
func (r *rewriter) arithmetic(node *ast.Node, n *ast.BinaryNode) {
	fn, ok := checkedOperators[n.Operator]
	if !ok {
		return
	}
	for _, side := range []ast.Node{n.Left, n.Right} {
		if t := side.Nature(); t.IsFloat || t.IsTime() || t.IsDuration() {
			return
		}
	}
	replace(node, fn, n.Left, n.Right)
}

// takesNil holds the functions that are meant to be asked about nil.
var takesNil = map[string]bool{"type": true, "string": true, "toJSON": true, "get": true, "first": true, "last": true}

func (r *rewriter) builtin(node *ast.Node, n *ast.BuiltinNode) {
	if len(n.Arguments) == 1 && (n.Name == "sum" || n.Name == "count") {
		n.Arguments = append(n.Arguments, &ast.PredicateNode{Node: &ast.PointerNode{}})
	}
	for i, argument := range n.Arguments {
		if predicate, ok := argument.(*ast.PredicateNode); ok {
			r.predicate(n.Name, predicate)
		} else if !takesNil[n.Name] {
			r.need(&n.Arguments[i])
		}
	}
	cost, ok := costs[n.Name]
	if !ok {
		return
	}
	function := builtin.Builtins[builtin.Index[n.Name]]
	if item, ok := ordered[n.Name]; ok {
		function = &builtin.Function{Func: listed(item)}
	}
	replace(node, costed(function, cost), n.Arguments...)
}

// boolPredicates holds the loops whose body is a condition.
var boolPredicates = map[string]bool{
	"all": true, "none": true, "any": true, "one": true, "filter": true, "count": true, "find": true, "findIndex": true,
	"findLast": true, "findLastIndex": true,
}

// predicate makes each turn of a loop count.
func (r *rewriter) predicate(name string, n *ast.PredicateNode) {
	if boolPredicates[name] {
		r.need(&n.Node)
	}
	turn := call(countTurn)
	turn.SetLocation(n.Location())
	body := &ast.SequenceNode{Nodes: []ast.Node{turn, n.Node}}
	body.SetNature(*n.Node.Nature())
	body.SetLocation(n.Node.Location())
	n.Node = body
}

// call refuses nil for parameters that cannot be nil. expr would pass "" or 0.
func (r *rewriter) call(n *ast.CallNode) {
	fn := n.Callee.Type()
	if fn.Kind() != reflect.Func {
		return
	}
	for i := range n.Arguments {
		if i >= fn.NumIn() || fn.IsVariadic() && i >= fn.NumIn()-1 {
			return
		}
		switch fn.In(i).Kind() {
		case reflect.Interface, reflect.Pointer, reflect.Map, reflect.Slice:
		default:
			r.need(&n.Arguments[i])
		}
	}
}

// needBool makes nil an error in the last operand of a condition.
func (r *rewriter) needBool(root *ast.Node) {
	if n, ok := (*root).(*ast.MemberNode); ok && n.Nature().IsBool() {
		r.need(root)
	}
}

func (r *rewriter) needUnlessOptional(node *ast.Node) {
	if !r.isOptional(*node) {
		r.need(node)
	}
}

// need wraps what may be nil: x becomes x ?? fail("x is nil").
func (r *rewriter) need(node *ast.Node) {
	switch n := (*node).(type) {
	case *ast.MemberNode, *ast.IdentifierNode, *ast.ChainNode:
	case *ast.PointerNode:
		if n.Name != "" {
			return
		}
	case *ast.CallNode:
		if _, ours := n.Callee.(*ast.ConstantNode); ours {
			return
		}
	case *ast.BuiltinNode:
		if !mayBeNil[n.Name] {
			return
		}
	default:
		return
	}
	missing := call(failNil(*node))
	missing.SetLocation((*node).Location())
	wrapped := &ast.BinaryNode{Operator: "??", Left: *node, Right: missing}
	wrapped.SetNature(*(*node).Nature())
	wrapped.SetLocation((*node).Location())
	*node = wrapped
}

// mayBeNil holds the functions that give nil when there is nothing to give.
var mayBeNil = map[string]bool{"find": true, "findLast": true, "first": true, "last": true, "get": true}

// isOptional reports whether the user said that a value may be missing.
func (r *rewriter) isOptional(node ast.Node) bool {
	switch n := node.(type) {
	case *ast.ChainNode:
		return true
	case *ast.BuiltinNode:
		return n.Name == "get"
	case *ast.IdentifierNode:
		return r.optional[n.Value]
	}
	return false
}

// optionalVariables returns the variables of let that hold an optional value.
func optionalVariables(root ast.Node) map[string]bool {
	r := &rewriter{optional: make(map[string]bool)}
	ast.Find(root, func(n ast.Node) bool {
		if declaration, ok := n.(*ast.VariableDeclaratorNode); ok && r.isOptional(declaration.Value) {
			r.optional[declaration.Name] = true
		}
		return false
	})
	return r.optional
}

// foldArray makes a list of constants once instead of at each evaluation.
func foldArray(node *ast.Node, n *ast.ArrayNode) {
	values := make([]any, len(n.Nodes))
	for i, item := range n.Nodes {
		v, ok := constant(item)
		if !ok {
			return
		}
		values[i] = v
	}
	folded := &ast.ConstantNode{Value: values}
	folded.SetLocation(n.Location())
	folded.SetNature(*n.Nature())
	*node = folded
}

func isNil(node ast.Node) bool {
	_, ok := node.(*ast.NilNode)
	return ok
}
