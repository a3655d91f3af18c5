package expression

import (
	"fmt"
	"strings"
	"sync"

	"github.com/expr-lang/expr/ast"
	"github.com/expr-lang/expr/builtin"
	"github.com/expr-lang/expr/checker"
	"github.com/expr-lang/expr/compiler"
	"github.com/expr-lang/expr/conf"
	"github.com/expr-lang/expr/parser"
	"github.com/expr-lang/expr/vm"

	"github.com/flightrules/flightrules/internal/duration"
)

// Program is a compiled expression. It is safe for concurrent use.
type Program struct {
	env        *Env
	source     string
	want       Result
	result     Result
	code       *vm.Program
	equalities []Equality
	calls      []Call
}

// Compile checks an expression against the Env and compiles it. want says what it must give: an expression whose type is
// known and another one is an error here, one whose type is known only at run time is checked by Eval. The error is an
// *Error.
func (e *Env) Compile(src string, want Result) (p *Program, err error) {
	if err := checkSource(src); err != nil {
		return nil, err
	}
	// expr panics in the checker for some types that it does not expect.
	defer func() {
		if r := recover(); r != nil {
			p, err = nil, &Error{Message: fmt.Sprintf("the expression cannot be compiled: %v", r)}
		}
	}()
	e.mu.Lock()
	defer e.mu.Unlock()
	config := e.config()
	tree, err := parser.ParseWithConfig(src, config)
	if err != nil {
		return nil, translate(err, e, src, nil)
	}
	if tooLarge(tree.Node) {
		return nil, &Error{Message: fmt.Sprintf("the expression has more than %d parts", MaxNodes)}
	}
	if _, err := checker.Check(tree, config); err != nil {
		return nil, translate(err, e, src, tree.Node)
	}
	p = &Program{env: e, source: src, want: want, result: resultOf(tree.Node.Nature())}
	if err := checkNames(tree.Node, src); err != nil {
		return nil, err
	}
	if err := checkResult(tree.Node, p.result, want); err != nil {
		return nil, err
	}
	p.equalities = equalities(tree.Node)
	p.calls = calls(tree.Node, src)
	rewrite(&tree.Node)
	p.code, err = compiler.Compile(tree, config)
	if err != nil {
		return nil, &Error{Message: "the expression cannot be compiled: " + firstLine(err.Error())}
	}
	useSafeCalls(p.code)
	return p, nil
}

// Source returns the text of the expression.
func (p *Program) Source() string { return p.source }

// Type returns what is known about the result without evaluating; AnyResult when nothing is.
func (p *Program) Type() Result { return p.result }

// config returns the settings for compilations, under e.mu. The optimizer of expr stays off: it computes constants without
// looking for overflow, and rearranges what rewrite has made.
func (e *Env) config() *conf.Config {
	if e.shared != nil {
		return e.shared
	}
	config := conf.New(e.names)
	config.MaxNodes = MaxNodes
	config.Optimize = false
	config.Disabled["now"] = true // the only clock is the one that the Env has
	delete(config.Builtins, "now")
	parse := &builtin.Function{
		Name:  "duration",
		Func:  func(args ...any) (any, error) { return duration.Parse(args[0].(string)) },
		Types: builtin.Builtins[builtin.Index["duration"]].Types,
	}
	config.Functions["duration"] = parse
	e.shared = config
	return config
}

// tooLarge counts the parts of a tree as everything that walks it meets them: the parser lets two branches of a ?: share
// one, so that a short text may stand for a tree that grows with the power of its depth.
func tooLarge(root ast.Node) (yes bool) {
	enough := new(int)
	defer func() {
		if p := recover(); p == enough {
			yes = true
		} else if p != nil {
			panic(p)
		}
	}()
	ast.Walk(&root, counter{enough})
	return false
}

// counter ends a walk by a panic with n when there are too many parts.
type counter struct{ n *int }

// Visit counts.
func (c counter) Visit(*ast.Node) {
	if *c.n++; *c.n > MaxNodes {
		panic(c.n)
	}
}

func checkSource(src string) error {
	if strings.TrimSpace(src) == "" {
		return &Error{Message: "the expression is empty"}
	}
	if at := strings.Index(src, "${{"); at >= 0 {
		return &Error{Offset: at, Message: "an expression stands here by itself: write it without ${{ }}"}
	}
	if len(src) > MaxLength {
		return &Error{Message: fmt.Sprintf("the expression is longer than %d bytes", MaxLength)}
	}
	return nil
}

func checkResult(root ast.Node, result, want Result) error {
	if root.Nature().Nil && want != AnyResult {
		return &Error{Message: fmt.Sprintf("this must give %s, but it gives nil", want)}
	}
	if want != AnyResult && result != AnyResult && result != want {
		return &Error{Message: fmt.Sprintf("this must give %s, but it gives %s", want, result)}
	}
	return nil
}

// checkNames refuses what would pass the check unseen: $env, and functions that are passed about instead of called.
func checkNames(root ast.Node, src string) error {
	callees := make(map[ast.Node]bool)
	var refused error
	ast.Find(root, func(n ast.Node) bool {
		switch n := n.(type) {
		case *ast.CallNode:
			callees[n.Callee] = true
		case *ast.IdentifierNode:
			if n.Value == "$env" {
				refused = &Error{Offset: byteOffset(src, n.Location().From), Message: `unknown name "$env"`}
			}
		}
		return false
	})
	ast.Find(root, func(n ast.Node) bool {
		id, ok := n.(*ast.IdentifierNode)
		if ok && id.Nature().IsFunc() && !callees[id] && refused == nil {
			refused = &Error{
				Offset: byteOffset(src, id.Location().From), Message: fmt.Sprintf("%q is a function, not a value", id.Value),
				Hint: "call it with ( )",
			}
		}
		return false
	})
	return refused
}

// machines holds virtual machines for reuse.
var machines = sync.Pool{New: func() any { return &vm.VM{MemoryBudget: MemoryBudget} }}

// Eval evaluates the expression with the values of the Env's names. The error is an *Error. The result may share parts
// with vars and with the program, and must not be changed.
func (p *Program) Eval(vars map[string]any) (any, error) {
	out, err := p.run(vars)
	if err != nil {
		return nil, p.translateRuntime(err)
	}
	if p.want != AnyResult && resultOfValue(out) != p.want {
		return nil, &Error{Message: fmt.Sprintf("this must give %s, but it gives %s", p.want, nameOfValue(out))}
	}
	return out, nil
}

// Bool evaluates a condition. Everything but true and false is an error, nil too.
func (p *Program) Bool(vars map[string]any) (bool, error) {
	out, err := p.Eval(vars)
	if err != nil {
		return false, err
	}
	b, ok := out.(bool)
	if !ok {
		return false, &Error{Message: fmt.Sprintf("this must give %s, but it gives %s", BoolResult, nameOfValue(out))}
	}
	return b, nil
}

func (p *Program) run(vars map[string]any) (any, error) {
	const keep = 256 // a machine that needed a larger stack is not worth keeping
	machine := machines.Get().(*vm.VM)
	out, err := machine.Run(p.code, vars)
	if cap(machine.Stack) <= keep {
		clear(machine.Stack[:cap(machine.Stack)])
		clear(machine.Variables)
		machines.Put(machine)
	}
	return out, err
}
