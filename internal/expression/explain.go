package expression

import (
	"cmp"
	"slices"

	"github.com/expr-lang/expr/ast"
	"github.com/expr-lang/expr/builtin"
	"github.com/expr-lang/expr/file"
	"github.com/expr-lang/expr/parser"
	"github.com/expr-lang/expr/parser/lexer"
)

// Operand is a part of an expression and what it came to.
type Operand struct {
	Text  string // as it stands in the source
	Value any    // may be nil, and may share parts with vars
	Err   error  // an *Error, whose Offset is one into Text; Value is nil
}

// Explain evaluates the parts of an expression that decide its value: the operands of comparisons, and the names,
// members and calls that stand as conditions, but no constants. Where there are several comparisons, each is a part too,
// after its operands. The parts come in the order of the source, each text once, and MaxOperands at most. What is inside
// the body of a loop is left out.
//
// Each part is evaluated by itself, also one that the expression never came to: so it may have an error where the
// expression has none, such as b.c in "b != nil and b.c > 3". The source is parsed anew each time.
func (p *Program) Explain(vars map[string]any) []Operand {
	c, err := newOperandCollector(p.env, p.source)
	if err != nil {
		return nil // not for a source that was compiled
	}
	c.collect(c.root, "")
	var list []Operand
	seen := make(map[string]bool)
	for _, found := range c.pieces {
		if found.comparison && c.comparisons < 2 || seen[found.text] {
			continue
		}
		if len(list) == MaxOperands {
			break
		}
		seen[found.text] = true
		list = append(list, found.eval(p.env, vars))
	}
	return list
}

// Comparisons returns the comparisons that call one of the named functions, each as a program of its own, and whether
// every call of them is an operand of one with <, <=, > or >=, or a part of a sum there: such as now() > t +
// duration("5m"), and not now().Hour() > 6. The source is parsed anew each time.
func (p *Program) Comparisons(names ...string) (list []*Program, all bool) {
	c, err := newOperandCollector(p.env, p.source)
	if err != nil {
		return nil, false // not for a source that was compiled
	}
	c.collect(c.root, "")
	found := 0
	for _, piece := range c.pieces {
		if !piece.comparison || !callsAny(piece.node, names) || !ordering[piece.node.(*ast.BinaryNode).Operator] {
			continue
		}
		one, err := p.env.Compile(piece.declarations+piece.text, BoolResult)
		if err != nil {
			return nil, false
		}
		for _, side := range []ast.Node{piece.node.(*ast.BinaryNode).Left, piece.node.(*ast.BinaryNode).Right} {
			found += summands(side, names)
		}
		list = append(list, one)
	}
	calls := 0
	for _, call := range p.calls {
		if slices.Contains(names, call.Name) {
			calls++
		}
	}
	return list, found == calls
}

// CallsAny reports whether the expression calls one of the named functions.
func (p *Program) CallsAny(names ...string) bool {
	return slices.ContainsFunc(p.calls, func(c Call) bool { return slices.Contains(names, c.Name) })
}

// ordering holds the operators that ask which is more.
var ordering = map[string]bool{"<": true, "<=": true, ">": true, ">=": true}

func callsAny(node ast.Node, names []string) bool {
	return ast.Find(node, func(n ast.Node) bool { return isCall(n, names) }) != nil
}

func isCall(node ast.Node, names []string) bool {
	call, ok := node.(*ast.CallNode)
	if !ok {
		return false
	}
	callee, ok := call.Callee.(*ast.IdentifierNode)
	return ok && slices.Contains(names, callee.Value)
}

// summands counts the calls of the named functions that a sum or a difference is made of.
func summands(node ast.Node, names []string) int {
	if n, ok := node.(*ast.BinaryNode); ok && (n.Operator == "+" || n.Operator == "-") {
		return summands(n.Left, names) + summands(n.Right, names)
	}
	if isCall(node, names) {
		return 1
	}
	return 0
}

// piece is a part of a source that is to be evaluated, with the declarations of the variables that it may use.
type piece struct {
	declarations string
	text         string
	comparison   bool
	node         ast.Node
}

// eval evaluates a piece. A bool alone would be a condition, in which nil is an error: ?? makes it a value.
func (p piece) eval(e *Env, vars map[string]any) Operand {
	before := p.declarations + "("
	out := Operand{Text: p.text}
	program, err := e.Compile(before+p.text+") ?? nil", AnyResult)
	if err == nil {
		out.Value, err = program.Eval(vars)
	}
	if err != nil {
		shifted := asError(err).shifted(-len(before))
		shifted.Offset = min(max(shifted.Offset, 0), len(p.text)) // an error in a declaration is before the text
		out.Err = shifted
	}
	return out
}

// operandCollector collects the pieces of a source.
type operandCollector struct {
	root        ast.Node
	source      string
	offsets     []int // of the characters, as which expr counts, in bytes; and the end
	tokens      []lexer.Token
	functions   map[string]*builtin.Function
	ifs         map[*ast.ConditionalNode]int // the tokens that were found
	pieces      []piece
	comparisons int
}

