package expression

import (
	"reflect"

	"github.com/expr-lang/expr/ast"
	"github.com/expr-lang/expr/vm"
)

// safeFunc is a function that also returns what it used of the memory budget. Its errors end the evaluation.
type safeFunc = vm.SafeFunction

// placeholder carries a safeFunc through expr's compiler, which emits calls to functions of its type only.
type placeholder struct{ fn safeFunc }

var fastFuncType = reflect.TypeFor[func(...any) any]()

// call makes a node that calls fn. Its callee is a constant that useSafeCalls replaces after compiling.
func call(fn safeFunc, arguments ...ast.Node) *ast.CallNode {
	callee := &ast.ConstantNode{Value: &placeholder{fn: fn}}
	callee.SetType(fastFuncType)
	return &ast.CallNode{Callee: callee, Arguments: arguments}
}

// replace puts a call of fn in the place of a node, with its type.
func replace(node *ast.Node, fn safeFunc, arguments ...ast.Node) {
	n := call(fn, arguments...)
	n.SetLocation((*node).Location())
	n.SetNature(*(*node).Nature())
	*node = n
}

// useSafeCalls turns the calls that call made into calls that count against the memory budget: "push function, call
// it" stays as long as it is, with another function and another way to call.
func useSafeCalls(code *vm.Program) {
	for i, op := range code.Bytecode {
		if op != vm.OpCallFast || i == 0 || code.Bytecode[i-1] != vm.OpPush {
			continue
		}
		index := code.Arguments[i-1]
		if p, ok := code.Constants[index].(*placeholder); ok {
			code.Constants[index] = p.fn
		}
		if _, ok := code.Constants[index].(safeFunc); ok {
			code.Bytecode[i] = vm.OpCallSafe
		}
	}
}
