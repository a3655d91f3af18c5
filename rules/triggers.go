package rules

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/flightrules/flightrules/internal/expression"
	"github.com/flightrules/flightrules/internal/shape"
	"github.com/flightrules/flightrules/internal/yamlx"
	"github.com/flightrules/flightrules/triggers"
)

// triggerKind is a key by which a trigger says what it is.
type triggerKind struct {
	key string
	// parse reads what stands under the key and the keys that belong to it.
	parse func(p *triggerParser, n yamlx.Node)
	// modified says that count, unless, group and initial may go with it.
	modified bool
}

// triggerKinds are all of them.
func triggerKinds() []triggerKind {
	return []triggerKind{
		{"event", (*triggerParser).onEvent, true},
		{"state", (*triggerParser).onState, true},
		{"numeric", (*triggerParser).onNumber, true},
		{"becomes", (*triggerParser).onBecoming, true},
		{"cron", (*triggerParser).cron, false},
		{"every", (*triggerParser).every, false},
		{"webhook", (*triggerParser).webhook, false},
		{"absent", (*triggerParser).absent, false},
		{"manual", (*triggerParser).manual, false},
		{"all", (*triggerParser).all, false},
	}
}

func triggerKeys() []string {
	var keys []string
	for _, kind := range triggerKinds() {
		keys = append(keys, kind.key)
	}
	return keys
}

// partKeys are the keys of the parts of `all`.
var partKeys = []string{"event", "state", "numeric", "becomes"}

var triggerID = regexp.MustCompile(`^[A-Za-z0-9_][A-Za-z0-9_-]*$`)

// triggers parses the triggers of a rule and gives the names of their events;
// nil when not all of them are known.
func (p *parser) triggers(r *Rule, n yamlx.Node, known names) (events []string) {
	nodes, ok := n.List(p.ps)
	if ok && len(nodes) == 0 {
		p.ps.Add(n, "a rule needs at least one trigger", "")
	}
	seen, complete := map[string]bool{}, true
	for i, node := range nodes {
		t := &triggerParser{parser: p, rule: r, known: known}
		ok := t.trigger(node)
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
			r.Triggers = append(r.Triggers, t.Trigger)
			events = append(events, t.events...)
		}
		complete = complete && ok
	}
	if !complete {
		return nil
	}
	slices.Sort(events)
	return slices.Compact(events)
}

// triggerParser parses one trigger.
type triggerParser struct {
	*parser
	Trigger
	rule   *Rule
	known  names
	m      *yamlx.Map
	events []string // names that the event may have; nil: nobody knows
	where  *scope   // of `where`, unless it is the view
}

// trigger is false when nobody knows which event the trigger looks at.
func (t *triggerParser) trigger(n yamlx.Node) bool {
	m, ok := n.Map(t.ps)
	if !ok {
		return false
	}
	t.m = m
	t.ID = t.name(m.Take("id"), "trigger", triggerID, "letters, digits, _ and -")
	t.Enabled = t.boolean(m.Take("enabled"), true)
	where := m.Take("where")
	kind, ok := t.kind(n, triggerKeys())
	if !ok {
		return false
	}
	t.Key = kind.key
	kind.parse(t, m.Take(kind.key))
	if kind.modified {
		t.modifiers()
	}
	if t.events != nil && !where.IsZero() {
		if t.All != nil {
			t.ps.Add(m.KeyNode("where"), "all has a where in each of its parts", "")
		} else {
			t.Where = t.whereScope().condition(where)
		}
	}
	m.Done(t.ps)
	if t.gathers() {
		t.Signature = signature(n.Value())
	}
	return t.events != nil
}

// gathers says whether something is kept for the trigger between events.
func (t *Trigger) gathers() bool {
	return t.Count != nil || t.Unless != nil || t.Group != nil || t.All != nil || t.Absent != nil || t.Schedule != nil ||
		t.Trigger != nil && latches(t.Trigger)
}

// view is the scope of what the trigger matches.
func (t *triggerParser) view() *scope { return t.scope(t.known.where(t.events...)) }

func (t *triggerParser) whereScope() *scope {
	if t.where != nil {
		return t.where
	}
	return t.view()
}

// kind finds the one key of a trigger that says what it waits for.
func (t *triggerParser) kind(n yamlx.Node, keys []string) (triggerKind, bool) {
	found := triggerKind{}
	for _, kind := range triggerKinds() {
		switch {
		case !t.m.Has(kind.key) || !slices.Contains(keys, kind.key):
		case found.key != "":
			t.ps.Add(t.m.KeyNode(kind.key), fmt.Sprintf("a trigger waits for one thing, and this one has %s and %s", found.key, kind.key), "make two triggers of it")
			return found, false
		default:
			found = kind
		}
	}
	if found.key == "" {
		t.noTrigger(n, keys)
		return found, false
	}
	return found, true
}

