package expression

import (
	"reflect"
	"time"

	"github.com/expr-lang/expr/checker/nature"
)

// Result is what an expression gives.
type Result int

// The results. AnyResult stands for everything, also for what is known only at run time.
const (
	AnyResult Result = iota
	BoolResult
	StringResult
	NumberResult
	DurationResult
	TimeResult
	ListResult
	MapResult
)

// String names the result in messages.
func (r Result) String() string {
	return [...]string{"anything", "true or false", "a string", "a number", "a duration", "a time", "a list", "a map"}[r]
}

// resultOf returns what is known about a result before the expression is evaluated.
func resultOf(n *nature.Nature) Result {
	switch {
	case n.Type == nil:
		return AnyResult
	case n.IsBool():
		return BoolResult
	case n.IsString():
		return StringResult
	case n.IsDuration():
		return DurationResult
	case n.IsTime():
		return TimeResult
	case n.IsNumber():
		return NumberResult
	case n.IsArray():
		return ListResult
	case n.IsMap():
		return MapResult
	}
	return AnyResult
}

// resultOfValue returns what a value is.
func resultOfValue(v any) Result {
	switch v.(type) {
	case bool:
		return BoolResult
	case string:
		return StringResult
	case int, float64:
		return NumberResult
	case time.Duration:
		return DurationResult
	case time.Time:
		return TimeResult
	case []any:
		return ListResult
	case map[string]any:
		return MapResult
	}
	if v == nil {
		return AnyResult
	}
	n := nature.FromType(reflect.TypeOf(v))
	return resultOf(&n)
}
