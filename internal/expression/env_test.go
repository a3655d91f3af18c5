package expression_test

import (
	"errors"
	"time"

	"github.com/flightrules/flightrules/internal/duration"
	"github.com/flightrules/flightrules/internal/expression"
	"github.com/flightrules/flightrules/internal/shape"
)

// payload is what the tests' event carries.
type payload struct {
	Region string            `json:"region,omitempty"`
	N      float64           `json:"n"`
	Count  int               `json:"count"`
	Flag   *bool             `json:"flag"`
	At     time.Time         `json:"at"`
	Age    duration.Text     `json:"age"`
	Items  []item            `json:"items"`
	Labels map[string]string `json:"labels"`
}

type item struct {
	Name string `json:"name"`
}

var errDown = errors.New("the database is down")

func payloadShape() *shape.Shape {
	s, err := shape.Of[payload]()
	if err != nil {
		panic(err)
	}
	return s
}

// testEnv has an event, a change, variables and functions, as rules have.
func testEnv() *expression.Env {
	str := &shape.Shape{Type: shape.String}
	object := func(fields ...shape.Field) *shape.Shape { return &shape.Shape{Type: shape.Object, Fields: fields} }
	event := object(shape.Field{Name: "id", Shape: str}, shape.Field{Name: "payload", Shape: payloadShape()})
	change := object(shape.Field{Name: "prev", Shape: payloadShape()}, shape.Field{Name: "next", Shape: payloadShape()})
	vars := &shape.Shape{Type: shape.Map}
	return expression.NewEnv().
		With("event", event.Expr()).
		With("change", change.Expr()).
		With("vars", vars.Expr()).
		WithFunc("state", func(kind, id string) (any, error) { return nil, nil }).
		WithFunc("now", func() time.Time { return time.Time{} }).
		WithFunc("fails", func(string) (any, error) { return nil, nil }).
		WithFunc("panics", func() string { return "" })
}

// testVars has values for testEnv: the flag and the previous state are missing, and so is the state of the kind "none".
func testVars() map[string]any {
	decoded, err := payloadShape().Decode(map[string]any{
		"region": "eu-west", "n": 4.0, "count": 3.0, "at": "2030-01-01T00:00:00Z", "age": "1m",
		"items": []any{map[string]any{"name": "a"}, map[string]any{"name": "b"}}, "labels": map[string]any{"team": "ops"},
	})
	if err != nil {
		panic(err)
	}
	return map[string]any{
		"event":  map[string]any{"id": "e1", "payload": decoded},
		"change": map[string]any{"prev": nil, "next": decoded},
		"vars":   map[string]any{"channel": "#oncall"},
		"state": func(kind, id string) (any, error) {
			if kind == "none" {
				return nil, nil
			}
			return map[string]any{"status": "online"}, nil
		},
		"now":    func() time.Time { return time.Date(2030, 1, 1, 0, 5, 0, 0, time.UTC) },
		"fails":  func(string) (any, error) { return nil, errDown },
		"panics": func() string { panic("out of range") },
	}
}
