package replay

import (
	"context"
	"errors"
	"time"

	"github.com/uptrace/bun"

	"github.com/flightrules/flightrules/engine/journal"
	"github.com/flightrules/flightrules/entities"
	"github.com/flightrules/flightrules/internal/db"
	"github.com/flightrules/flightrules/internal/sim"
	"github.com/flightrules/flightrules/triggers"
)

// pageSize is how many rows of the log are read at once.
const pageSize = 2000

// stream gives what was routed in the source and may matter to the rules, in
// the order in which it was.
//
// That order is recorded in part alone: transitions and events have seqs of
// their own; decisions tell when, and after what, something was routed that
// anything was decided about.
type stream struct {
	idb          bun.IDB
	sim          *sim.Sim
	since, until time.Time
	ids          map[string]bool // of the rules
	loads        []time.Time     // see looks
	sets         []change        // of rules
	told         func(part float64)

	filter      *filter
	transitions rows
	events      rows
	next        *group
}

// rows is one of the two tables that are gone through.
type rows struct {
	after, last int64 // seqs
	first, n    int64 // the seq before the first, and how many there are
	items       []item
	looks       looks
}

func (r *rows) ended() bool { return r.after >= r.last }

// part is how much of it is done.
func (r *rows) part() float64 {
	if r.last <= r.first {
		return 1
	}
	return float64(r.after-r.first) / float64(r.last-r.first)
}

// item is one thing that was routed.
type item struct {
	transition entities.Transition
	event      *journal.Event // nil: it is the transition
	at         time.Time
	routed     time.Time // zero: it is not known
	order      int64     // the seq of the first decision about it; 0: there is none
	newest     int64     // of a transition: the seq of the last event that was derived of it
	ids        map[eventName]string
}

// eventName names an event of a transition.
type eventName struct {
	seq  int64
	name string
}

// group is what was routed together.
type group struct {
	items  []item
	from   time.Time // of the first of it
	routed time.Time
	told   bool // when it was routed is recorded
	ids    map[eventName]string
}

// begin looks how far the log goes: what comes later is not replayed.
func (s *stream) begin(ctx context.Context, f *filter) error {
	s.filter = f
	for table, rows := range map[string]*rows{"transitions": &s.transitions, "events": &s.events} {
		var bounds struct{ First, Last, N int64 }
		if err := s.idb.NewSelect().Table(table).ColumnExpr("COALESCE(MIN(seq), 1) AS first, COALESCE(MAX(seq), 0) AS last, COUNT(*) AS n").Scan(ctx, &bounds); err != nil {
			return err
		}
		rows.looks = looks{idb: s.idb, loads: s.loads, later: s.later}
		rows.first, rows.after, rows.last, rows.n = bounds.First-1, bounds.First-1, bounds.Last, bounds.N
	}
	if len(f.kinds) == 0 {
		s.transitions.after = s.transitions.last
	}
	return nil
}

// later says that an item about which nothing was decided was routed under the
// rules that came into force at a time: those before would have decided.
func (s *stream) later(one *item, at time.Time) bool {
	return s.decides(one, at.Add(-time.Microsecond))
}

// decides says whether the rules of a time surely decide about an item.
func (s *stream) decides(one *item, at time.Time) bool {
	for i := len(s.sets) - 1; i >= 0; i-- {
		if s.sets[i].set != nil && !s.sets[i].at.After(at) {
			f := *s.filter
			f.set, f.surely = s.sets[i].set, true
			if one.event != nil {
				return f.recorded(*one.event)
			}
			return f.transition(one.transition)
		}
	}
	return false
}

// group is what was routed next, at the earliest now; nil at the end.
func (s *stream) group(ctx context.Context, now time.Time) (*group, error) {
	if s.next != nil {
		return s.next, nil
	}
	first, err := s.head(ctx)
	if err != nil || first == nil {
		return nil, err
	}
	g := &group{from: first.at, routed: latest(first.routed, latest(now, first.at)), ids: map[eventName]string{}}
	if g.told = !first.routed.IsZero(); g.told {
		g.routed = first.routed
	}
	if first.at.Before(now) {
		g.from = g.routed // when it came is not known
	}
	s.add(g, first)
	s.next = g
	return g, s.fillUp(ctx)
}

