package ruletest

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/flightrules/flightrules/engine/journal"
	"github.com/flightrules/flightrules/entities"
	"github.com/flightrules/flightrules/internal/sim"
	"github.com/flightrules/flightrules/rules"
)

// player plays one test.
type player struct {
	*sim.Sim

	lab    *sim.Lab
	test   *Test
	offset time.Duration // by how much the clock was set since the start

	given map[entityRef]bool // entities of plugins that the test keeps

	newest   map[string]*call // call of each idempotency key
	calls    []*call          // in the order in which they began
	answered map[*response]int

	firstEvent int64 // what was given has made those up to this one
}

// played is what came of a test.
type played struct {
	failures  []Failure
	seen      map[string][]map[string]any // all that can be seen at the end, by the keys of sights
	snapshots map[string]snapshot         // taken, by title
	covered   covered
}

// passing is how time passes for a player.
type passing interface {
	AdvanceTo(ctx context.Context, to time.Time) error
	Settle(ctx context.Context) error
}

func newPlayer(lab *sim.Lab, t *Test) *player {
	return &player{lab: lab, test: t, given: map[entityRef]bool{}, newest: map[string]*call{}, answered: map[*response]int{}}
}

// play plays a test, with a restart of the engine after each step if that is
// wanted. An error is of the simulation itself.
func play(ctx context.Context, lab *sim.Lab, t *Test, restarts bool) (out played, err error) {
	p := newPlayer(lab, t)
	ctx = sim.WithOutside(ctx, p)
	ids := 0
	var done func() error
	p.Sim, done, err = lab.Open(ctx, sim.Options{
		Start: t.start.Add(-t.before()), Worlds: true, Secret: t.secret,
		NewID: func() string { ids++; return fmt.Sprintf("%08d", ids) },
	})
	if err != nil {
		return out, err
	}
	defer func() { err = errors.Join(err, done()) }()
	return p.play(ctx, p.Sim, restarts)
}

// before is how long before the start the first thing of what is given came to
// be.
func (t *Test) before() (before time.Duration) {
	for _, g := range t.given {
		before = max(before, g.before)
	}
	return before
}

func (p *player) play(ctx context.Context, clock passing, restarts bool) (out played, err error) {
	if err := p.begin(ctx, clock); err != nil {
		return out, err
	}
	out.snapshots = map[string]snapshot{}
	for _, s := range p.test.steps {
		if err := p.step(ctx, clock, s, restarts, &out); err != nil {
			return out, fmt.Errorf("%s: %w", s.title(), err)
		}
	}
	if out.seen, err = p.all(ctx); err != nil {
		return out, err
	}
	out.covered, err = p.covered(ctx)
	return out, err
}

func (t *Test) secret(_ context.Context, name, _ string) (string, error) {
	if value, ok := t.secrets[name]; ok {
		return value, nil
	}
	return "", fmt.Errorf("the test gives no secret %s", name)
}

// begin makes the world as it is given, which no rule sees, and puts the rules
// of the test in force.
func (p *player) begin(ctx context.Context, clock passing) error {
	list := slices.Clone(p.test.given)
	slices.SortStableFunc(list, func(a, b given) int { return int(min(1, max(-1, b.before-a.before))) })
	for _, g := range list {
		if err := clock.AdvanceTo(ctx, p.test.start.Add(-g.before)); err != nil {
			return err
		}
		if err := p.do(ctx, g.do); err != nil {
			return fmt.Errorf("given: %w", err)
		}
	}
	if err := clock.AdvanceTo(ctx, p.test.start); err != nil {
		return err
	}
	last, err := journal.Events(ctx, p.DB.Read(), journal.Filter{Limit: 1})
	if err != nil {
		return err
	}
	if len(last) > 0 {
		p.firstEvent = last[0].Seq
	}
	all := p.lab.Set
	if p.test.rules != nil {
		all = all.Only(func(r *rules.Rule) bool { return slices.Contains(p.test.rules, r.ID) })
	}
	if err := p.Use(ctx, all); err != nil {
		return err
	}
	return clock.Settle(ctx)
}

