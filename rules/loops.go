package rules

import (
	"slices"
	"strings"

	"github.com/flightrules/flightrules/triggers"
)

// warnOfLoops warns of rules that cause themselves, also by way of others: what
// they emit or update triggers them again.
func (p *parser) warnOfLoops(list []*Rule) {
	woken := map[string][]int{} // by the event that a trigger looks at
	byID := map[string]int{}
	for i, r := range list {
		byID[r.ID] = i
		for _, name := range r.wakers() {
			woken[name] = append(woken[name], i)
		}
	}
	causes := make([][]int, len(list))
	for i, r := range list {
		if !r.Enabled {
			continue
		}
		for _, e := range r.effects() {
			if j, ok := byID[e.rule]; ok {
				causes[i] = append(causes[i], j)
				continue
			}
			for _, name := range e.names() {
				for _, j := range woken[name] {
					if list[j].wokenBy(e) {
						causes[i] = append(causes[i], j)
					}
				}
			}
		}
	}
	for i, r := range list {
		if causes[i] == nil {
			continue
		}
		way := loopFrom(causes, i)
		if way == nil {
			continue
		}
		names := make([]string, len(way))
		for k, j := range way {
			names[k] = list[j].ID
		}
		what := "what the rule emits, updates or runs may trigger it again"
		if len(way) > 1 {
			what += ", by way of " + strings.Join(names[1:], ", ")
		}
		p.ps.SetRule(r.ID)
		p.ps.Warn(p.places[r.ID], what, "it ends at a depth of 16 at the latest; let a where or a condition end it")
		p.ps.SetRule("")
	}
}

// loopFrom is the shortest way from a rule back to itself; nil when there is
// none.
func loopFrom(causes [][]int, start int) []int {
	queue, from := []int{start}, map[int]int{}
	for len(queue) > 0 {
		at := queue[0]
		queue = queue[1:]
		for _, next := range causes[at] {
			if next == start {
				way := []int{at}
				for at != start {
					at = from[at]
					way = append(way, at)
				}
				slices.Reverse(way)
				return way
			}
			if _, seen := from[next]; !seen {
				from[next] = at
				queue = append(queue, next)
			}
		}
	}
	return nil
}

// effect is something that a rule's steps bring about.
type effect struct {
	rule  string // run; "": something else
	event string // emitted; "": kind changes
	kind  string
	set   map[string]any // the fields; a constant, or nil where it is not known
}

// effects are those of all steps of a rule.
func (r *Rule) effects() []effect {
	var list []effect
	r.Each(func(step *Step) {
		switch do := step.Do.(type) {
		case Emit:
			list = append(list, effect{event: do.Event})
		case RunRule:
			list = append(list, effect{rule: do.Rule})
		case Update:
			e := effect{kind: do.Kind, set: map[string]any{}}
			if do.Set != nil {
				e.set = do.Set.Constants()
			}
			list = append(list, e)
		}
	})
	return list
}

// names are those under which triggers may look at the effect.
func (e effect) names() []string {
	if e.event == "" {
		return []string{triggers.ChangedEvent(e.kind)}
	}
	names := []string{e.event}
	for end := strings.LastIndexByte(e.event, '.'); end > 0; end = strings.LastIndexByte(e.event[:end], '.') {
		names = append(names, e.event[:end]+".*")
	}
	return names
}

// wakers are the names of the events that a rule's triggers look at.
func (r *Rule) wakers() []string {
	var names []string
	for i := range r.Triggers {
		for _, l := range r.Triggers[i].listens() {
			if r.Enabled && r.Triggers[i].Enabled && l.role != Ending && !slices.Contains(names, l.trigger.Event()) {
				names = append(names, l.trigger.Event())
			}
		}
	}
	return names
}

// wokenBy says whether an effect may trigger the rule.
func (r *Rule) wokenBy(e effect) bool {
	for i := range r.Triggers {
		t := &r.Triggers[i]
		for _, l := range t.listens() {
			if t.Enabled && l.role != Ending && e.wakes(l.trigger) {
				return true
			}
		}
	}
	return false
}

func (e effect) wakes(t triggers.Trigger) bool {
	if e.event != "" {
		return triggers.Covers(t.Event(), e.event)
	}
	if t.Event() != triggers.ChangedEvent(e.kind) {
		return false
	}
	switch t := t.(type) {
	case triggers.OnState:
		v, sets := e.set[t.Field]
		return sets && (v == nil || t.To == nil || slices.Contains(t.To, likeView(v)))
	case triggers.OnNumber:
		_, sets := e.set[t.Field]
		return sets
	}
	return true
}
