// Package dryrun finds out what a rule would decide and do about an event,
// without any effect: the rule is put in force alone in a simulation that reads
// the live log and writes to a database of its own. Its waits pass at once, and
// its actions are answered and not done.
//
// What the live engine knows of the rule from before does not count: pauses,
// silences, cooldowns, other runs, and what its triggers have gathered.
package dryrun

import (
	"context"
	"embed"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/flightrules/flightrules/engine"
	"github.com/flightrules/flightrules/engine/journal"
	"github.com/flightrules/flightrules/internal/app"
	"github.com/flightrules/flightrules/internal/httpapi"
	"github.com/flightrules/flightrules/internal/sim"
	"github.com/flightrules/flightrules/plugins"
	"github.com/flightrules/flightrules/rules"
	"github.com/flightrules/flightrules/triggers"
)

const (
	// defaultPatience bounds how long a dry run waits for its turn, and how long
	// it takes then.
	defaultPatience = 10 * time.Second
	// atOnce bounds how many are under way.
	atOnce = 4
)

// Runner makes dry runs. It is safe for concurrent use.
type Runner struct {
	plugins  func() []plugins.Plugin
	patience time.Duration
	turns    chan struct{}

	mu  sync.Mutex
	lab *sim.Lab // nil until it is needed
}

// New makes a Runner; brought makes the plugins that the live engine has.
// Close it.
func New(brought func() []plugins.Plugin) *Runner {
	return &Runner{plugins: brought, patience: defaultPatience, turns: make(chan struct{}, atOnce)}
}

// Close removes what dry runs left; none may be under way.
func (r *Runner) Close(ctx context.Context) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.lab == nil {
		return nil
	}
	lab := r.lab
	r.lab = nil
	return lab.Close(ctx)
}

// Run tries a rule of a live engine. Errors: ErrNoRule and ErrInputs of engine,
// ErrNotFound of journal for the event, ErrDryRun, ErrPayload and
// ErrDryRunBusy of httpapi, and a *yamlx.Error for what is wrong with ask.Source.
func (r *Runner) Run(ctx context.Context, live *app.Core, ask httpapi.DryRun) (*httpapi.DryRunResult, error) {
	turn := time.NewTimer(r.patience)
	defer turn.Stop()
	select {
	case r.turns <- struct{}{}:
		defer func() { <-r.turns }()
	case <-turn.C:
		return nil, httpapi.ErrDryRunBusy
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	running, cancel := context.WithTimeout(ctx, r.patience)
	defer cancel()
	result, err := r.try(running, live, ask)
	if err != nil && running.Err() != nil && ctx.Err() == nil {
		err = fmt.Errorf("%w: it takes longer than %s", httpapi.ErrDryRun, r.patience)
	}
	return result, err
}

func (r *Runner) try(ctx context.Context, live *app.Core, ask httpapi.DryRun) (result *httpapi.DryRunResult, err error) {
	t := &trial{ask: ask, live: live, patience: r.patience}
	if err := t.begin(ctx); err != nil {
		return nil, err
	}
	lab, err := r.laboratory(ctx)
	if err != nil {
		return nil, err
	}
	var done func() error
	t.sim, done, err = lab.Open(ctx, sim.Options{Start: t.start, Set: declared(live.Engine.Rules()), Shadow: live.DB.Read(), Secret: placeholder})
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, done()) }()
	return t.run(ctx)
}

var noRules embed.FS // an empty folder

// laboratory has a migrated database and no rules.
func (r *Runner) laboratory(ctx context.Context) (*sim.Lab, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.lab == nil {
		lab, err := sim.NewLab(context.WithoutCancel(ctx), noRules, "", r.plugins)
		if err != nil {
			return nil, err
		}
		r.lab = lab
	}
	return r.lab, nil
}

// declared are the kinds and events of a set, without its rules and without the
// items of sections: what these stand for is in the live database.
func declared(set *rules.Set) *rules.Set {
	none := rules.NewSet(nil)
	none.Kinds, none.Events = set.Kinds, set.Events
	return none
}

