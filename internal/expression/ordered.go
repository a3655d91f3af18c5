package expression

import (
	"cmp"
	"errors"
	"fmt"
	"reflect"
	"slices"
)

var errNoMap = errors.New("a map is needed here")

// ordered holds the functions that list a map. expr lists it in another order each time; here the keys are sorted, since
// a run that is resumed must see the same list again.
var ordered = map[string]func(m reflect.Value, key reflect.Value) any{
	"keys":    func(_, key reflect.Value) any { return key.Interface() },
	"values":  func(m, key reflect.Value) any { return m.MapIndex(key).Interface() },
	"toPairs": func(m, key reflect.Value) any { return []any{key.Interface(), m.MapIndex(key).Interface()} },
}

// listed returns a function that makes a list of what item gives for each key, in the order of the keys.
func listed(item func(m reflect.Value, key reflect.Value) any) func(args ...any) (any, error) {
	return func(args ...any) (any, error) {
		m := reflect.ValueOf(args[0])
		if m.Kind() != reflect.Map {
			return nil, errNoMap
		}
		keys := m.MapKeys()
		slices.SortFunc(keys, func(a, b reflect.Value) int {
			return cmp.Compare(fmt.Sprint(a.Interface()), fmt.Sprint(b.Interface()))
		})
		list := make([]any, len(keys))
		for i, key := range keys {
			list[i] = item(m, key)
		}
		return list, nil
	}
}
