package web

import (
	"errors"
	"net/http"
	"net/url"
	"slices"

	"github.com/flightrules/flightrules/internal/client"
)

type runsView struct {
	Rule, Status string
	Dead         bool
	Items        []client.Run
	Statuses     []string
	After, Query string
}

func (s *Site) runs(p *page) error {
	v := runsView{
		Rule: p.query("rule"), Status: p.query("status"), Dead: p.query("dead") != "",
		Statuses: []string{"queued", "running", "waiting", "succeeded", "failed", "cancelled"},
	}
	narrow := url.Values{}
	if v.Rule != "" {
		narrow.Set("rule", v.Rule)
	}
	if slices.Contains(v.Statuses, v.Status) {
		narrow.Set("status", v.Status)
	}
	if v.Dead {
		narrow.Set("dead", "true")
	}
	v.Query = narrow.Encode()
	var l client.Page[client.Run]
	if err := p.get("/api/v1/runs?limit=100&"+v.Query+"&after="+url.QueryEscape(p.query("after")), &l); err != nil {
		return err
	}
	v.Items, v.After = l.Items, l.Next
	return p.show("runs", view{Title: "Runs", Section: "runs", Live: "topics=run&rule=" + url.QueryEscape(v.Rule), Data: v})
}

type runView struct {
	Run  client.Run
	Rows []row
	Over bool
}

func (s *Site) run(p *page) error { return s.showRun(p, nil) }

// showRun shows a run, with what the API refused to do with it if it did.
func (s *Site) showRun(p *page, refused *client.Problem) error {
	var v runView
	if err := p.get("/api/v1/runs/"+url.PathEscape(p.r.PathValue("id")), &v.Run); err != nil {
		return err
	}
	v.Over = v.Run.FinishedAt != nil
	v.Rows = waterfall(v.Run, p.site.now())
	status := http.StatusOK
	if refused != nil {
		status = refused.Status
	}
	live := "topics=run&rule=" + url.QueryEscape(v.Run.Rule)
	return p.render(status, "run", view{Title: "Run of " + v.Run.Rule, Section: "runs", Live: live, Problem: refused, Data: v})
}

func (s *Site) runVerb(p *page) error {
	id := p.r.PathValue("id")
	one := "/api/v1/runs/" + url.PathEscape(id)
	var err error
	said := ""
	switch verb := p.r.PathValue("verb"); verb {
	case "cancel":
		said, err = "cancelled", p.post(one+"/cancel", map[string]string{"reason": p.r.PostFormValue("reason")}, nil)
	case "retry":
		said, err = "retried", p.post(one+"/retry", nil, nil)
	default:
		return &client.Problem{Status: http.StatusNotFound, Title: "Not Found", Detail: "Nothing is called " + verb + "."}
	}
	if problem, ok := errors.AsType[*client.Problem](err); ok && problem.Status != http.StatusNotFound {
		return s.showRun(p, problem)
	}
	if err != nil {
		return err
	}
	return p.back("/runs/"+url.PathEscape(id), said)
}
