package entities

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"reflect"
	"strings"
	"time"

	"github.com/uptrace/bun"

	"github.com/flightrules/flightrules/engine/timer"
	"github.com/flightrules/flightrules/internal/db"
	"github.com/flightrules/flightrules/internal/shape"
)

// Declared is a kind that was declared in files: the engine keeps its states.
type Declared struct {
	Name  string
	Doc   string
	Shape *shape.Shape // an Object
	Stale *Stale       // nil: its entities never are
}

// Stale says what becomes of an entity that nobody has updated for a time.
type Stale struct {
	After time.Duration
	Set   map[string]any // the fields that say so
}

// Info describes the kind.
func (d Declared) Info() KindInfo {
	return KindInfo{Name: d.Name, Doc: d.Doc, Shape: d.Shape, Kept: true, Declared: true}
}

func (d Declared) kind() *kind {
	return &kind{
		name: d.Name, doc: d.Doc, shape: d.Shape, passive: map[string]bool{}, declared: true, stale: d.Stale,
		decode:   func(v View) (any, error) { return map[string]any(maps.Clone(v)), nil },
		validate: func(any) error { return nil },
	}
}

// ErrStored is returned for declared kinds that entities which are there do not
// fit.
var ErrStored = errors.New("stored states do not fit")

// maxNamed bounds the entities that an ErrStored names.
const maxNamed = 10

// CheckDeclared says whether kinds could be declared: their names are not
// plugins', and the states of the entities that there are fit. The error names
// them.
func (r *Registry) CheckDeclared(ctx context.Context, list []Declared) error {
	var errs []error
	for _, d := range list {
		k, err := r.kind(d.Name)
		switch {
		case err == nil && !k.declared:
			errs = append(errs, fmt.Errorf("kind %q belongs to a plugin", d.Name))
			continue
		case err == nil && reflect.DeepEqual(k.shape, d.Shape):
			continue
		}
		if err := r.checkStored(ctx, d); err != nil {
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}

func (r *Registry) checkStored(ctx context.Context, d Declared) error {
	var named []string
	n, after := 0, ""
	for {
		rows, err := r.rows(ctx, d.Name, after)
		if err != nil {
			return err
		}
		if len(rows) == 0 {
			break
		}
		for _, row := range rows {
			after = row.ID
			view, err := parseView(row.State)
			if err == nil {
				err = d.Shape.Check(map[string]any(view))
			}
			if err == nil {
				continue
			}
			if n++; n <= maxNamed {
				named = append(named, fmt.Sprintf("%s (%v)", row.ID, err))
			}
		}
	}
	if n == 0 {
		return nil
	}
	if n > maxNamed {
		named = append(named, fmt.Sprintf("and %d more", n-maxNamed))
	}
	return fmt.Errorf("kind %q: %w: %s", d.Name, ErrStored, strings.Join(named, ", "))
}

// rows are entities of a kind with ids after one.
func (r *Registry) rows(ctx context.Context, kind, after string) ([]entityRow, error) {
	var rows []entityRow
	err := r.db.Read().NewSelect().Model(&rows).Where("kind = ? AND state IS NOT NULL AND id > ?", kind, after).Order("id").Limit(1000).Scan(ctx)
	return rows, err
}

// Declare replaces all declared kinds, after CheckDeclared. Kinds that are not
// declared any more are not known; what is stored of them stays. Deadlines of
// entities follow the new times.
func (r *Registry) Declare(ctx context.Context, list []Declared) error {
	r.mu.Lock()
	kinds := maps.Clone(r.kinds)
	maps.DeleteFunc(kinds, func(_ string, k *kind) bool { return k.declared })
	for _, d := range list {
		kinds[d.Name] = d.kind()
	}
	r.kinds = kinds
	r.mu.Unlock()
	for _, d := range list {
		if err := r.reconcileStale(ctx, d); err != nil {
			return err
		}
	}
	return nil
}

// touched is what the deadline of a stale entity must know.
type touched struct {
	At int64 `json:"at"` // microseconds: of the last update
}

func (k *kind) staleTimer(id string, at time.Time) timer.Timer {
	return timer.Timer{
		Kind: deadlineTimer, Key: deadlineKey(k.name, id), DueAt: db.At(at.Add(k.stale.After)), Payload: db.ToJSON(touched{at.UnixMicro()}),
	}
}

// reconcileStale brings the deadlines of a kind's entities in line with it.
func (r *Registry) reconcileStale(ctx context.Context, d Declared) error {
	armed, err := r.staleTimers(ctx, d.Name)
	if err != nil {
		return err
	}
	k := d.kind()
	var set []timer.Timer
	var gone []string
	for key, t := range armed {
		if k.stale == nil {
			gone = append(gone, key)
			continue
		}
		var last touched
		if err := json.Unmarshal(t.Payload, &last); err != nil {
			last.At = r.now().UnixMicro()
		}
		_, id, _ := strings.Cut(key, "/")
		if moved := k.staleTimer(id, time.UnixMicro(last.At)); !moved.DueAt.Equal(t.DueAt.Time) {
			set = append(set, moved)
		}
	}
	for after := ""; k.stale != nil; {
		rows, err := r.rows(ctx, d.Name, after)
		if err != nil {
			return err
		}
		if len(rows) == 0 {
			break
		}
		for _, row := range rows {
			after = row.ID
			if _, ok := armed[deadlineKey(d.Name, row.ID)]; !ok && !k.isStale(row) {
				set = append(set, k.staleTimer(row.ID, row.UpdatedAt.Time))
			}
		}
	}
	if len(set) == 0 && len(gone) == 0 {
		return nil
	}
	return r.db.Write(ctx, func(ctx context.Context, tx bun.Tx) error {
		if _, err := timer.Cancel(ctx, tx, deadlineTimer, gone...); err != nil {
			return err
		}
		db.HintAfter(ctx, timer.Topic)
		return timer.Set(ctx, tx, set...)
	})
}

func (r *Registry) staleTimers(ctx context.Context, kind string) (map[string]timer.Timer, error) {
	var list []timer.Timer
	// "0" is the character after "/".
	err := r.db.Read().NewSelect().Model(&list).Where("kind = ? AND key >= ? AND key < ?", deadlineTimer, kind+"/", kind+"0").Scan(ctx)
	armed := make(map[string]timer.Timer, len(list))
	for _, t := range list {
		armed[t.Key] = t
	}
	return armed, err
}

// isStale says whether an entity is as a stale one is.
func (k *kind) isStale(row entityRow) bool {
	view, err := parseView(row.State)
	if err != nil {
		return false
	}
	next, err := viewOf(k.shape, k.staled(view))
	return err == nil && reflect.DeepEqual(view, next)
}

// staled is a state with the fields that say that it is stale.
func (k *kind) staled(view View) map[string]any {
	next := maps.Clone(map[string]any(view))
	maps.Copy(next, k.stale.Set)
	return next
}

// withDefaults is the first state of an entity, with the fields filled in that
// it does not have.
func (k *kind) withDefaults(state map[string]any) map[string]any {
	all := map[string]any{}
	for _, f := range k.shape.Fields {
		if f.Shape.Default != nil {
			all[f.Name] = f.Shape.Default
		}
	}
	maps.Copy(all, state)
	return all
}
