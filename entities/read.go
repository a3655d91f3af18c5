package entities

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"strings"
	"time"

	"github.com/uptrace/bun"

	"github.com/flightrules/flightrules/internal/db"
)

// Entity is an entity as readers see it.
type Entity struct {
	Kind      string
	ID        string
	Version   int64
	State     View                 // the present state
	Since     map[string]time.Time // when each field took its recorded value
	UpdatedAt time.Time            // of the newest transition
}

// State is the present state of an entity as plain values, nil when there is
// none. Inside a transaction idb is that transaction.
func (r *Registry) State(ctx context.Context, idb bun.IDB, kindName, id string) (View, error) {
	k, err := r.kind(kindName)
	if err != nil {
		return nil, err
	}
	views, err := r.views(ctx, idb, k, []string{id})
	return views[id], err
}

// Get is one entity with its version and times; ErrNotFound when it does not
// exist.
func (r *Registry) Get(ctx context.Context, idb bun.IDB, kindName, id string) (Entity, error) {
	list, err := r.entities(ctx, idb, kindName, func(q *bun.SelectQuery) *bun.SelectQuery { return q.Where("id = ?", id) })
	if err != nil {
		return Entity{}, err
	}
	if len(list) == 0 {
		return Entity{}, fmt.Errorf("%w: %s %s", ErrNotFound, kindName, id)
	}
	return list[0], nil
}

// List is up to limit entities of a kind with ids after the given one, by id.
func (r *Registry) List(ctx context.Context, idb bun.IDB, kindName, after string, limit int) ([]Entity, error) {
	return r.Find(ctx, idb, Search{Kind: kindName, After: after, Limit: limit})
}

// Search narrows a list of the entities of a kind.
type Search struct {
	Kind   string
	Text   string // in the id or the name, whatever the case; "": any
	Status string // the field status has had that recorded value; "": any
	After  string // the cursor of the entity after which the list begins; "": at the beginning
	Limit  int
}

// Cursor is After for what comes after an entity.
func (s Search) Cursor(e Entity) string {
	if s.Text == "" {
		return e.ID
	}
	search, _ := entityRow{ID: e.ID}.facets(e.State)
	return search
}

// Find is what a search leaves, by id.
func (r *Registry) Find(ctx context.Context, idb bun.IDB, s Search) ([]Entity, error) {
	return r.entities(ctx, idb, s.Kind, func(q *bun.SelectQuery) *bun.SelectQuery {
		order := "id"
		if s.Text != "" {
			order = "search" // begins with the id, and has an index in which the text is looked for
			q = q.Where(`search LIKE ? ESCAPE '!'`, "%"+likeLiteral.Replace(strings.ToLower(s.Text))+"%")
		}
		if s.Status != "" {
			q = q.Where("status = ?", s.Status)
		}
		if s.After != "" {
			q = q.Where(order+" > ?", s.After)
		}
		return q.Order(order).Limit(int64(s.Limit))
	})
}

// Statuses counts the entities of each kind by the recorded value of the field
// status; "" are those that have none.
func (r *Registry) Statuses(ctx context.Context, idb bun.IDB) (map[string]map[string]int64, error) {
	var rows []struct {
		Kind, Status string
		Count        int64
	}
	err := idb.NewSelect().Model((*entityRow)(nil)).Column("kind").ColumnExpr("COALESCE(status, '') AS status").ColumnExpr("COUNT(*) AS count").
		Where("state IS NOT NULL").GroupExpr("kind, status").Scan(ctx, &rows)
	counts := map[string]map[string]int64{}
	for _, row := range rows {
		if counts[row.Kind] == nil {
			counts[row.Kind] = map[string]int64{}
		}
		counts[row.Kind][row.Status] += row.Count
	}
	return counts, err
}

func (r *Registry) entities(ctx context.Context, idb bun.IDB, kindName string, narrow func(*bun.SelectQuery) *bun.SelectQuery) ([]Entity, error) {
	k, err := r.kind(kindName)
	if err != nil {
		return nil, err
	}
	var rows []entityRow
	if err := narrow(idb.NewSelect().Model(&rows).Where("kind = ? AND state IS NOT NULL", kindName)).Scan(ctx); err != nil {
		return nil, err
	}
	ids := make([]string, len(rows))
	for i, row := range rows {
		ids[i] = row.ID
	}
	views, err := r.views(ctx, idb, k, ids)
	if err != nil {
		return nil, err
	}
	list := make([]Entity, 0, len(rows))
	for _, row := range rows {
		view, ok := views[row.ID]
		if !ok {
			continue
		}
		e, err := row.entity(view)
		if err != nil {
			return nil, err
		}
		list = append(list, e)
	}
	return list, nil
}

// ids lists the ids of entities that are recorded as existing.
func (r *Registry) ids(ctx context.Context, idb bun.IDB, kindName, after string, limit int) ([]string, error) {
	var ids []string
	err := idb.NewSelect().Model((*entityRow)(nil)).Column("id").
		Where("kind = ? AND state IS NOT NULL AND id > ?", kindName, after).Order("id").Limit(int64(limit)).Scan(ctx, &ids)
	return ids, err
}

