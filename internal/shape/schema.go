package shape

import "slices"

// durationPattern is what duration.ParseSigned reads.
const durationPattern = `^-?([0-9]+(\.[0-9]+)?(ns|us|µs|μs|ms|s|m|h|d|w))+$`

// jsonTypes says how JSON Schema calls the types.
var jsonTypes = map[Type]string{
	String: "string", Number: "number", Integer: "integer", Boolean: "boolean", Time: "string", Duration: "string",
	List: "array", Map: "object", Object: "object",
}

// JSONSchema returns the shape as a JSON Schema of draft 2020-12, made of maps, slices, strings and booleans. It has no
// $schema of its own, so that it can stand inside another schema. The result is the caller's.
func (s *Shape) JSONSchema() map[string]any {
	schema := make(map[string]any)
	if name, ok := jsonTypes[s.Type]; ok {
		schema["type"] = name
		if s.Nullable {
			schema["type"] = []any{name, "null"}
		}
	}
	if s.Doc != "" {
		schema["description"] = s.Doc
	}
	if s.Default != nil {
		schema["default"] = s.Default
	}
	if s.Minimum != nil {
		schema["minimum"] = *s.Minimum
	}
	if s.Maximum != nil {
		schema["maximum"] = *s.Maximum
	}
	switch s.Type {
	case String:
		if len(s.Enum) > 0 {
			schema["enum"] = s.enumValues()
		}
	case Time:
		schema["format"] = "date-time"
	case Duration:
		schema["pattern"] = durationPattern
	case List:
		schema["items"] = s.elem().JSONSchema()
	case Map:
		schema["additionalProperties"] = s.elem().JSONSchema()
	case Object:
		s.objectSchema(schema)
	}
	return schema
}

func (s *Shape) enumValues() []any {
	var values []any
	for _, v := range s.Enum {
		values = append(values, v)
	}
	if s.Nullable {
		values = append(values, nil)
	}
	return values
}

func (s *Shape) objectSchema(schema map[string]any) {
	properties := make(map[string]any, len(s.Fields))
	var required []any
	for _, f := range s.Fields {
		property := f.Shape.optional(!f.Required).JSONSchema()
		if f.Doc != "" {
			property["description"] = f.Doc
		}
		properties[f.Name] = property
		if f.Required {
			required = append(required, f.Name)
		}
	}
	schema["properties"] = properties
	schema["additionalProperties"] = false
	if len(required) > 0 {
		schema["required"] = required
	}
}

// optional returns the shape as it is in a field that may be absent: null and absent are one.
func (s *Shape) optional(nullable bool) *Shape {
	if !nullable || s.Nullable {
		return s
	}
	c := *s
	c.Enum = slices.Clone(s.Enum)
	c.Nullable = true
	return &c
}
