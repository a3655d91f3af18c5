package ruletest

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/flightrules/flightrules/entities"
	"github.com/flightrules/flightrules/internal/duration"
	"github.com/flightrules/flightrules/internal/shape"
	"github.com/flightrules/flightrules/internal/sim"
	"github.com/flightrules/flightrules/internal/yamlx"
	"github.com/flightrules/flightrules/rules"
)

// DefaultStart is when a test begins that does not say so: a Monday.
var DefaultStart = time.Date(2026, 1, 5, 0, 0, 0, 0, time.UTC)

// Test is one test of a file.
type Test struct {
	Name        string
	Description string
	File        string
	Line        int

	rules     []string // that are in force; nil: all
	start     time.Time
	given     []given
	secrets   map[string]string
	responses []*response
	steps     []step
}

// given is something of the world as it is when a test begins.
type given struct {
	before time.Duration // how long before the start it came to be
	do     deed
}

// deed is something that happens in a test; an error of it is the test's.
type deed func(ctx context.Context, p *player) error

// step is one entry of `steps`.
type step struct {
	name   string
	at     time.Duration // since the start
	node   yamlx.Node
	verb   string // "": nothing happens
	do     deed
	down   time.Duration // for how long the engine is down then
	expect *expectation  // nil: nothing
}

// The keys of a step but for the verbs, and those of an entry of given.
var (
	stepKeys  = []string{"name", "at", "expect"}
	givenKeys = []string{"entity", "silence", "secrets", "time", "timezone"}
)

// parser reads the tests of one file.
type parser struct {
	*yamlx.Problems

	lab   *sim.Lab
	verbs map[string]verb
	all   *rules.Set
	set   *rules.Set // those of the test, as edited up to where it is read
	test  *Test
	zone  *time.Location

	taken map[string]bool // titles of the snapshots of the file
}

// file reads one file.
func (p *parser) file(root yamlx.Node) []*Test {
	m, ok := root.Map(p.Problems)
	if !ok {
		return nil
	}
	nodes, _ := m.Require(p.Problems, "tests").List(p.Problems)
	m.Done(p.Problems)
	var tests []*Test
	first := map[string]int{}
	for _, n := range nodes {
		t := p.one(n)
		if t == nil {
			continue
		}
		if line, ok := first[t.Name]; ok && t.Name != "" {
			p.Add(n.At("name"), fmt.Sprintf("duplicate test name %q", t.Name), fmt.Sprintf("line %d has it already", line))
		}
		first[t.Name] = t.Line
		tests = append(tests, t)
	}
	return tests
}

func (p *parser) one(n yamlx.Node) *Test {
	m, ok := n.Map(p.Problems)
	if !ok {
		return nil
	}
	t := &Test{start: DefaultStart, secrets: map[string]string{}}
	t.File, t.Line, _ = n.Place()
	p.test, p.zone = t, time.UTC
	t.Name, _ = m.Require(p.Problems, "name").Text(p.Problems)
	t.Description, _ = m.Take("description").Text(p.Problems)
	p.rules(m.Take("rules"))
	p.given(m.Take("given"))
	p.responses(m.Take("responses"))
	p.steps(m.Require(p.Problems, "steps"))
	m.Done(p.Problems)
	return t
}

func (p *parser) rules(n yamlx.Node) {
	p.set = p.all
	if n.IsZero() {
		return
	}
	nodes, _ := n.List(p.Problems)
	p.test.rules = []string{}
	for _, one := range nodes {
		if id, ok := one.Text(p.Problems); ok && p.known(one, id) {
			p.test.rules = append(p.test.rules, id)
		}
	}
	p.set = p.all.Only(func(r *rules.Rule) bool { return slices.Contains(p.test.rules, r.ID) })
}

// known says whether a rule is in force, and reports where it is not.
func (p *parser) known(n yamlx.Node, id string) bool {
	if p.set.Rule(id) != nil {
		return true
	}
	var ids []string
	for _, r := range p.set.Rules {
		ids = append(ids, r.ID)
	}
	hint := yamlx.Suggest(id, ids)
	if p.all.Rule(id) != nil {
		hint = "it is not among the rules of this test, or a step before this one has removed it"
	}
	p.Add(n, fmt.Sprintf("there is no rule %q", id), hint)
	return false
}

