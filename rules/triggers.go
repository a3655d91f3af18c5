package rules

import (
	"fmt"
	"regexp"
	"strconv"
	"strings"

	"github.com/flightrules/flightrules/internal/yamlx"
	"github.com/flightrules/flightrules/triggers"
)

// triggerKinds are the keys by which a trigger says what it is.
var triggerKinds = []struct {
	key   string
	parse func(p *parser, m *yamlx.Map, at yamlx.Node) triggers.Trigger
}{
	{"event", (*parser).onEvent},
	{"state", (*parser).onState},
}

func triggerKeys() []string {
	var keys []string
	for _, kind := range triggerKinds {
		keys = append(keys, kind.key)
	}
	return keys
}

var triggerID = regexp.MustCompile(`^[A-Za-z0-9_][A-Za-z0-9_-]*$`)

// triggers parses the triggers of a rule and gives the names of their events;
// nil when not all of them are known.
func (p *parser) triggers(r *Rule, n yamlx.Node, known names) (events []string) {
	nodes, ok := n.List(p.ps)
	if ok && len(nodes) == 0 {
		p.ps.Add(n, "a rule needs at least one trigger", "")
	}
	seen := map[string]bool{}
	for i, node := range nodes {
		t, ok := p.trigger(node, known)
		if t.ID == "" {
			t.ID = strconv.Itoa(i + 1)
		}
		if seen[t.ID] {
			at, hint := node.At("id"), ""
			if at.IsZero() {
				at, hint = node, "a trigger without an id has its position as one"
			}
			p.ps.Add(at, fmt.Sprintf("duplicate trigger id %q", t.ID), hint)
		}
		seen[t.ID] = true
		if ok {
			r.Triggers = append(r.Triggers, t)
			events = append(events, t.Event())
		}
	}
	if len(events) < len(nodes) {
		return nil
	}
	return events
}

// trigger parses one trigger; it is false when nobody knows which event it
// looks at.
func (p *parser) trigger(n yamlx.Node, known names) (t Trigger, ok bool) {
	m, ok := n.Map(p.ps)
	if !ok {
		return t, false
	}
	t.ID = p.name(m.Take("id"), "trigger", triggerID, "letters, digits, _ and -")
	t.Enabled = p.boolean(m.Take("enabled"), true)
	where := m.Take("where")
	found := ""
	for _, kind := range triggerKinds {
		switch {
		case !m.Has(kind.key):
		case found != "":
			p.ps.Add(m.KeyNode(kind.key), fmt.Sprintf("a trigger waits for one thing, and this one has %s and %s", found, kind.key), "make two triggers of it")
			return t, false
		default:
			found = kind.key
			t.Trigger = kind.parse(p, m, m.Take(kind.key))
		}
	}
	if found == "" {
		p.noTrigger(n, m)
		return t, false
	}
	if t.Trigger != nil && !where.IsZero() {
		t.Where = p.scope(known.where(t.Event())).condition(where)
	}
	m.Done(p.ps)
	return t, t.Trigger != nil
}

// noTrigger reports a trigger that waits for nothing that is known.
func (p *parser) noTrigger(n yamlx.Node, m *yamlx.Map) {
	hint := "a trigger has one of these keys: " + strings.Join(triggerKeys(), ", ")
	for _, key := range m.Keys() {
		switch key {
		case "id", "enabled", "where":
			continue
		}
		if close := yamlx.Suggest(key, triggerKeys()); close != "" {
			hint = close
		}
		p.ps.Add(m.KeyNode(key), fmt.Sprintf("unknown trigger %q", key), hint)
		return
	}
	p.ps.Add(n, "a trigger must say what it waits for", hint)
}

func (p *parser) onEvent(_ *yamlx.Map, n yamlx.Node) triggers.Trigger {
	name, ok := n.Text(p.ps)
	if !ok {
		return nil
	}
	if _, err := p.Events.Lookup(name); err != nil && !p.emitted(name) {
		message, hint, _ := strings.Cut(err.Error(), ": ")
		switch close := yamlx.Suggest(name, p.eventNames()); {
		case close != "":
			hint = close
		case strings.HasSuffix(name, ".*"):
			hint = "a trigger waits for one event, by its whole name"
		case hint == "":
			hint = "an event is one that a plugin derives, one that a rule emits, or one whose name begins with " + triggers.CustomPrefix
		}
		p.ps.Add(n, message, hint)
		return nil
	}
	return triggers.OnEvent{Name: name}
}

func (p *parser) eventNames() []string {
	var list []string
	for _, e := range p.Events.Events() {
		list = append(list, e.Name)
	}
	return list
}

func (p *parser) onState(m *yamlx.Map, n yamlx.Node) triggers.Trigger {
	from, to, hold, entity := m.Take("from"), m.Take("to"), m.Take("for"), m.Take("entity")
	t := triggers.OnState{Entities: p.oneOrMore(entity)}
	if !hold.IsZero() {
		t.Hold, _ = hold.Duration(p.ps)
	}
	text, ok := n.Text(p.ps)
	if !ok {
		return nil
	}
	if t.Kind, t.Field, ok = strings.Cut(text, "."); !ok {
		p.ps.Add(n, fmt.Sprintf("%q does not name a field", text), "write KIND.FIELD, such as satellite.status")
		return nil
	}
	kind, ok := p.Events.Kind(t.Kind)
	if !ok {
		p.ps.Add(n, fmt.Sprintf("unknown kind %q", t.Kind), p.suggest(t.Kind, p.kindNames()))
		return nil
	}
	f, ok := p.recorded(n, len(t.Kind)+1, t.Kind, t.Field, kind.Shape)
	if !ok {
		return nil
	}
	t.From, t.To = p.values(from, f.Shape), p.values(to, f.Shape)
	return t
}

// oneOrMore reads a text or a list of texts.
func (p *parser) oneOrMore(n yamlx.Node) []string {
	switch {
	case n.IsZero():
		return nil
	case !n.IsList():
		return []string{p.text(n)}
	}
	list := p.texts(n)
	p.notEmpty(n)
	return list
}

// notEmpty reports a list that nothing can be in.
func (p *parser) notEmpty(n yamlx.Node) {
	if n.IsList() && len(n.Children()) == 0 {
		p.ps.Add(n, label(n)+" lists nothing, so that the trigger never fires", "leave it out for any")
	}
}
