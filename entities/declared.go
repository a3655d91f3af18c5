package entities

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"reflect"
	"strings"

	"github.com/uptrace/bun"

	"github.com/flightrules/flightrules/internal/shape"
)

// Declared is a kind of entity that needs no Go: its state is a map of the
// fields of its Shape, and the engine keeps it. Unlike those of Define, such
// kinds come and go while the engine runs.
type Declared struct {
	Name  string
	Doc   string
	Shape *shape.Shape // an object; the defaults of its fields are those of new entities
	Stale *Stale       // nil: a state holds for ever
}

// Info is how the catalogue describes the kind.
func (d Declared) Info() KindInfo {
	return KindInfo{Name: d.Name, Doc: d.Doc, Shape: d.Shape, Kept: true, Declared: true}
}

// DeclareError says why a kind cannot be declared.
type DeclareError struct {
	Kind string
	Err  error
}

// Error names the kind.
func (e *DeclareError) Error() string { return fmt.Sprintf("declare kind %q: %v", e.Kind, e.Err) }

// Unwrap returns what is wrong.
func (e *DeclareError) Unwrap() error { return e.Err }

// Unfit is the error of a kind that does not fit the states that are stored.
type Unfit struct {
	States []string // the first of them: the id, and what is wrong
	More   int      // how many besides
}

// Error names the states in one line.
func (u *Unfit) Error() string {
	text := "stored states do not fit: " + strings.Join(u.States, "; ")
	if u.More > 0 {
		text += fmt.Sprintf("; and %d more", u.More)
	}
	return text
}

// Declare replaces the declared kinds as a whole. A kind that is not in the
// list is not known any more; its entities and their log stay, for when it
// comes back. Errors are *DeclareErrors, joined: nothing changes then.
func (r *Registry) Declare(ctx context.Context, list []Declared) error {
	var inForce func()
	err := r.db.Write(ctx, func(ctx context.Context, tx bun.Tx) (err error) {
		inForce, err = r.DeclareTx(ctx, tx, list)
		return err
	})
	if err != nil {
		return err
	}
	inForce()
	return nil
}

// DeclareTx is Declare inside a transaction of db.Write: the kinds are in force
// when inForce is called, which is to be once the transaction has committed.
// Two must not be under way at once.
func (r *Registry) DeclareTx(ctx context.Context, tx bun.Tx, list []Declared) (inForce func(), err error) {
	before := r.declared()
	next := make(map[string]*kind, len(list))
	var errs []error
	for _, d := range list {
		if err := r.declarable(ctx, tx, d, before, next); err != nil {
			errs = append(errs, err)
		}
		if next[d.Name] == nil && d.Shape != nil {
			next[d.Name] = d.kind()
		}
	}
	if err := errors.Join(errs...); err != nil {
		return nil, err
	}
	for _, d := range list {
		if err := r.moveStale(ctx, tx, d, before[d.Name]); err != nil {
			return nil, err
		}
	}
	return func() { r.swapDeclared(next) }, nil
}

// declarable says what is wrong with a kind.
func (r *Registry) declarable(ctx context.Context, tx bun.Tx, d Declared, before map[string]*Declared, next map[string]*kind) error {
	err := d.check()
	if known, ok := r.Kind(d.Name); ok && !known.Declared {
		err = errors.New("the name is that of a kind of a plugin")
	}
	if next[d.Name] != nil {
		err = errors.New("it is declared twice")
	}
	if err != nil {
		return &DeclareError{d.Name, err}
	}
	if b := before[d.Name]; b != nil && reflect.DeepEqual(b.Shape, d.Shape) {
		return nil
	}
	err = r.fits(ctx, tx, d)
	if unfit := (*Unfit)(nil); errors.As(err, &unfit) {
		return &DeclareError{d.Name, err}
	}
	return err
}

// check looks at a declaration by itself.
func (d Declared) check() error {
	if !kindName.MatchString(d.Name) {
		return errors.New("a name is lower case letters, digits and underscores")
	}
	if d.Shape == nil || d.Shape.Type != shape.Object {
		return errors.New("a state is an object with fields")
	}
	if d.Stale != nil {
		return d.Stale.check(d.Shape)
	}
	return nil
}

// shownUnfit is how many states an Unfit tells.
const shownUnfit = 10

// fits looks at every stored state of a kind, with an *Unfit for those that do
// not have its form.
func (r *Registry) fits(ctx context.Context, idb bun.IDB, d Declared) error {
	const page = 1000
	var unfit Unfit
	for after := ""; ; {
		var rows []entityRow
		if err := idb.NewSelect().Model(&rows).Where("kind = ? AND state IS NOT NULL AND id > ?", d.Name, after).
			Order("id").Limit(page).Scan(ctx); err != nil {
			return err
		}
		for _, row := range rows {
			view, err := parseView(row.State)
			if err == nil {
				err = d.Shape.Check(map[string]any(view))
			}
			switch {
			case err == nil:
			case len(unfit.States) < shownUnfit:
				unfit.States = append(unfit.States, row.ID+" ("+err.Error()+")")
			default:
				unfit.More++
			}
		}
		if len(rows) < page {
			break
		}
		after = rows[len(rows)-1].ID
	}
	if unfit.States != nil {
		return &unfit
	}
	return nil
}

// kind is how changes see a declaration.
func (d Declared) kind() *kind {
	return &kind{
		name: d.Name, doc: d.Doc, shape: d.Shape, passive: passive(d.Shape), declared: &d,
		decode:   func(v View) (any, error) { return map[string]any(v), nil },
		validate: func(any) error { return nil },
	}
}

// withDefaults is the state of a new entity, with the defaults of the fields
// that it does not have.
func (d *Declared) withDefaults(state map[string]any) map[string]any {
	full := maps.Clone(state)
	if full == nil {
		full = map[string]any{}
	}
	for _, f := range d.Shape.Fields {
		if full[f.Name] == nil && f.Shape.Default != nil {
			full[f.Name] = f.Shape.Default
		}
	}
	return full
}

// declared are the declared kinds in force.
func (r *Registry) declared() map[string]*Declared {
	r.mu.RLock()
	defer r.mu.RUnlock()
	list := map[string]*Declared{}
	for name, k := range r.kinds {
		if k.declared != nil {
			list[name] = k.declared
		}
	}
	return list
}

func (r *Registry) swapDeclared(next map[string]*kind) {
	r.mu.Lock()
	defer r.mu.Unlock()
	maps.DeleteFunc(r.kinds, func(_ string, k *kind) bool { return k.declared != nil })
	maps.Copy(r.kinds, next)
}

// renew lets a change follow the declaration in force: while it waited, its
// kind may have been replaced.
func (r *Registry) renew(o *op) error {
	if o.kind.declared == nil {
		return nil
	}
	k, err := r.kind(o.kind.name)
	if err == nil {
		o.kind = k
	}
	return err
}
