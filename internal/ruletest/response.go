package ruletest

import (
	"context"
	"errors"
	"maps"
	"slices"
	"time"

	"github.com/flightrules/flightrules/engine/action"
	"github.com/flightrules/flightrules/internal/duration"
	"github.com/flightrules/flightrules/internal/shape"
	"github.com/flightrules/flightrules/internal/yamlx"
)

// response is how what is outside answers some calls of actions.
type response struct {
	action  string
	config  any // that a call has, at least
	rule    string
	step    string // the path of a step
	replies []reply
}

// reply is one answer.
type reply struct {
	Output any            `json:"output,omitempty" doc:"What the action gives. Of http: status, headers, body."`
	Error  string         `json:"error,omitempty" doc:"Why it fails, instead of output."`
	Delay  *duration.Text `json:"delay,omitempty" doc:"How long it takes."`
}

func (p *parser) responses(n yamlx.Node) {
	if n.IsZero() {
		return
	}
	nodes, _ := n.List(p.Problems)
	for _, one := range nodes {
		if r := p.response(one); r != nil {
			p.test.responses = append(p.test.responses, r)
		}
	}
}

func (p *parser) response(n yamlx.Node) *response {
	m, ok := n.Map(p.Problems)
	if !ok {
		return nil
	}
	r := &response{}
	if rule := m.Take("rule"); !rule.IsZero() {
		if r.rule, ok = rule.Text(p.Problems); ok {
			p.known(rule, r.rule)
		}
	}
	if path := m.Take("step"); !path.IsZero() {
		r.step, _ = path.Text(p.Problems)
	}
	key, config, ok := p.entry(m, p.actions(), "rule", "step", "reply", "replies")
	one, several := m.Take("reply"), m.Take("replies")
	if !ok {
		return nil
	}
	if key == "" {
		p.Add(n, "a response says which action it is for", "such as http: {url: /pager/}")
		return nil
	}
	r.action = key
	a, _ := p.lab.Compiler.Actions.Lookup(key)
	if !config.IsNull() {
		r.config = p.want(config, a.Config)
	}
	if one.IsZero() == several.IsZero() {
		p.Add(n, "a response has one of reply and replies", "")
		return nil
	}
	nodes := []yamlx.Node{one}
	if one.IsZero() {
		if nodes, _ = several.List(p.Problems); len(nodes) == 0 {
			p.Add(several, "replies is empty", "")
		}
	}
	for _, node := range nodes {
		p.reply(node, a, r)
	}
	return r
}

func (p *parser) reply(n yamlx.Node, a action.Action, r *response) {
	re, ok := read[reply](p.Problems, n)
	if !ok {
		return
	}
	if re.Error != "" && re.Output != nil {
		p.Add(n, "an action fails or gives an output, and not both", "")
	}
	if re.Delay != nil && *re.Delay < 0 {
		p.Add(n.At("delay"), "a delay is not negative", "")
	}
	fits(p.Problems, n.At("output"), a.Output, false)
	r.replies = append(r.replies, re)
}

func (p *parser) actions() []string {
	var names []string
	for _, a := range p.lab.Compiler.Actions.List() {
		names = append(names, a.Name)
	}
	return names
}

// call is a call of an action, as long as it is not answered and after.
type call struct {
	row    actionRow
	reply  reply
	due    time.Time
	closed bool
}

// Act implements sim.Outside.
func (p *player) Act(_ context.Context, a action.Action, c action.Call, config any) (any, error) {
	one := p.newest[c.IdempotencyKey]
	if one == nil || one.closed || one.row.Attempt != c.Attempt {
		one = &call{reply: p.answer(a, c, config)}
		one.due = p.Now()
		if one.reply.Delay != nil {
			one.due = one.due.Add(time.Duration(*one.reply.Delay))
		}
		one.row = actionRow{
			Action: a.Name, Config: config, Rule: c.Rule, Step: c.Step, Attempt: c.Attempt, At: p.moment(p.Now()),
		}
		p.newest[c.IdempotencyKey] = one
		p.calls = append(p.calls, one)
	}
	if wait := one.due.Sub(p.Now()); wait > 0 {
		return nil, &action.Pending{After: wait}
	}
	output, err := any(nil), errors.New(one.reply.Error)
	if one.reply.Error == "" {
		output, err = a.Answer(config, answered(a, one.reply.Output))
	}
	if one.row.Output = output; err != nil {
		one.row.Output, one.row.Error = nil, err.Error()
	}
	one.closed = true
	return output, err
}

// answer is what the test says that comes of a call.
func (p *player) answer(a action.Action, c action.Call, config any) reply {
	for _, r := range p.test.responses {
		matches := r.action == a.Name && (r.rule == "" || r.rule == c.Rule) && (r.step == "" || r.step == c.Step)
		if !matches || len(differences("", r.config, config)) > 0 {
			continue
		}
		i := p.answered[r]
		p.answered[r]++
		return r.replies[min(i, len(r.replies)-1)]
	}
	return reply{}
}

// answered is the output of an action of which a test says some of it: the others
// are those of one that has succeeded.
func answered(a action.Action, output any) any {
	if a.Name == "http" {
		whole := map[string]any{"status": 200, "headers": map[string]any{}, "body": map[string]any{}}
		if said, ok := output.(map[string]any); ok {
			maps.Copy(whole, said)
		}
		return whole
	}
	return completed(a.Output, output, "", time.Time{})
}

// rowForm is the form of the row of a call of an action, by the names of all of
// them.
func (p *parser) rowForm() *shape.Shape {
	s := *form[actionRow]()
	s.Fields = slices.DeleteFunc(slices.Clone(s.Fields), func(f shape.Field) bool { return f.Name == "action" || f.Name == "config" })
	for _, a := range p.lab.Compiler.Actions.List() {
		s.Fields = append(s.Fields, shape.Field{Name: a.Name, Shape: a.Config})
	}
	return &s
}

// named puts the configuration of a call under the name of its action.
func named(row map[string]any) map[string]any {
	out := maps.Clone(row)
	name, _ := out["action"].(string)
	out[name] = out["config"]
	if out[name] == nil {
		out[name] = map[string]any{}
	}
	delete(out, "action")
	delete(out, "config")
	return out
}
