package web

import (
	"cmp"
	"encoding/json"
	"errors"
	"html/template"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/flightrules/flightrules/internal/client"
)

type rulesView struct {
	Search       string
	Items        []ruleLine
	Problems     []client.LoadProblem
	After, Query string
	None         bool // there are no rules at all
}

// ruleLine is a rule in the list.
type ruleLine struct {
	client.Rule

	Activity client.Activity
}

// perPage is how many rules a page shows, as what each did is counted.
const perPage = 50

func (s *Site) rules(p *page) error {
	v := rulesView{Search: p.query("search")}
	var l struct {
		client.Page[client.Rule]

		Problems []client.LoadProblem `json:"problems"`
	}
	if err := p.get("/api/v1/rules?limit=1", &l); err != nil {
		return err
	}
	v.Problems, v.None = l.Problems, len(l.Items) == 0
	matching, err := p.rulesLike(v.Search)
	if err != nil {
		return err
	}
	after := p.query("after")
	matching = slices.DeleteFunc(matching, func(r client.Rule) bool { return after != "" && r.ID <= after })
	if len(matching) > perPage {
		matching = matching[:perPage]
		v.After, v.Query = matching[perPage-1].ID, "search="+url.QueryEscape(v.Search)
	}
	for _, r := range matching {
		one := ruleLine{Rule: r}
		if err := p.get("/api/v1/rules/"+url.PathEscape(r.ID)+"/activity?limit=200&slices=1", &one.Activity); err != nil {
			return err
		}
		v.Items = append(v.Items, one)
	}
	return p.show("rules", view{Title: "Rules", Section: "rules", Live: "topics=decision,run", Data: v})
}

// allRules are the rules in force, by id.
func (p *page) allRules() ([]client.Rule, error) {
	text, err := p.site.api.List(p.ctx, "/api/v1/rules")
	if err != nil {
		return nil, err
	}
	var rules []client.Rule
	return rules, json.Unmarshal(text, &rules)
}

// rulesLike are those with a text in their id, name, tags or what they wait for.
func (p *page) rulesLike(text string) ([]client.Rule, error) {
	all, err := p.allRules()
	text = strings.ToLower(text)
	return slices.DeleteFunc(all, func(r client.Rule) bool {
		words := append([]string{r.ID, r.Name, r.Description}, r.Tags...)
		for _, t := range r.Triggers {
			words = append(words, t.Event, t.Summary)
		}
		return !strings.Contains(strings.ToLower(strings.Join(words, "\n")), text)
	}), err
}

// rulesAbout are those with a trigger that looks at entities of a kind.
func (p *page) rulesAbout(kind string) ([]client.Rule, error) {
	all, err := p.allRules()
	return slices.DeleteFunc(all, func(r client.Rule) bool {
		for _, t := range r.Triggers {
			if strings.HasPrefix(t.Event, kind+".") || strings.Contains(t.Summary, " "+kind+".") {
				return false
			}
		}
		return true
	}), err
}

type ruleView struct {
	Rule      client.Rule
	Activity  client.Activity
	Range     string
	Ranges    []rangeLink
	Chart     template.HTML
	Outcomes  []outcomeCount
	Decisions []client.Decision
	After     string
	Outcome   string
	Asked     string              // the event of "why not?"
	Why       *client.Explanation // its answer
	WhyNot    string              // why there is none
	Recent    []client.Event      // to ask about
}

type outcomeCount struct {
	Outcome string
	Count   int
}

func (s *Site) rule(p *page) error { return s.showRule(p, nil) }

