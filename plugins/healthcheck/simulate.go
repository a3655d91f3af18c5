package healthcheck

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/uptrace/bun"

	"github.com/flightrules/flightrules/internal/db"
	"github.com/flightrules/flightrules/internal/duration"
	"github.com/flightrules/flightrules/internal/suggest"
	"github.com/flightrules/flightrules/plugins"
)

// world is what checks look at, in a simulation: nothing happens there but what
// the verbs say.
type world struct{ plugin *Plugin }

// seen is the argument of the verb of steps.
type seen struct {
	ID        string        `json:"id" doc:"The check."`
	Status    string        `json:"status" enum:"up,degraded,down,failed" doc:"What is seen; failed: it could not be looked."`
	Satellite string        `json:"satellite,omitempty" doc:"Who sees it, by name; local is the core. Default: all who observe the check."`
	Times     int           `json:"times,omitempty" doc:"How many results in a row, 1 to 100; default: 1."`
	Latency   duration.Text `json:"latency,omitempty"`
	Message   string        `json:"message,omitempty"`
}

// known is the argument of the verb of what is given.
type known struct {
	ID     string `json:"id" doc:"The check."`
	Status string `json:"status,omitempty" enum:"up,degraded,down" doc:"What all who observe it think of it; default: up."`
}

const maxTimes = 100

func (p *Plugin) addVerbs() error {
	return errors.Join(
		plugins.AddVerb(p.host, plugins.VerbSpec[*world, seen]{
			Name: "check", Doc: "What is seen when a check is looked at. Thresholds count as they do in production.",
			Check: func(s seen) error {
				if s.Times < 0 || s.Times > maxTimes {
					return fmt.Errorf("times: it must be from 1 to %d", maxTimes)
				}
				return nil
			},
			Do: (*world).see,
		}),
		plugins.AddVerb(p.host, plugins.VerbSpec[*world, known]{
			Name: "check", Doc: "What is known of a check of the files. Satellites that observe it are given before.", Given: true, Do: (*world).given,
		}),
	)
}

// Simulate implements plugins.Simulated.
func (p *Plugin) Simulate(plugins.World) plugins.World {
	p.simulated.Store(true)
	return &world{p}
}

// Step implements plugins.World.
func (*world) Step(context.Context) (more bool, err error) { return false, nil }

// Next implements plugins.World.
func (*world) Next(context.Context) (next time.Time, err error) { return next, nil }

// Leap implements plugins.World.
func (*world) Leap() {}

// Stop implements plugins.World.
func (w *world) Stop() { w.plugin = nil }

var errDown = errors.New("the core is down")

// see implements the verb of steps.
func (w *world) see(ctx context.Context, s seen) error {
	rows, err := w.observers(ctx, s.ID)
	if err != nil {
		return err
	}
	if s.Satellite != "" {
		rows = slices.DeleteFunc(rows, func(o observer) bool { return o.Name != s.Satellite })
		if len(rows) == 0 {
			return fmt.Errorf("satellite %q does not observe check %s", s.Satellite, s.ID)
		}
	}
	p := w.plugin
	for _, o := range rows {
		list := make([]result, max(s.Times, 1))
		for i := range list {
			list[i] = result{
				CheckID: s.ID, Observer: o.Observer, At: db.At(p.host.Now()), Outcome: s.Status,
				Latency: time.Duration(s.Latency).Microseconds(), Message: text(s.Message),
			}
		}
		if err := p.host.Write(ctx, func(ctx context.Context, tx bun.Tx) error { return p.take(ctx, tx, o.Observer, list) }); err != nil {
			return err
		}
	}
	return nil
}

// given implements the verb of what is given.
func (w *world) given(ctx context.Context, k known) error {
	rows, err := w.observers(ctx, k.ID)
	if err != nil {
		return err
	}
	p := w.plugin
	if k.Status == "" {
		k.Status = up
	}
	if err := p.host.Write(ctx, func(ctx context.Context, tx bun.Tx) error {
		for _, o := range rows {
			o.opinion = opinion{Observing: true, Status: k.Status}
			if _, err := tx.NewUpdate().Model(&o).Column("observing", "status", "flapping", "recent").WherePK().Exec(ctx); err != nil {
				return err
			}
		}
		return nil
	}); err != nil {
		return err
	}
	return p.look(system(ctx), k.ID, func(context.Context, bun.Tx) error { return nil })
}

// observers are those of a check who are there to look, after every satellite
// was told what to look at.
func (w *world) observers(ctx context.Context, id string) ([]observer, error) {
	if w.plugin == nil {
		return nil, errDown
	}
	p := w.plugin
	list, err := allChecks(ctx, p.host.Read())
	if err != nil {
		return nil, err
	}
	var ids []string
	for _, c := range list {
		ids = append(ids, c.ID)
	}
	if !slices.Contains(ids, id) {
		if closest, ok := suggest.Closest(id, ids); ok {
			return nil, fmt.Errorf("there is no check %q, did you mean %q?", id, closest)
		}
		return nil, fmt.Errorf("there is no check %q in the files", id)
	}
	satellites, err := p.remote.Satellites(ctx, p.host.Read())
	if err != nil {
		return nil, err
	}
	var all []string
	here := map[string]bool{localObserver: true}
	for _, s := range satellites {
		all, here[s.ID] = append(all, s.ID), s.Online
	}
	if err := p.assignAll(ctx, all); err != nil {
		return nil, err
	}
	of, err := observersOf(ctx, p.host.Read(), []string{id})
	rows := slices.DeleteFunc(of[id], func(o observer) bool { return !here[o.Observer] })
	if err == nil && len(rows) == 0 {
		err = fmt.Errorf("nobody observes check %s: give a satellite that it selects, and that is connected", id)
	}
	return rows, err
}
