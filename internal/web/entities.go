package web

import (
	"cmp"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"time"

	"github.com/flightrules/flightrules/internal/client"
)

type kindsView struct {
	Kinds  []client.Kind
	Counts map[string]client.KindCount
}

func (s *Site) kinds(p *page) error {
	var kinds client.Page[client.Kind]
	var o client.Overview
	if err := p.all(map[string]any{"/api/v1/kinds": &kinds, "/api/v1/overview": &o}); err != nil {
		return err
	}
	v := kindsView{Kinds: kinds.Items, Counts: map[string]client.KindCount{}}
	for _, k := range o.Kinds {
		v.Counts[k.Name] = k
	}
	return p.show("kinds", view{Title: "Entities", Section: "entities", Live: "topics=transition", Data: v})
}

type entitiesView struct {
	Kind         client.Kind
	Count        client.KindCount
	Search       string
	Status       string
	Items        []client.Entity
	Columns      []string
	After, Query string // where the list goes on, and by what it is narrowed
}

func (s *Site) entities(p *page) error {
	name := p.r.PathValue("kind")
	v := entitiesView{Search: p.query("search"), Status: p.query("status")}
	if err := p.get("/api/v1/kinds/"+url.PathEscape(name), &v.Kind); err != nil {
		return err
	}
	var o client.Overview
	if err := p.get("/api/v1/overview", &o); err != nil {
		return err
	}
	for _, k := range o.Kinds {
		if k.Name == name {
			v.Count = k
		}
	}
	narrow := url.Values{"search": {v.Search}, "status": {v.Status}}
	var l client.Page[client.Entity]
	if err := p.get("/api/v1/entities?limit=100&kind="+url.QueryEscape(name)+"&"+narrow.Encode()+"&after="+url.QueryEscape(p.query("after")), &l); err != nil {
		return err
	}
	v.Items, v.After, v.Query, v.Columns = l.Items, l.Next, narrow.Encode(), columnsOf(l.Items)
	return p.show("entities", view{Title: name, Section: "entities", Live: "topics=transition&kind=" + url.QueryEscape(name), Data: v})
}

// columnsOf are the fields that a list shows: the first few that are no objects.
func columnsOf(items []client.Entity) []string {
	const most = 5
	seen := map[string]bool{}
	var names []string
	for _, e := range items {
		for field, value := range e.State {
			switch value.(type) {
			case map[string]any, []any, nil:
				continue
			}
			if !seen[field] && field != "name" {
				seen[field] = true
				names = append(names, field)
			}
		}
	}
	slices.SortFunc(names, fieldOrder)
	return names[:min(len(names), most)]
}

type entityView struct {
	Entity      *client.Entity // nil: it is not there any more
	Kind, ID    string
	Timeline    timeline
	Ranges      []rangeLink
	Wider       string // and where to look otherwise: queries of this page
	Earlier     string
	Later       string
	Transitions []client.Transition
	After       string
	Rules       []client.Rule // that look at its kind
	Events      []client.Event
}

type rangeLink struct {
	Name, Query string
	Chosen      bool
}

// maxDrawn is how many transitions a timeline is drawn of.
const maxDrawn = 1000

func (s *Site) entity(p *page) error {
	v := entityView{Kind: p.r.PathValue("kind"), ID: p.r.PathValue("id")}
	one := "/api/v1/entities/" + url.PathEscape(v.Kind) + "/" + url.PathEscape(v.ID)
	var e client.Entity
	switch err := p.get(one, &e); {
	case err == nil:
		v.Entity = &e
	case !refusedWith(err, http.StatusNotFound):
		return err
	}
	if err := p.timeline(&v, one); err != nil {
		return err
	}
	var changes client.Page[client.Transition]
	if err := p.get(one+"/transitions?limit=50&after="+url.QueryEscape(p.query("after")), &changes); err != nil {
		return err
	}
	v.Transitions, v.After = changes.Items, changes.Next
	if v.Entity == nil && len(v.Transitions) == 0 && p.query("after") == "" {
		return &client.Problem{Status: http.StatusNotFound, Title: "Not Found", Detail: fmt.Sprintf("There is no %s %s, and none is in the history.", v.Kind, v.ID)}
	}
	var events client.Page[client.Event]
	if err := p.get("/api/v1/events?limit=10&kind="+url.QueryEscape(v.Kind)+"&entity="+url.QueryEscape(v.ID), &events); err != nil {
		return err
	}
	v.Events = events.Items
	var err error
	if v.Rules, err = p.rulesAbout(v.Kind); err != nil {
		return err
	}
	title := v.ID
	if v.Entity != nil {
		title = v.Entity.Name()
	}
	return p.show("entity", view{
		Title: title, Section: "entities", Data: v,
		Live: "topics=transition,event&kind=" + url.QueryEscape(v.Kind) + "&id=" + url.QueryEscape(v.ID),
	})
}