// showRule shows a rule, with what the API refused to do with it if it did.
func (s *Site) showRule(p *page, refused *client.Problem) error {
	id := p.r.PathValue("id")
	one := "/api/v1/rules/" + url.PathEscape(id)
	v := ruleView{Outcome: p.query("outcome"), Asked: p.query("event"), Range: cmp.Or(p.query("range"), "24h")}
	if err := p.get(one, &v.Rule); err != nil {
		return err
	}
	hours := 24
	for _, r := range []struct {
		name  string
		hours int
	}{{"1h", 1}, {"24h", 24}, {"7d", 7 * 24}, {"30d", 30 * 24}} {
		if r.name == v.Range {
			hours = r.hours
		}
		v.Ranges = append(v.Ranges, rangeLink{Name: r.name, Query: "range=" + r.name, Chosen: r.name == v.Range})
	}
	since := p.site.now().Add(-time.Duration(hours) * time.Hour)
	if err := p.get(one+"/activity?slices=48&since="+instant(since), &v.Activity); err != nil {
		return err
	}
	v.Chart, v.Outcomes = chartOf(v.Activity)
	var decisions client.Page[client.Decision]
	if err := p.get(one+"/decisions?limit=50&outcome="+url.QueryEscape(v.Outcome)+"&after="+url.QueryEscape(p.query("after")), &decisions); err != nil {
		return err
	}
	v.Decisions, v.After = decisions.Items, decisions.Next
	if err := p.why(&v, one); err != nil {
		return err
	}
	status := http.StatusOK
	if refused != nil {
		status = refused.Status
	}
	return p.render(status, "rule", view{
		Title: cmp.Or(v.Rule.Name, id), Section: "rules", Live: "topics=decision,run&rule=" + url.QueryEscape(id), Problem: refused, Data: v,
	})
}

// why answers "why not?" for an event.
func (p *page) why(v *ruleView, one string) error {
	var recent client.Page[client.Event]
	if err := p.get("/api/v1/events?limit=25", &recent); err != nil {
		return err
	}
	v.Recent = recent.Items
	if v.Asked == "" {
		return nil
	}
	var why client.Explanation
	err := p.get(one+"/explain?event="+url.QueryEscape(v.Asked), &why)
	if problem, ok := errors.AsType[*client.Problem](err); ok {
		v.WhyNot = problem.Detail
		return nil
	}
	v.Why = &why
	return err
}

// chartOf draws what a rule decided over time.
func chartOf(a client.Activity) (template.HTML, []outcomeCount) {
	var stacks []stack
	width := a.Until.Sub(a.Since) / time.Duration(max(len(a.Slices), 1))
	for i, slice := range a.Slices {
		s := stack{counts: map[string]int{}}
		var words []string
		for outcome, n := range slice {
			s.counts[string(toneOf(string(outcome)))] += n
			words = append(words, strconv.Itoa(n)+" "+string(outcome))
		}
		slices.Sort(words)
		s.title = a.Since.Add(width*time.Duration(i)).UTC().Format("2006-01-02 15:04") + ": " + strings.Join(words, ", ")
		stacks = append(stacks, s)
	}
	var counts []outcomeCount
	for outcome, n := range a.Outcomes {
		counts = append(counts, outcomeCount{string(outcome), n})
	}
	slices.SortFunc(counts, func(x, y outcomeCount) int { return cmp.Or(y.Count-x.Count, cmp.Compare(x.Outcome, y.Outcome)) })
	label := "decisions over time"
	for _, c := range counts {
		label += ", " + strconv.Itoa(c.Count) + " " + c.Outcome
	}
	return columns(label, stacks, []string{string(good), string(bad), string(warning), string(neutral), string(quiet)}), counts
}

func (s *Site) ruleVerb(p *page) error {
	id := p.r.PathValue("id")
	one := "/api/v1/rules/" + url.PathEscape(id)
	said := map[string]string{"pause": "paused", "resume": "resumed"}
	var err error
	switch verb := p.r.PathValue("verb"); verb {
	case "pause":
		err = p.post(one+"/pause", map[string]string{"reason": p.r.PostFormValue("reason")}, nil)
	case "resume":
		err = p.post(one+"/resume", nil, nil)
	case "run":
		var started client.Event
		if err = p.post(one+"/run", map[string]any{"inputs": map[string]any{}}, &started); err == nil {
			return p.back("/events/"+url.PathEscape(started.ID), "started")
		}
	default:
		return &client.Problem{Status: http.StatusNotFound, Title: "Not Found", Detail: "Nothing is called " + verb + "."}
	}
	if problem, ok := errors.AsType[*client.Problem](err); ok && problem.Status != http.StatusNotFound {
		return s.showRule(p, problem)
	}
	if err != nil {
		return err
	}
	return p.back("/rules/"+url.PathEscape(id), said[p.r.PathValue("verb")])
}
