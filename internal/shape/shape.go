// Package shape describes what form a JSON value has: the state of an entity, the payload of an event, the configuration
// of an action. It is the one source for the type-check of expressions, for JSON Schema, and for the conversion between
// JSON values and the values that expressions work with.
package shape

// Type is what a value is.
type Type string

// The types. In expressions a Time is a time.Time, a Duration a time.Duration, an Integer an int and a Number a float64;
// in JSON times are RFC 3339 texts and durations texts such as "1h30m".
const (
	String   Type = "string"
	Number   Type = "number"
	Integer  Type = "integer"
	Boolean  Type = "boolean"
	Time     Type = "time"
	Duration Type = "duration"
	List     Type = "list"   // of Elem
	Map      Type = "map"    // from strings to Elem
	Object   Type = "object" // with Fields, and no others
	Any      Type = "any"
)

// Shape is the form of a value. A Shape is not changed once it is in use.
type Shape struct {
	Type     Type
	Doc      string
	Enum     []string // of a String: the only values; empty: any
	Nullable bool     // null is a value
	Fields   []Field  // of an Object, in order
	Elem     *Shape   // of a List or a Map; nil stands for Any

	Minimum, Maximum *float64 // of a Number or an Integer, both inclusive; nil: none
	Default          any      // for whoever makes values; Check does not fill it in
}

// Field is one field of an Object.
type Field struct {
	Name     string
	Doc      string
	Required bool   // it must be there and not null
	Reactive bool   // a new value is a change; false for what moves all the time, such as the time of the last heartbeat
	Secret   bool   // of a configuration: what it holds, at any depth, may say ${{ secrets.NAME }}
	Names    string // of a configuration: the section one of whose items this names, or several in a list; "": none
	Shape    *Shape
}

// Field returns the field of an object with that name, and false when there is none.
func (s *Shape) Field(name string) (*Field, bool) {
	for i := range s.Fields {
		if s.Fields[i].Name == name {
			return &s.Fields[i], true
		}
	}
	return nil, false
}

// elem returns what a list or a map holds.
func (s *Shape) elem() *Shape {
	if s.Elem == nil {
		return &Shape{Type: Any, Nullable: true}
	}
	return s.Elem
}

func (s *Shape) fieldNames() []string {
	names := make([]string, len(s.Fields))
	for i, f := range s.Fields {
		names[i] = f.Name
	}
	return names
}
