package entities

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"runtime/debug"
	"slices"
	"strings"
	"time"

	"github.com/uptrace/bun"

	"github.com/flightrules/flightrules/engine/outbox"
	"github.com/flightrules/flightrules/engine/timer"
	"github.com/flightrules/flightrules/internal/db"
)

// entityRow is the recorded view of an entity.
type entityRow struct {
	bun.BaseModel `bun:"table:entities"`

	Kind      string  `bun:"kind,pk"`
	ID        string  `bun:"id,pk"`
	Version   int64   `bun:"version"`
	State     db.JSON `bun:"state"` // null: does not exist
	Since     db.JSON `bun:"since"` // field -> microseconds
	UpdatedAt db.Time `bun:"updated_at"`
	Search    string  `bun:"search,nullzero"` // the id and the name, in lower case
	Status    string  `bun:"status,nullzero"` // the field of that name, where it is a text
}

type key struct{ kind, id string }

// changeTx makes one change inside somebody's transaction.
func (r *Registry) changeTx(ctx context.Context, tx bun.Tx, o *op) error {
	err := db.Savepoint(ctx, tx, func(ctx context.Context, tx bun.Tx) error { return r.changeAll(ctx, tx, time.Time{}, []*op{o}) })
	var failed *failure
	if errors.As(err, &failed) {
		return failed.err
	}
	return err
}

// changeAll makes changes in one transaction, in order; of the same entity one
// after the other. at is their time where the caller has locked the entities
// and then taken it; zero otherwise.
func (r *Registry) changeAll(ctx context.Context, tx bun.Tx, at time.Time, ops []*op) error {
	for len(ops) > 0 {
		seen := map[key]bool{}
		var wave, later []*op
		for _, o := range ops {
			k := key{o.kind.name, o.id}
			if seen[k] {
				later = append(later, o)
				continue
			}
			seen[k] = true
			wave = append(wave, o)
		}
		if err := r.changeWave(ctx, tx, at, wave); err != nil {
			return err
		}
		ops = later
	}
	return nil
}

// changeWave makes changes of entities that are all different. A panic of a
// kind's functions is a failure of one of them, so that they go one by one and
// the one that panics fails alone.
func (r *Registry) changeWave(ctx context.Context, tx bun.Tx, at time.Time, ops []*op) (err error) {
	defer func() {
		if p := recover(); p != nil {
			err = &failure{ops[0], fmt.Errorf("change of %s %s: panic: %v\n%s", ops[0].kind.name, ops[0].id, p, debug.Stack())}
		}
	}()
	for _, o := range ops {
		if err := r.renew(o); err != nil {
			return &failure{o, err}
		}
	}
	rows, err := r.lock(ctx, tx, ops)
	if err != nil {
		return err
	}
	if at.IsZero() {
		// The time is taken under the locks, so that the log of an entity never
		// goes backwards and a deadline that holds the lock sees all before it.
		at = r.now()
	}
	ctx = context.WithValue(ctx, atKey{}, at)
	for _, o := range ops {
		o.row = rows[key{o.kind.name, o.id}]
		if err := o.run(ctx, tx); err != nil {
			return &failure{o, err}
		}
	}
	if err := readBack(ctx, tx, at, ops); err != nil {
		return err
	}
	return r.record(ctx, tx, at, ops)
}

// run is the caller's part of a change, with its panics contained.
func (o *op) run(ctx context.Context, tx bun.Tx) (err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("apply of %s %s: panic: %v\n%s", o.kind.name, o.id, p, debug.Stack())
		}
	}()
	if o.ifVersion != nil && *o.ifVersion != o.row.Version {
		return fmt.Errorf("%w: %s %s is at %d, not at %d", ErrVersion, o.kind.name, o.id, o.row.Version, *o.ifVersion)
	}
	o.state, err = o.apply(withValues{ctx, o.ctx}, tx, o.row.State)
	return err
}

type atKey struct{}

// At is the time of the change whose Apply was given ctx: the one that Read is
// given right after it and that the log will bear. Elsewhere it panics.
func At(ctx context.Context) time.Time { return ctx.Value(atKey{}).(time.Time) }

// withValues is the context of a transaction with the values of the caller
// whose change runs in it; the transaction's own come first.
type withValues struct {
	context.Context
	values context.Context
}

func (c withValues) Value(k any) any {
	if v := c.Context.Value(k); v != nil {
		return v
	}
	return c.values.Value(k)
}

