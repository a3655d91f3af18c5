package engine

import (
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/flightrules/flightrules/internal/expression"
)

// conditioned reads for a condition that a run waits for. It remembers what it
// has read: until one of it changes, nothing but time can make the condition
// another.
type conditioned struct {
	*reading

	reads []seen
	known map[string]answer
}

// answer is what was read.
type answer struct {
	value any
	err   error
}

func (c *conditioned) note(kind, id string) {
	if one := (seen{kind, id}); !slices.Contains(c.reads, one) {
		c.reads = append(c.reads, one)
	}
}

// once reads something once.
func once[T any](c *conditioned, read func() (T, error), key ...any) (T, error) {
	name := fmt.Sprintf("%q", key)
	a, ok := c.known[name]
	if !ok {
		a.value, a.err = read()
		c.known[name] = a
	}
	v, _ := a.value.(T)
	return v, a.err
}

func (c *conditioned) functions() map[string]any {
	functions := c.reading.functions()
	since := func(kind, id, field string) (time.Time, error) {
		return once(c, func() (time.Time, error) { return c.since(kind, id, field) }, "since", kind, id, field)
	}
	maps.Copy(functions, map[string]any{
		"now": func() time.Time { return c.clock() },
		"state": func(kind, id string) (any, error) {
			return once(c, func() (any, error) { return c.state(kind, id) }, "state", kind, id)
		},
		"entities": func(kind string) ([]any, error) {
			return once(c, func() ([]any, error) { return c.entities(kind) }, "entities", kind)
		},
		"since": since,
		"held": func(kind, id, field string) (time.Duration, error) {
			from, err := since(kind, id, field)
			return c.clock().Sub(from), err
		},
	})
	return functions
}

// calendar is how often a condition is looked at that depends on the time in
// another way than by how much of it has gone by.
const calendar = time.Minute

// furthest bounds how far ahead a condition is worked out. It is looked at
// again then.
const furthest = 400 * 24 * time.Hour

// next is when a condition, which is false now, may be true without a change of
// what it has read; zero: never. Each comparison that depends on the time turns
// once at most as time goes by, and the condition can become true only when one
// does. What depends on the time in another way is looked at each minute.
func (c *conditioned) next(p *expression.Program, env map[string]any) time.Time {
	now := c.clock()
	defer func() { c.clock = func() time.Time { return now } }()
	at := func(t time.Time) { c.clock = func() time.Time { return t } }
	comparisons, all := p.Comparisons("now", "held")
	if !all || p.CallsAny("transitions") {
		return now.Truncate(calendar).Add(calendar)
	}
	var turns []time.Time
	for _, one := range comparisons {
		turns = append(turns, turn(now, func(t time.Time) bool {
			at(t)
			yes, err := one.Bool(env)
			return err == nil && yes
		})...)
	}
	slices.SortFunc(turns, time.Time.Compare)
	for _, t := range turns {
		at(t)
		if yes, err := p.Bool(env); yes || err != nil {
			return t
		}
	}
	if len(turns) > 0 {
		return now.Add(furthest)
	}
	return time.Time{}
}

// turn finds when something that turns once turns, to the microsecond: the
// first instant after from at which it is not what it is then. It gives none
// where that is not in sight.
func turn(from time.Time, holds func(time.Time) bool) []time.Time {
	first := holds(from)
	low, step := from, time.Second
	for ; step < furthest && holds(from.Add(step)) == first; step *= 2 {
		low = from.Add(step)
	}
	if step >= furthest {
		return nil
	}
	high := from.Add(step)
	for high.Sub(low) > time.Microsecond {
		middle := low.Add(high.Sub(low) / 2).Truncate(time.Microsecond)
		if !middle.After(low) {
			middle = low.Add(time.Microsecond)
		}
		if holds(middle) == first {
			low = middle
		} else {
			high = middle
		}
	}
	return []time.Time{high}
}
