package shape

import (
	"encoding/json"
	"fmt"
	"math"
	"reflect"
	"time"

	"github.com/flightrules/flightrules/internal/duration"
)

// timeFormat is RFC 3339 with as much of the second as there is, up to microseconds, which is what databases keep.
const timeFormat = "2006-01-02T15:04:05.999999Z07:00"

// Encode converts a value of an expression into plain JSON values: nil, bool, string, int, float64 and the like,
// []any and map[string]any. Times become RFC 3339 texts in UTC, cut to microseconds; durations become texts as
// duration.Format writes them; numbers that JSON does not have (NaN, infinities) become nil. The value is not changed.
func Encode(v any) any {
	switch v := v.(type) {
	case nil, bool, string, int, int64, json.Number:
		return v
	case float64:
		return encodeFloat(v)
	case time.Time:
		return v.UTC().Format(timeFormat)
	case time.Duration:
		return duration.Format(v)
	case map[string]any:
		if v == nil {
			return nil
		}
		out := make(map[string]any, len(v))
		for key, value := range v {
			out[key] = Encode(value)
		}
		return out
	case []any:
		if v == nil {
			return nil
		}
		out := make([]any, len(v))
		for i, item := range v {
			out[i] = Encode(item)
		}
		return out
	case json.Marshaler, interface{ MarshalText() ([]byte, error) }:
		return encodeByJSON(v)
	}
	return encodeReflected(reflect.ValueOf(v))
}

func encodeFloat(f float64) any {
	if math.IsNaN(f) || math.IsInf(f, 0) {
		return nil
	}
	return f
}

func encodeReflected(v reflect.Value) any {
	switch v.Kind() {
	case reflect.Pointer, reflect.Interface:
		if v.IsNil() {
			return nil
		}
		return Encode(v.Elem().Interface())
	case reflect.Map:
		if v.IsNil() {
			return nil
		}
		out := make(map[string]any, v.Len())
		for key, value := range v.Seq2() {
			out[fmt.Sprint(Encode(key.Interface()))] = Encode(value.Interface())
		}
		return out
	case reflect.Slice, reflect.Array:
		if v.Kind() == reflect.Slice && (v.IsNil() || v.Type().Elem().Kind() == reflect.Uint8) {
			return encodeByJSON(v.Interface())
		}
		out := make([]any, v.Len())
		for i := range out {
			out[i] = Encode(v.Index(i).Interface())
		}
		return out
	case reflect.String:
		return v.String()
	case reflect.Bool:
		return v.Bool()
	case reflect.Float32, reflect.Float64:
		return encodeFloat(v.Float())
	case reflect.Int, reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64:
		return int(v.Int())
	}
	return encodeByJSON(v.Interface())
}

// encodeByJSON converts what encoding/json knows better: structs, and types with a form of their own. What JSON cannot
// hold becomes its text.
func encodeByJSON(v any) any {
	text, err := json.Marshal(v)
	if err != nil {
		return fmt.Sprint(v)
	}
	var out any
	if err := json.Unmarshal(text, &out); err != nil {
		return fmt.Sprint(v)
	}
	return out
}