// entry takes the one key of a map that is neither among others nor unknown.
func (p *parser) entry(m *yamlx.Map, known []string, others ...string) (key string, n yamlx.Node, ok bool) {
	for _, k := range m.Keys() {
		if slices.Contains(others, k) {
			continue
		}
		if !slices.Contains(known, k) {
			hint := yamlx.Suggest(k, append(slices.Clone(known), others...))
			if hint == "" {
				hint = "known: " + strings.Join(append(slices.Clone(others), known...), ", ")
			}
			p.Add(m.KeyNode(k), fmt.Sprintf("unknown key %q", k), hint)
			m.Take(k)
			return "", yamlx.Node{}, false
		}
		if key != "" {
			p.Add(m.KeyNode(k), fmt.Sprintf("%s and %s exclude each other", key, k), "make two entries of it")
			return "", yamlx.Node{}, false
		}
		key, n = k, m.Take(k)
	}
	return key, n, true
}

func (p *parser) steps(n yamlx.Node) {
	nodes, _ := n.List(p.Problems)
	if n.IsList() && len(nodes) == 0 {
		p.Add(n, "a test without steps tests nothing", "")
	}
	before, expects := time.Duration(0), n.IsZero()
	for _, one := range nodes {
		s, ok := p.step(one, before)
		if !ok {
			expects = true // as far as can be told
			continue
		}
		before = s.at + s.down
		expects = expects || s.expect != nil
		p.test.steps = append(p.test.steps, s)
	}
	if !expects {
		p.Add(n, "the test expects nothing, so that it cannot fail", "give a step an expect, such as expect: {runs: 1}")
	}
}

func (p *parser) step(n yamlx.Node, before time.Duration) (s step, ok bool) {
	m, ok := n.Map(p.Problems)
	if !ok {
		return s, false
	}
	s.node = n
	s.at = before
	if name := m.Take("name"); !name.IsZero() {
		s.name, _ = name.Text(p.Problems)
	}
	if at := m.Take("at"); !at.IsZero() {
		s.at, ok = p.moment(at)
		if ok && s.at < before {
			p.Add(at, fmt.Sprintf("this is before %s, where the steps before it have come to", duration.Format(before)), "steps stand in the order of their times")
		}
	}
	verb, arg, one := p.entry(m, p.verbNames(), stepKeys...)
	if one && verb != "" {
		s.verb = verb
		s.do, s.down = p.verb(verb, arg)
	}
	if expect := m.Take("expect"); !expect.IsZero() {
		s.expect = p.expect(expect, s)
	}
	if one && verb == "" && s.expect == nil && !m.Has("expect") {
		p.Add(n, "nothing happens in this step, and it expects nothing", "")
	}
	return s, ok && one
}

// moment reads a time: a duration since the start, or a time of RFC 3339 whose
// offset may be left out, as it is then the zone of the test.
func (p *parser) moment(n yamlx.Node) (time.Duration, bool) {
	text, ok := n.Scalar(p.Problems)
	if !ok {
		return 0, false
	}
	if at, err := p.time(text); err == nil {
		return at.Sub(p.test.start), true
	}
	d, err := duration.ParseSigned(text) // what was before the start can be looked for
	if err != nil {
		p.Add(n, fmt.Sprintf("%q is neither a duration since the start of the test nor a time", text), "write 90s, 1h30m, or 2026-01-31T12:00:00Z")
		return 0, false
	}
	return d, true
}

func (p *parser) time(text string) (time.Time, error) {
	if at, err := time.Parse(time.RFC3339Nano, text); err == nil {
		return at.UTC(), nil
	}
	at, err := time.ParseInLocation("2006-01-02T15:04:05.999999", text, p.zone)
	if err != nil {
		at, err = time.ParseInLocation("2006-01-02T15:04", text, p.zone)
	}
	return at.UTC(), err
}