// lock locks the entities of a wave in one order. On PostgreSQL it makes the
// rows of those that are new, so that two who make the same entity meet on it.
func (r *Registry) lock(ctx context.Context, tx bun.Tx, ops []*op) (map[key]entityRow, error) {
	rows := make(map[key]entityRow, len(ops))
	sorted := slices.Clone(ops)
	slices.SortFunc(sorted, func(a, b *op) int {
		return cmp.Or(cmp.Compare(a.kind.name, b.kind.name), cmp.Compare(a.id, b.id))
	})
	if err := r.lockRows(ctx, tx, sorted, rows); err != nil {
		return nil, err
	}
	var fresh []entityRow
	var missing []*op
	for _, o := range sorted {
		k := key{o.kind.name, o.id}
		if _, ok := rows[k]; !ok {
			rows[k] = entityRow{Kind: o.kind.name, ID: o.id, UpdatedAt: db.At(time.UnixMicro(1))}
			fresh, missing = append(fresh, rows[k]), append(missing, o)
		}
	}
	if len(fresh) == 0 || !r.db.Postgres() {
		return rows, nil
	}
	if _, err := tx.NewInsert().Model(&fresh).On("CONFLICT DO NOTHING").Returning("NULL").Exec(ctx); err != nil {
		return nil, err
	}
	return rows, r.lockRows(ctx, tx, missing, rows)
}

func (r *Registry) lockRows(ctx context.Context, tx bun.Tx, sorted []*op, rows map[key]entityRow) error {
	for group := range chunkByKind(sorted) {
		ids := make([]string, len(group))
		for i, o := range group {
			ids[i] = o.id
		}
		var found []entityRow
		q := tx.NewSelect().Model(&found).Where("kind = ? AND id IN (?)", group[0].kind.name, bun.List(ids)).Order("kind", "id")
		if err := r.db.ForUpdate(q, false).Scan(ctx); err != nil {
			return err
		}
		for _, row := range found {
			rows[key{row.Kind, row.ID}] = row
		}
	}
	return nil
}

// chunkByKind yields the runs of one kind of sorted changes.
func chunkByKind(sorted []*op) func(yield func([]*op) bool) {
	return func(yield func([]*op) bool) {
		for start := 0; start < len(sorted); {
			end := start + 1
			for end < len(sorted) && sorted[end].kind == sorted[start].kind {
				end++
			}
			if !yield(sorted[start:end]) {
				return
			}
			start = end
		}
	}
}

// readBack replaces what the applies returned by what the plugins read, for
// the kinds whose plugins keep the state.
func readBack(ctx context.Context, tx bun.Tx, at time.Time, ops []*op) error {
	byKind := map[*kind][]*op{}
	for _, o := range ops {
		if o.kind.read != nil && !o.remove && !o.given {
			byKind[o.kind] = append(byKind[o.kind], o)
		}
	}
	for k, group := range byKind {
		ids := make([]string, len(group))
		for i, o := range group {
			ids[i] = o.id
		}
		states, err := k.read(ctx, tx, at, ids)
		if err != nil {
			// As a failure of one of them it makes the batch go one by one, so
			// that an entity that cannot be read fails alone.
			return &failure{group[0], fmt.Errorf("read %s: %w", k.name, err)}
		}
		for _, o := range group {
			o.state = states[o.id] // nil where there is none
		}
	}
	return nil
}

// record writes what differs: the entities, their transitions, the notes to
// route them, and the deadlines.
func (r *Registry) record(ctx context.Context, tx bun.Tx, at time.Time, ops []*op) error {
	var (
		rows        []entityRow
		transitions []transitionRow
		deadlines   []timer.Timer
		stopped     []string
	)
	for _, o := range ops {
		row, transition, err := o.difference(at)
		if err != nil {
			return &failure{o, err}
		}
		if transition != nil {
			o.row = row
			rows = append(rows, row)
			transitions = append(transitions, *transition)
		}
		switch next, wanted := o.next(at); {
		case !wanted:
		case next == nil:
			stopped = append(stopped, deadlineKey(o.kind.name, o.id))
		default:
			deadlines = append(deadlines, *next)
		}
	}
	if len(rows) > 0 {
		if err := write(ctx, tx, rows, transitions); err != nil {
			return err
		}
	}
	if _, err := timer.Cancel(ctx, tx, deadlineTimer, stopped...); err != nil {
		return err
	}
	if len(deadlines) > 0 {
		db.HintAfter(ctx, timer.Topic)
	}
	return timer.Set(ctx, tx, deadlines...)
}

