package ruletest

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/flightrules/flightrules/engine"
	"github.com/flightrules/flightrules/engine/journal"
	"github.com/flightrules/flightrules/entities"
	"github.com/flightrules/flightrules/internal/db"
	"github.com/flightrules/flightrules/internal/duration"
	"github.com/flightrules/flightrules/internal/httpapi"
	"github.com/flightrules/flightrules/internal/shape"
	"github.com/flightrules/flightrules/internal/yamlx"
	"github.com/flightrules/flightrules/rules"
	"github.com/flightrules/flightrules/triggers"
)

// The arguments of the verbs.
type (
	updateArg struct {
		Kind string         `json:"kind"`
		ID   string         `json:"id"`
		Set  map[string]any `json:"set" doc:"The fields that change; null takes one away."`
	}
	deleteArg struct {
		Kind string `json:"kind"`
		ID   string `json:"id"`
	}
	eventArg struct {
		Name    string         `json:"name" doc:"Also of an event that only a plugin makes in production."`
		Payload map[string]any `json:"payload,omitempty"`
		Entity  *deleteArg     `json:"entity,omitempty" doc:"What it is about."`
		ID      string         `json:"id,omitempty" doc:"An event of an id that was there is the same event."`
		Ago     *duration.Text `json:"ago,omitempty" doc:"How long ago it happened."`
	}
	webhookArg struct {
		Name    string            `json:"name"`
		Method  string            `json:"method,omitempty" doc:"POST unless said otherwise."`
		Body    any               `json:"body,omitempty" doc:"Sent as JSON; a string as text when the headers say that it is."`
		Headers map[string]string `json:"headers,omitempty"`
		Query   map[string]string `json:"query,omitempty"`
	}
	clockArg struct {
		Step *duration.Text `json:"step,omitempty" doc:"By how much somebody sets the clock: 1h, -30s."`
		Set  string         `json:"set,omitempty" doc:"To what somebody sets it, instead of step."`
	}
	restartArg struct {
		For *duration.Text `json:"for,omitempty" doc:"How long the engine is down."`
	}
	editArg struct {
		Rule   string         `json:"rule,omitempty"`
		Set    map[string]any `json:"set,omitempty" doc:"The keys of the rule that become others; null takes one away."`
		Remove bool           `json:"remove,omitempty"`
		Add    map[string]any `json:"add,omitempty" doc:"A whole rule, instead of rule."`
	}
	ruleArg struct {
		Rule   string `json:"rule"`
		Reason string `json:"reason,omitempty"`
	}
	runArg struct {
		Rule   string         `json:"rule"`
		Inputs map[string]any `json:"inputs,omitempty"`
	}
	idArg struct {
		ID string `json:"id"`
	}
)

// verb is something that can happen in a step.
type verb struct {
	doc  string
	form *shape.Shape
	// short is the field for which a bare value stands; "": there is none. With
	// flag, a bare true stands for a map without keys.
	short string
	flag  bool
	parse func(p *parser, n yamlx.Node) (do deed, down time.Duration)
}

// verbOf makes a verb whose argument is a T.
func verbOf[T any](doc string, parse func(p *parser, n yamlx.Node, arg T) deed) verb {
	return verb{doc: doc, form: form[T](), parse: func(p *parser, n yamlx.Node) (deed, time.Duration) {
		arg, ok := read[T](p.Problems, n)
		if !ok {
			return nil, 0
		}
		return parse(p, n, arg), 0
	}}
}

// shortly is a verb whose argument may be one field alone.
func shortly[T any](doc, short string, parse func(p *parser, n yamlx.Node, arg T) deed) verb {
	v := verbOf(doc, parse)
	whole := v.parse
	v.short = short
	v.parse = func(p *parser, n yamlx.Node) (deed, time.Duration) {
		if n.IsMap() {
			return whole(p, n)
		}
		text, ok := n.Text(p.Problems)
		if !ok {
			return nil, 0
		}
		var arg T
		if err := json.Unmarshal(db.ToJSON(map[string]any{short: text}), &arg); err != nil {
			p.Add(n, err.Error(), "")
			return nil, 0
		}
		return parse(p, n, arg), 0
	}
	return v
}

// ruleNode is where the argument of a verb says the rule.
func ruleNode(n yamlx.Node) yamlx.Node {
	if n.IsMap() {
		return n.At("rule")
	}
	return n
}