// kind finds a kind of entity, and reports one that is not there.
func (p *parser) kind(n yamlx.Node, name string) (entities.KindInfo, bool) {
	info, ok := p.lab.Compiler.Events.Kind(name)
	if !ok {
		var known []string
		for _, k := range p.lab.Compiler.Events.Kinds() {
			known = append(known, k.Name)
		}
		p.Add(n, fmt.Sprintf("unknown kind %q", name), yamlx.Suggest(name, known))
	}
	return info, ok
}

// state checks some fields of a state.
func (p *parser) state(n yamlx.Node, info entities.KindInfo) { fits(p.Problems, n, info.Shape, false) }

// The keys of `given`.
type (
	givenEntity struct {
		Kind  string         `json:"kind"`
		ID    string         `json:"id"`
		State map[string]any `json:"state,omitempty" doc:"Some fields; the others get their default, the first value of an enum, or what is zero."`
		Since *duration.Text `json:"since,omitempty" doc:"How long before the start it came to be so."`
	}
	silenceArg struct {
		ID     string         `json:"id,omitempty"`
		Match  string         `json:"match" doc:"An expression over event and trigger."`
		For    *duration.Text `json:"for,omitempty"`
		End    string         `json:"end,omitempty" doc:"A time, instead of for."`
		Reason string         `json:"reason,omitempty"`
	}
)

// given reads what is there at the start: times first, as the others count
// from them.
func (p *parser) given(n yamlx.Node) {
	if n.IsZero() {
		return
	}
	nodes, _ := n.List(p.Problems)
	type entry struct {
		key string
		arg yamlx.Node
	}
	var entries []entry
	known := append(slices.Clone(givenKeys), p.simulated(true)...)
	for _, one := range nodes {
		m, ok := one.Map(p.Problems)
		if !ok {
			continue
		}
		key, arg, ok := p.entry(m, known)
		if ok && key == "" {
			p.Add(one, "an entry says what there is", "such as entity: {kind: door, id: d1}")
		}
		if ok && key != "" {
			entries = append(entries, entry{key, arg})
		}
	}
	for _, key := range []string{"timezone", "time"} {
		for _, e := range entries {
			if e.key == key {
				p.clock(key, e.arg)
			}
		}
	}
	for _, e := range entries {
		switch e.key {
		case "time", "timezone":
		case "entity":
			p.givenEntity(e.arg)
		case "secrets":
			if secrets, ok := read[map[string]string](p.Problems, e.arg); ok {
				maps.Copy(p.test.secrets, secrets)
			}
		case "silence":
			if do := p.silence(e.arg); do != nil {
				p.test.given = append(p.test.given, given{do: do})
			}
		default:
			if do := p.outside(true, e.key, e.arg); do != nil {
				p.test.given = append(p.test.given, given{do: do})
			}
		}
	}
}

func (p *parser) clock(key string, n yamlx.Node) {
	text, ok := n.Text(p.Problems)
	if !ok {
		return
	}
	var err error
	if key == "timezone" {
		if p.zone, err = time.LoadLocation(text); err != nil {
			p.zone = time.UTC
			p.Add(n, fmt.Sprintf("unknown time zone %q", text), "write a name such as Europe/Berlin")
		}
		return
	}
	if p.test.start, err = p.time(text); err != nil {
		p.test.start = DefaultStart
		p.Add(n, fmt.Sprintf("bad time %q", text), "write 2026-01-31T12:00:00Z, or 2026-01-31T12:00:00 in the zone of timezone")
	}
}

func (p *parser) givenEntity(n yamlx.Node) {
	e, ok := read[givenEntity](p.Problems, n)
	if !ok {
		return
	}
	info, ok := p.kind(n.At("kind"), e.Kind)
	if !ok {
		return
	}
	p.state(n.At("state"), info)
	g := given{do: func(ctx context.Context, p *player) error { return p.update(ctx, info, e.ID, e.State) }}
	if e.Since != nil {
		if g.before = time.Duration(*e.Since); g.before < 0 {
			p.Add(n.At("since"), "a duration before the start is not negative", "")
		}
	}
	p.test.given = append(p.test.given, g)
}

// payload checks the payload of an event, as far as its form is known.
func (p *parser) payload(n yamlx.Node, form *shape.Shape) { fits(p.Problems, n, form, false) }