func newOperandCollector(e *Env, src string) (*operandCollector, error) {
	tokens, err := lexer.Lex(file.NewSource(src))
	if err != nil {
		return nil, err
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	config := e.config()
	tree, err := parser.ParseWithConfig(src, config)
	if err != nil {
		return nil, err
	}
	c := &operandCollector{
		root: tree.Node, source: src, tokens: tokens, functions: config.Functions, ifs: make(map[*ast.ConditionalNode]int),
	}
	for at := range src {
		c.offsets = append(c.offsets, at)
	}
	c.offsets = append(c.offsets, len(src))
	return c, nil
}

// comparing holds the operators that compare. not in and the like are one of them under a not.
var comparing = map[string]bool{
	"==": true, "!=": true, "<": true, "<=": true, ">": true, ">=": true,
	"in": true, "contains": true, "startsWith": true, "endsWith": true, "matches": true,
}

func (c *operandCollector) collect(node ast.Node, declarations string) {
	switch n := node.(type) {
	case *ast.BinaryNode:
		if comparing[n.Operator] {
			c.comparison(n, declarations)
			return
		}
		c.collect(n.Left, declarations)
		c.collect(n.Right, declarations)
	case *ast.UnaryNode:
		c.collect(n.Node, declarations)
	case *ast.ConditionalNode:
		c.collect(n.Cond, declarations)
		c.collect(n.Exp1, declarations)
		c.collect(n.Exp2, declarations)
	case *ast.VariableDeclaratorNode:
		c.collect(n.Value, declarations)
		c.collect(n.Expr, declarations+"let "+n.Name+"="+c.text(n.Value)+";")
	case *ast.SequenceNode:
		c.collect(n.Nodes[len(n.Nodes)-1], declarations)
	default:
		c.operand(node, declarations)
	}
}

func (c *operandCollector) comparison(n *ast.BinaryNode, declarations string) {
	if c.isFixed(n) {
		return
	}
	c.operand(n.Left, declarations)
	c.operand(n.Right, declarations)
	c.comparisons++
	c.pieces = append(c.pieces, piece{declarations, c.text(n), true, n})
}

func (c *operandCollector) operand(node ast.Node, declarations string) {
	if !c.isFixed(node) {
		c.pieces = append(c.pieces, piece{declarations, c.text(node), false, node})
	}
}

// isFixed reports whether a part has the same value whatever the vars are: no name is in it but those of functions that
// every Env has.
func (c *operandCollector) isFixed(node ast.Node) bool {
	named := ast.Find(node, func(n ast.Node) bool {
		name, ok := n.(*ast.IdentifierNode)
		return ok && c.functions[name.Value] == nil
	})
	return named == nil
}

// text returns the source of a part, without parentheses around it.
func (c *operandCollector) text(node ast.Node) string {
	first, last := c.extent(node)
	first, last = c.balance(first, last)
	return c.source[c.offsets[c.tokens[first].From]:c.offsets[c.tokens[last].To]]
}

// extent returns the first and the last token that the nodes of a part are known to have.
func (c *operandCollector) extent(node ast.Node) (first, last int) {
	first, last = len(c.tokens)-1, 0
	ast.Find(node, func(n ast.Node) bool {
		from, to := c.tokensOf(n)
		first, last = min(first, from), max(last, to)
		return false
	})
	return first, last
}

// tokensOf returns the tokens of a node itself. The parser gives each node one place, and a condition a useless one.
func (c *operandCollector) tokensOf(node ast.Node) (from, to int) {
	switch n := node.(type) {
	case *ast.ConditionalNode:
		if n.Ternary {
			return c.tokensOf(n.Cond)
		}
		at := c.ifOf(n)
		return at, at
	case *ast.VariableDeclaratorNode:
		at := c.tokenAt(n.Location())
		return at - 1, at // let
	case *ast.CallNode, *ast.BuiltinNode:
		at := c.tokenAt(n.Location())
		return at, at + 1 // the opening parenthesis
	}
	at := c.tokenAt(node.Location())
	return at, at
}

// ifOf returns the token before the condition. It is kept, since conditions may be nested in one another.
func (c *operandCollector) ifOf(n *ast.ConditionalNode) int {
	at, ok := c.ifs[n]
	if ok {
		return at
	}
	for at, _ = c.extent(n.Cond); !c.tokens[at].Is(lexer.Operator, "if"); at-- {
	}
	c.ifs[n] = at
	return at
}

func (c *operandCollector) tokenAt(place file.Location) int {
	at, _ := slices.BinarySearchFunc(c.tokens, place.From, func(t lexer.Token, from int) int {
		return cmp.Compare(t.From, from)
	})
	return at
}

// balance extends a part of the tokens until each bracket in it has its other half.
func (c *operandCollector) balance(first, last int) (int, int) {
	opened, closed := 0, 0
	for _, t := range c.tokens[first : last+1] {
		switch {
		case t.Is(lexer.Bracket, "(", "[", "{"):
			opened++
		case t.Is(lexer.Bracket) && opened > 0:
			opened--
		case t.Is(lexer.Bracket):
			closed++
		}
	}
	for ; closed > 0; closed-- {
		for first--; !c.tokens[first].Is(lexer.Bracket); first-- {
		}
	}
	for opened > 0 {
		last++
		if c.tokens[last].Is(lexer.Bracket, "(", "[", "{") {
			opened++
		} else if c.tokens[last].Is(lexer.Bracket) {
			opened--
		}
	}
	return first, last
}
