package rules

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/flightrules/flightrules/internal/yamlx"
)

// TimeWindow is true at some times of the day on some days of the week. One
// that goes past midnight belongs to the day on which it starts.
type TimeWindow struct {
	After, Before time.Duration  // since midnight, on the clock of Zone; equal: the whole day
	Weekdays      []time.Weekday // nil: every day
	Zone          *time.Location
}

// Contains says whether the window is open at t: from After on, and before
// Before.
func (w *TimeWindow) Contains(t time.Time) bool {
	t = t.In(w.Zone)
	clock := time.Duration(t.Hour())*time.Hour + time.Duration(t.Minute())*time.Minute +
		time.Duration(t.Second())*time.Second + time.Duration(t.Nanosecond())
	day := t.Weekday()
	switch {
	case w.After < w.Before:
		return clock >= w.After && clock < w.Before && w.on(day)
	case w.After == w.Before && w.After == 0:
		return w.on(day)
	case clock >= w.After:
		return w.on(day)
	case clock < w.Before:
		return w.on((day + 6) % 7) // it began yesterday
	default:
		return false
	}
}

func (w *TimeWindow) on(day time.Weekday) bool {
	return w.Weekdays == nil || slices.Contains(w.Weekdays, day)
}

// Refusal is what made a condition false, or could not be evaluated: where it
// stands in the rule ("conditions[0].any"), and its text.
type Refusal struct{ Path, Text string }

// Check evaluates conditions, all of which must be true, at a time. It gives
// the first that is not.
func Check(list []*Condition, env map[string]any, now time.Time) (*Refusal, error) {
	for i, c := range list {
		path := fmt.Sprintf("conditions[%d]", i)
		yes, err := c.check(path, env, now)
		if err != nil {
			return nil, err
		}
		if !yes {
			return &Refusal{path, c.String()}, nil
		}
	}
	return nil, nil
}

// check evaluates one condition. What is decided before a part that fails is
// decided.
func (c *Condition) check(path string, env map[string]any, now time.Time) (bool, error) {
	some := func(key string, list []*Condition, stop bool) (bool, error) {
		for i, one := range list {
			yes, err := one.check(fmt.Sprintf("%s.%s[%d]", path, key, i), env, now)
			if err != nil || yes == stop {
				return yes, err
			}
		}
		return !stop, nil
	}
	switch {
	case c.Time != nil:
		return c.Time.Contains(now), nil
	case c.Any != nil:
		return some("any", c.Any, true)
	case c.All != nil:
		return some("all", c.All, false)
	case c.None != nil:
		yes, err := some("none", c.None, true)
		return !yes && err == nil, err
	default:
		yes, err := c.Expr.Bool(env)
		if err != nil {
			return false, fmt.Errorf("%s: %w", path, err)
		}
		return yes, nil
	}
}

// String is the condition in a line.
func (c *Condition) String() string {
	list := func(key string, of []*Condition) string {
		texts := make([]string, len(of))
		for i, one := range of {
			texts[i] = one.String()
		}
		return key + "[" + strings.Join(texts, ", ") + "]"
	}
	switch {
	case c.Time != nil:
		return c.Time.String()
	case c.Any != nil:
		return list("any", c.Any)
	case c.All != nil:
		return list("all", c.All)
	case c.None != nil:
		return list("none", c.None)
	default:
		return c.Expr.Source()
	}
}

// String is the window in the words of the rule files.
func (w *TimeWindow) String() string {
	text := "time"
	if w.After != w.Before || w.After != 0 {
		text += " after " + clockText(w.After) + " before " + clockText(w.Before)
	}
	for i, day := range w.Weekdays {
		text += map[bool]string{true: " on ", false: ", "}[i == 0] + strings.ToLower(day.String()[:3])
	}
	if w.Zone != time.UTC {
		text += " in " + w.Zone.String()
	}
	return text
}

func clockText(d time.Duration) string {
	return time.Time{}.Add(d).Format("15:04:05")
}

// conditions parses a list of conditions.
func (s *scope) conditions(n yamlx.Node) []*Condition {
	nodes, _ := n.List(s.ps)
	list := make([]*Condition, 0, len(nodes))
	for _, one := range nodes {
		if c := s.conditionOf(one); c != nil {
			list = append(list, c)
		}
	}
	return list
}

var conditionKeys = []string{"any", "all", "none", "time"}