// difference compares a change with the recorded view. transition is nil when
// nothing differs.
func (o *op) difference(at time.Time) (row entityRow, transition *transitionRow, err error) {
	prev, err := parseView(o.row.State)
	if err != nil {
		return row, nil, err
	}
	var next View
	if o.state != nil && !o.remove {
		if err := o.kind.validate(o.state); err != nil {
			return row, nil, fmt.Errorf("%w of %s %s: %w", ErrInvalid, o.kind.name, o.id, err)
		}
		if next, err = viewOf(o.kind.shape, o.state); err != nil {
			return row, nil, err
		}
		if err := o.kind.shape.Check(map[string]any(next)); err != nil {
			return row, nil, fmt.Errorf("%w of %s %s: %w", ErrInvalid, o.kind.name, o.id, err)
		}
	}
	delta := diff(o.kind.passive, prev, next)
	if len(delta) == 0 && (prev == nil) == (next == nil) {
		return row, nil, nil
	}
	stamp := db.At(at)
	if stamp.Before(o.row.UpdatedAt.Time) {
		stamp = o.row.UpdatedAt // the clock was set back; the log is not
	}
	since, err := o.since(delta, next, stamp)
	if err != nil {
		return row, nil, err
	}
	cause := CauseOf(o.ctx)
	row = entityRow{Kind: o.kind.name, ID: o.id, Version: o.row.Version + 1, Since: since, UpdatedAt: stamp}
	transition = &transitionRow{
		Kind: o.kind.name, EntityID: o.id, Version: row.Version, Delta: textOf(delta),
		Actor: cause.Actor, RunID: cause.RunID, Depth: cause.Depth, At: stamp,
	}
	if next != nil {
		row.State = textOf(next)
		row.Search, row.Status = row.facets(next)
		transition.Next = row.State
	}
	return row, transition, nil
}

// The bounds of what lists are narrowed by, in characters: an index has them.
const (
	maxSearch = 300
	maxStatus = 100
)

// facets are what lists of entities are narrowed by.
func (row entityRow) facets(state View) (search, status string) {
	name, _ := state["name"].(string)
	status, _ = state["status"].(string)
	return cut(strings.ToLower(row.ID+" "+name), maxSearch), cut(status, maxStatus)
}

// cut is the beginning of a text, in characters.
func cut(text string, n int) string {
	if len(text) <= n {
		return text
	}
	runes := []rune(text)
	return string(runes[:min(len(runes), n)])
}

// since brings the times at which the fields took their values up to date.
func (o *op) since(delta Delta, next View, at db.Time) (db.JSON, error) {
	if next == nil {
		return nil, nil
	}
	times, err := parseView(o.row.Since)
	if err != nil {
		return nil, err
	}
	if times == nil {
		times = View{}
	}
	for name := range delta {
		times[name] = at.UnixMicro()
	}
	maps.DeleteFunc(times, func(name string, _ any) bool { _, ok := next[name]; return !ok })
	return textOf(times), nil
}

// next is the timer at which the entity will read differently, nil where it
// will not; false for a kind of which no entity ever does.
func (o *op) next(at time.Time) (t *timer.Timer, wanted bool) {
	d, gone := o.kind.declared, o.state == nil || o.remove
	switch {
	case d != nil && d.Stale != nil:
		if gone {
			return nil, true
		}
		stale := lastUpdate{At: at.UnixMicro(), Fired: o.expired}.timer(o.kind.name, o.id, d.Stale.After)
		return &stale, true
	case o.kind.deadline == nil:
		return nil, false
	case gone, o.given:
		return nil, true
	}
	due := o.kind.deadline(o.state)
	if due.IsZero() {
		return nil, true
	}
	if !due.After(at) {
		// A deadline that its own passing did not move would spin.
		due = at.Add(time.Second)
	}
	return &timer.Timer{Kind: deadlineTimer, Key: deadlineKey(o.kind.name, o.id), DueAt: db.At(due)}, true
}

func write(ctx context.Context, tx bun.Tx, rows []entityRow, transitions []transitionRow) error {
	if _, err := tx.NewInsert().Model(&rows).On("CONFLICT (kind, id) DO UPDATE").
		Set("version = EXCLUDED.version, state = EXCLUDED.state, since = EXCLUDED.since, updated_at = EXCLUDED.updated_at, search = EXCLUDED.search, status = EXCLUDED.status").
		Returning("NULL").Exec(ctx); err != nil {
		return err
	}
	var seqs []int64
	if err := tx.NewInsert().Model(&transitions).ExcludeColumn("seq").Returning("seq").Scan(ctx, &seqs); err != nil {
		return err
	}
	slices.Sort(seqs)
	notes := make([]outbox.Note, len(seqs))
	for i, seq := range seqs {
		notes[i].TransitionSeq = seq
	}
	return outbox.Add(ctx, tx, notes...)
}
