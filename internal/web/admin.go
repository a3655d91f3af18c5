package web

import (
	"errors"
	"html/template"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/flightrules/flightrules/internal/client"
	"github.com/flightrules/flightrules/internal/duration"
)

type silencesView struct {
	Items  []client.Silence
	After  string
	Open   bool
	Match  string
	Length string
	Reason string
}

func (s *Site) silences(p *page) error {
	return s.showSilences(p, silencesView{Match: p.query("match"), Length: "2h"}, nil)
}

func (s *Site) showSilences(p *page, v silencesView, refused *client.Problem) error {
	v.Open = p.query("all") == ""
	target := "/api/v1/silences?limit=100&after=" + url.QueryEscape(p.query("after"))
	if v.Open {
		target += "&open=true"
	}
	var l client.Page[client.Silence]
	if err := p.get(target, &l); err != nil {
		return err
	}
	v.Items, v.After = l.Items, l.Next
	if v.Open { // one that is over is open until its end has been seen to
		v.Items = slices.DeleteFunc(v.Items, func(one client.Silence) bool { return !one.End.After(s.now()) })
	}
	status := http.StatusOK
	if refused != nil {
		status = refused.Status
	}
	return p.render(status, "silences", view{Title: "Silences", Section: "silences", Problem: refused, Data: v})
}

func (s *Site) silence(p *page) error {
	v := silencesView{Match: p.r.PostFormValue("match"), Length: p.r.PostFormValue("duration"), Reason: p.r.PostFormValue("reason")}
	err := p.post("/api/v1/silences", map[string]string{"match": v.Match, "duration": v.Length, "reason": v.Reason}, nil)
	if problem, ok := errors.AsType[*client.Problem](err); ok {
		return s.showSilences(p, v, problem)
	}
	if err != nil {
		return err
	}
	return p.back("/silences", "silenced")
}

func (s *Site) unsilence(p *page) error {
	err := s.api.Delete(p.ctx, "/api/v1/silences/"+url.PathEscape(p.r.PathValue("id")))
	if problem, ok := errors.AsType[*client.Problem](err); ok {
		return s.showSilences(p, silencesView{Length: "2h"}, problem)
	}
	if err != nil {
		return err
	}
	return p.back("/silences", "unsilenced")
}

type replayView struct {
	Rules   []client.Rule
	Rule    string
	Since   string
	Text    string // a file of rules to be tried; "": those in force
	Picture template.HTML
}

func (s *Site) replayForm(p *page) error { return s.showReplay(p, replayView{Since: "24h"}, nil) }

func (s *Site) showReplay(p *page, v replayView, refused *client.Problem) error {
	var err error
	if v.Rules, err = p.allRules(); err != nil {
		return err
	}
	status := http.StatusOK
	if refused != nil {
		status = refused.Status
	}
	return p.render(status, "replay", view{Title: "Replay", Section: "rules", Problem: refused, Data: v})
}

func (s *Site) replay(p *page) error {
	v := replayView{Rule: p.r.PostFormValue("rule"), Since: p.r.PostFormValue("since"), Text: p.r.PostFormValue("text")}
	body := map[string]any{}
	if v.Rule != "" {
		body["rules"] = []string{v.Rule}
	}
	if v.Text != "" {
		body["files"] = map[string]string{"rules.yaml": v.Text}
	}
	if v.Since != "" {
		d, err := duration.Parse(v.Since)
		if err != nil {
			return s.showReplay(p, v, &client.Problem{Status: http.StatusUnprocessableEntity, Title: "Unprocessable Entity", Detail: "Since: " + err.Error()})
		}
		body["since"] = s.now().Add(-d).Format(time.RFC3339)
	}
	picture, err := s.api.Text(p.ctx, "/api/v1/replay?format=svg", body)
	if problem, ok := errors.AsType[*client.Problem](err); ok {
		return s.showReplay(p, v, problem)
	}
	if err != nil {
		return err
	}
	v.Picture = withoutStyle(picture)
	return s.showReplay(p, v, nil)
}

// withoutStyle is a picture without the style sheet in it, which pages may not
// have: theirs has what it says. It comes from the API, which escapes what it shows.
func withoutStyle(svg string) template.HTML {
	head, rest, _ := strings.Cut(svg, "<style>")
	_, tail, _ := strings.Cut(rest, "</style>")
	return template.HTML(head + tail)
}

type auditView struct {
	Items []client.AuditEntry
	After string
}

func (s *Site) audit(p *page) error {
	var l client.Page[client.AuditEntry]
	if err := p.get("/api/v1/audit?limit=100&after="+url.QueryEscape(p.query("after")), &l); err != nil {
		return err
	}
	return p.show("audit", view{Title: "Audit", Section: "audit", Data: auditView{l.Items, l.Next}})
}

type settingsView struct {
	Overview client.Overview
	Tokens   []client.Token
	After    string
	Name     string
	New      *client.Token // that was made a moment ago, and is shown this once
	Problems []client.LoadProblem
}

func (s *Site) settings(p *page) error { return s.showSettings(p, settingsView{}, nil) }

func (s *Site) showSettings(p *page, v settingsView, refused *client.Problem) error {
	if err := p.get("/api/v1/overview", &v.Overview); err != nil {
		return err
	}
	if (view{Caller: p.caller}).Admin() {
		var l client.Page[client.Token]
		if err := p.get("/api/v1/tokens?limit=100&after="+url.QueryEscape(p.query("after")), &l); err != nil {
			return err
		}
		v.Tokens, v.After = l.Items, l.Next
	}
	status := http.StatusOK
	if refused != nil {
		status = refused.Status
	}
	return p.render(status, "settings", view{Title: "Settings", Section: "settings", Problem: refused, Data: v})
}

func (s *Site) newToken(p *page) error {
	v := settingsView{Name: p.r.PostFormValue("name")}
	body := map[string]any{"name": v.Name, "role": p.r.PostFormValue("role")}
	if text := p.r.PostFormValue("ends"); text != "" {
		d, err := duration.Parse(text)
		if err != nil {
			return s.showSettings(p, v, &client.Problem{Status: http.StatusUnprocessableEntity, Title: "Unprocessable Entity", Detail: "Ends after: " + err.Error()})
		}
		body["expires_at"] = s.now().Add(d).Format(time.RFC3339)
	}
	var made client.Token
	err := p.post("/api/v1/tokens", body, &made)
	if problem, ok := errors.AsType[*client.Problem](err); ok {
		return s.showSettings(p, v, problem)
	}
	if err != nil {
		return err
	}
	return s.showSettings(p, settingsView{New: &made}, nil)
}

func (s *Site) revokeToken(p *page) error {
	if err := s.api.Delete(p.ctx, "/api/v1/tokens/"+url.PathEscape(p.r.PathValue("id"))); err != nil {
		return err
	}
	return p.back("/settings", "revoked")
}