// states are the present states, each an S of the kind.
func (r *Registry) states(ctx context.Context, idb bun.IDB, k *kind, ids []string) (map[string]any, error) {
	if len(ids) == 0 {
		return nil, nil
	}
	if k.read != nil {
		given, others := r.partGiven(k, ids)
		states, err := r.recorded(ctx, idb, k, given)
		if err != nil || len(others) == 0 {
			return states, err
		}
		read, err := k.read(ctx, idb, r.now(), others)
		maps.Copy(read, states)
		return read, err
	}
	return r.recorded(ctx, idb, k, ids)
}

// recorded are the states as they are recorded, each an S of the kind.
func (r *Registry) recorded(ctx context.Context, idb bun.IDB, k *kind, ids []string) (map[string]any, error) {
	if len(ids) == 0 {
		return nil, nil
	}
	var rows []entityRow
	if err := idb.NewSelect().Model(&rows).Where("kind = ? AND id IN (?) AND state IS NOT NULL", k.name, bun.List(ids)).Scan(ctx); err != nil {
		return nil, err
	}
	states := make(map[string]any, len(rows))
	for _, row := range rows {
		view, err := parseView(row.State)
		if err != nil {
			return nil, err
		}
		if states[row.ID], err = k.decode(view); err != nil {
			return nil, fmt.Errorf("%s %s: %w", k.name, row.ID, err)
		}
	}
	return states, nil
}

func (r *Registry) views(ctx context.Context, idb bun.IDB, k *kind, ids []string) (map[string]View, error) {
	states, err := r.states(ctx, idb, k, ids)
	if err != nil {
		return nil, err
	}
	views := make(map[string]View, len(states))
	for id, state := range states {
		if views[id], err = viewOf(k.shape, state); err != nil {
			return nil, err
		}
	}
	return views, nil
}

// Since is when a field took its recorded value. ErrNotFound where the entity
// or the field is absent.
func (r *Registry) Since(ctx context.Context, idb bun.IDB, kindName, id, field string) (time.Time, error) {
	var text db.JSON
	err := idb.NewSelect().Model((*entityRow)(nil)).Column("since").Where("kind = ? AND id = ?", kindName, id).Scan(ctx, &text)
	if err != nil && !errors.Is(err, sql.ErrNoRows) {
		return time.Time{}, err
	}
	times, err := parseSince(text)
	if err != nil {
		return time.Time{}, err
	}
	micros, ok := times[field]
	if !ok {
		return time.Time{}, fmt.Errorf("%w: %s %s has no %s", ErrNotFound, kindName, id, field)
	}
	return time.UnixMicro(micros).UTC(), nil
}

func parseSince(text db.JSON) (map[string]int64, error) {
	times := map[string]int64{}
	if text == nil {
		return times, nil
	}
	if err := json.Unmarshal(text, &times); err != nil {
		return nil, fmt.Errorf("the times of an entity's fields: %w", err)
	}
	return times, nil
}

// Filter narrows a query over the transition log. Zero fields do not narrow.
type Filter struct {
	Kind, ID string
	Field    string // only transitions in which that field changed
	Actor    string
	RunID    string
	From, To time.Time // from inclusive, to exclusive
	Before   int64     // only with a smaller seq: the cursor
	Limit    int       // zero: no limit
}

// Transitions are the entries of the log that a filter leaves, newest first.
func (r *Registry) Transitions(ctx context.Context, idb bun.IDB, f Filter) ([]Transition, error) {
	var rows []transitionRow
	order := "seq DESC"
	if f.Kind != "" && f.ID != "" {
		order = "version DESC" // the same order, and there is an index for it
	}
	q := f.apply(idb.NewSelect().Model(&rows)).Order(order)
	if f.Limit > 0 {
		q = q.Limit(int64(f.Limit))
	}
	if err := q.Scan(ctx); err != nil {
		return nil, err
	}
	return r.transitionsOf(rows)
}

// Count is how many transitions a filter leaves.
func (r *Registry) Count(ctx context.Context, idb bun.IDB, f Filter) (int, error) {
	n, err := f.apply(idb.NewSelect().Model((*transitionRow)(nil))).Count(ctx)
	return int(n), err
}

func (f Filter) apply(q *bun.SelectQuery) *bun.SelectQuery {
	where := func(wanted bool, condition string, arg any) {
		if wanted {
			q = q.Where(condition, arg)
		}
	}
	where(f.Kind != "", "kind = ?", f.Kind)
	where(f.ID != "", "entity_id = ?", f.ID)
	where(f.Actor != "", "actor = ?", f.Actor)
	where(f.RunID != "", "run_id = ?", f.RunID)
	where(!f.From.IsZero(), "at >= ?", db.At(f.From))
	where(!f.To.IsZero(), "at < ?", db.At(f.To))
	where(f.Before != 0, "seq < ?", f.Before)
	// The keys of a delta are the only place where a quoted name can stand
	// before a colon and a bracket: inside a string the quotes are escaped.
	where(f.Field != "", `delta LIKE ? ESCAPE '!'`, `%"`+likeLiteral.Replace(f.Field)+`":[%`)
	return q
}