// step goes to the time of a step, does what happens there, and looks.
func (p *player) step(ctx context.Context, clock passing, s step, restarts bool, out *played) error {
	if err := clock.AdvanceTo(ctx, p.test.start.Add(s.at+p.offset)); err != nil {
		return err
	}
	var failed error
	if s.do != nil {
		failed = p.do(ctx, s.do)
		if errors.Is(failed, context.Cause(ctx)) && ctx.Err() != nil {
			return failed
		}
		if err := clock.Settle(ctx); err != nil {
			return err
		}
	}
	if restarts {
		if err := p.restart(ctx, 0); err != nil {
			return err
		}
		if err := clock.Settle(ctx); err != nil {
			return err
		}
	}
	failures, err := p.look(ctx, s, failed, out.snapshots)
	out.failures = append(out.failures, failures...)
	return err
}

// do makes something happen, by the hand of the test.
func (p *player) do(ctx context.Context, do deed) error {
	return do(entities.WithCause(ctx, entities.Cause{Actor: "test"}), p)
}

// stepClock sets the clock of the machine.
func (p *player) stepClock(by time.Duration) {
	p.offset += by
	p.Jump(p.Time().Add(by))
}

// restart ends the engine and brings it up again after some time.
func (p *player) restart(ctx context.Context, down time.Duration) error {
	if err := p.Stop(ctx); err != nil {
		return err
	}
	p.Jump(p.Time().Add(down))
	if err := p.Start(ctx); err != nil {
		return err
	}
	for ref := range p.given {
		if err := p.Entities.Give(ref.Kind, ref.ID); err != nil {
			return err
		}
	}
	return nil
}

// update changes an entity, or makes it.
func (p *player) update(ctx context.Context, info entities.KindInfo, id string, set map[string]any) error {
	if ref := (entityRef{info.Name, id}); !info.Kept && !p.given[ref] {
		there, err := p.Entities.State(ctx, p.DB.Read(), info.Name, id)
		if err != nil {
			return err
		}
		if there != nil {
			return fmt.Errorf("%s %s is of a plugin, which says what its state is: change it by what happens to it", info.Name, id)
		}
		if err := p.Entities.Give(info.Name, id); err != nil {
			return err
		}
		p.given[ref] = true
	}
	_, err := p.Entities.Put(ctx, info.Name, id, func(prev entities.View) (map[string]any, error) {
		state := maps.Clone(map[string]any(prev))
		if state == nil {
			state = map[string]any{}
		}
		for name, value := range set {
			if state[name] = value; value == nil {
				delete(state, name)
			}
		}
		if prev == nil {
			state, _ = completed(info.Shape, state, id, p.Now()).(map[string]any)
		}
		return state, nil
	})
	return err
}

// eachRun does something with each of the runs of a rule that is so.
func (p *player) eachRun(ctx context.Context, rule, so string, is func(journal.Run) bool, do func(id string) error) error {
	list, err := journal.Runs(ctx, p.DB.Read(), journal.Filter{Rule: rule})
	if err != nil {
		return err
	}
	slices.Reverse(list)
	found := false
	for _, r := range list {
		if !is(r) {
			continue
		}
		found = true
		if err := do(r.ID); err != nil {
			return err
		}
	}
	if !found {
		return fmt.Errorf("there is no run of %s that %s", rule, so)
	}
	return nil
}

// all is everything that can be seen.
func (p *player) all(ctx context.Context) (map[string][]map[string]any, error) {
	all := map[string][]map[string]any{}
	for key, sight := range sights {
		rows, err := sight.rows(ctx, p)
		if err != nil {
			return nil, err
		}
		all[key] = rows
	}
	return all, nil
}
