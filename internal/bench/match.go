package bench

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"path/filepath"
	"time"

	"github.com/expr-lang/expr"
	"github.com/expr-lang/expr/vm"

	"github.com/flightrules/flightrules/internal/app"
	"github.com/flightrules/flightrules/plugins"
	"github.com/flightrules/flightrules/triggers"
)

// fewRules are how many rules the small set of match has.
const fewRules = 100

// match measures what it costs to find the one rule, of few and of many and of
// every sort of trigger, that an event or a change matches. One baseline
// evaluates what every rule waits for as an expression, as a plain loop would;
// the other knows which rule is the right one.
func match(ctx context.Context, o Options) ([]Result, error) {
	var results []Result
	var all, few, right []float64 // seconds for an event
	sizes := []int{fewRules, o.Rules}
	if some := o.Rules / 10; some > fewRules {
		sizes = []int{fewRules, some, o.Rules}
	}
	for _, n := range sizes {
		m := &matching{Options: o, rules: n, base: fmt.Sprintf("match/%d", n)}
		list, err := m.run(ctx)
		results = append(results, list...)
		if err != nil {
			return results, err
		}
		all, few, right = append(all, 1/list[1].PerSecond), append(few, 1/m.few.PerSecond), append(right, 1/list[1].Baseline)
	}
	last := &results[len(results)-1]
	last.Detail += fmt.Sprintf("; against %d rules, an event costs the engine %.2f times as much when events match all the rules in turn, %.2f times when they match the same %d, and the baseline %.2f times",
		fewRules, all[len(all)-1]/all[0], few[len(few)-1]/few[0], fewRules, right[len(right)-1]/right[0])
	return results, nil
}

// matching is one measurement of match.
type matching struct {
	Options
	rules  int
	base   string
	events []triggers.Event // event n matches rule n
	few    Result           // of the engine, with events that match only fewRules of the rules
}

func (m *matching) run(ctx context.Context) ([]Result, error) {
	m.tell(m.base, 0)
	for n := range m.rules {
		event, err := ruleEvent(n)
		if err != nil {
			return nil, err
		}
		m.events = append(m.events, event)
	}
	// One after the other, so that nobody's garbage collector has to look at
	// what the others hold.
	engine, err := m.byEngine(ctx)
	if err != nil {
		return nil, err
	}
	loop, right, err := m.byHand(ctx)
	if err != nil {
		return nil, err
	}
	against := func(name string, baseline Result, detail string) Result {
		r := engine.against(baseline.PerSecond)
		r.Name, r.Detail = m.base+"/"+name, detail
		return r
	}
	return []Result{
		against("all", loop, fmt.Sprintf("one of %d rules matches; the baseline evaluates all of them with expr", m.rules)),
		against("right", right, "likewise; the baseline knows the rule that matches, and evaluates that"),
	}, nil
}

// byEngine has the engine find the rule that an event matches.
func (m *matching) byEngine(ctx context.Context) (r Result, err error) {
	core, err := app.Open(ctx, app.Config{
		DB: "sqlite:" + filepath.Join(m.Dir, fmt.Sprintf("match-%d.db", m.rules)), Node: "bench", NoSync: true,
		Plugins: []plugins.Plugin{&meters{}}, Files: ruleFiles(m.rules),
	})
	if err != nil {
		return r, err
	}
	defer func() { err = errors.Join(err, core.Close(context.WithoutCancel(ctx))) }()
	find := func(n int) error {
		matched, err := core.Engine.Matches(ctx, m.events[n])
		if err == nil && (len(matched) != 1 || matched[0].Rule.ID != fmt.Sprintf("rule-%d", n)) {
			err = fmt.Errorf("event %d matches %d rules", n, len(matched))
		}
		return err
	}
	if m.few, err = m.measure(ctx, 0, fewRules, find); err != nil {
		return r, err
	}
	return m.measure(ctx, 1, m.rules, find)
}

// byHand evaluates the conditions of all rules, and then of the right one.
func (m *matching) byHand(ctx context.Context) (loop, right Result, err error) {
	state := map[string]any{"status": "", "value": 0.0, "unit": "", "region": "", "count": int64(0)}
	sample := map[string]any{"event": map[string]any{
		"name": "", "entity": map[string]any{"id": ""}, "payload": map[string]any{"meter": "", "status": "", "value": 0.0},
		"change": map[string]any{"prev": state, "next": state},
	}}
	programs := make([]*vm.Program, m.rules)
	for n := range programs {
		if programs[n], err = expr.Compile(plain(n), expr.Env(sample), expr.AsBool()); err != nil {
			return loop, right, err
		}
	}
	if loop, err = m.measure(ctx, 2, m.rules, func(n int) error { return m.evaluate(programs, n) }); err != nil {
		return loop, right, err
	}
	right, err = m.measure(ctx, 3, m.rules, func(n int) error { return m.evaluate(programs[n:n+1], n) })
	return loop, right, err
}

// evaluate decodes event n and evaluates programs, of which one must be true.
func (m *matching) evaluate(programs []*vm.Program, n int) error {
	var payload any
	if err := json.Unmarshal(m.events[n].Payload, &payload); err != nil {
		return err
	}
	event := map[string]any{"name": m.events[n].Name, "entity": map[string]any{"id": m.events[n].EntityID}, "payload": payload}
	if change := m.events[n].Change; change != nil {
		event["change"] = map[string]any{"prev": map[string]any(change.Prev()), "next": map[string]any(change.Next)}
	}
	env := map[string]any{"event": event}
	matched := 0
	for _, program := range programs {
		yes, err := expr.Run(program, env)
		if err != nil {
			return err
		}
		if yes.(bool) {
			matched++
		}
	}
	if matched != 1 {
		return fmt.Errorf("event %d matches %d rules", n, matched)
	}
	return nil
}

// measure does a part of run, the one of that number, for as long as it is to
// take, with so many of the events.
func (m *matching) measure(ctx context.Context, part, events int, fn func(n int) error) (Result, error) {
	resetPeak()
	var took []time.Duration
	begin, shown := time.Now(), time.Time{}
	for last := begin; last.Sub(begin) < m.Length; {
		if err := ctx.Err(); err != nil {
			return Result{}, err
		}
		// A stride that has no divisor in common with their number visits all
		// events in no order that a cache would like.
		if err := fn(len(took) * 7919 % events); err != nil {
			return Result{}, err
		}
		now := time.Now()
		took = append(took, now.Sub(last))
		last = now
		if now.Sub(shown) > progressEvery {
			shown = now
			m.tell(m.base, (float64(part)+min(1, now.Sub(begin).Seconds()/m.Length.Seconds()))/4)
		}
	}
	return result(m.base, took, time.Since(begin)), nil
}