func (s *stream) add(g *group, one *item) {
	g.items = append(g.items, *one)
	for name, id := range one.ids {
		g.ids[name] = id
	}
	s.take(one)
}

// fillUp adds to the next group what was there when it was routed.
func (s *stream) fillUp(ctx context.Context) error {
	for g := s.next; ; {
		one, err := s.head(ctx)
		if err != nil || one == nil {
			return err
		}
		if !one.routed.Equal(g.routed) && (!one.routed.IsZero() || one.at.After(g.routed)) {
			return nil
		}
		s.add(g, one)
	}
}

// delay has the next group be routed later: the router did not look before.
func (s *stream) delay(ctx context.Context, to time.Time) error {
	s.next.routed, s.next.told = to, true
	return s.fillUp(ctx)
}

// taken goes on to the next group.
func (s *stream) taken() { s.next = nil }

// head is the next item; nil at the end.
func (s *stream) head(ctx context.Context) (*item, error) {
	if err := s.fill(ctx); err != nil {
		return nil, err
	}
	t, e := s.transitions.items, s.events.items
	switch {
	case len(t) == 0 && len(e) == 0:
		return nil, nil
	case len(e) == 0 || len(t) > 0 && !before(&e[0], &t[0]):
		return &t[0], nil
	default:
		return &e[0], nil
	}
}

func (s *stream) take(one *item) {
	if one.event == nil {
		s.transitions.items = s.transitions.items[1:]
	} else {
		s.events.items = s.events.items[1:]
	}
}

// before says whether an event was routed before a transition.
func before(e, t *item) bool {
	switch {
	case e.order != 0 && t.order != 0:
		return e.order < t.order
	case t.newest != 0 && e.event.Seq > t.newest:
		return false // it came when the transition was routed
	default:
		return e.at.Before(t.at)
	}
}

// fill reads on until there is a next item of both, or no more.
func (s *stream) fill(ctx context.Context) error {
	for len(s.transitions.items) == 0 && !s.transitions.ended() {
		if err := s.readTransitions(ctx); err != nil {
			return err
		}
	}
	for len(s.events.items) == 0 && !s.events.ended() {
		if err := s.readEvents(ctx); err != nil {
			return err
		}
	}
	return nil
}

func (s *stream) progress() { s.told(min(s.transitions.part(), s.events.part())) }

func (s *stream) readTransitions(ctx context.Context) error {
	r := &s.transitions
	list, err := s.sim.Entities.Log(ctx, s.idb, r.after, r.last, s.filter.kinds, pageSize)
	if errors.Is(err, entities.ErrInvalid) {
		list, err = s.readable(ctx)
	}
	if err != nil {
		return err
	}
	var items []item
	for _, t := range list {
		r.after = t.Seq
		if t.At.After(s.until) {
			r.after = r.last
			break
		}
		if !t.At.Before(s.since) && s.filter.transition(t) {
			items = append(items, item{transition: t, at: t.At})
		}
	}
	if len(list) < pageSize {
		r.after = r.last
	}
	s.progress()
	for first := 0; first < len(items); first += 500 {
		if err := s.annotate(ctx, items[first:min(first+500, len(items))]); err != nil {
			return err
		}
	}
	if err := r.guess(ctx, items); err != nil {
		return err
	}
	r.items = items
	return nil
}

// guess fills in when that was routed about which nothing was decided, as far as
// it is told.
func (r *rows) guess(ctx context.Context, items []item) (err error) {
	for i := range items {
		if items[i].routed.IsZero() {
			if items[i].routed, err = r.looks.when(ctx, &items[i]); err != nil {
				return err
			}
		}
	}
	return nil
}