// onRule is a verb that does something with a rule in force.
func onRule(doc string, do func(ctx context.Context, p *player, rule, reason string) error) verb {
	return shortly(doc, "rule", func(p *parser, n yamlx.Node, arg ruleArg) deed {
		if !p.known(ruleNode(n), arg.Rule) {
			return nil
		}
		return func(ctx context.Context, p *player) error { return do(ctx, p, arg.Rule, arg.Reason) }
	})
}

// ownVerbs are those of the engine; plugins bring theirs.
func ownVerbs() map[string]verb {
	return map[string]verb{
		"update":  verbOf("An entity changes, or comes to be.", (*parser).update),
		"delete":  verbOf("An entity is removed.", (*parser).remove),
		"event":   shortly("An event happens.", "name", (*parser).event),
		"webhook": shortly("A delivery comes to a webhook, signed or with a token as it wants.", "name", (*parser).webhook),
		"clock":   verbOf("Somebody sets the clock of the machine. Times of the steps go on counting what has passed.", (*parser).setClock),
		"restart": {doc: "The engine is stopped, and started again.", form: form[restartArg](), flag: true, parse: (*parser).restart},
		"reload":  {doc: "The files are loaded again.", flag: true, parse: (*parser).reload},
		"edit":    verbOf("A rule becomes another, is removed or added, and the files are loaded again.", (*parser).edit),
		"run": shortly("Somebody runs a rule by hand.", "rule", func(p *parser, n yamlx.Node, arg runArg) deed {
			if !p.known(ruleNode(n), arg.Rule) {
				return nil
			}
			return func(ctx context.Context, p *player) error {
				_, err := p.Engine.RunByHand(ctx, arg.Rule, arg.Inputs)
				return err
			}
		}),
		"pause": onRule("Somebody pauses a rule.", func(ctx context.Context, p *player, rule, reason string) error {
			_, err := p.Engine.Pause(ctx, rule, reason)
			return err
		}),
		"resume": onRule("Somebody resumes a rule.", func(ctx context.Context, p *player, rule, _ string) error {
			_, err := p.Engine.Resume(ctx, rule)
			return err
		}),
		"cancel": onRule("Somebody cancels the runs of a rule that have not ended.", func(ctx context.Context, p *player, rule, reason string) error {
			return p.eachRun(ctx, rule, "has not ended", func(r journal.Run) bool { return !r.Status.Final() }, func(id string) error {
				_, err := p.Engine.CancelRun(ctx, id, reason)
				return err
			})
		}),
		"retry": onRule("Somebody has the failed runs of a rule go on.", func(ctx context.Context, p *player, rule, _ string) error {
			return p.eachRun(ctx, rule, "has failed", func(r journal.Run) bool { return r.Status == journal.RunFailed }, func(id string) error {
				_, err := p.Engine.RetryRun(ctx, id)
				return err
			})
		}),
		"silence": {doc: "Somebody makes a silence.", form: form[silenceArg](), parse: func(p *parser, n yamlx.Node) (deed, time.Duration) { return p.silence(n), 0 }},
		"unsilence": shortly("Somebody ends a silence.", "id", func(_ *parser, _ yamlx.Node, arg idArg) deed {
			return func(ctx context.Context, p *player) error {
				_, err := p.Engine.Unsilence(ctx, arg.ID)
				return err
			}
		}),
	}
}

func (p *parser) verbNames() []string {
	return append(slices.Sorted(maps.Keys(p.verbs)), p.simulated(false)...)
}

func (p *parser) verb(name string, n yamlx.Node) (deed, time.Duration) {
	if v, ok := p.verbs[name]; ok {
		return v.parse(p, n)
	}
	return p.outside(false, name, n), 0
}

// simulated are the names of what plugins let happen, or be given.
func (p *parser) simulated(given bool) []string {
	var names []string
	for _, v := range p.lab.Verbs() {
		if v.Given == given {
			names = append(names, v.Name)
		}
	}
	return names
}

// outside reads the argument of a verb of a plugin.
func (p *parser) outside(given bool, name string, n yamlx.Node) deed {
	for _, v := range p.lab.Verbs() {
		if v.Given != given || v.Name != name {
			continue
		}
		before := p.Len()
		if fits(p.Problems, n, v.Arg, true); p.Len() > before {
			return nil
		}
		plain := n.Value()
		arg, err := v.Decode(plain)
		if err == nil && v.Check != nil {
			err = v.Check(arg)
		}
		if err != nil {
			p.Add(yamlx.Blamed(n, err), err.Error(), "")
			return nil
		}
		return func(ctx context.Context, p *player) error {
			if given {
				return p.Given(ctx, name, plain)
			}
			return p.Happen(ctx, name, plain)
		}
	}
	return nil
}

