package web

import (
	"cmp"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"slices"

	"github.com/flightrules/flightrules/internal/client"
)

// overview is what is wrong now, what fired lately, and how the engine does.
type overview struct {
	client.Overview

	Wrong    []wrong
	Paused   []client.Rule
	Problems []client.LoadProblem
	Dead     []client.Run
	Fired    []client.Decision
	Regions  []client.Region
	Calm     bool // nothing is wrong
	Empty    bool // there is nothing yet
}

// wrong is a status of a kind that somebody should look at.
type wrong struct {
	Kind, Status string
	Count        int
	First        []client.Entity
}

// firstOf is how many entities are named of those that are wrong.
const firstOf = 8

func (s *Site) overview(p *page) error {
	var o overview
	if err := p.get("/api/v1/overview", &o.Overview); err != nil {
		return err
	}
	if err := p.wrongs(&o); err != nil {
		return err
	}
	var dead client.Page[client.Run]
	var fired client.Page[client.Decision]
	err := p.all(map[string]any{
		"/api/v1/runs?dead=true&limit=5":             &dead,
		"/api/v1/decisions?outcome=started&limit=10": &fired,
		"/api/v1/satellite-regions":                  &struct{ Items *[]client.Region }{&o.Regions},
		"/api/v1/rules?limit=1":                      &struct{ Problems *[]client.LoadProblem }{&o.Problems},
	})
	if err != nil {
		return err
	}
	o.Dead, o.Fired = dead.Items, fired.Items
	if o.Rules.Paused > 0 {
		if o.Paused, err = p.pausedRules(); err != nil {
			return err
		}
	}
	o.Calm = len(o.Wrong)+len(o.Dead)+len(o.Paused)+len(o.Problems) == 0 && o.Ready.Status == "ok"
	o.Empty = o.Rules.Count == 0 && !slices.ContainsFunc(o.Kinds, func(k client.KindCount) bool { return k.Count > 0 })
	return p.show("overview", view{Title: "Overview", Section: "overview", Live: "topics=transition,decision,run", Data: o})
}

// all gets several answers; what is not there, as its plugin is not, stays empty.
func (p *page) all(wanted map[string]any) error {
	for _, target := range slices.Sorted(maps.Keys(wanted)) {
		if err := p.get(target, wanted[target]); err != nil && !refusedWith(err, http.StatusNotFound) {
			return err
		}
	}
	return nil
}

// refusedWith says whether the API has refused something with one of some
// statuses.
func refusedWith(err error, statuses ...int) bool {
	problem, ok := errors.AsType[*client.Problem](err)
	return ok && slices.Contains(statuses, problem.Status)
}

func (p *page) wrongs(o *overview) error {
	for _, k := range o.Kinds {
		for _, status := range slices.Sorted(maps.Keys(k.Statuses)) {
			if t := toneOf(status); t != bad && t != warning {
				continue
			}
			w := wrong{Kind: k.Name, Status: status, Count: int(k.Statuses[status])}
			var l client.Page[client.Entity]
			if err := p.get(fmt.Sprintf("/api/v1/entities?kind=%s&status=%s&limit=%d", url.QueryEscape(k.Name), url.QueryEscape(status), firstOf), &l); err != nil {
				return err
			}
			w.First = l.Items
			o.Wrong = append(o.Wrong, w)
		}
	}
	slices.SortStableFunc(o.Wrong, func(a, b wrong) int { return cmp.Compare(toneOf(a.Status), toneOf(b.Status)) }) // bad before warning
	return nil
}

// pausedRules are those of the first thousand.
func (p *page) pausedRules() ([]client.Rule, error) {
	var l client.Page[client.Rule]
	if err := p.get("/api/v1/rules?limit=1000", &l); err != nil {
		return nil, err
	}
	return slices.DeleteFunc(l.Items, func(r client.Rule) bool { return r.Paused == nil }), nil
}

// found is what a search of everything found.
type found struct {
	Text     string
	Entities []client.Entity
	Rules    []client.Rule
	More     map[string]bool // kinds of which there are others
}

func (s *Site) search(p *page) error {
	f := found{Text: p.query("q"), More: map[string]bool{}}
	if f.Text == "" {
		return p.show("search", view{Title: "Search", Data: f})
	}
	var kinds client.Page[client.Kind]
	if err := p.get("/api/v1/kinds", &kinds); err != nil {
		return err
	}
	for _, k := range kinds.Items {
		var l client.Page[client.Entity]
		if err := p.get("/api/v1/entities?limit=20&kind="+url.QueryEscape(k.Name)+"&search="+url.QueryEscape(f.Text), &l); err != nil {
			return err
		}
		f.Entities = append(f.Entities, l.Items...)
		f.More[k.Name] = l.Next != ""
	}
	var err error
	if f.Rules, err = p.rulesLike(f.Text); err != nil {
		return err
	}
	return p.show("search", view{Title: "Search", Data: f})
}
