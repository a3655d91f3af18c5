package rules

import (
	"errors"
	"fmt"
	"reflect"
	"slices"
	"time"

	"github.com/flightrules/flightrules/internal/expression"
)

// Function is a function of expressions that a plugin brings. Fn is a Go
// function; see CheckFunction.
type Function struct {
	Name string
	Doc  string
	Fn   any
}

// seen are the names that expressions see besides functions.
var seen = []string{"event", "events", "trigger", "vars", "steps", "run", "item", "index", "entity", "change", "secrets"}

// CheckFunction says why expressions cannot have a function; nil if they can.
// Its name must be free. Its parameters and its result are strings, booleans,
// ints, float64s, times, durations, []any, map[string]any or any; there may be
// an error besides the result. It may be called at any time, by many at once.
func CheckFunction(f Function) error {
	if !identifier.MatchString(f.Name) {
		return errors.New("a name is letters, digits and underscores")
	}
	if _, taken := Functions[f.Name]; taken || expression.Reserved(f.Name) || slices.Contains(seen, f.Name) {
		return errors.New("the name is taken by the language")
	}
	t := reflect.TypeOf(f.Fn)
	switch {
	case t == nil || t.Kind() != reflect.Func || reflect.ValueOf(f.Fn).IsNil():
		return fmt.Errorf("%T is no function", f.Fn)
	case t.IsVariadic():
		return errors.New("the number of its parameters must be fixed")
	case t.NumOut() == 0 || t.NumOut() > 2 || t.NumOut() == 2 && t.Out(1) != reflect.TypeFor[error]():
		return errors.New("it must give a result, or a result and an error")
	}
	for i := range t.NumIn() {
		if !slices.Contains(valueTypes, t.In(i)) {
			return fmt.Errorf("expressions have no %s for its parameter %d", t.In(i), i+1)
		}
	}
	if !slices.Contains(valueTypes, t.Out(0)) {
		return fmt.Errorf("expressions can do nothing with its result, a %s", t.Out(0))
	}
	return nil
}

// valueTypes are the types of the values of expressions.
var valueTypes = []reflect.Type{
	reflect.TypeFor[string](), reflect.TypeFor[bool](), reflect.TypeFor[int](), reflect.TypeFor[float64](), reflect.TypeFor[time.Time](),
	reflect.TypeFor[time.Duration](), reflect.TypeFor[[]any](), reflect.TypeFor[map[string]any](), reflect.TypeFor[any](),
}
