package rules

import (
	"fmt"
	"slices"
	"time"

	"github.com/flightrules/flightrules/internal/duration"
	"github.com/flightrules/flightrules/internal/yamlx"
	"github.com/flightrules/flightrules/triggers"
)

// Retention says how long the engine keeps what happened, and how much of it.
type Retention struct {
	Runs        Keeping // by the rule; their steps go with them
	Decisions   Keeping // by the rule
	Events      Keeping // by the kind of their entity, "" for those without one
	Transitions Keeping // by the kind
}

// Keeping is a Limit with those of some rules or kinds.
type Keeping struct {
	Limit

	Of map[string]Limit
}

// Limit is how much is kept. What is older than Keep goes, and what is beyond
// the newest Max of a rule or a kind.
type Limit struct {
	Keep time.Duration // zero: for ever
	Max  int           // zero: any number
}

// For is the limit of a rule or a kind.
func (k Keeping) For(name string) Limit {
	if l, ok := k.Of[name]; ok {
		return l
	}
	return k.Limit
}

const day = 24 * time.Hour

// DefaultRetention is what holds where no file says anything.
func DefaultRetention() Retention {
	month := Keeping{Limit: Limit{Keep: 30 * day}}
	return Retention{Runs: month, Decisions: month, Events: month, Transitions: Keeping{Limit: Limit{Keep: 90 * day}}}
}

// forever stands in the place of a duration.
const forever = "forever"

// retention parses the section, which stands in one file.
func (p *parser) retention(found []yamlx.Node, list []*Rule) Retention {
	r := DefaultRetention()
	for _, more := range found[min(1, len(found)):] {
		file, line, _ := found[0].Place()
		p.ps.Add(more, "retention stands in two files", fmt.Sprintf("%s:%d has it already: say all of it there", file, line))
	}
	if len(found) == 0 {
		return r
	}
	m, ok := found[0].Map(p.ps)
	if !ok {
		return r
	}
	var ids []string
	for _, rule := range list {
		ids = append(ids, rule.ID)
	}
	kinds := p.kindNames()
	p.keeping(m.Take("runs"), &r.Runs, "rules", "rule", ids)
	p.keeping(m.Take("decisions"), &r.Decisions, "rules", "rule", ids)
	p.keeping(m.Take("events"), &r.Events, "kinds", "kind", append(slices.Clone(kinds), triggers.RuleKind, ""))
	p.keeping(m.Take("transitions"), &r.Transitions, "kinds", "kind", kinds)
	m.Done(p.ps)
	return r
}

// keeping reads what is said of one table; of is the key of its exceptions, and
// known are the names of those, each a what.
func (p *parser) keeping(n yamlx.Node, into *Keeping, of, what string, known []string) {
	if n.IsZero() {
		return
	}
	m, ok := n.Map(p.ps)
	if !ok {
		return
	}
	p.kept(m, &into.Limit)
	exceptions := m.Take(of)
	m.Done(p.ps)
	if exceptions.IsZero() {
		return
	}
	several, ok := exceptions.Map(p.ps)
	if !ok {
		return
	}
	into.Of = map[string]Limit{}
	for _, name := range several.Keys() {
		one := several.Take(name)
		if !slices.Contains(known, name) {
			p.ps.Add(several.KeyNode(name), fmt.Sprintf("unknown %s %q", what, name), p.suggest(name, tellable(known)))
			continue
		}
		m, ok := one.Map(p.ps)
		if !ok {
			continue
		}
		l := into.Limit // what an exception does not say is as for the others
		p.kept(m, &l)
		m.Done(p.ps)
		into.Of[name] = l
	}
}

// tellable are the names that a hint can tell.
func tellable(names []string) []string {
	return slices.DeleteFunc(slices.Clone(names), func(name string) bool { return name == "" })
}

func (p *parser) kept(m *yamlx.Map, l *Limit) {
	keep, most := m.Take("keep"), m.Take("max")
	switch {
	case keep.IsZero():
	case keep.Value() == forever:
		l.Keep = 0
	default:
		d, ok := keep.Duration(p.ps)
		if ok && d == 0 {
			p.ps.Add(keep, "keep must be longer than nothing", "write keep: forever to keep all")
		}
		l.Keep = d
	}
	if !most.IsZero() {
		l.Max = p.within(most, 1, 1_000_000_000)
	}
}

// lookback is how far back an expression looks into the transitions of a kind.
type lookback struct {
	node   yamlx.Node
	kind   string
	length time.Duration
}

// lookback remembers one whose window is a constant.
func (p *parser) lookback(n yamlx.Node, kind string, window any) {
	text, _ := window.(string)
	if length, err := duration.Parse(text); err == nil {
		p.lookbacks = append(p.lookbacks, lookback{n, kind, length})
	}
}

// warnOfLookbacks warns of expressions that look back further than the log goes.
func (p *parser) warnOfLookbacks(r Retention) {
	for _, look := range p.lookbacks {
		if keep := r.Transitions.For(look.kind).Keep; keep > 0 && look.length > keep {
			p.ps.Warn(look.node, fmt.Sprintf("this looks back %s, and transitions of kind %s are kept for %s",
				duration.Format(look.length), look.kind, duration.Format(keep)), "say more under retention.transitions, or look back less")
		}
	}
}