func (s *scope) conditionOf(n yamlx.Node) *Condition {
	if !n.IsMap() {
		return &Condition{Expr: s.condition(n)}
	}
	m, _ := n.Map(s.ps)
	c, found := &Condition{}, ""
	for _, key := range conditionKeys {
		switch {
		case !m.Has(key):
			continue
		case found != "":
			s.ps.Add(m.KeyNode(key), fmt.Sprintf("a condition is one thing, and this one is %s and %s", found, key), "make two conditions of it")
			return nil
		}
		found = key
		value := m.Take(key)
		if key == "time" {
			c.Time = s.timeWindow(value)
			continue
		}
		list := s.conditions(value)
		if value.IsList() && len(value.Children()) == 0 {
			s.ps.Add(value, key+" needs at least one condition", "")
		}
		switch key {
		case "any":
			c.Any = list
		case "all":
			c.All = list
		default:
			c.None = list
		}
	}
	if found == "" {
		hint := "a condition is an expression, or has one of these keys: " + strings.Join(conditionKeys, ", ")
		keys := m.Keys()
		if len(keys) == 0 {
			s.ps.Add(n, "an empty condition", hint)
			return nil
		}
		if close := yamlx.Suggest(keys[0], conditionKeys); close != "" {
			hint = close
		}
		s.ps.Add(m.KeyNode(keys[0]), fmt.Sprintf("unknown condition %q", keys[0]), hint)
		return nil
	}
	m.Done(s.ps)
	return c
}

var weekdays = []string{"sun", "mon", "tue", "wed", "thu", "fri", "sat"}

func (p *parser) timeWindow(n yamlx.Node) *TimeWindow {
	w := &TimeWindow{Zone: time.UTC}
	m, ok := n.Map(p.ps)
	if !ok {
		return w
	}
	w.After, w.Before = p.clock(m.Take("after")), p.clock(m.Take("before"))
	if days := m.Take("weekdays"); !days.IsZero() {
		nodes, _ := days.List(p.ps)
		for _, one := range nodes {
			text := p.text(one)
			day := slices.Index(weekdays, text)
			if day < 0 {
				p.ps.Add(one, fmt.Sprintf("unknown weekday %q", text), "it is one of mon, tue, wed, thu, fri, sat, sun")
				continue
			}
			w.Weekdays = append(w.Weekdays, time.Weekday(day))
		}
		if days.IsList() && len(nodes) == 0 {
			p.ps.Add(days, "weekdays lists nothing, so that the window is never open", "leave it out for every day")
		}
	}
	w.Zone = p.zone(m.Take("timezone"))
	m.Done(p.ps)
	if !m.Has("after") && !m.Has("before") && !m.Has("weekdays") {
		p.ps.Add(n, "the window is always open", "give it after, before or weekdays")
	}
	if m.Has("after") && m.Has("before") && w.After == w.Before && w.After >= 0 {
		p.ps.Add(m.KeyNode("before"), "before is the same as after", "leave both out for the whole day")
	}
	return w
}

// clock reads a time of the day; midnight where there is none.
func (p *parser) clock(n yamlx.Node) time.Duration {
	if n.IsZero() {
		return 0
	}
	text, ok := n.Text(p.ps)
	if !ok {
		return 0
	}
	d, err := parseClock(text)
	if err != nil {
		p.ps.Add(n, err.Error(), `write hours and minutes in quotes, such as "22:00"`)
		return -1
	}
	return d
}

func parseClock(text string) (time.Duration, error) {
	for _, layout := range []string{"15:04", "15:04:05"} {
		if t, err := time.Parse(layout, text); err == nil {
			return t.Sub(t.Truncate(24 * time.Hour)), nil
		}
	}
	return 0, fmt.Errorf("bad time of day %q", text)
}

// zone reads the name of a time zone; UTC where there is none.
func (p *parser) zone(n yamlx.Node) *time.Location {
	if n.IsZero() {
		return time.UTC
	}
	text, ok := n.Text(p.ps)
	if !ok {
		return time.UTC
	}
	zone, err := zoneOf(text)
	if err != nil {
		p.ps.Add(n, err.Error(), "it is a name such as Europe/Berlin")
		return time.UTC
	}
	return zone
}

// zoneOf finds a zone by its IANA name. "Local" is none: nodes may differ.
func zoneOf(name string) (*time.Location, error) {
	zone, err := time.LoadLocation(name)
	if err != nil || name == "" || strings.EqualFold(name, "local") {
		return nil, errors.New("unknown time zone " + fmt.Sprintf("%q", name))
	}
	return zone, nil
}
