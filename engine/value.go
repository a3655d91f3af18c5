package engine

import (
	"encoding/json"
	"maps"

	"github.com/flightrules/flightrules/internal/db"
	"github.com/flightrules/flightrules/internal/shape"
)

// plain takes a value through the form in which the journal keeps it, so that
// a variable or an output is the same before and after a run was suspended:
// times and durations are texts, whole numbers are ints.
func plain(v any) any {
	return stored(db.ToJSON(shape.Encode(v)))
}

// stored reads a value of the journal.
func stored(text db.JSON) any {
	if text == nil {
		return nil
	}
	var v any
	if err := json.Unmarshal(text, &v); err != nil {
		return nil
	}
	return whole(v)
}

func whole(v any) any {
	switch v := v.(type) {
	case map[string]any:
		for key := range v {
			v[key] = whole(v[key])
		}
	case []any:
		for i := range v {
			v[i] = whole(v[i])
		}
	case float64:
		if i := int(v); float64(i) == v {
			return i
		}
	}
	return v
}

// merge adds the plain form of values, a map, to vars.
func merge(vars map[string]any, values any) {
	if m, ok := plain(values).(map[string]any); ok {
		maps.Copy(vars, m)
	}
}
