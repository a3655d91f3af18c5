package shape

import (
	"encoding/json"
	"fmt"
	"maps"
	"math"
	"strconv"
	"time"

	"github.com/flightrules/flightrules/internal/duration"
)

// Decode converts a value as encoding/json decodes it into the value that expressions work with: times become time.Time,
// durations time.Duration, integers int, numbers float64. Null stays nil everywhere. Fields that an object lacks become
// nil, and fields that the shape does not know are kept as they are. The value is not changed; parts that need no
// conversion may be shared with the result. An error names the path of the value that does not fit.
func (s *Shape) Decode(v any) (any, error) { return s.decode("", v) }

func (s *Shape) decode(path string, v any) (any, error) {
	if v == nil {
		return nil, nil
	}
	switch s.Type {
	case List:
		return s.decodeList(path, v)
	case Map:
		return s.decodeMap(path, v)
	case Object:
		return s.decodeObject(path, v)
	case Any:
		return v, nil
	}
	converted, err := s.scalar(v)
	if err != nil {
		return nil, at(path, err)
	}
	return converted, nil
}

// scalar converts a value that is neither nil nor made of others.
func (s *Shape) scalar(v any) (any, error) {
	switch s.Type {
	case String:
		if text, ok := v.(string); ok {
			return text, nil
		}
	case Boolean:
		if b, ok := v.(bool); ok {
			return b, nil
		}
	case Number:
		if f, ok := asFloat(v); ok {
			return f, nil
		}
	case Integer:
		if i, ok := asInt(v); ok {
			return i, nil
		}
	case Time:
		return asTime(v)
	case Duration:
		return asDuration(v)
	}
	return nil, s.mismatch(v)
}

func (s *Shape) decodeList(path string, v any) (any, error) {
	list, ok := v.([]any)
	if !ok {
		return nil, at(path, s.mismatch(v))
	}
	out := make([]any, len(list))
	for i, item := range list {
		var err error
		if out[i], err = s.elem().decode(path+"["+strconv.Itoa(i)+"]", item); err != nil {
			return nil, err
		}
	}
	return out, nil
}

func (s *Shape) decodeMap(path string, v any) (any, error) {
	m, ok := v.(map[string]any)
	if !ok {
		return nil, at(path, s.mismatch(v))
	}
	out := make(map[string]any, len(m))
	for key, value := range m {
		var err error
		if out[key], err = s.elem().decode(join(path, key), value); err != nil {
			return nil, err
		}
	}
	return out, nil
}

func (s *Shape) decodeObject(path string, v any) (any, error) {
	m, ok := v.(map[string]any)
	if !ok {
		return nil, at(path, s.mismatch(v))
	}
	out := make(map[string]any, max(len(m), len(s.Fields)))
	maps.Copy(out, m)
	for _, f := range s.Fields {
		value, err := f.Shape.decode(join(path, f.Name), m[f.Name])
		if err != nil {
			return nil, err
		}
		out[f.Name] = value
	}
	return out, nil
}

func asFloat(v any) (float64, bool) {
	switch v := v.(type) {
	case float64:
		return v, true
	case int:
		return float64(v), true
	case int64:
		return float64(v), true
	case json.Number:
		f, err := v.Float64()
		return f, err == nil
	}
	return 0, false
}

func asInt(v any) (int, bool) {
	switch v := v.(type) {
	case int:
		return v, true
	case int64:
		return int(v), true
	case float64:
		// The bounds are exact as floats: -2^63 is an int, 2^63 is not.
		return int(v), v == math.Trunc(v) && v >= -(1<<63) && v < 1<<63
	case json.Number:
		i, err := strconv.Atoi(v.String())
		return i, err == nil
	}
	return 0, false
}

func asTime(v any) (any, error) {
	switch v := v.(type) {
	case time.Time:
		return v, nil
	case string:
		t, err := time.Parse(time.RFC3339Nano, v)
		if err != nil {
			return nil, fmt.Errorf("bad time %q: write RFC 3339, such as 2030-01-31T12:00:00Z", v)
		}
		return t.UTC(), nil
	}
	return nil, (&Shape{Type: Time}).mismatch(v)
}

func asDuration(v any) (any, error) {
	switch v := v.(type) {
	case time.Duration:
		return v, nil
	case string:
		d, err := duration.ParseSigned(v)
		if err != nil {
			return nil, err
		}
		return d, nil
	}
	return nil, (&Shape{Type: Duration}).mismatch(v)
}

// typeNames says in messages what a value must be.
var typeNames = map[Type]string{
	String: "a string", Number: "a number", Integer: "a whole number", Boolean: "true or false", Time: "a time",
	Duration: "a duration", List: "a list", Map: "a map", Object: "an object",
}

func (s *Shape) mismatch(v any) error {
	return fmt.Errorf("must be %s, not %s", typeNames[s.Type], describe(v))
}

// describe says in messages what a value is.
func describe(v any) string {
	switch v := v.(type) {
	case nil:
		return "null"
	case string:
		if len(v) <= 40 {
			return strconv.Quote(v)
		}
		return "a string"
	case bool, int, int64, float64, json.Number:
		return fmt.Sprint(v)
	case []any:
		return "a list"
	case map[string]any:
		return "a map"
	}
	return fmt.Sprintf("%T", v)
}

func at(path string, err error) error {
	if path == "" {
		return err
	}
	return fmt.Errorf("%s: %w", path, err)
}

func join(path, name string) string {
	if path == "" {
		return name
	}
	return path + "." + name
}
