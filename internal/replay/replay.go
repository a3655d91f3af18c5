// Package replay puts rules over a recorded log, in simulated time, and sets
// what they would have done beside what really happened.
//
// The engine is that of production, as a shadow: it routes the recorded
// transitions and events, at the times at which they were routed, and reads
// entities as they were then. Nothing is sent: actions are rendered and
// answered. What runs really caused is in the log, and comes from there; a run
// that was recorded of the same version of a rule is not walked again, but is
// active for as long as it was. So the log of an engine, replayed with the rules
// that it had, gives the decisions that it recorded.
package replay

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"testing/fstest"
	"time"

	"github.com/uptrace/bun"

	"github.com/flightrules/flightrules/engine/action"
	"github.com/flightrules/flightrules/engine/journal"
	"github.com/flightrules/flightrules/engine/outbox"
	"github.com/flightrules/flightrules/internal/db"
	"github.com/flightrules/flightrules/internal/sim"
	"github.com/flightrules/flightrules/plugins"
	"github.com/flightrules/flightrules/rules"
)

// Options say what is replayed.
type Options struct {
	// Source has the log; it is only read, and may be at work meanwhile.
	Source *db.DB
	// Files are the rules, and Dir is what they are named under in problems; nil:
	// the rules that are in force in the source.
	Files fs.FS
	Dir   string
	// AsRecorded has each rule as it was at each time, edits and removals
	// included, instead of Files.
	AsRecorded bool
	// Rules are the ids of those that are replayed; nil: all.
	Rules []string
	// Whole has rules in force from the beginning of the log, and not only from
	// when the source first loaded them.
	Whole bool
	// Since and Until bound what is reported; zero: from the beginning, to the
	// end of the log. The log is gone through from its beginning all the same:
	// windows, deadlines and modes hang on what was before.
	Since, Until time.Time
	// Last is Since as a time before the end; zero: Since counts.
	Last time.Duration
	// Plugins makes the plugins; what their actions do is not done.
	Plugins func() []plugins.Plugin
	// Items bounds how many items of each rule the report holds; zero: 1,000.
	Items int
	// Progress is told now and then how far it is, from 0 to 1. May be nil.
	Progress func(part float64)
	// Decided is told each decision of the replay, in order. May be nil.
	Decided func(journal.Decision)
}

// defaultItems is how many items of a rule a report holds.
const defaultItems = 1000

// ErrNoRules is returned where there is nothing to replay.
var ErrNoRules = errors.New("there are no rules to replay")

// ErrOldSource is returned for a database of an older or a newer program.
var ErrOldSource = errors.New("the database is not of this version of the program")

// Run replays. Rules that have problems are a *yamlx.Error. Other errors:
// ErrNoRule of the engine, ErrNoRules, ErrOldSource.
func Run(ctx context.Context, o Options) (report *Report, err error) {
	if o.Items == 0 {
		o.Items = defaultItems
	}
	if o.Progress == nil {
		o.Progress = func(float64) {}
	}
	if err := o.Source.Migrated(ctx, sets()...); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrOldSource, err)
	}
	files := o.Files
	if files == nil || o.AsRecorded {
		files = fstest.MapFS{}
	}
	lab, err := sim.NewLab(ctx, files, o.Dir, o.Plugins)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, lab.Close(context.WithoutCancel(ctx))) }()
	p := &player{Options: o, lab: lab}
	if err := p.prepare(ctx); err != nil {
		return nil, err
	}
	return p.play(sim.WithOutside(ctx, stand{}))
}

// stand answers the actions of runs that are walked.
type stand struct{}

// Act implements sim.Outside.
func (stand) Act(_ context.Context, a action.Action, _ action.Call, _ any) (any, error) {
	if a.Name == "http" {
		return map[string]any{"status": 200, "headers": map[string]any{}, "body": map[string]any{}}, nil
	}
	return map[string]any{}, nil
}

// player is a replay under way.
type player struct {
	Options

	lab  *sim.Lab
	sim  *sim.Sim
	plan plan
	from *stream
	twin *twin
	seen *harvest

	due  time.Time // of the first deadline of the router; zero: there is none
	wake time.Time // when the first run goes on or ends; zero: none does
	same int       // how often nothing has moved
}

func (p *player) prepare(ctx context.Context) error {
	known, err := readKnown(ctx, p.Source.Read())
	if err != nil {
		return err
	}
	if p.plan, err = p.newPlan(known); err != nil {
		return err
	}
	end, err := known.end(ctx, p.Source.Read())
	if err != nil {
		return err
	}
	if p.Until.IsZero() {
		p.Until = end
	}
	if p.Last > 0 {
		p.Since = p.Until.Add(-p.Last)
	}
	p.twin = &twin{Options: &p.Options}
	p.from = &stream{idb: p.Source.Read(), since: p.plan.since, until: p.Until, ids: p.plan.ids, told: p.Progress, loads: known.loads(), sets: p.plan.changes}
	p.seen = newHarvest(&p.Options, known, p.plan)
	return nil
}

