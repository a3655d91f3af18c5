package rules

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/flightrules/flightrules/engine/action"
	"github.com/flightrules/flightrules/internal/duration"
	"github.com/flightrules/flightrules/internal/expression"
	"github.com/flightrules/flightrules/internal/yamlx"
)

// engineSteps are the keys of the steps that the engine does itself; every
// other key is a registered action.
var engineSteps = []string{
	"log", "set", "choose", "repeat", "parallel", "wait", "wait_for", "stop", "update", "emit", "run", "silence", "unsilence",
}

// common are the keys that every step may have.
var common = []string{"id", "name", "if", "timeout", "retry", "on_error", "enabled"}

// engineStep parses what stands under one of engineSteps, and the keys that
// belong to it.
func (s *scope) engineStep(key string, m *yamlx.Map, at yamlx.Node, path string) Do {
	switch key {
	case "log":
		level := s.choice(m.Take("level"), "level", "info", "debug", "info", "warn", "error")
		return Log{Text: s.template(at), Level: level}
	case "set":
		return SetVars{Values: s.variables(at)}
	case "choose":
		return s.choose(m, at, path)
	case "repeat":
		return s.repeat(m, at, path)
	case "parallel":
		return s.fork(at, path)
	case "wait":
		return s.wait(at)
	case "wait_for":
		return s.waitFor(m, at)
	case "stop":
		return s.stop(m, at)
	case "update":
		return s.update(at)
	case "emit":
		return s.emit(at)
	case "run":
		return s.runRule(m, at)
	case "silence":
		return s.hush(at)
	default:
		return Unhush{ID: s.template(at)}
	}
}

// stepKeys are the keys by which a step can say what it does.
func (p *parser) stepKeys() []string {
	keys := slices.Clone(engineSteps)
	for _, a := range p.Actions.List() {
		keys = append(keys, a.Name)
	}
	slices.Sort(keys)
	return keys
}

// actions parses the steps of a rule.
func (s *scope) actions(n yamlx.Node) []*Step {
	list := s.steps(n, "actions")
	if n.IsList() && len(list) == 0 && len(n.Children()) == 0 {
		s.ps.Add(n, "a rule needs at least one action", "")
	}
	return list
}

// steps parses a list of steps; path is where the list stands in the rule.
func (s *scope) steps(n yamlx.Node, path string) []*Step {
	nodes, ok := n.List(s.ps)
	if !ok {
		return nil
	}
	list := make([]*Step, 0, len(nodes))
	for i, node := range nodes {
		if step := s.step(node, fmt.Sprintf("%s[%d]", path, i)); step != nil {
			list = append(list, step)
		}
	}
	return list
}

func (s *scope) step(n yamlx.Node, path string) *Step {
	m, ok := n.Map(s.ps)
	if !ok {
		return nil
	}
	step := &Step{Path: path, ID: s.stepID(m.Take("id")), Name: s.text(m.Take("name")), Enabled: s.boolean(m.Take("enabled"), true)}
	if condition := m.Take("if"); !condition.IsZero() {
		step.If = s.condition(condition)
	}
	step.ContinueOnError = s.choice(m.Take("on_error"), "on_error", "fail", "fail", "continue") == "continue"
	for _, key := range m.Keys() {
		ours := slices.Contains(engineSteps, key)
		a, registered := s.Actions.Lookup(key)
		if !ours && !registered {
			continue
		}
		if step.Action != "" {
			s.ps.Add(m.KeyNode(key), fmt.Sprintf("a step does one thing, and this one does %s and %s", step.Action, key), "make two steps of it")
			return step
		}
		step.Action = key
		if ours {
			step.Do = s.engineStep(key, m, m.Take(key), path)
		} else {
			step.Do = s.act(a, m.Take(key))
			step.Retry = a.Retry
		}
	}
	if timeout := m.Take("timeout"); !timeout.IsZero() && step.Action != "wait_for" {
		step.Timeout, _ = timeout.Duration(s.ps)
	}
	if retry := m.Take("retry"); !retry.IsZero() {
		step.Retry = s.retry(retry)
	}
	if step.Action == "" {
		s.noAction(n, m)
		return step
	}
	m.Done(s.ps)
	return step
}

// What a retry is where nothing else is said.
const (
	defaultBackoff    = time.Second
	defaultMaxBackoff = 5 * time.Minute
	maxAttempts       = 1000
)

// retry reads how often something is tried.
func (p *parser) retry(n yamlx.Node) action.Retry {
	r := action.Retry{Backoff: defaultBackoff, MaxBackoff: defaultMaxBackoff}
	m, ok := n.Map(p.ps)
	if !ok {
		return r
	}
	if attempts := m.Require(p.ps, "attempts"); !attempts.IsZero() {
		r.Attempts = p.within(attempts, 1, maxAttempts)
	}
	backoff, longest := m.Take("backoff"), m.Take("max_backoff")
	if !backoff.IsZero() {
		r.Backoff, _ = backoff.Duration(p.ps)
		r.MaxBackoff = max(r.MaxBackoff, r.Backoff)
	}
	if !longest.IsZero() {
		if r.MaxBackoff, ok = longest.Duration(p.ps); ok && r.MaxBackoff < r.Backoff {
			p.ps.Add(longest, "max_backoff is shorter than backoff, which is "+duration.Format(r.Backoff), "")
		}
	}
	m.Done(p.ps)
	return r
}

func (s *scope) stepID(n yamlx.Node) string {
	id := s.name(n, "step", identifier, "letters, digits and _, so that steps.ID can be written")
	if id == "" {
		return ""
	}
	_, line, _ := n.Place()
	if before, ok := s.stepIDs[id]; ok {
		s.ps.Add(n, fmt.Sprintf("duplicate step id %q", id), fmt.Sprintf("line %d has it already", before))
	} else {
		s.stepIDs[id] = line
	}
	return id
}

// noAction reports a step that does nothing that is known.
func (s *scope) noAction(n yamlx.Node, m *yamlx.Map) {
	all := "a step has one of these keys: " + strings.Join(s.stepKeys(), ", ")
	for _, key := range m.Keys() {
		if slices.Contains(common, key) {
			continue
		}
		hint := yamlx.Suggest(key, s.stepKeys())
		if hint == "" {
			hint = all
		}
		s.ps.Add(m.KeyNode(key), fmt.Sprintf("unknown action %q", key), hint)
		return
	}
	s.ps.Add(n, "a step must say what it does", all)
}

// variables parses a map of them.
func (s *scope) variables(n yamlx.Node) *expression.Tree {
	m, ok := n.Map(s.ps)
	if !ok {
		return nil
	}
	for _, key := range m.Keys() {
		if !identifier.MatchString(key) {
			s.ps.Add(m.KeyNode(key), fmt.Sprintf("bad name %q of a variable", key), "a name is letters, digits and _, so that vars.NAME can be written")
		}
	}
	return s.tree(n, nil)
}
