package rules

import (
	"fmt"
	"time"

	"github.com/flightrules/flightrules/internal/expression"
	"github.com/flightrules/flightrules/internal/yamlx"
	"github.com/flightrules/flightrules/triggers"
)

// modifiers parses what may go with event, state, numeric and becomes.
func (t *triggerParser) modifiers() {
	m := t.m
	count, within, by, refire := m.Take("count"), m.Take("within"), m.Take("by"), m.Take("refire")
	unless, group, initial := m.Take("unless"), m.Take("group"), m.Take("initial")
	if t.events == nil {
		return // the rest would only complain of what follows from that
	}
	if !count.IsZero() {
		t.count(count, within, by, refire)
	} else {
		for _, n := range []yamlx.Node{within, by, refire} {
			if !n.IsZero() {
				t.ps.Add(n, label(n)+" goes with count", "")
			}
		}
	}
	if !unless.IsZero() {
		t.unless(unless)
	}
	if !group.IsZero() {
		t.group(group)
	}
	t.initial(initial)
	if t.Unless != nil && !t.Hold.IsZero() {
		t.ps.Add(unless, "unless does not go with for", "unless waits by itself: within says how long")
	}
}

func (t *triggerParser) count(count, within, by, refire yamlx.Node) {
	c := &Count{}
	n, ok := count.Int(t.ps)
	if ok && (n < 2 || n > 10_000) {
		t.ps.Add(count, fmt.Sprintf("count must be from 2 to 10000, not %d", n), "without count each match fires")
	}
	c.N = n
	if within.IsZero() {
		t.ps.Add(count, "count needs within", "such as within: 10m")
	} else {
		c.Within, _ = within.Duration(t.ps)
	}
	c.By = t.by(by)
	c.Every = t.choice(refire, "refire", "once", "every", "once") == "every"
	t.Count = c
}

// by reads an expression that gives a key.
func (t *triggerParser) by(n yamlx.Node) *expression.Program {
	if n.IsZero() {
		return nil
	}
	return t.view().value(n)
}

func (t *triggerParser) unless(n yamlx.Node) {
	m, ok := n.Map(t.ps)
	if !ok {
		return
	}
	event, within := m.Require(t.ps, "event"), m.Require(t.ps, "within")
	where, by := m.Take("where"), m.Take("by")
	m.Done(t.ps)
	u := &Unless{}
	u.Within, _ = within.Duration(t.ps)
	if event.IsZero() {
		return
	}
	other := &triggerParser{parser: t.parser, known: t.known}
	name, ok := other.eventName(event)
	if !ok {
		return
	}
	u.Event = triggers.OnEvent{Name: name}
	if !where.IsZero() {
		u.Where = other.view().condition(where)
	}
	if !by.IsZero() { // it must make sense of both events
		both := &triggerParser{parser: t.parser, known: t.known, events: append(other.events, t.events...)}
		u.By = both.by(by)
	}
	t.Unless = u
}

func (t *triggerParser) group(n yamlx.Node) {
	m, ok := n.Map(t.ps)
	if !ok {
		return
	}
	g := &Group{Max: DefaultGroupMax}
	by, wait, interval, most := m.Take("by"), m.Take("wait"), m.Take("interval"), m.Take("max")
	m.Done(t.ps)
	g.By = t.by(by)
	if wait.IsZero() {
		t.ps.Add(n, `missing key "wait"`, "how long after its first match a batch fires, such as wait: 30s")
	} else {
		g.Wait, _ = wait.Duration(t.ps)
	}
	if !interval.IsZero() {
		g.Interval, _ = interval.Duration(t.ps)
	}
	if !most.IsZero() {
		g.Max = t.within(most, 1, DefaultGroupMax)
	}
	t.Group = g
}

// within reads a whole number between two bounds.
func (p *parser) within(n yamlx.Node, least, most int) int {
	v, ok := n.Int(p.ps)
	if ok && (v < least || v > most) {
		p.ps.Add(n, fmt.Sprintf("%s must be from %d to %d, not %d", label(n), least, most, v), "")
	}
	return v
}

func (t *triggerParser) initial(n yamlx.Node) {
	t.Initial = t.boolean(n, false)
	if _, holding := t.Trigger.Trigger.(triggers.Holding); t.Initial && !holding {
		t.ps.Add(n, "an event is over when it has happened: initial goes with state, numeric and becomes", "")
	}
}

// all parses the trigger that waits for several events.
func (t *triggerParser) all(n yamlx.Node) {
	within, by := t.m.Require(t.ps, "within"), t.m.Take("by")
	a := &All{}
	a.Within, _ = within.Duration(t.ps)
	nodes, ok := n.List(t.ps)
	if ok && len(nodes) < 2 {
		t.ps.Add(n, "all needs two events at least", "")
	}
	complete := ok
	for _, node := range nodes {
		part, ok := t.part(node)
		complete = complete && ok
		a.Parts = append(a.Parts, part)
	}
	if !complete {
		t.events = nil
		return
	}
	a.By = t.by(by)
	t.All = a
}

// part parses one of the events of `all`.
func (t *triggerParser) part(n yamlx.Node) (Part, bool) {
	m, ok := n.Map(t.ps)
	if !ok {
		return Part{}, false
	}
	one := &triggerParser{parser: t.parser, rule: t.rule, known: t.known, m: m}
	where := m.Take("where")
	kind, ok := one.kind(n, partKeys)
	if !ok {
		return Part{}, false
	}
	kind.parse(one, m.Take(kind.key))
	if one.events == nil {
		return Part{}, false
	}
	if !one.Hold.IsZero() {
		t.ps.Add(m.KeyNode("for"), "for does not go with all", "all looks at when things happen, not at how long they hold")
	}
	if !where.IsZero() {
		one.Where = one.view().condition(where)
	}
	m.Done(t.ps)
	t.events = append(t.events, one.events...)
	return Part{Trigger: one.Trigger.Trigger, Where: one.Where}, true
}

// absent parses the trigger on an event that does not come.
func (t *triggerParser) absent(n yamlx.Node) {
	length, by, since := t.m.Require(t.ps, "for"), t.m.Take("by"), t.m.Take("since")
	a := &Absent{Start: t.choice(since, "since", "seen", "start", "seen") == "start"}
	a.For, _ = length.Duration(t.ps)
	name, ok := t.eventName(n)
	if !ok {
		return
	}
	if !by.IsZero() && a.Start {
		t.ps.Add(by, "by does not go with since: start", "which keys there will be is not known at the start")
	}
	a.By = t.by(by)
	t.Trigger.Trigger, t.Absent = triggers.OnEvent{Name: name}, a
	// What fires is the absence; `where` is about the event that is waited for.
	t.where = t.view()
	t.events = []string{triggers.Absence}
}

// minEvery is the shortest period of a schedule.
const minEvery = time.Second