// noTrigger reports a trigger that waits for nothing that is known.
func (t *triggerParser) noTrigger(n yamlx.Node, keys []string) {
	hint := "a trigger has one of these keys: " + strings.Join(keys, ", ")
	for _, key := range t.m.Keys() {
		switch key {
		case "id", "enabled", "where":
			continue
		}
		if close := yamlx.Suggest(key, keys); close != "" {
			hint = close
		}
		t.ps.Add(t.m.KeyNode(key), fmt.Sprintf("unknown trigger %q", key), hint)
		return
	}
	t.ps.Add(n, "a trigger must say what it waits for", hint)
}

func (t *triggerParser) onEvent(n yamlx.Node) {
	if name, ok := t.eventName(n); ok {
		t.Trigger.Trigger = triggers.OnEvent{Name: name}
	}
}

// eventName reads the name of an event, or of all below one, and notes which
// there are.
func (t *triggerParser) eventName(n yamlx.Node) (string, bool) {
	name, ok := n.Text(t.ps)
	if !ok {
		return "", false
	}
	if events := t.covered(n, name); events != nil {
		t.events = append(t.events, events...)
		return name, true
	}
	return "", false
}

// covered are the known events that a name stands for; nil, and a problem, when
// there is none.
func (p *parser) covered(n yamlx.Node, name string) []string {
	prefix, all := strings.CutSuffix(name, ".*")
	if all && triggers.CheckName(prefix+".x") == nil {
		var list []string
		for _, one := range p.eventNames() {
			if triggers.Covers(name, one) {
				list = append(list, one)
			}
		}
		if p.emittedBelow(name) || triggers.Open(prefix+".x") {
			list = append(list, name) // of which nobody knows the payload
		}
		if list == nil {
			p.ps.Add(n, fmt.Sprintf("no event has a name below %s", prefix), p.suggest(prefix, p.eventPrefixes()))
		}
		return list
	}
	if _, err := p.Events.Lookup(name); err == nil || p.emitted(name) {
		return []string{name}
	} else {
		message, hint, _ := strings.Cut(err.Error(), ": ")
		switch close := yamlx.Suggest(name, p.eventNames()); {
		case close != "":
			hint = close
		case hint == "":
			hint = "an event is one that a plugin derives, one that a rule emits, or one whose name begins with " + triggers.CustomPrefix
		}
		p.ps.Add(n, message, hint)
		return nil
	}
}

// awaited are the known events that a name stands for; nil, and a problem, when
// there is none.
func (p *parser) awaited(n yamlx.Node, name string) []string {
	if name == "" {
		return nil
	}
	return p.covered(n, name)
}

func (p *parser) eventNames() []string {
	var list []string
	for _, e := range p.Events.Events() {
		list = append(list, e.Name)
	}
	return list
}

// eventPrefixes are the names below which there are events.
func (p *parser) eventPrefixes() []string {
	var list []string
	for _, name := range p.eventNames() {
		prefix := name[:strings.LastIndex(name, ".")]
		if !slices.Contains(list, prefix) {
			list = append(list, prefix)
		}
	}
	return list
}

// field reads KIND.FIELD and gives the form of the field.
func (t *triggerParser) field(n yamlx.Node) (kind, field string, form *shape.Shape) {
	text, ok := n.Text(t.ps)
	if !ok {
		return "", "", nil
	}
	if kind, field, ok = strings.Cut(text, "."); !ok {
		t.ps.Add(n, fmt.Sprintf("%q does not name a field", text), "write KIND.FIELD, such as satellite.status")
		return "", "", nil
	}
	info, ok := t.Events.Kind(kind)
	if !ok {
		t.ps.Add(n, fmt.Sprintf("unknown kind %q", kind), t.suggest(kind, t.kindNames()))
		return "", "", nil
	}
	f, ok := t.recorded(n, len(kind)+1, kind, field, info.Shape)
	if !ok {
		return "", "", nil
	}
	t.events = []string{triggers.ChangedEvent(kind)}
	return kind, field, f.Shape
}

