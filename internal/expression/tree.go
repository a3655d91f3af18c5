package expression

import (
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
)

// Tree is a value made of maps, lists and single values, in which every string may be a template.
type Tree struct {
	root    branch
	literal bool
}

// branch is one value of a Tree: a template, a map, a list or a constant.
type branch struct {
	path     []any
	template *Template
	keys     []string // of a map, sorted
	items    []branch // of a map in the order of keys, or of a list
	kind     branchKind
	value    any // of a constant
}

type branchKind int

const (
	constantBranch branchKind = iota
	templateBranch
	mapBranch
	listBranch
)

// TreeError is an Error in one string of a tree.
type TreeError struct {
	Path []any // the way to the string: keys (string) and indexes (int)
	Err  *Error
}

// Error returns the path and the message.
func (e *TreeError) Error() string {
	if len(e.Path) == 0 {
		return e.Err.Error()
	}
	return pathText(e.Path) + ": " + e.Err.Error()
}

// Unwrap returns the *Error.
func (e *TreeError) Unwrap() error { return e.Err }

// TreeErrors is every error of a tree, in the order of sorted keys.
type TreeErrors []*TreeError

// Error returns all errors, one after another.
func (e TreeErrors) Error() string {
	texts := make([]string, len(e))
	for i, err := range e {
		texts[i] = err.Error()
	}
	return strings.Join(texts, "; ")
}

// Unwrap returns the errors.
func (e TreeErrors) Unwrap() []error {
	list := make([]error, len(e))
	for i, err := range e {
		list[i] = err
	}
	return list
}

func pathText(path []any) string {
	var out strings.Builder
	for _, p := range path {
		switch p := p.(type) {
		case int:
			out.WriteString("[" + strconv.Itoa(p) + "]")
		default:
			if out.Len() > 0 {
				out.WriteString(".")
			}
			fmt.Fprint(&out, p)
		}
	}
	return out.String()
}

// ParseTree parses every string in a value as a template. The value is made of map[string]any, []any, strings and other
// single values, and is not changed. A key cannot hold an expression. The error is a TreeErrors with everything that is
// wrong.
func (e *Env) ParseTree(v any) (*Tree, error) { return ParseTree(v, func([]any) *Env { return e }) }

// ParseTree is Env.ParseTree where strings see different things: at gives the Env of the one that a path leads to.
func ParseTree(v any, at func(path []any) *Env) (*Tree, error) {
	p := &treeParser{at: at, tree: &Tree{literal: true}}
	p.tree.root = p.parse(nil, v)
	if len(p.errors) > 0 {
		return nil, p.errors
	}
	return p.tree, nil
}

type treeParser struct {
	at     func(path []any) *Env
	tree   *Tree
	errors TreeErrors
}

func (p *treeParser) parse(path []any, v any) branch {
	b := branch{path: path, value: v}
	switch v := v.(type) {
	case string:
		return p.template(b, v)
	case map[string]any:
		b.kind = mapBranch
		b.keys = slices.Sorted(maps.Keys(v))
		for _, key := range b.keys {
			if at := strings.Index(key, opening); at >= 0 {
				err := &Error{Offset: at, Message: fmt.Sprintf("the key %q cannot hold an expression", key)}
				p.errors = append(p.errors, &TreeError{Path: path, Err: err})
			}
			b.items = append(b.items, p.parse(extend(path, key), v[key]))
		}
	case []any:
		b.kind = listBranch
		for i, item := range v {
			b.items = append(b.items, p.parse(extend(path, i), item))
		}
	}
	return b
}

func (p *treeParser) template(b branch, src string) branch {
	t, err := p.at(b.path).ParseTemplate(src)
	if err != nil {
		p.errors = append(p.errors, &TreeError{Path: b.path, Err: asError(err)})
		return b
	}
	if t.IsLiteral() {
		b.value = t.text()
		return b
	}
	p.tree.literal = false
	b.kind, b.template = templateBranch, t
	return b
}

// extend returns path with one part more, without touching path.
func extend(path []any, part any) []any {
	return append(slices.Clip(path), part)
}

// Literal returns the value when there is no expression in it. It is the caller's.
func (t *Tree) Literal() (any, bool) {
	if !t.literal {
		return nil, false
	}
	v, err := t.root.eval(nil)
	return v, err == nil
}

// Constants returns the values of a map that are known without evaluating, by its keys; nil stands for the others. It is
// nil when the value is no map.
func (t *Tree) Constants() map[string]any {
	if t.root.kind != mapBranch {
		return nil
	}
	known := make(map[string]any, len(t.root.keys))
	for i, key := range t.root.keys {
		item := &t.root.items[i]
		known[key] = nil
		if v, ok := (&Tree{root: *item, literal: item.constant()}).Literal(); ok {
			known[key] = v
		}
	}
	return known
}

// constant reports whether there is no expression in a value.
func (b *branch) constant() bool {
	constant := true
	b.each(func([]any, *Template) { constant = false })
	return constant
}

// Eval evaluates all templates and returns the value, whose maps and lists are new; what templates give may be shared
// with vars. The error is a *TreeError.
func (t *Tree) Eval(vars map[string]any) (any, error) { return t.root.eval(vars) }

// Each calls f for every string that is a template with at least one expression, in the order of sorted keys.
func (t *Tree) Each(f func(path []any, t *Template)) { t.root.each(f) }

func (b *branch) each(f func(path []any, t *Template)) {
	if b.kind == templateBranch {
		f(b.path, b.template)
	}
	for i := range b.items {
		b.items[i].each(f)
	}
}

func (b *branch) eval(vars map[string]any) (any, error) {
	switch b.kind {
	case templateBranch:
		v, err := b.template.Eval(vars)
		if err != nil {
			return nil, &TreeError{Path: b.path, Err: asError(err)}
		}
		return v, nil
	case mapBranch:
		out := make(map[string]any, len(b.items))
		for i, key := range b.keys {
			v, err := b.items[i].eval(vars)
			if err != nil {
				return nil, err
			}
			out[key] = v
		}
		return out, nil
	case listBranch:
		out := make([]any, len(b.items))
		for i := range b.items {
			v, err := b.items[i].eval(vars)
			if err != nil {
				return nil, err
			}
			out[i] = v
		}
		return out, nil
	}
	return b.value, nil
}
