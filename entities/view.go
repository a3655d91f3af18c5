package entities

import (
	"encoding/json"
	"fmt"
	"math"
	"reflect"
	"strconv"
	"time"

	"github.com/flightrules/flightrules/internal/db"
	"github.com/flightrules/flightrules/internal/shape"
)

// View is a state as plain JSON values in one normal form, so that equal
// values are equal Go values: numbers are int64 where they are whole, times are
// in UTC, and null fields are absent. nil is "does not exist".
type View map[string]any

// viewOf takes the JSON form of a state to its View.
func viewOf(form *shape.Shape, state any) (View, error) {
	text, err := json.Marshal(state)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrInvalid, err)
	}
	view, err := parseView(text)
	if err != nil {
		return nil, err
	}
	for name, value := range view {
		if field, ok := form.Field(name); ok {
			view[name] = normalTimes(field.Shape, value)
		}
	}
	return view, nil
}

func parseView(text db.JSON) (View, error) {
	if text == nil {
		return nil, nil
	}
	v, err := parseText(text)
	if err != nil {
		return nil, err
	}
	fields, ok := v.(map[string]any)
	if !ok {
		return nil, fmt.Errorf("%w: an object is wanted, not %s", ErrInvalid, text)
	}
	return fields, nil
}

// exact is the largest whole number that every smaller one of a float64 has
// its own value below.
const exact = 1 << 53

func normalNumber(n json.Number) any {
	if i, err := strconv.ParseInt(n.String(), 10, 64); err == nil {
		return i
	}
	f, err := n.Float64()
	if err != nil {
		return n.String()
	}
	if f == math.Trunc(f) && math.Abs(f) < exact {
		return int64(f)
	}
	return f
}

func normalTimes(form *shape.Shape, v any) any {
	switch {
	case form == nil || v == nil:
		return v
	case form.Type == shape.Time:
		if s, ok := v.(string); ok {
			if t, err := time.Parse(time.RFC3339Nano, s); err == nil {
				return t.UTC().Format(time.RFC3339Nano)
			}
		}
	case form.Type == shape.List:
		if list, ok := v.([]any); ok {
			for i := range list {
				list[i] = normalTimes(form.Elem, list[i])
			}
		}
	case form.Type == shape.Map:
		if m, ok := v.(map[string]any); ok {
			for key := range m {
				m[key] = normalTimes(form.Elem, m[key])
			}
		}
	case form.Type == shape.Object:
		if m, ok := v.(map[string]any); ok {
			for i := range form.Fields {
				if value, ok := m[form.Fields[i].Name]; ok {
					m[form.Fields[i].Name] = normalTimes(form.Fields[i].Shape, value)
				}
			}
		}
	}
	return v
}

// Delta maps each field that changed to what it was and what it became; nil is
// absent.
type Delta map[string][2]any

// diff compares by value the fields that count as change; where an entity
// appears or goes away, all of them.
func diff(passive map[string]bool, prev, next View) Delta {
	delta := Delta{}
	for _, view := range []View{prev, next} {
		for name := range view {
			if passive[name] && prev != nil && next != nil || reflect.DeepEqual(prev[name], next[name]) {
				continue
			}
			delta[name] = [2]any{prev[name], next[name]}
		}
	}
	return delta
}

// decode reads a View as an S.
func decode[S any](v View) (S, error) { return decodeText[S](textOf(v)) }

// decodeText reads the text of a View as an S.
func decodeText[S any](text db.JSON) (S, error) {
	var s S
	if err := json.Unmarshal(text, &s); err != nil {
		return s, fmt.Errorf("the state does not fit its kind: %w", err)
	}
	return s, nil
}
