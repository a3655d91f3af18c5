package shape

import (
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/flightrules/flightrules/internal/suggest"
)

// Mismatch is everything that Check found wrong with a value.
type Mismatch struct {
	Problems []string // each begins with the path of what does not fit; not empty
}

// Error returns all problems in one line.
func (m *Mismatch) Error() string { return strings.Join(m.Problems, "; ") }

// Check tells whether a value as encoding/json decodes it fits the shape: types, enums, required fields, unknown fields.
// Null and absent are one: null is an error where a value is required. The error is a *Mismatch.
func (s *Shape) Check(v any) error {
	c := &checker{}
	c.check("", s, v)
	if len(c.problems) > 0 {
		return &Mismatch{Problems: c.problems}
	}
	return nil
}

type checker struct{ problems []string }

func (c *checker) add(path string, err error) {
	c.problems = append(c.problems, at(path, err).Error())
}

func (c *checker) check(path string, s *Shape, v any) {
	if v == nil {
		if !s.Nullable && s.Type != Any {
			c.add(path, s.mismatch(nil))
		}
		return
	}
	switch s.Type {
	case Any:
	case List:
		list, ok := v.([]any)
		if !ok {
			c.add(path, s.mismatch(v))
		}
		for i, item := range list {
			c.check(path+"["+strconv.Itoa(i)+"]", s.elem(), item)
		}
	case Map, Object:
		m, ok := v.(map[string]any)
		if !ok {
			c.add(path, s.mismatch(v))
		} else if s.Type == Object {
			c.object(path, s, m)
		} else {
			for _, key := range slices.Sorted(maps.Keys(m)) {
				c.check(join(path, key), s.elem(), m[key])
			}
		}
	default:
		c.scalar(path, s, v)
	}
}

func (c *checker) scalar(path string, s *Shape, v any) {
	converted, err := s.scalar(v)
	if err != nil {
		c.add(path, err)
		return
	}
	if text, ok := converted.(string); ok && len(s.Enum) > 0 && !slices.Contains(s.Enum, text) {
		c.add(path, fmt.Errorf("must be one of %s, not %q", strings.Join(s.Enum, ", "), text))
	}
	if n, ok := asFloat(converted); ok && s.Minimum != nil && n < *s.Minimum {
		c.add(path, fmt.Errorf("must be %v at least, not %v", *s.Minimum, converted))
	} else if ok && s.Maximum != nil && n > *s.Maximum {
		c.add(path, fmt.Errorf("must be %v at most, not %v", *s.Maximum, converted))
	}
}

func (c *checker) object(path string, s *Shape, m map[string]any) {
	for _, f := range s.Fields {
		if v := m[f.Name]; v != nil {
			c.check(join(path, f.Name), f.Shape, v)
		} else if f.Required {
			c.add(join(path, f.Name), fmt.Errorf("is required"))
		}
	}
	for _, name := range slices.Sorted(maps.Keys(m)) {
		if _, known := s.Field(name); known {
			continue
		}
		err := fmt.Errorf("unknown field")
		if closest, ok := suggest.Closest(name, s.fieldNames()); ok {
			err = fmt.Errorf("unknown field, did you mean %q?", closest)
		}
		c.add(join(path, name), err)
	}
}