var likeLiteral = strings.NewReplacer("!", "!!", "%", "!%", "_", "!_")

// BySeq reads transitions by their seq, in that order.
func (r *Registry) BySeq(ctx context.Context, idb bun.IDB, seqs ...int64) ([]Transition, error) {
	if len(seqs) == 0 {
		return nil, nil
	}
	var rows []transitionRow
	if err := idb.NewSelect().Model(&rows).Where("seq IN (?)", bun.List(seqs)).Order("seq").Scan(ctx); err != nil {
		return nil, err
	}
	return r.transitionsOf(rows)
}

// Log is up to limit transitions after one seq and up to another, oldest first;
// of some kinds only, where there are any.
func (r *Registry) Log(ctx context.Context, idb bun.IDB, after, until int64, kinds []string, limit int) ([]Transition, error) {
	var rows []transitionRow
	q := idb.NewSelect().Model(&rows).Where("seq > ? AND seq <= ?", after, until).Order("seq").Limit(int64(limit))
	if len(kinds) > 0 {
		// By the index of kinds all of them would have to be sorted for each page.
		q = q.Where("kind || '' IN (?)", bun.List(kinds))
	}
	if err := q.Scan(ctx); err != nil {
		return nil, err
	}
	return r.transitionsOf(rows)
}

// AsOf is the transition that was the newest of an entity at a time; its Next
// is the state then. ErrNotFound when the entity did not exist, ErrPruned when
// the log does not tell.
func (r *Registry) AsOf(ctx context.Context, idb bun.IDB, kindName, id string, at time.Time) (Transition, error) {
	var rows []transitionRow
	if err := idb.NewSelect().Model(&rows).Where("kind = ? AND entity_id = ? AND at <= ?", kindName, id, db.At(at)).
		Order("version DESC").Limit(1).Scan(ctx); err != nil {
		return Transition{}, err
	}
	list, err := r.transitionsOf(rows)
	if err != nil {
		return Transition{}, err
	}
	if len(list) == 0 {
		if err := r.pruned(ctx, idb, kindName, id, at); err != nil {
			return Transition{}, err
		}
	}
	if len(list) == 0 || list[0].Removed() {
		return Transition{}, fmt.Errorf("%w: %s %s at %s", ErrNotFound, kindName, id, at.UTC().Format(time.RFC3339))
	}
	return list[0], nil
}

// NextChange is when an entity, or with no id any of a kind, first changed after
// a time; zero: it has not.
func (r *Registry) NextChange(ctx context.Context, idb bun.IDB, kindName, id string, after time.Time) (time.Time, error) {
	var first db.Time
	q := idb.NewSelect().Model((*transitionRow)(nil)).ColumnExpr("MIN(at)").Where("kind = ? AND at > ?", kindName, db.At(after))
	if id != "" {
		q = q.Where("entity_id = ?", id)
	}
	err := q.Scan(ctx, &first)
	return first.Time, err
}

// ListAsOf is up to limit entities of a kind with ids after the given one, by
// id, that existed at a time: of each the transition that was the newest then.
// What the log does not tell any more is ErrPruned.
func (r *Registry) ListAsOf(ctx context.Context, idb bun.IDB, kindName, after string, at time.Time, limit int) (list []Transition, err error) {
	const page = 500
	for {
		// Those that have gone since have a row still.
		var ids []string
		if err := idb.NewSelect().Model((*entityRow)(nil)).Column("id").Where("kind = ? AND id > ?", kindName, after).
			Order("id").Limit(page).Scan(ctx, &ids); err != nil {
			return nil, err
		}
		for _, id := range ids {
			after = id
			then, err := r.AsOf(ctx, idb, kindName, id, at)
			switch {
			case errors.Is(err, ErrNotFound):
				continue
			case err != nil:
				return nil, err
			}
			if list = append(list, then); len(list) == limit {
				return list, nil
			}
		}
		if len(ids) < page {
			return list, nil
		}
	}
}

// Hold locks entities of a kind until the end of the transaction. A change that
// is under way when it is called is in the log when it returns, or will be
// later than the engine's now.
func (r *Registry) Hold(ctx context.Context, tx bun.Tx, kindName string, ids ...string) error {
	var held []string
	q := tx.NewSelect().Model((*entityRow)(nil)).Column("id").Where("kind = ? AND id IN (?)", kindName, bun.List(ids)).Order("kind", "id")
	return r.db.ForUpdate(q, false).Scan(ctx, &held)
}

// After are the transitions of an entity after a version, oldest first.
func (r *Registry) After(ctx context.Context, idb bun.IDB, kindName, id string, version int64) ([]Transition, error) {
	var rows []transitionRow
	if err := idb.NewSelect().Model(&rows).Where("kind = ? AND entity_id = ? AND version > ?", kindName, id, version).Order("version").Scan(ctx); err != nil {
		return nil, err
	}
	return r.transitionsOf(rows)
}
