package expression

import (
	"errors"
	"fmt"
	"math"
	"math/bits"
	"reflect"

	"github.com/expr-lang/expr/ast"
	"github.com/expr-lang/expr/builtin"
	"github.com/expr-lang/expr/vm/runtime"
)

var (
	errBudget   = errors.New("the expression needs too much memory")
	errOverflow = errors.New("the result is too large for a whole number")
)

// nilError says what was nil.
type nilError struct{ text string }

func (e *nilError) Error() string { return e.text }

// failNil returns a function that ends the evaluation because a part of the expression is nil.
func failNil(node ast.Node) safeFunc {
	way := "use ?. or ??"
	if _, ok := node.(*ast.ChainNode); ok {
		way = "use ??"
	}
	err := &nilError{text: fmt.Sprintf("%s is nil; %s", describe(node), way)}
	return func(...any) (any, uint, error) { return nil, 0, err }
}

// countTurn counts one turn of a loop.
func countTurn(...any) (any, uint, error) { return nil, 1, nil }

// contains is the operator "in" for lists that are not constant: looking through them costs.
func contains(args ...any) (any, uint, error) {
	cost := 0
	if v := reflect.ValueOf(args[1]); v.Kind() == reflect.Slice || v.Kind() == reflect.Array {
		cost = v.Len()
	}
	return runtime.In(args[0], args[1]), uint(cost), nil
}

// comparisons holds the comparisons of values that may be missing: those are false.
var comparisons = map[string]safeFunc{
	"<":  orFalse(runtime.Less),
	"<=": orFalse(runtime.LessOrEqual),
	">":  orFalse(runtime.More),
	">=": orFalse(runtime.MoreOrEqual),
}

func orFalse[B any](compare func(a, b any) B) safeFunc {
	return func(args ...any) (any, uint, error) {
		if runtime.IsNil(args[0]) || runtime.IsNil(args[1]) {
			return false, 0, nil
		}
		return compare(args[0], args[1]), 0, nil
	}
}

// checkedOperators holds the operators that look for overflow and count the texts that they make.
var checkedOperators = map[string]safeFunc{"+": add, "-": subtract, "*": multiply, "..": makeRange}

func add(args ...any) (any, uint, error) {
	switch a := args[0].(type) {
	case int:
		if b, ok := args[1].(int); ok {
			sum := a + b
			if (sum > a) != (b > 0) && b != 0 {
				return nil, 0, errOverflow
			}
			return sum, 0, nil
		}
	case string:
		if b, ok := args[1].(string); ok {
			if len(a)+len(b) > MemoryBudget {
				return nil, 0, errBudget
			}
			return a + b, uint(len(a) + len(b)), nil
		}
	}
	return runtime.Add(args[0], args[1]), 0, nil
}

func subtract(args ...any) (any, uint, error) {
	a, isInt := args[0].(int)
	b, bothInt := args[1].(int)
	if !isInt || !bothInt {
		return runtime.Subtract(args[0], args[1]), 0, nil
	}
	difference := a - b
	if (difference < a) != (b > 0) && b != 0 {
		return nil, 0, errOverflow
	}
	return difference, 0, nil
}

func multiply(args ...any) (any, uint, error) {
	a, isInt := args[0].(int)
	b, bothInt := args[1].(int)
	if !isInt || !bothInt {
		return runtime.Multiply(args[0], args[1]), 0, nil
	}
	high, low := bits.Mul64(magnitude(a), magnitude(b))
	negative := (a < 0) != (b < 0)
	if high > 0 || low > math.MaxInt64+1 || low == math.MaxInt64+1 && !negative {
		return nil, 0, errOverflow
	}
	return a * b, 0, nil
}

// magnitude returns |i|, which for the smallest int is no int.
func magnitude(i int) uint64 {
	if i < 0 {
		return -uint64(i)
	}
	return uint64(i)
}

func makeRange(args ...any) (any, uint, error) {
	from, to := runtime.ToInt(args[0]), runtime.ToInt(args[1])
	if from > to {
		return []int{}, 0, nil
	}
	size := uint64(to) - uint64(from)
	if size >= MemoryBudget {
		return nil, 0, errBudget
	}
	return runtime.MakeRange(from, to), uint(size) + 1, nil
}

