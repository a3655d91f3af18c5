package rules

import (
	"fmt"
	"strings"

	"github.com/flightrules/flightrules/internal/duration"
	"github.com/flightrules/flightrules/triggers"
)

// EventName is the name of the event that the trigger fires for.
func (t *Trigger) EventName() string {
	switch {
	case t.Schedule != nil:
		return triggers.Tick
	case t.Absent != nil:
		return triggers.Absence
	case t.Manual != nil:
		return triggers.Manual
	case t.All != nil:
		return t.All.Parts[0].Event()
	default:
		return t.Event()
	}
}

// Summary says in a line what the trigger waits for, in the words of the rule
// files.
func (t *Trigger) Summary() string {
	s := &summary{}
	switch {
	case t.Schedule != nil && t.Schedule.Every > 0:
		s.add("every", duration.Format(t.Schedule.Every))
	case t.Schedule != nil:
		s.add("cron", fmt.Sprint(t.Schedule.Cron))
	case t.Webhook != nil:
		s.add("webhook", t.Webhook.Name)
	case t.Absent != nil:
		s.add("absent", t.Event(), "for", duration.Format(t.Absent.For))
	case t.Manual != nil:
		s.add("manual")
	case t.All != nil:
		s.all(t.All)
	default:
		s.single(t.Trigger)
	}
	s.modifiers(t)
	if t.Where != nil {
		s.add("where", t.Where.Source())
	}
	return strings.Join(s.parts, " ")
}

type summary struct{ parts []string }

func (s *summary) add(parts ...string) { s.parts = append(s.parts, parts...) }

// single says what a trigger on single events waits for.
func (s *summary) single(t triggers.Trigger) {
	switch t := t.(type) {
	case triggers.OnState:
		s.add("state", t.Kind+"."+t.Field)
		s.values("from", t.From)
		s.values("not from", t.NotFrom)
		s.values("to", t.To)
		s.values("not to", t.NotTo)
		s.entities(t.Entities)
	case triggers.OnNumber:
		s.add("numeric", t.Kind+"."+t.Field)
		s.bound("above", t.Above)
		s.bound("below", t.Below)
		s.bound("reset", t.Reset)
		s.entities(t.Entities)
	case triggers.OnBecoming:
		s.add(t.Kind, "becomes", t.Expr.Source())
	default:
		s.add("event", t.Event())
	}
}

func (s *summary) values(word string, values []any) {
	if values == nil {
		return
	}
	texts := make([]string, len(values))
	for i, v := range values {
		texts[i] = fmt.Sprint(v)
	}
	s.add(word, strings.Join(texts, ", "))
}

func (s *summary) bound(word string, v *float64) {
	if v != nil {
		s.add(word, fmt.Sprint(*v))
	}
}

func (s *summary) entities(ids []string) {
	if ids != nil {
		s.add("of", strings.Join(ids, ", "))
	}
}

func (s *summary) all(a *All) {
	texts := make([]string, len(a.Parts))
	for i, part := range a.Parts {
		one := &summary{}
		one.single(part.Trigger)
		texts[i] = strings.Join(one.parts, " ")
	}
	s.add("all of "+strings.Join(texts, "; "), "within", duration.Format(a.Within))
}

func (s *summary) modifiers(t *Trigger) {
	switch {
	case t.Hold.Expr != nil:
		s.add("for a time")
	case t.Hold.For > 0:
		s.add("for", duration.Format(t.Hold.For))
	}
	if t.Count != nil {
		s.add(fmt.Sprintf("%d times within %s", t.Count.N, duration.Format(t.Count.Within)))
	}
	if t.Unless != nil {
		s.add("unless", t.Unless.Event.Name, "within", duration.Format(t.Unless.Within))
	}
	if t.Group != nil {
		s.add("grouped for", duration.Format(t.Group.Wait))
	}
}
