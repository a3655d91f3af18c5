package healthcheck

import (
	"cmp"
	"context"
	"errors"
	"slices"
	"time"

	"github.com/uptrace/bun"

	"github.com/flightrules/flightrules/entities"
	"github.com/flightrules/flightrules/internal/db"
	"github.com/flightrules/flightrules/triggers"
)

// State is a check as rules and readers see it. One without a result has no
// state.
type State struct {
	Status    string            `json:"status" enum:"up,degraded,down,unobserved" doc:"unobserved: it is not known, since nobody is there to look."`
	Regions   map[string]string `json:"regions" doc:"The status by the region of those who observe it; the core's is local."`
	Flapping  bool              `json:"flapping" doc:"It changes too often."`
	LatencyMS *float64          `json:"latency_ms" reactive:"false" doc:"Of the newest results, on average, in milliseconds."`
	Since     time.Time         `json:"since" reactive:"false" doc:"When it became so."`
	Message   string            `json:"message" reactive:"false" doc:"Why it is not up, of one who says so."`
}

func (p *Plugin) defineKind() (err error) {
	p.kind, err = entities.Define(p.host.Entities(), entities.Spec[State]{
		Name: "check", Doc: "Something that satellites, or the core, look at again and again.", Read: p.read,
	})
	return err
}

// read puts states together of rows, and of nothing else.
func (p *Plugin) read(ctx context.Context, idb bun.IDB, at time.Time, ids []string) (map[string]State, error) {
	list, err := checksOf(ctx, idb, ids)
	if err != nil {
		return nil, err
	}
	observers, err := observersOf(ctx, idb, ids)
	if err != nil {
		return nil, err
	}
	states := make(map[string]State, len(list))
	for _, c := range list {
		d, err := c.decode()
		if err != nil {
			return nil, err
		}
		s, known := together(d.On, observers[c.ID], c.Status != "")
		if !known {
			continue
		}
		s.Since = at.UTC()
		if c.Status == s.Status {
			s.Since = c.Since.Time
		}
		states[c.ID] = s
	}
	return states, nil
}

// together makes a state of opinions; false: nothing is known yet. before says
// that there was a state before.
func together(on string, observers []observer, before bool) (State, bool) {
	var counted []observer
	for _, o := range observers {
		if o.Observing && o.Status != "" {
			counted = append(counted, o)
		}
	}
	if len(counted) == 0 {
		s := State{Status: unobserved, Regions: map[string]string{}}
		for _, o := range observers {
			s.Message = cmp.Or(s.Message, o.Message)
		}
		return s, before
	}
	s := State{Status: status(on, counted), Regions: map[string]string{}}
	byRegion := map[string][]observer{}
	var sum, flapping int
	for _, o := range counted {
		byRegion[o.Region] = append(byRegion[o.Region], o)
		sum += int(o.Latency)
		if o.Flapping {
			flapping++
		}
		if o.Status == s.Status && s.Status != up {
			s.Message = cmp.Or(s.Message, o.Message)
		}
	}
	for region, list := range byRegion {
		s.Regions[region] = status(on, list)
	}
	s.Flapping = enough(on, flapping, len(counted))
	ms := float64(sum/len(counted)) / 1000
	s.LatencyMS = &ms
	return s, true
}

// status is down when enough of the observers say so, and else degraded when
// enough of them say that or down.
func status(on string, list []observer) string {
	var isDown, isBad int
	for _, o := range list {
		if o.Status == down {
			isDown++
		}
		if o.Status != up {
			isBad++
		}
	}
	switch {
	case enough(on, isDown, len(list)):
		return down
	case enough(on, isBad, len(list)):
		return degraded
	}
	return up
}

func enough(on string, n, of int) bool {
	switch on {
	case "all":
		return n == of
	case "quorum":
		return 2*n > of
	}
	return n > 0
}

// Payload is what every event of a check tells.
type Payload struct {
	CheckID   string            `json:"check_id"`
	Status    string            `json:"status" enum:"up,degraded,down,unobserved"`
	Previous  string            `json:"previous" enum:"up,degraded,down,unobserved," doc:"The status before; empty at first."`
	Flapping  bool              `json:"flapping"`
	Regions   map[string]string `json:"regions" doc:"The status by region."`
	LatencyMS *float64          `json:"latency_ms"`
	Message   string            `json:"message" doc:"Why it is not up."`
}

func (p *Plugin) defineEvents() error {
	became := func(is ...string) func(before, now State) bool {
		return func(before, now State) bool { return before.Status != now.Status && slices.Contains(is, now.Status) }
	}
	return errors.Join(
		p.derive("check.down", "A check is down.", became(down)),
		p.derive("check.degraded", "A check works, but not as well as it should. After check.down it is better.", became(degraded)),
		p.derive("check.recovered", "A check is up again. Its first status is none, and no recovery.", func(before, now State) bool {
			return before.Status != "" && became(up)(before, now)
		}),
		p.derive("check.unobserved", "Nobody is there to look at a check: it is unknown, not down.", became(unobserved)),
		p.derive("check.flapping", "A check began to change too often. Its other events go on.", func(before, now State) bool {
			return !before.Flapping && now.Flapping
		}),
		p.derive("check.flapping_ended", "A check has come to rest; its status tells how.", func(before, now State) bool {
			return before.Flapping && !now.Flapping
		}),
	)
}

// derive makes an event of the changes of which is says so. before has no status
// when there was no state.
func (p *Plugin) derive(name, doc string, is func(before, now State) bool) error {
	event, err := triggers.Define[Payload](p.host.Events(), triggers.EventSpec{Name: name, Doc: doc, Kind: p.kind.Name()})
	if err != nil {
		return err
	}
	return triggers.Derive(p.host.Events(), p.kind, event, func(c entities.Change[State]) (Payload, bool) {
		var before State
		if c.Prev != nil {
			before = *c.Prev
		}
		if c.Next == nil || !is(before, *c.Next) {
			return Payload{}, false
		}
		s := *c.Next
		return Payload{
			CheckID: c.ID, Status: s.Status, Previous: before.Status, Flapping: s.Flapping, Regions: s.Regions, LatencyMS: s.LatencyMS, Message: s.Message,
		}, true
	})
}

// look has a check read again, whose rows have changed; one that is not there
// any more ends. A timer, if there is one, is taken in the same transaction.
func (p *Plugin) look(ctx context.Context, id string, take func(ctx context.Context, tx bun.Tx) error) error {
	there := false
	_, err := p.kind.Mutate(ctx, id, func(ctx context.Context, tx bun.Tx, _ *State) (State, error) {
		if err := take(ctx, tx); err != nil {
			return State{}, err
		}
		at := entities.At(ctx)
		list, err := checksOf(ctx, tx, []string{id})
		if err != nil {
			return State{}, err
		}
		if there = len(list) > 0; !there {
			return State{}, errGone
		}
		states, err := p.read(ctx, tx, at, []string{id})
		if s, ok := states[id]; err == nil && ok && s.Status != list[0].Status {
			_, err = tx.NewUpdate().Model((*check)(nil)).Set("status = ?, since = ?", s.Status, db.At(at)).Where("id = ?", id).Exec(ctx)
		}
		return State{}, err
	})
	if !errors.Is(err, errGone) {
		return err
	}
	err = p.kind.Remove(ctx, id, func(ctx context.Context, tx bun.Tx, _ State) error { return take(ctx, tx) })
	if errors.Is(err, entities.ErrNotFound) {
		return p.host.Write(ctx, take)
	}
	return err
}

// errGone ends a change of a check that is not there any more.
var errGone = errors.New("the check is gone")
