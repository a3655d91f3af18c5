package shape

import (
	"time"

	"github.com/expr-lang/expr/types"
)

// Expr returns the type that expressions are checked against. Objects are strict: a field that they do not have is an
// error at compile time. Whether a value may be null is not part of the type: null is nil at run time.
func (s *Shape) Expr() types.Type {
	switch s.Type {
	case String:
		return types.String
	case Number:
		return types.Float64
	case Integer:
		return types.Int
	case Boolean:
		return types.Bool
	case Time:
		return types.TypeOf(time.Time{})
	case Duration:
		return types.TypeOf(time.Duration(0))
	case List:
		return types.Array(s.elem().Expr())
	case Map:
		return types.Map{types.Extra: s.elem().Expr()}
	case Object:
		m := make(types.Map, len(s.Fields))
		for _, f := range s.Fields {
			m[f.Name] = f.Shape.Expr()
		}
		return m
	}
	return types.Any
}