func (p *parser) update(n yamlx.Node, arg updateArg) deed {
	info, ok := p.kind(n.At("kind"), arg.Kind)
	if !ok {
		return nil
	}
	p.state(n.At("set"), info)
	return func(ctx context.Context, p *player) error { return p.update(ctx, info, arg.ID, arg.Set) }
}

func (p *parser) remove(n yamlx.Node, arg deleteArg) deed {
	if _, ok := p.kind(n.At("kind"), arg.Kind); !ok {
		return nil
	}
	return func(ctx context.Context, p *player) error { return p.Entities.Delete(ctx, arg.Kind, arg.ID) }
}

func (p *parser) event(n yamlx.Node, arg eventArg) deed {
	name := n
	if n.IsMap() {
		name = n.At("name")
	}
	form, ok := p.eventNamed(name, arg.Name)
	if !ok {
		return nil
	}
	p.payload(n.At("payload"), form.Payload)
	emitted := engine.Emitted{ID: arg.ID, Name: arg.Name}
	if arg.Entity != nil {
		if _, ok := p.kind(n.At("entity", "kind"), arg.Entity.Kind); !ok {
			return nil
		}
		emitted.Kind, emitted.EntityID = arg.Entity.Kind, arg.Entity.ID
	}
	return func(ctx context.Context, p *player) error {
		var payload any = arg.Payload
		if form.Payload != nil {
			payload = completed(form.Payload, payload, emitted.EntityID, p.Now())
		}
		if arg.Payload != nil || form.Payload != nil {
			emitted.Payload = db.ToJSON(payload)
		}
		if arg.Ago != nil {
			emitted.At = p.Now().Add(-time.Duration(*arg.Ago))
		}
		_, _, err := p.Engine.Emit(ctx, emitted)
		return err
	}
}

// eventNamed is the type of the events of a name, and reports one that no event
// can have.
func (p *parser) eventNamed(n yamlx.Node, name string) (triggers.EventType, bool) {
	form, err := p.lab.Compiler.Events.Lookup(name)
	if err == nil {
		return form, true
	}
	var known []string
	for _, e := range p.lab.Compiler.Events.Events() {
		known = append(known, e.Name)
	}
	hint := yamlx.Suggest(name, known)
	if hint == "" {
		hint = "an event of your own begins with custom."
	}
	p.Add(n, err.Error(), hint)
	return form, false
}

func (p *parser) webhook(n yamlx.Node, arg webhookArg) deed {
	name := n
	if n.IsMap() {
		name = n.At("name")
	}
	var known []string
	for _, r := range p.set.Rules {
		for _, t := range r.Triggers {
			if t.Webhook != nil {
				known = append(known, t.Webhook.Name)
			}
		}
	}
	if !slices.Contains(known, arg.Name) {
		p.Add(name, fmt.Sprintf("no rule of this test waits for the webhook %q", arg.Name), yamlx.Suggest(arg.Name, known))
		return nil
	}
	return func(ctx context.Context, p *player) error {
		request, body := arg.request()
		event, err := httpapi.Delivery(p.Engine.Rules(), arg.Name, request, body, p.Now())
		if err != nil {
			return err
		}
		ctx = entities.WithCause(ctx, entities.Cause{Actor: "webhook:" + arg.Name})
		_, _, err = p.Engine.Emit(ctx, event)
		return err
	}
}

// request is the delivery as it would arrive.
func (arg webhookArg) request() (*http.Request, []byte) {
	r := &http.Request{Method: strings.ToUpper(arg.Method), Header: http.Header{}, URL: &url.URL{Path: "/hooks/" + arg.Name}}
	if r.Method == "" {
		r.Method = http.MethodPost
	}
	for name, value := range arg.Headers {
		r.Header.Set(name, value)
	}
	query := url.Values{}
	for name, value := range arg.Query {
		query.Set(name, value)
	}
	r.URL.RawQuery = query.Encode()
	text, isText := arg.Body.(string)
	switch {
	case arg.Body == nil:
		return r, nil
	case isText && r.Header.Get("Content-Type") != "" && !strings.Contains(r.Header.Get("Content-Type"), "json"):
		return r, []byte(text)
	}
	if r.Header.Get("Content-Type") == "" {
		r.Header.Set("Content-Type", "application/json")
	}
	return r, db.ToJSON(arg.Body)
}

