package engine

import (
	"bytes"
	"encoding/json"
	"maps"
	"strconv"

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
	decoder := json.NewDecoder(bytes.NewReader(text))
	decoder.UseNumber()
	if err := decoder.Decode(&v); err != nil {
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
	case json.Number:
		if i, err := strconv.Atoi(v.String()); err == nil {
			return i
		}
		f, err := v.Float64()
		if err != nil {
			return v.String()
		}
		if i := int(f); float64(i) == f {
			return i
		}
		return f
	}
	return v
}

// merge adds the plain form of values, a map, to vars.
func merge(vars map[string]any, values any) {
	if m, ok := plain(values).(map[string]any); ok {
		maps.Copy(vars, m)
	}
}