// readable is the next page where some of it cannot be read, without that.
func (s *stream) readable(ctx context.Context) (list []entities.Transition, err error) {
	r := &s.transitions
	for seq := r.after + 1; seq <= r.last && len(list) < pageSize; seq++ {
		one, err := s.sim.Entities.BySeq(ctx, s.idb, seq)
		if errors.Is(err, entities.ErrInvalid) {
			continue
		}
		if err != nil {
			return nil, err
		}
		list = append(list, one...)
	}
	return list, nil
}

// annotate reads which events were made of transitions, and when.
func (s *stream) annotate(ctx context.Context, items []item) error {
	seqs := make([]int64, len(items))
	for i, one := range items {
		seqs[i] = one.transition.Seq
	}
	var events []struct {
		Seq           int64
		ID, Name      string
		TransitionSeq int64
	}
	if err := s.idb.NewSelect().Table("events").Column("seq", "id", "name", "transition_seq").
		Where("transition_seq IN (?)", bun.List(seqs)).Scan(ctx, &events); err != nil {
		return err
	}
	ids := make([]string, len(events))
	of := map[int64]*item{}
	for i := range items {
		items[i].ids = map[eventName]string{}
		of[items[i].transition.Seq] = &items[i]
	}
	for i, e := range events {
		one := of[e.TransitionSeq]
		ids[i] = e.ID
		one.ids[eventName{e.TransitionSeq, e.Name}] = e.ID
		one.newest = max(one.newest, e.Seq)
	}
	looks, err := s.looks(ctx, ids)
	for _, e := range events {
		of[e.TransitionSeq].look(looks[e.ID])
	}
	return err
}

// look is the first decision about an event.
type look struct {
	Seq int64
	At  db.Time
}

func (one *item) look(l look) {
	if l.Seq != 0 && (one.order == 0 || l.Seq < one.order) {
		one.order, one.routed = l.Seq, l.At.Time
	}
}

func (s *stream) looks(ctx context.Context, events []string) (map[string]look, error) {
	if len(events) == 0 {
		return nil, nil
	}
	var rows []struct {
		EventID string
		look
	}
	if err := s.idb.NewSelect().Table("decisions").ColumnExpr("event_id, MIN(seq) AS seq, MIN(at) AS at").
		Where("event_id IN (?)", bun.List(events)).Group("event_id").Scan(ctx, &rows); err != nil {
		return nil, err
	}
	found := make(map[string]look, len(rows))
	for _, row := range rows {
		found[row.EventID] = row.look
	}
	return found, nil
}

// made are the events that the engine makes itself: the shadow makes its own.
var made = map[string]bool{triggers.Tick: true, triggers.Absence: true, triggers.SilenceEnded: true, triggers.RuleTripped: true}

func (s *stream) readEvents(ctx context.Context) error {
	r := &s.events
	var list []journal.Event
	if err := s.idb.NewSelect().Model(&list).Where("seq > ? AND seq <= ? AND transition_seq IS NULL AND about_seq IS NULL", r.after, r.last).
		Order("seq").Limit(pageSize).Scan(ctx); err != nil {
		return err
	}
	var items []item
	var ids []string
	for _, e := range list {
		r.after = e.Seq
		switch ofRule := e.Kind != triggers.RuleKind || s.ids[e.EntityID]; {
		case e.At.After(s.until), e.At.Before(s.since), made[e.Name] && ofRule:
			continue
		}
		if s.filter.recorded(e) {
			items, ids = append(items, item{event: &e, at: e.At.Time}), append(ids, e.ID)
		}
	}
	if len(list) < pageSize {
		r.after = r.last
	}
	s.progress()
	for first := 0; first < len(items); first += 500 {
		last := min(first+500, len(items))
		looks, err := s.looks(ctx, ids[first:last])
		if err != nil {
			return err
		}
		for i := first; i < last; i++ {
			items[i].look(looks[items[i].event.ID])
		}
	}
	if err := r.guess(ctx, items); err != nil {
		return err
	}
	r.items = items
	return nil
}