func (p *parser) setClock(n yamlx.Node, arg clockArg) deed {
	if (arg.Step == nil) == (arg.Set == "") {
		p.Add(n, "a clock is set by step or by set", "such as clock: {step: 1h}")
		return nil
	}
	if arg.Step != nil {
		by := time.Duration(*arg.Step)
		return func(_ context.Context, p *player) error { p.stepClock(by); return nil }
	}
	to, err := p.time(arg.Set)
	if err != nil {
		p.Add(n.At("set"), fmt.Sprintf("bad time %q", arg.Set), "write 2026-01-31T12:00:00Z")
	}
	return func(_ context.Context, p *player) error { p.stepClock(to.Sub(p.Now())); return nil }
}

func (p *parser) restart(n yamlx.Node) (deed, time.Duration) {
	var arg restartArg
	if !p.flag(n) {
		var ok bool
		if arg, ok = read[restartArg](p.Problems, n); !ok {
			return nil, 0
		}
	}
	down := time.Duration(0)
	if arg.For != nil {
		if down = time.Duration(*arg.For); down < 0 {
			p.Add(n.At("for"), "it cannot be down for less than no time", "")
		}
	}
	return func(ctx context.Context, p *player) error { return p.restart(ctx, down) }, down
}

// flag says whether a node is true, and reports false.
func (p *parser) flag(n yamlx.Node) bool {
	v, ok := n.Value().(bool)
	if ok && !v {
		p.Add(n, "write true, or leave the key out", "")
	}
	return ok
}

func (p *parser) reload(n yamlx.Node) (deed, time.Duration) {
	if !p.flag(n) {
		p.Add(n, "write reload: true", "edit changes a rule and loads the files again")
		return nil, 0
	}
	return p.load(), 0
}

// load puts the rules in force that there are at this step.
func (p *parser) load() deed {
	set := p.set
	return func(ctx context.Context, p *player) error { return p.Use(ctx, set) }
}

func (p *parser) edit(n yamlx.Node, arg editArg) deed {
	ways := 0
	for _, given := range []bool{arg.Set != nil, arg.Remove, arg.Add != nil} {
		if given {
			ways++
		}
	}
	if ways != 1 || (arg.Add != nil) != (arg.Rule == "") {
		p.Add(n, "an edit has rule with set or with remove, or else add", "such as edit: {rule: page, set: {mode: queued}}")
		return nil
	}
	if arg.Rule != "" && !p.known(n.At("rule"), arg.Rule) {
		return nil
	}
	if arg.Remove {
		p.set = p.set.Only(func(r *rules.Rule) bool { return r.ID != arg.Rule })
		return p.load()
	}
	whole, at := arg.Add, n.At("add")
	if arg.Add == nil {
		at = n.At("set")
		if err := json.Unmarshal([]byte(p.set.Rule(arg.Rule).Text), &whole); err != nil {
			p.Add(n, err.Error(), "")
			return nil
		}
		for key, value := range arg.Set {
			if whole[key] = value; value == nil {
				delete(whole, key)
			}
		}
	}
	r, err := p.lab.Compiler.Compile(string(db.ToJSON(whole)))
	if err != nil {
		p.because(at, err)
		return nil
	}
	if arg.Add != nil && p.set.Rule(r.ID) != nil {
		p.Add(at, fmt.Sprintf("there is a rule %q already", r.ID), "change it with rule and set")
		return nil
	}
	p.set = p.set.With(r)
	return p.load()
}

// because reports what a text of its own has of problems, at a node.
func (p *parser) because(n yamlx.Node, err error) {
	var list *yamlx.Error
	if !errors.As(err, &list) {
		p.Add(n, err.Error(), "")
		return
	}
	for _, one := range list.Problems {
		p.Add(n, one.Message, one.Hint)
	}
}

func (p *parser) silence(n yamlx.Node) deed {
	arg, ok := read[silenceArg](p.Problems, n)
	if !ok {
		return nil
	}
	if _, err := p.lab.Compiler.CompileMatcher(arg.Match); err != nil {
		p.Add(n.At("match"), err.Error(), "")
	}
	if (arg.For == nil) == (arg.End == "") {
		p.Add(n, "a silence ends: it has one of for and end", "")
		return nil
	}
	spec := engine.SilenceSpec{ID: arg.ID, Match: arg.Match, Reason: arg.Reason}
	if arg.End != "" {
		var err error
		if spec.End, err = p.time(arg.End); err != nil {
			p.Add(n.At("end"), fmt.Sprintf("bad time %q", arg.End), "write 2026-01-31T12:00:00Z")
		}
	}
	return func(ctx context.Context, p *player) error {
		spec := spec
		if arg.For != nil {
			spec.End = p.Now().Add(time.Duration(*arg.For))
		}
		_, err := p.Engine.Silence(ctx, spec)
		return err
	}
}
