package plugins

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"regexp"
	"slices"

	"github.com/uptrace/bun"

	"github.com/flightrules/flightrules/internal/shape"
	"github.com/flightrules/flightrules/rules"
)

// Section is a section of the configuration files that a plugin owns: a list
// of items. AddSection makes it of a Go type.
type Section struct {
	Name string // lower case letters, digits and underscores: "probes"
	Doc  string
	Item *shape.Shape
	// Decode makes of an item as plain values what the others take.
	Decode func(v any) (item any, err error)
	// Key is what no two items may have in common; nil: nothing.
	Key func(item any) string
	// Check looks at an item; nil: there is nothing to look at.
	Check func(item any) error
	// Reconcile brings the plugin's rows in line with the items of all files,
	// also when there are none left. It runs each time the files are loaded,
	// before any of them takes effect, in one transaction with those of other
	// sections: an error refuses the files. nil: there are no rows.
	Reconcile func(ctx context.Context, tx bun.Tx, items []any) error
	// Apply puts the items in force in memory. It runs when the transaction of
	// Reconcile has committed and before the rules of the same files are in
	// force; the files cannot be refused any more. nil: nothing is in memory.
	Apply func(items []any)
}

// SectionSpec describes a section whose items are Ts, structs in JSON form; see
// Section. An error of Check that begins with the name of a field is shown at
// that field.
type SectionSpec[T any] struct {
	Name      string
	Doc       string
	Key       func(T) string                                        // may be nil
	Check     func(T) error                                         // may be nil
	Reconcile func(ctx context.Context, tx bun.Tx, items []T) error // may be nil
	Apply     func(items []T)                                       // may be nil; one of the two is wanted
}

// AddSection declares a section whose items are Ts.
func AddSection[T any](h *Host, spec SectionSpec[T]) error {
	form, err := shape.Of[T]()
	if err != nil {
		return fmt.Errorf("section %q: %w", spec.Name, err)
	}
	s := Section{Name: spec.Name, Doc: spec.Doc, Item: form, Decode: decodeItem[T]}
	if spec.Key != nil {
		s.Key = func(item any) string { return spec.Key(item.(T)) }
	}
	if spec.Check != nil {
		s.Check = func(item any) error { return spec.Check(item.(T)) }
	}
	if spec.Reconcile != nil {
		s.Reconcile = func(ctx context.Context, tx bun.Tx, items []any) error {
			return spec.Reconcile(ctx, tx, typed[T](items))
		}
	}
	if spec.Apply != nil {
		s.Apply = func(items []any) { spec.Apply(typed[T](items)) }
	}
	return h.Section(s)
}

func typed[T any](items []any) []T {
	list := make([]T, len(items))
	for i, item := range items {
		list[i] = item.(T)
	}
	return list
}

func decodeItem[T any](v any) (any, error) {
	text, err := json.Marshal(v)
	if err != nil {
		return nil, err
	}
	var item T
	decoder := json.NewDecoder(bytes.NewReader(text))
	decoder.DisallowUnknownFields()
	if err := decoder.Decode(&item); err != nil {
		return nil, err
	}
	return item, nil
}

var sectionName = regexp.MustCompile(`^[a-z][a-z0-9_]*$`)

// Section declares a section of the configuration files.
func (h *Host) Section(s Section) error {
	switch {
	case !sectionName.MatchString(s.Name):
		return fmt.Errorf("section %q: a name is lower case letters, digits and underscores", s.Name)
	case slices.Contains(rules.EngineSections, s.Name):
		return fmt.Errorf("section %q: the name is the engine's own", s.Name)
	case s.Item == nil || s.Decode == nil || s.Reconcile == nil && s.Apply == nil:
		return fmt.Errorf("section %q: Item, Decode, and Reconcile or Apply are wanted", s.Name)
	}
	h.sections = append(h.sections, s)
	return nil
}

// Function is a function of expressions that a plugin brings.
type Function struct {
	Name string
	Doc  string
	Fn   any
}

// Function declares a function that every expression of a rule can call. fn is
// a Go function with parameters and a result that expressions have: strings,
// booleans, ints, float64s, times, durations, []any, map[string]any or any. It
// may give an error besides the result; an error or a panic ends the
// evaluation. It is called by many at once, also inside of transactions: it
// should be quick and must not write.
func (h *Host) Function(name, doc string, fn any) error {
	if err := rules.CheckFunction(rules.Function{Name: name, Doc: doc, Fn: fn}); err != nil {
		return fmt.Errorf("function %q: %w", name, err)
	}
	h.functions = append(h.functions, Function{Name: name, Doc: doc, Fn: fn})
	return nil
}

// Sections are those of all plugins.
func (s *Set) Sections() []Section {
	var list []Section
	for _, m := range s.members {
		list = append(list, m.host.sections...)
	}
	return list
}

// Functions are those of all plugins.
func (s *Set) Functions() []Function {
	var list []Function
	for _, m := range s.members {
		list = append(list, m.host.functions...)
	}
	return list
}

// unique says which name of a section, a function or a verb is taken.
func (s *Set) unique() error {
	taken := map[string]string{}
	for _, m := range s.members {
		var names []string
		for _, section := range m.host.sections {
			names = append(names, fmt.Sprintf("section %q", section.Name))
		}
		for _, f := range m.host.functions {
			names = append(names, fmt.Sprintf("function %q", f.Name))
		}
		for _, v := range m.host.verbs {
			names = append(names, v.title())
		}
		for _, name := range names {
			if other, ok := taken[name]; ok {
				return fmt.Errorf("plugin %s: %s: plugin %s has it already", m.plugin.Name(), name, other)
			}
			taken[name] = m.plugin.Name()
		}
	}
	return nil
}

// SectionError is why the items of a section cannot take effect.
type SectionError struct {
	Section string
	Err     error
}

// Error names the plugin.
func (e *SectionError) Error() string { return e.Err.Error() }

// Unwrap returns what is wrong.
func (e *SectionError) Unwrap() error { return e.Err }

// Reconcile runs the Reconcile of every section with its items, in the order of
// the plugins. The first error, a *SectionError, ends it.
func (s *Set) Reconcile(ctx context.Context, tx bun.Tx, items map[string][]any) error {
	for _, m := range s.members {
		for _, section := range m.host.sections {
			if section.Reconcile == nil {
				continue
			}
			err := m.call("section "+section.Name, func() error { return section.Reconcile(ctx, tx, items[section.Name]) })
			if err != nil {
				return &SectionError{section.Name, err}
			}
		}
	}
	return nil
}

// Apply runs the Apply of every section with its items, in the order of the
// plugins. All of them run; the error tells of those that panicked.
func (s *Set) Apply(items map[string][]any) error {
	var errs []error
	for _, m := range s.members {
		for _, section := range m.host.sections {
			if section.Apply == nil {
				continue
			}
			errs = append(errs, m.call("section "+section.Name, func() error {
				section.Apply(items[section.Name])
				return nil
			}))
		}
	}
	return errors.Join(errs...)
}
