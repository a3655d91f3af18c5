package web

import (
	"fmt"
	"html/template"
	"math"
	"net/http"
	"net/url"
	"slices"
	"time"

	"github.com/flightrules/flightrules/internal/client"
)

// historyOf is how far back strips of a list go.
const historyOf = 24 * time.Hour

type satelliteLine struct {
	client.SatelliteState

	Strip template.HTML
}

type satellitesView struct {
	Items   []satelliteLine
	Regions []client.Region
	After   string
}

func (s *Site) satellites(p *page) error {
	var l client.Page[client.SatelliteState]
	var v satellitesView
	if err := p.get("/api/v1/satellites?limit=50&after="+url.QueryEscape(p.query("after")), &l); err != nil {
		return err
	}
	if err := p.get("/api/v1/satellite-regions", &struct{ Items *[]client.Region }{&v.Regions}); err != nil {
		return err
	}
	v.After = l.Next
	for _, one := range l.Items {
		picture, err := p.history("satellite", one.ID)
		if err != nil {
			return err
		}
		v.Items = append(v.Items, satelliteLine{one, picture})
	}
	return p.show("satellites", view{Title: "Satellites", Section: "satellites", Live: "topics=transition&kind=satellite", Data: v})
}

// history is a strip of the status of an entity over the last day.
func (p *page) history(kind, id string) (template.HTML, error) {
	one := "/api/v1/entities/" + url.PathEscape(kind) + "/" + url.PathEscape(id)
	now := p.site.now()
	from := now.Add(-historyOf)
	var changes client.Page[client.Transition]
	if err := p.get(one+"/transitions?limit=200&field=status&from="+instant(from), &changes); err != nil {
		return "", err
	}
	if changes.Next != "" {
		from = changes.Items[len(changes.Items)-1].At
	}
	before := map[string]any{}
	if len(changes.Items) == 0 { // nothing has changed: it is as it was
		var e client.Entity
		if err := p.get(one, &e); err != nil && !refusedWith(err, http.StatusNotFound) {
			return "", err
		}
		if since, ok := e.Since["status"]; ok && !since.After(from) {
			before["status"] = e.State["status"]
		}
	}
	slices.Reverse(changes.Items)
	for _, l := range drawTimeline(now.Add(-historyOf), now, before, onlyStatus(changes.Items)) {
		return l.Picture, nil
	}
	return strip("nothing is known of the last day", nil), nil
}

// onlyStatus leaves the field status of transitions.
func onlyStatus(list []client.Transition) []client.Transition {
	for i, t := range list {
		list[i].Changes = map[string][2]any{"status": t.Changes["status"]}
	}
	return list
}

type checkLine struct {
	client.Check

	Strip, Latency template.HTML
	Type           string
}

// Field is a field of the state of a check; nil: it has none yet.
func (c checkLine) Field(name string) any { return c.Check.State[name] }

type checksView struct {
	Items []checkLine
	After string
}

func (s *Site) checks(p *page) error {
	var l client.Page[client.Check]
	if err := p.get("/api/v1/checks?limit=50&after="+url.QueryEscape(p.query("after")), &l); err != nil {
		return err
	}
	v := checksView{After: l.Next}
	for _, c := range l.Items {
		picture, err := p.history("check", c.ID)
		if err != nil {
			return err
		}
		v.Items = append(v.Items, checkLine{Check: c, Strip: picture, Type: typeOf(c.Settings)})
	}
	return p.show("checks", view{Title: "Checks", Section: "checks", Live: "topics=transition&kind=check", Data: v})
}

// typeOf is the key of the settings that says how is looked.
func typeOf(settings map[string]any) string {
	for _, name := range []string{"http", "tcp", "dns", "tls", "ping", "script"} {
		if _, ok := settings[name]; ok {
			return name
		}
	}
	return ""
}

type checkView struct {
	checkLine

	Observer string
	Results  []client.CheckResult
}

func (s *Site) check(p *page) error {
	one := "/api/v1/checks/" + url.PathEscape(p.r.PathValue("id"))
	v := checkView{Observer: p.query("observer")}
	if err := p.get(one, &v.Check); err != nil {
		return err
	}
	var results struct {
		Items []client.CheckResult `json:"items"`
	}
	if err := p.get(one+"/results?limit=200&observer="+url.QueryEscape(v.Observer), &results); err != nil {
		return err
	}
	v.Results, v.Type = results.Items, typeOf(v.Settings)
	slices.Reverse(results.Items)
	var points []point
	for _, r := range results.Items {
		value := r.LatencyMS
		if r.Outcome == "down" || r.Outcome == "failed" {
			value = math.NaN()
		}
		points = append(points, point{r.At, value})
	}
	v.Latency = sparkline(fmt.Sprintf("latency of the newest %d results", len(points)), points)
	slices.Reverse(results.Items)
	var err error
	if v.Strip, err = p.history("check", v.ID); err != nil {
		return err
	}
	return p.show("check", view{Title: v.ID, Section: "checks", Live: "topics=transition&kind=check&id=" + url.QueryEscape(v.ID), Data: v})
}