// timeline draws what the address asks for: by default the last day.
func (p *page) timeline(v *entityView, one string) error {
	now := p.site.now()
	to := parsed(p.query("to"), now)
	from := parsed(p.query("from"), time.Time{})
	length := 24 * time.Hour
	chosen := cmp.Or(p.query("range"), "24h")
	for _, r := range []struct {
		name   string
		length time.Duration
	}{{"15m", 15 * time.Minute}, {"1h", time.Hour}, {"6h", 6 * time.Hour}, {"24h", 24 * time.Hour}, {"7d", 7 * 24 * time.Hour}, {"30d", 30 * 24 * time.Hour}} {
		pick := from.IsZero() && chosen == r.name
		if pick {
			length = r.length
		}
		v.Ranges = append(v.Ranges, rangeLink{Name: r.name, Query: "range=" + r.name, Chosen: pick})
	}
	if from.IsZero() || !from.Before(to) {
		from = to.Add(-length)
	}
	length = to.Sub(from)
	v.Wider, v.Earlier = between(from.Add(-length/2), earliest(to.Add(length/2), now)), between(from.Add(-length/2), to.Add(-length/2))
	if to.Before(now) {
		v.Later = between(from.Add(length/2), earliest(to.Add(length/2), now))
	}

	var changes client.Page[client.Transition]
	if err := p.get(fmt.Sprintf("%s/transitions?limit=%d&from=%s&to=%s", one, maxDrawn, instant(from), instant(to)), &changes); err != nil {
		return err
	}
	v.Timeline = timeline{From: from, To: to, Cut: changes.Next != ""}
	drawn := from
	if v.Timeline.Cut {
		drawn = changes.Items[len(changes.Items)-1].At
	}
	var before client.Entity
	if err := p.get(one+"?at="+instant(drawn), &before); err != nil && !refusedWith(err, http.StatusNotFound, http.StatusGone) {
		return err
	}
	slices.Reverse(changes.Items)
	v.Timeline.Lines = drawTimeline(from, to, before.State, changes.Items)
	return nil
}

func earliest(a, b time.Time) time.Time {
	if a.Before(b) {
		return a
	}
	return b
}

func parsed(text string, otherwise time.Time) time.Time {
	if t, err := time.Parse(time.RFC3339, text); err == nil {
		return t
	}
	return otherwise
}

func instant(t time.Time) string { return url.QueryEscape(t.UTC().Format(time.RFC3339Nano)) }

func between(from, to time.Time) string {
	return "from=" + instant(from.Truncate(time.Millisecond)) + "&to=" + instant(to.Truncate(time.Millisecond))
}

type transitionsView struct {
	Filter map[string]string
	Items  []client.Transition
	After  string
	Query  string
	Kinds  []client.Kind
}

// filters are what the log can be narrowed by.
var filters = []string{"kind", "id", "field", "actor", "run", "from", "to"}

func (s *Site) transitions(p *page) error {
	v := transitionsView{Filter: map[string]string{}}
	narrow := url.Values{}
	for _, name := range filters {
		value := p.query(name)
		v.Filter[name] = value
		if name == "from" || name == "to" {
			value = inputTime(value)
		}
		if value != "" {
			narrow.Set(name, value)
		}
	}
	v.Query = narrow.Encode()
	var l client.Page[client.Transition]
	if err := p.get("/api/v1/transitions?limit=100&"+v.Query+"&after="+url.QueryEscape(p.query("after")), &l); err != nil {
		return err
	}
	v.Items, v.After = l.Items, l.Next
	var kinds client.Page[client.Kind]
	if err := p.get("/api/v1/kinds", &kinds); err != nil {
		return err
	}
	v.Kinds = kinds.Items
	live := url.Values{"topics": {"transition"}, "kind": {v.Filter["kind"]}, "id": {v.Filter["id"]}}
	return p.show("transitions", view{Title: "Transitions", Section: "transitions", Live: live.Encode(), Data: v})
}

// inputTime is a time as a browser's field gives it, in UTC, as the API takes it.
func inputTime(text string) string {
	for _, layout := range []string{"2006-01-02T15:04", "2006-01-02T15:04:05", "2006-01-02 15:04:05", "2006-01-02"} {
		if t, err := time.Parse(layout, text); err == nil {
			return t.Format(time.RFC3339)
		}
	}
	return text
}

type eventsView struct {
	Name, Kind, Entity string
	Items              []client.Event
	After, Query       string
}

func (s *Site) events(p *page) error {
	v := eventsView{Name: p.query("name"), Kind: p.query("kind"), Entity: p.query("entity")}
	narrow := url.Values{"name": {v.Name}, "kind": {v.Kind}, "entity": {v.Entity}}
	v.Query = narrow.Encode()
	var l client.Page[client.Event]
	if err := p.get("/api/v1/events?limit=100&"+v.Query+"&after="+url.QueryEscape(p.query("after")), &l); err != nil {
		return err
	}
	v.Items, v.After = l.Items, l.Next
	return p.show("events", view{Title: "Events", Section: "events", Live: "topics=event", Data: v})
}

type eventView struct {
	Event     client.Event
	Decisions []client.Decision
	Rules     []client.Rule
}

func (s *Site) event(p *page) error {
	one := "/api/v1/events/" + url.PathEscape(p.r.PathValue("id"))
	var v eventView
	var decisions client.Page[client.Decision]
	if err := p.get(one, &v.Event); err != nil {
		return err
	}
	if err := p.get(one+"/decisions?limit=200", &decisions); err != nil {
		return err
	}
	v.Decisions = decisions.Items
	slices.Reverse(v.Decisions)
	var err error
	if v.Rules, err = p.rulesLike(""); err != nil {
		return err
	}
	return p.show("event", view{Title: v.Event.Name, Section: "events", Live: "topics=decision", Data: v})
}
