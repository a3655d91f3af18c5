package protocol_test

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/santhosh-tekuri/jsonschema/v6"

	"github.com/flightrules/flightrules/plugins/satellite/protocol"
)

// compiled is the published schema, or a definition in it.
func compiled(t *testing.T, at string) *jsonschema.Schema {
	t.Helper()
	made, err := protocol.Schema()
	if err != nil {
		t.Fatal(err)
	}
	text, err := json.Marshal(made)
	if err != nil {
		t.Fatal(err)
	}
	doc, err := jsonschema.UnmarshalJSON(strings.NewReader(string(text)))
	if err != nil {
		t.Fatal(err)
	}
	compiler := jsonschema.NewCompiler()
	if err := compiler.AddResource("protocol.json", doc); err != nil {
		t.Fatal(err)
	}
	schema, err := compiler.Compile("protocol.json" + at)
	if err != nil {
		t.Fatal(err)
	}
	return schema
}

func validate(t *testing.T, schema *jsonschema.Schema, frame string) error {
	t.Helper()
	v, err := jsonschema.UnmarshalJSON(strings.NewReader(frame))
	if err != nil {
		t.Fatal(err)
	}
	return schema.Validate(v)
}

func TestSchema(t *testing.T) {
	at := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	agent, core := compiled(t, "#/$defs/from_agent"), compiled(t, "#/$defs/from_core")
	t.Run("takes what each side sends, filled and empty", func(t *testing.T) {
		filled := []protocol.Message{
			protocol.Results{Stream: "s", Seq: 1, SentAt: at, Items: []protocol.Item{{Capability: "c", Assignment: "a", At: at, Payload: json.RawMessage(`{"x": 1}`)}}},
			protocol.SyncState{Bundle: "b", Status: protocol.Ready},
		}
		for _, m := range append(filled, protocol.FromAgent...) {
			frame, err := protocol.Encode(m)
			if err != nil {
				t.Fatal(err)
			}
			if _, empty := m.(protocol.SyncState); empty && m == (protocol.SyncState{}) {
				continue // a status is wanted
			}
			if err := validate(t, agent, string(frame)); err != nil {
				t.Errorf("%s: %v", frame, err)
			}
		}
		for _, m := range append([]protocol.Message{
			protocol.Authenticated{Assignments: &protocol.Assignments{Items: []protocol.Assignment{{Collectors: []string{"c"}}}}, Bundle: &protocol.Bundle{}},
			protocol.Secrets{RequestID: "r", Env: map[string]string{"A": "b"}}, protocol.Secrets{Error: &protocol.Error{Code: "c"}},
			protocol.Blob{Data: []byte("abc")},
		}, protocol.FromCore...) {
			frame, err := protocol.Encode(m)
			if err != nil {
				t.Fatal(err)
			}
			if err := validate(t, core, string(frame)); err != nil {
				t.Errorf("%s: %v", frame, err)
			}
		}
	})
	t.Run("takes fields of a later version, and refuses what is not of the protocol", func(t *testing.T) {
		if err := validate(t, core, `{"type": "shutdown", "reason": "r", "later": {"a": 1}}`); err != nil {
			t.Error(err)
		}
		for _, frame := range []string{`{"type": "later"}`, `{"reason": "r"}`, `{"type": "shutdown", "reason": 1}`, `[]`, `{"type": "heartbeat", "sent_at": "2026-03-01T12:00:00Z"}`} {
			if validate(t, core, frame) == nil {
				t.Errorf("the core may send %s", frame)
			}
		}
	})
}

func TestEveryMessageIsDecodedAsItself(t *testing.T) {
	for _, m := range append(append([]protocol.Message{}, protocol.FromAgent...), protocol.FromCore...) {
		got, err := protocol.Decode([]byte(`{"type": "` + m.Type() + `"}`))
		if err != nil || got.Type() != m.Type() {
			t.Errorf("%s: got %v, %v", m.Type(), got, err)
		}
	}
}