// kinds of what comes next, in the order in which they count at one time.
type next int

const (
	nothing   next = iota
	aChange        // rules, pauses and silences
	items          // of the log, and the deadlines that were looked at with them
	deadlines      // of the router
	runs           // that go on or end
)

func (p *player) play(ctx context.Context) (report *Report, err error) {
	none := p.plan.all.Only(func(*rules.Rule) bool { return false }) // the kinds stay declared
	s, done, err := p.lab.Open(ctx, sim.Options{
		Start: p.plan.begin, Set: none, Shadow: p.Source.Read(), Twin: p.twin,
		Secret: func(_ context.Context, name, _ string) (string, error) { return "(secret " + name + ")", nil },
	})
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, done()) }()
	p.sim, p.seen.sim, p.from.sim, p.twin.now, p.twin.fired = s, s, s, s.Time, p.fired
	if err := s.Settle(ctx); err != nil {
		return nil, err
	}
	if err := p.from.begin(ctx, newFilter(s, p.plan)); err != nil {
		return nil, err
	}
	for going := true; going; {
		if going, err = p.step(ctx); err != nil {
			return nil, err
		}
	}
	p.Progress(1)
	return p.seen.report(ctx, p)
}

// step does what comes next; false: nothing does.
func (p *player) step(ctx context.Context) (bool, error) {
	if err := ctx.Err(); err != nil {
		return false, err
	}
	group, err := p.from.group(ctx, p.sim.Time())
	if err != nil {
		return false, err
	}
	what, when := nothing, time.Time{}
	consider := func(one next, at time.Time) {
		if at.Before(p.sim.Time()) {
			at = p.sim.Time()
		}
		if what == nothing || at.Before(when) {
			what, when = one, at
		}
	}
	if len(p.plan.changes) > 0 {
		consider(aChange, p.plan.changes[0].at)
	}
	if group != nil {
		consider(items, group.routed)
	}
	later := false // the deadlines are looked at after the items
	if !p.due.IsZero() && (what == nothing || !p.due.After(when)) {
		looked, recorded, err := p.looked(ctx)
		if err != nil {
			return false, err
		}
		if group != nil && recorded && looked.After(group.routed) {
			if later = group.told; !later {
				// It was due before, and nobody looked: nor at these.
				if err := p.from.delay(ctx, looked); err != nil {
					return false, err
				}
				return true, nil
			}
		}
		if recorded || group == nil || looked.Before(group.from) {
			consider(deadlines, looked)
		}
	}
	if !p.wake.IsZero() {
		consider(runs, p.wake)
	}
	if what == nothing || when.After(p.Until) {
		return false, nil
	}
	p.sim.Jump(when)
	p.twin.looks, p.twin.group = what == deadlines || what == items && !later, nil
	switch what {
	case aChange:
		err = p.change(ctx)
	case items:
		p.twin.group = group
		if err = p.feed(ctx, group); err == nil {
			p.from.taken()
		}
	}
	if err != nil {
		return false, err
	}
	return true, p.settle(ctx, what)
}

// settle does all that can be done now, and looks for what comes next.
func (p *player) settle(ctx context.Context, what next) error {
	if err := p.sim.Settle(ctx); err != nil {
		return err
	}
	before := p.due
	steppers := p.sim.Engine.Steppers()
	var err error
	if p.due, err = steppers[1].Next(ctx); err != nil {
		return err
	}
	if p.wake, err = steppers[0].Next(ctx); err != nil {
		return err
	}
	if p.same++; what != deadlines || !p.due.Equal(before) {
		p.same = 0
	}
	if p.same > maxSame {
		return fmt.Errorf("the deadlines of %s do not pass", p.due.Format(time.RFC3339Nano))
	}
	return p.seen.now(ctx, false)
}

// maxSame bounds how often the router looks at deadlines of one time.
const maxSame = 100_000

// change puts rules, pauses and silences in force.
func (p *player) change(ctx context.Context) error {
	c := p.plan.changes[0]
	p.plan.changes = p.plan.changes[1:]
	if c.set != nil {
		if err := p.sim.Use(ctx, c.set); err != nil {
			return err
		}
	}
	return p.sim.Engine.Recall(ctx, c.silences, c.states)
}

// feed has a part of the log routed.
func (p *player) feed(ctx context.Context, g *group) error {
	return p.sim.DB.Write(ctx, func(ctx context.Context, tx bun.Tx) error {
		var events []journal.Event
		notes := make([]outbox.Note, len(g.items))
		for i, one := range g.items {
			if one.event == nil {
				notes[i].TransitionSeq = one.transition.Seq
				continue
			}
			events, notes[i].EventID = append(events, *one.event), one.event.ID
		}
		if len(events) > 0 {
			if _, err := tx.NewInsert().Model(&events).ExcludeColumn("seq").Returning("NULL").Exec(ctx); err != nil {
				return err
			}
		}
		return outbox.Add(ctx, tx, notes...)
	})
}