// costs says what the functions that make or walk lists and texts use, before they do. Functions that cannot make more
// than a constant of what they get, such as upper or len, are not here.
var costs = map[string]func(args []any) int{
	"concat": sizes, "flatten": sizes, "fromBase64": sizes, "fromJSON": sizes, "fromPairs": sizes, "keys": sizes,
	"max": sizes, "mean": sizes, "median": sizes, "min": sizes, "reverse": sizes, "sort": sizes, "split": sizes,
	"splitAfter": sizes, "string": sizes, "toBase64": sizes, "toJSON": sizes, "toPairs": sizes, "values": sizes,
	"join": joinCost, "repeat": repeatCost, "replace": replaceCost, "uniq": uniqCost,
}

// costed returns a function of expr that pays before it works.
func costed(f *builtin.Function, cost func(args []any) int) safeFunc {
	return func(args ...any) (any, uint, error) {
		c := cost(args)
		if c >= MemoryBudget {
			return nil, 0, errBudget
		}
		switch {
		case f.Fast != nil:
			return f.Fast(args[0]), uint(c), nil
		case f.Safe != nil:
			out, _, err := f.Safe(args...)
			return out, uint(c), err
		}
		out, err := f.Func(args...)
		return out, uint(c), err
	}
}

// sizes returns the size of all arguments together.
func sizes(args []any) int {
	total := 0
	for _, arg := range args {
		total += size(arg, MemoryBudget-total)
	}
	return total
}

// size counts the bytes of the texts and the items of the lists and maps in a value; it stops counting at the limit, since
// one list can hold another one many times.
func size(v any, limit int) int {
	switch v := v.(type) {
	case string:
		return len(v)
	case []any:
		total := len(v)
		for i := 0; i < len(v) && total < limit; i++ {
			total += size(v[i], limit-total)
		}
		return total
	case map[string]any:
		total := len(v)
		for key, item := range v {
			if total >= limit {
				break
			}
			total += len(key) + size(item, limit-total)
		}
		return total
	}
	return reflectedSize(reflect.ValueOf(v), limit)
}

func reflectedSize(v reflect.Value, limit int) int {
	switch v.Kind() {
	case reflect.Slice, reflect.Array:
		total := v.Len()
		for i := 0; i < v.Len() && total < limit; i++ {
			total += size(v.Index(i).Interface(), limit-total)
		}
		return total
	case reflect.Map:
		total := v.Len()
		for _, item := range v.Seq2() {
			if total >= limit {
				break
			}
			total += size(item.Interface(), limit-total)
		}
		return total
	}
	return 1
}

func joinCost(args []any) int {
	glue := 0
	if len(args) == 2 {
		glue = size(args[1], MemoryBudget)
	}
	items := reflect.ValueOf(args[0])
	if items.Kind() != reflect.Slice {
		return 0
	}
	return saturate(size(args[0], MemoryBudget), glue, items.Len())
}

func repeatCost(args []any) int {
	return saturate(0, size(args[0], MemoryBudget), runtime.ToInt(args[1]))
}

// replaceCost takes the text as made of nothing but matches.
func replaceCost(args []any) int {
	text := size(args[0], MemoryBudget)
	matches := text/max(1, size(args[1], MemoryBudget)) + 1
	return saturate(text, size(args[2], MemoryBudget), matches)
}

// uniqCost counts a hundred comparisons as one: each item is compared with all that were kept.
func uniqCost(args []any) int {
	items := reflect.ValueOf(args[0])
	if items.Kind() != reflect.Slice {
		return 0
	}
	return saturate(items.Len(), items.Len()/100+1, items.Len())
}

// saturate returns base + a*b, or MemoryBudget when it is more than that. Nothing may be negative but b.
func saturate(base, a, b int) int {
	if b <= 0 {
		return base
	}
	if a > (MemoryBudget-min(base, MemoryBudget))/b {
		return MemoryBudget
	}
	return base + a*b
}
