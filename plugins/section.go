package plugins

import (
	"context"
	"encoding/json"
	"fmt"
	"reflect"
	"regexp"

	"github.com/uptrace/bun"

	"github.com/flightrules/flightrules/internal/shape"
	"github.com/flightrules/flightrules/rules"
)

// Section is a section of the files whose items are of type T, a struct in
// JSON form.
type Section[T any] struct {
	// Name is the key of the section: "satellites".
	Name string
	// Doc is a sentence for people.
	Doc string
	// Key names an item; two of one key are a mistake. May be nil.
	Key func(T) string
	// Check looks at one item. An error that begins with the name of a field is
	// shown at that field. May be nil.
	Check func(T) error
	// Reconcile brings what the plugin has in line with all items of all files,
	// in one transaction, before the rules of the same load take effect. What is
	// not among them has left the files. Files that have mistakes do not get here.
	// An error refuses the load.
	Reconcile func(ctx context.Context, tx bun.Tx, items []T) error
}

// section is a Section without its type.
type section struct {
	rules.Section

	reconcile func(ctx context.Context, tx bun.Tx, items []any) error
}

// AddSection registers a section of the files.
func AddSection[T any](h *Host, s Section[T]) error {
	form, err := shape.Of[T]()
	if err != nil {
		return fmt.Errorf("section %q: %w", s.Name, err)
	}
	if !pluginName.MatchString(s.Name) || form.Type != shape.Object || s.Reconcile == nil {
		return fmt.Errorf("section %q: it needs a name of lower case letters, items that are structs, and Reconcile", s.Name)
	}
	untyped := section{Section: rules.Section{Name: s.Name, Doc: s.Doc, Item: form}}
	if s.Key != nil {
		untyped.Key = func(item any) string {
			v, err := as[T](item)
			if err != nil {
				return ""
			}
			return s.Key(v)
		}
	}
	if s.Check != nil {
		untyped.Check = func(item any) error {
			v, err := as[T](item)
			if err != nil {
				return err
			}
			return s.Check(v)
		}
	}
	untyped.reconcile = func(ctx context.Context, tx bun.Tx, items []any) error {
		list := make([]T, len(items))
		for i, item := range items {
			var err error
			if list[i], err = as[T](item); err != nil {
				return err
			}
		}
		return s.Reconcile(ctx, tx, list)
	}
	h.sections = append(h.sections, untyped)
	return nil
}

func as[T any](v any) (T, error) {
	var t T
	text, err := json.Marshal(v)
	if err != nil {
		return t, err
	}
	return t, json.Unmarshal(text, &t)
}

var functionName = regexp.MustCompile(`^[a-z][A-Za-z0-9_]*$`)

// Function adds a function to the expressions of all rules: a Go func that
// gives one value, or a value and an error. What it gives must be the same
// whenever it is asked the same, or be about the present. A panic is an error of
// the expression.
func (h *Host) Function(name, doc string, fn any) error {
	t := reflect.TypeOf(fn)
	if !functionName.MatchString(name) || t == nil || t.Kind() != reflect.Func || t.NumOut() < 1 || t.NumOut() > 2 ||
		t.NumOut() == 2 && t.Out(1) != reflect.TypeFor[error]() {
		return fmt.Errorf("function %q: it needs a name in lower case and a func that gives a value, or a value and an error", name)
	}
	if _, taken := rules.Functions[name]; taken {
		return fmt.Errorf("function %q: the name is taken", name)
	}
	h.functions = append(h.functions, rules.Function{Name: name, Doc: doc, Fn: fn})
	return nil
}

// Sections are those of all plugins.
func (s *Set) Sections() []rules.Section {
	var list []rules.Section
	for _, m := range s.members {
		for _, one := range m.host.sections {
			list = append(list, one.Section)
		}
	}
	return list
}

// Functions are those of all plugins.
func (s *Set) Functions() []rules.Function {
	var list []rules.Function
	for _, m := range s.members {
		list = append(list, m.host.functions...)
	}
	return list
}

// Reconcile brings the plugins in line with the sections of a load.
func (s *Set) Reconcile(ctx context.Context, tx bun.Tx, items map[string][]any) error {
	for _, m := range s.members {
		for _, one := range m.host.sections {
			if err := m.call("reconcile "+one.Name, func() error { return one.reconcile(ctx, tx, items[one.Name]) }); err != nil {
				return err
			}
		}
	}
	return nil
}
