package protocol

import (
	"fmt"
	"reflect"

	"github.com/flightrules/flightrules/internal/shape"
)

// Schema is the protocol as a JSON Schema of draft 2020-12: what each side may
// send, and what is in each message. Fields that it does not name are allowed,
// since a later version may add them.
func Schema() (map[string]any, error) {
	defs := map[string]any{}
	sides := map[string][]any{}
	for side, list := range map[string][]Message{"from_agent": FromAgent, "from_core": FromCore} {
		for _, m := range list {
			schema, err := schemaOf(m)
			if err != nil {
				return nil, fmt.Errorf("%s: %w", m.Type(), err)
			}
			defs[m.Type()] = schema
			sides[side] = append(sides[side], map[string]any{"$ref": "#/$defs/" + m.Type()})
		}
	}
	for side, list := range sides {
		defs[side] = map[string]any{"oneOf": list}
	}
	return map[string]any{
		"$schema":     "https://json-schema.org/draft/2020-12/schema",
		"title":       fmt.Sprintf("The protocol of satellites, version %d", Version),
		"description": fmt.Sprintf("One JSON object in each text frame of the WebSocket %s, of %d bytes at most. Durations are texts as Go has them: 1m30s.", Path, MaxFrame),
		"anyOf":       []any{map[string]any{"$ref": "#/$defs/from_agent"}, map[string]any{"$ref": "#/$defs/from_core"}},
		"$defs":       defs,
	}, nil
}

func schemaOf(m Message) (map[string]any, error) {
	form, err := shape.OfType(reflect.TypeOf(m))
	if err != nil {
		return nil, err
	}
	schema := form.JSONSchema()
	open(schema)
	schema["properties"].(map[string]any)["type"] = map[string]any{"const": m.Type()}
	required, _ := schema["required"].([]any)
	schema["required"] = append([]any{"type"}, required...)
	return schema, nil
}

// open allows fields that are not named, in a schema and all that are in it.
func open(v any) {
	switch v := v.(type) {
	case map[string]any:
		if v["additionalProperties"] == false {
			delete(v, "additionalProperties")
		}
		for _, inner := range v {
			open(inner)
		}
	case []any:
		for _, inner := range v {
			open(inner)
		}
	}
}