// placeholder stands for a secret, and is masked as that would be.
func placeholder(_ context.Context, name, _ string) (string, error) {
	return "placeholder of the secret " + name, nil
}

// trial is one dry run.
type trial struct {
	ask      httpapi.DryRun
	live     *app.Core
	patience time.Duration
	sim      *sim.Sim
	text     string        // of the rule
	event    journal.Event // that it is tried with
	start    time.Time     // when the simulation begins
	notes    []string
}

func (t *trial) note(format string, args ...any) {
	t.notes = append(t.notes, fmt.Sprintf(format, args...))
}

// begin finds the rule, the event and the time.
func (t *trial) begin(ctx context.Context) (err error) {
	t.start, t.text = t.live.Now(), t.ask.Source
	if t.text == "" {
		rule := t.live.Engine.Rules().Rule(t.ask.Rule)
		if rule == nil {
			return fmt.Errorf("%w: %s", engine.ErrNoRule, t.ask.Rule)
		}
		t.text = rule.Text
	}
	if t.ask.EventID != "" {
		t.event, err = journal.EventByID(ctx, t.live.DB.Read(), t.ask.EventID)
		t.start = t.event.At.Time
	}
	return err
}

// run decides about the event and walks the run that follows from it.
func (t *trial) run(ctx context.Context) (*httpapi.DryRunResult, error) {
	rule, err := t.rule(ctx)
	if err != nil {
		return nil, err
	}
	t.sim.Engine.SetRules(rules.NewSet([]*rules.Rule{rule}))
	if t.ask.EventID == "" {
		if t.event, err = t.madeUp(ctx, rule); err != nil {
			return nil, err
		}
	}
	var fired rules.Candidate
	if t.ask.Force && t.event.Name != triggers.Manual { // which runs the rule in any case
		fired = t.fired(rule)
	}
	if err := t.sim.Engine.Try(ctx, t.event, fired); err != nil {
		return nil, err
	}
	return t.result(ctx, rule)
}

func (t *trial) result(ctx context.Context, rule *rules.Rule) (*httpapi.DryRunResult, error) {
	explained, err := t.sim.Engine.Explain(ctx, rule.ID, t.event.ID)
	if err != nil {
		return nil, err
	}
	decisions, err := journal.Decisions(ctx, t.sim.DB.Read(), journal.Filter{Rule: rule.ID})
	if err != nil {
		return nil, err
	}
	explained.Event, explained.Decisions = t.event, nil
	for i := range decisions {
		explained.Decisions = append(explained.Decisions, decisions[len(decisions)-1-i])
	}
	if t.ask.Force || t.event.Name == triggers.Manual {
		explained.Triggers = nil // it is not up to them
	}
	result := &httpapi.DryRunResult{Explanation: *explained}
	if err := t.walked(ctx, rule, result); err != nil {
		return nil, err
	}
	t.remark(result)
	result.Notes = t.notes
	return result, nil
}

// rule compiles the rule, as it is tried: also where it is disabled.
func (t *trial) rule(ctx context.Context) (*rules.Rule, error) {
	compiled, err := t.sim.Compiler.Compile(t.text)
	if err != nil {
		return nil, err
	}
	if compiled.ID != t.ask.Rule {
		return nil, fmt.Errorf("%w: the text is of a rule %s, and not of %s", httpapi.ErrDryRun, compiled.ID, t.ask.Rule)
	}
	states, err := journal.RuleStates(ctx, t.live.DB.Read(), false)
	if err != nil {
		return nil, err
	}
	switch state := states[compiled.ID]; {
	case state.Paused():
		t.note("the rule is paused: its matches are dropped until it is resumed")
	case !compiled.Enabled:
		t.note("the rule is disabled: it looks at nothing until it is enabled")
	}
	rule := *compiled
	rule.Enabled = true
	if t.ask.Trigger == "" {
		return &rule, nil
	}
	trigger, err := named(&rule, t.ask.Trigger)
	if err != nil {
		return nil, err
	}
	only := *trigger
	if !only.Enabled {
		t.note("trigger %s is disabled", only.ID)
	}
	only.Enabled = true
	rule.Triggers = []rules.Trigger{only}
	return &rule, nil
}
