package engine

import (
	"context"
	"slices"
	"strings"

	"github.com/uptrace/bun"

	"github.com/flightrules/flightrules/engine/journal"
	"github.com/flightrules/flightrules/entities"
	"github.com/flightrules/flightrules/internal/db"
	"github.com/flightrules/flightrules/triggers"
)

// The router tells runs what they may wait for. Each event of a name that some
// step of an active run waits for goes into the mail of that run, also while
// it is at another step: so none falls between two. The run itself finds out
// whether it is the one. A change of an entity that a condition has read makes
// its run look again.

// listeners are the active runs that wait for events, read as they are needed
// in a batch; those of the batch included.
type listeners struct {
	names   map[string]bool     // that some run listens to; nil: not read yet
	runs    map[string][]string // by name
	fresh   map[string][]string // of the batch itself, by name
	watched map[string]bool     // kinds that some run watches; nil: not read yet
	mail    []journal.Mail
	wake    map[string]bool // runs
}

func (b *batch) listening(run *journal.Run, names []string) {
	for _, name := range names {
		if b.hears.fresh == nil {
			b.hears.fresh = map[string][]string{}
		}
		b.hears.fresh[name] = append(b.hears.fresh[name], run.ID)
	}
}

// deliver puts an event into the mail of the runs that listen to its name.
func (b *batch) deliver(ctx context.Context, tx bun.Tx, e triggers.Event) error {
	if err := b.readListeners(ctx, tx); err != nil {
		return err
	}
	for _, name := range namesOf(e.Name) {
		runs := slices.Clone(b.hears.fresh[name])
		if b.hears.names[name] {
			some, err := b.listenersTo(ctx, tx, name)
			if err != nil {
				return err
			}
			runs = append(runs, some...)
		}
		for _, run := range runs {
			if e.ID == "" || slices.ContainsFunc(b.hears.mail, func(m journal.Mail) bool { return m.RunID == run && m.EventID == e.ID }) {
				continue
			}
			b.record(e)
			b.hears.mail = append(b.hears.mail, journal.Mail{RunID: run, EventID: e.ID})
		}
	}
	return nil
}

// namesOf are the names under which an event is listened to: its own, and those
// that cover it.
func namesOf(name string) []string {
	names := []string{name}
	for end := strings.LastIndexByte(name, '.'); end > 0; end = strings.LastIndexByte(name[:end], '.') {
		if pattern := name[:end] + ".*"; triggers.Covers(pattern, name) {
			names = append(names, pattern)
		}
	}
	return names
}

func (b *batch) readListeners(ctx context.Context, tx bun.Tx) error {
	if b.hears.names != nil {
		return nil
	}
	b.hears.names, b.hears.runs = map[string]bool{}, map[string][]string{}
	var names []string
	if err := tx.NewSelect().Model((*journal.Listener)(nil)).ColumnExpr("DISTINCT event").Scan(ctx, &names); err != nil {
		return err
	}
	for _, name := range names {
		b.hears.names[name] = true
	}
	return nil
}

func (b *batch) listenersTo(ctx context.Context, tx bun.Tx, name string) ([]string, error) {
	runs, ok := b.hears.runs[name]
	if !ok {
		if err := tx.NewSelect().Model((*journal.Listener)(nil)).Column("run_id").Where("event = ?", name).Order("run_id").Scan(ctx, &runs); err != nil {
			return nil, err
		}
		b.hears.runs[name] = runs
	}
	return runs, nil
}

// changed wakes the runs whose condition has read the entity.
func (b *batch) changed(ctx context.Context, tx bun.Tx, t entities.Transition) error {
	if b.hears.watched == nil {
		b.hears.watched = map[string]bool{}
		var kinds []string
		if err := tx.NewSelect().Model((*journal.Watch)(nil)).ColumnExpr("DISTINCT kind").Scan(ctx, &kinds); err != nil {
			return err
		}
		for _, kind := range kinds {
			b.hears.watched[kind] = true
		}
	}
	if !b.hears.watched[t.Kind] {
		return nil
	}
	var runs []string
	if err := tx.NewSelect().Model((*journal.Watch)(nil)).Column("run_id").
		Where("kind = ? AND entity_id IN (?, '')", t.Kind, t.ID).Scan(ctx, &runs); err != nil {
		return err
	}
	for _, run := range runs {
		if b.hears.wake == nil {
			b.hears.wake = map[string]bool{}
		}
		b.hears.wake[run] = true
	}
	return nil
}

// writeMail writes what has come for runs, and wakes those that wait for it. A
// run that has ended meanwhile gets none.
func (b *batch) writeMail(ctx context.Context, tx bun.Tx) error {
	var rows []journal.Listener
	for name, runs := range b.hears.fresh {
		for _, run := range runs {
			rows = append(rows, journal.Listener{Event: name, RunID: run})
		}
	}
	if err := listen(ctx, tx, rows); err != nil {
		return err
	}
	ids := map[string]bool{}
	for run := range b.hears.wake {
		ids[run] = true
	}
	for _, m := range b.hears.mail {
		ids[m.RunID] = true
	}
	if len(ids) == 0 {
		return nil
	}
	woken, err := wakeRuns(ctx, tx, ids)
	if err != nil {
		return err
	}
	mail := slices.DeleteFunc(b.hears.mail, func(m journal.Mail) bool { return !woken[m.RunID] })
	if len(mail) == 0 {
		return nil
	}
	_, err = tx.NewInsert().Model(&mail).ExcludeColumn("seq").On("CONFLICT (run_id, event_id) DO NOTHING").Returning("NULL").Exec(ctx)
	return err
}

// wakeRuns makes runs look whether what has come is what they wait for, and
// says which of them have not ended.
func wakeRuns(ctx context.Context, tx bun.Tx, ids map[string]bool) (map[string]bool, error) {
	var all, woken []string
	for id := range ids {
		all = append(all, id)
	}
	slices.Sort(all) // locks are taken in one order
	active := map[string]bool{}
	for some := range slices.Chunk(all, upsertRows) {
		woken = nil
		if err := tx.NewUpdate().Model((*journal.Run)(nil)).
			Set("woken = ?, ready = (ready OR (status = ? AND heeds))", true, journal.RunWaiting).
			Where("id IN (?) AND finished_at IS NULL", bun.List(some)).Returning("id").Scan(ctx, &woken); err != nil {
			return nil, err
		}
		for _, id := range woken {
			active[id] = true
		}
	}
	db.HintAfter(ctx, journal.Topic)
	return active, nil
}

// listen has the events of some names go into the mail of runs.
func listen(ctx context.Context, tx bun.Tx, rows []journal.Listener) error {
	if len(rows) == 0 {
		return nil
	}
	_, err := tx.NewInsert().Model(&rows).On("CONFLICT DO NOTHING").Returning("NULL").Exec(ctx)
	return err
}