func (t *triggerParser) onState(n yamlx.Node) {
	from, to, notFrom, notTo := t.m.Take("from"), t.m.Take("to"), t.m.Take("not_from"), t.m.Take("not_to")
	state := triggers.OnState{Entities: t.oneOrMore(t.m.Take("entity"))}
	hold := t.m.Take("for")
	kind, field, form := t.field(n)
	if form == nil {
		return
	}
	t.Hold = t.hold(hold)
	state.Kind, state.Field = kind, field
	state.From, state.To = t.values(from, form), t.values(to, form)
	state.NotFrom, state.NotTo = t.values(notFrom, form), t.values(notTo, form)
	t.exclude(from, notFrom)
	t.exclude(to, notTo)
	t.Trigger.Trigger = state
}

// exclude reports a value that is both wanted and not.
func (t *triggerParser) exclude(wanted, not yamlx.Node) {
	if !wanted.IsZero() && !not.IsZero() {
		t.ps.Add(not, label(not)+" says nothing beside "+label(wanted), "leave out one of them")
	}
}

func (t *triggerParser) onNumber(n yamlx.Node) {
	number := triggers.OnNumber{Entities: t.oneOrMore(t.m.Take("entity"))}
	above, below, reset, hold := t.m.Take("above"), t.m.Take("below"), t.m.Take("reset"), t.m.Take("for")
	number.Above, number.Below, number.Reset = t.bound(above), t.bound(below), t.bound(reset)
	kind, field, form := t.field(n)
	if form == nil {
		return
	}
	t.Hold = t.hold(hold)
	if form.Type != shape.Number && form.Type != shape.Integer && form.Type != shape.Any {
		t.ps.Add(n, fmt.Sprintf("%s.%s is no number", kind, field), "use state or becomes")
	}
	t.bounds(n, above, below, reset, number)
	number.Kind, number.Field = kind, field
	t.Trigger.Trigger = number
}

// bounds checks that there is something inside of a range, and that reset is
// outside of it.
func (t *triggerParser) bounds(n, above, below, reset yamlx.Node, r triggers.OnNumber) {
	switch {
	case above.IsZero() && below.IsZero():
		t.ps.Add(n, "numeric needs above, below or both", "")
	case r.Above != nil && r.Below != nil && *r.Above >= *r.Below:
		t.ps.Add(below, fmt.Sprintf("nothing is above %v and below %v", *r.Above, *r.Below), "make two triggers of it for outside of a range")
	case r.Reset == nil:
	case !above.IsZero() && !below.IsZero():
		t.ps.Add(reset, "reset goes with above or below, not with both", "a range is left at either end")
	case r.Above != nil && *r.Reset > *r.Above:
		t.ps.Add(reset, fmt.Sprintf("reset must not be above %v", *r.Above), "the value re-arms when it is at reset or below")
	case r.Below != nil && *r.Reset < *r.Below:
		t.ps.Add(reset, fmt.Sprintf("reset must not be below %v", *r.Below), "the value re-arms when it is at reset or above")
	}
}

func (t *triggerParser) bound(n yamlx.Node) *float64 {
	if n.IsZero() {
		return nil
	}
	v, ok := n.Float(t.ps)
	if !ok {
		return nil
	}
	return &v
}

func (t *triggerParser) onBecoming(n yamlx.Node) {
	kindNode, hold := t.m.Require(t.ps, "kind"), t.m.Take("for")
	kind := t.text(kindNode)
	if kind == "" {
		return
	}
	info, ok := t.Events.Kind(kind)
	if !ok {
		t.ps.Add(kindNode, fmt.Sprintf("unknown kind %q", kind), t.suggest(kind, t.kindNames()))
		return
	}
	t.events = []string{triggers.ChangedEvent(kind)}
	t.Hold = t.hold(hold)
	env := t.cached("becomes "+kind, func() *expression.Env {
		entity := object(field("id", shape.String), shape.Field{Name: "state", Shape: info.Shape})
		return expression.NewEnv().With("entity", entity.Expr())
	})
	s := &scope{parser: t.parser, env: env}
	t.Trigger.Trigger = triggers.OnBecoming{Kind: kind, Expr: s.condition(n), State: t.Events.State}
}

// hold reads `for`: a duration, or a template that gives one.
func (t *triggerParser) hold(n yamlx.Node) Hold {
	switch {
	case n.IsZero():
		return Hold{}
	case isTemplate(n):
		return Hold{Expr: t.view().moment(n, shape.Duration)}
	}
	d, _ := n.Duration(t.ps)
	return Hold{For: d}
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

// signature is a hash of what a trigger waits for.
func signature(trigger any) string {
	b, err := json.Marshal(timeless(trigger, "id", "enabled"))
	if err != nil {
		return ""
	}
	sum := sha256.Sum256(b)
	return hex.EncodeToString(sum[:6])
}
