// Package expression compiles and evaluates the expressions of rules, in the language of expr-lang: bare expressions,
// templates (text with ${{ expression }} parts) and trees (values in which any string may be a template).
//
// An Env says what an expression can see, and everything is checked against it when it is compiled: unknown names and
// fields, comparisons of things that cannot be equal, wrong result types. Errors are *Error and carry the place in the
// source. Evaluation is deterministic, has no clock of its own, and is bounded by MemoryBudget; nil is an error wherever
// a value is needed, unless the expression says with ?. or ?? that it may be missing.
//
// Envs, programs, templates and trees do not change once made, and are safe for concurrent use.
package expression

import (
	"maps"
	"slices"
	"sync"

	"github.com/expr-lang/expr/conf"
	"github.com/expr-lang/expr/types"
)

// Env holds the names that an expression can see, with their types. It does not change: With returns a copy.
type Env struct {
	names types.Map

	// What the names mean to expr takes longer to work out than most expressions take to compile, and every compiled one
	// refers to it: so there is one for all, and since expr fills it in as it goes, one compilation at a time.
	mu     sync.Mutex
	shared *conf.Config
}

// NewEnv returns an Env without names.
func NewEnv() *Env { return &Env{names: types.Map{}} }

// With returns an Env that has one name more, or the same name with another type. Its value is supplied in vars at Eval,
// in the form that shape.Decode gives. Without one it is nil.
func (e *Env) With(name string, t types.Type) *Env {
	names := maps.Clone(e.names)
	names[name] = t
	return &Env{names: names}
}

// WithFunc returns an Env in which name is a function of the sample's Go type, such as func(kind, id string) (any, error).
// The function itself is supplied in vars at Eval. It may return an error as second result, and may panic: both end the
// evaluation with an error.
func (e *Env) WithFunc(name string, sample any) *Env { return e.With(name, types.TypeOf(sample)) }

// Names returns the names, sorted.
func (e *Env) Names() []string { return slices.Sorted(maps.Keys(e.names)) }
