package expression

import (
	"cmp"
	"slices"
	"strings"

	"github.com/expr-lang/expr/ast"
	"github.com/expr-lang/expr/parser/utils"
)

// Equality is a condition that must hold for an expression to be true: what the path leads to is one of the values.
type Equality struct {
	Path   string // such as event.payload.region
	Values []any  // strings, ints, float64s and booleans as written; a number may be equal to one of another type
}

// Equalities returns the comparisons with constants without which the whole expression cannot be true: those that and
// joins at the top. There may be others that it does not see, and two for one path.
func (p *Program) Equalities() []Equality { return p.equalities }

// Call is one call of a function of the Env.
type Call struct {
	Name   string
	Offset int      // in bytes into the source
	Args   []any    // the constant arguments; nil where an argument is not constant
	Member []string // the names that are taken from the result: ["status"] for state("satellite", id)?.status
}

// Members returns which constant members of a name of the Env the expression reads, sorted: for the name entity in
// entity.state.value > 3 it is state.value. A path ends where something else than a constant name is taken, such as an
// item of a list or a method. whole: it also uses the name by itself, and with it everything.
func (p *Program) Members(name string) (paths []string, whole bool) {
	c := &memberCollector{name: name, paths: make(map[*ast.IdentifierNode]string)}
	root := p.code.Node()
	ast.Walk(&root, c)
	for _, path := range c.paths {
		if path == "" {
			whole = true
		} else {
			paths = append(paths, path)
		}
	}
	slices.Sort(paths)
	return slices.Compact(paths), whole
}

// Calls returns the calls of functions of the Env, in the order of the source.
func (p *Program) Calls() []Call { return p.calls }

func equalities(node ast.Node) []Equality {
	n, ok := node.(*ast.BinaryNode)
	if !ok {
		return nil
	}
	switch n.Operator {
	case "and", "&&":
		return append(equalities(n.Left), equalities(n.Right)...)
	case "==":
		for _, sides := range [][2]ast.Node{{n.Left, n.Right}, {n.Right, n.Left}} {
			path, isPath := pathOf(sides[0])
			value, isConstant := constant(sides[1])
			if isPath && isConstant {
				return []Equality{{Path: path, Values: []any{value}}}
			}
		}
	case "in":
		list, isList := n.Right.(*ast.ArrayNode)
		path, isPath := pathOf(n.Left)
		if isList && isPath {
			return inList(path, list)
		}
	}
	return nil
}

func inList(path string, list *ast.ArrayNode) []Equality {
	values := make([]any, len(list.Nodes))
	for i, item := range list.Nodes {
		v, ok := constant(item)
		if !ok {
			return nil
		}
		values[i] = v
	}
	return []Equality{{Path: path, Values: values}}
}

// pathOf returns the names of a node that is made of names alone.
func pathOf(node ast.Node) (string, bool) {
	switch n := node.(type) {
	case *ast.IdentifierNode:
		return n.Value, true
	case *ast.ChainNode:
		return pathOf(n.Node)
	case *ast.MemberNode:
		base, ok := pathOf(n.Node)
		name, isName := n.Property.(*ast.StringNode)
		if ok && isName && utils.IsValidIdentifier(name.Value) {
			return base + "." + name.Value, true
		}
	}
	return "", false
}

// constant returns the value of a node that is a string, a number or a boolean.
func constant(node ast.Node) (any, bool) {
	switch n := node.(type) {
	case *ast.StringNode:
		return n.Value, true
	case *ast.IntegerNode:
		return n.Value, true
	case *ast.FloatNode:
		return n.Value, true
	case *ast.BoolNode:
		return n.Value, true
	case *ast.UnaryNode:
		v, ok := constant(n.Node)
		if !ok || n.Operator != "-" {
			return nil, false
		}
		switch v := v.(type) {
		case int:
			return -v, true
		case float64:
			return -v, true
		}
	}
	return nil, false
}

func calls(root ast.Node, src string) []Call {
	c := &callCollector{found: make(map[*ast.CallNode]*Call), src: src}
	ast.Walk(&root, c)
	var list []Call
	for _, call := range c.found {
		list = append(list, *call)
	}
	slices.SortFunc(list, func(a, b Call) int { return cmp.Compare(a.Offset, b.Offset) })
	return list
}

type callCollector struct {
	found map[*ast.CallNode]*Call
	src   string
}

// Visit is called for each node after its children, so the longest chain of members comes last.
func (c *callCollector) Visit(node *ast.Node) {
	switch n := (*node).(type) {
	case *ast.CallNode:
		callee, ok := n.Callee.(*ast.IdentifierNode)
		if !ok {
			return
		}
		call := &Call{Name: callee.Value, Offset: byteOffset(c.src, callee.Location().From)}
		for _, argument := range n.Arguments {
			v, _ := constant(argument)
			call.Args = append(call.Args, v)
		}
		c.found[n] = call
	case *ast.MemberNode:
		if base, names, ok := membersOf(n); ok && c.found[base] != nil {
			c.found[base].Member = names
		}
	}
}

// membersOf returns the call below a chain of constant names, and the names.
func membersOf(node ast.Node) (*ast.CallNode, []string, bool) {
	switch n := node.(type) {
	case *ast.CallNode:
		return n, nil, true
	case *ast.ChainNode:
		return membersOf(n.Node)
	case *ast.MemberNode:
		call, names, ok := membersOf(n.Node)
		name, isName := n.Property.(*ast.StringNode)
		if ok && isName && !n.Method {
			return call, append(names, name.Value), true
		}
	}
	return nil, nil, false
}

// memberCollector finds the longest path at each place where a name stands.
type memberCollector struct {
	name  string
	paths map[*ast.IdentifierNode]string
}

// Visit is called for each node after its children, so the longest path comes last.
func (c *memberCollector) Visit(node *ast.Node) {
	switch n := (*node).(type) {
	case *ast.IdentifierNode:
		if n.Value == c.name {
			c.paths[n] = ""
		}
	case *ast.MemberNode:
		base, ok := baseOf(n)
		if !ok || base.Value != c.name || n.Method {
			return
		}
		if path, ok := pathOf(n); ok {
			c.paths[base] = strings.TrimPrefix(path, c.name+".")
		}
	}
}

// baseOf returns the name that a chain of members begins with.
func baseOf(node ast.Node) (*ast.IdentifierNode, bool) {
	for {
		switch n := node.(type) {
		case *ast.IdentifierNode:
			return n, true
		case *ast.ChainNode:
			node = n.Node
		case *ast.MemberNode:
			node = n.Node
		default:
			return nil, false
		}
	}
}
