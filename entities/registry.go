// Package entities keeps the kinds of entities that plugins define and is the
// only writer of their recorded state and of the transition log.
//
// Every change goes through Mutate or Remove of a kind's Handle. In one
// transaction it locks the entity, runs the caller's write, compares the state
// with the recorded one, and records a new version, a transition, and the note
// that the transition is still to be routed. Where nothing differs, nothing is
// recorded. Changes of one entity are ordered by version; callers return when
// theirs is durable. Everything is safe for concurrent use.
package entities

import (
	"context"
	"embed"
	"errors"
	"fmt"
	"log/slog"
	"regexp"
	"sort"
	"sync"
	"time"

	"github.com/uptrace/bun"

	"github.com/flightrules/flightrules/engine/timer"
	"github.com/flightrules/flightrules/internal/db"
	"github.com/flightrules/flightrules/internal/shape"
)

var (
	// ErrNotFound is returned for an entity that does not exist, or does not
	// exist any more.
	ErrNotFound = errors.New("no such entity")
	// ErrVersion is returned by a change that was made on the condition of a
	// version that the entity no longer has.
	ErrVersion = errors.New("the entity has another version")
	// ErrUnknownKind is returned for a kind that nobody defined or declared.
	ErrUnknownKind = errors.New("no such kind")
	// ErrNotKept is returned for a write of the state of a kind whose plugin
	// keeps the state itself.
	ErrNotKept = errors.New("the state of this kind belongs to its plugin")
	// ErrInvalid is returned for a state that does not have the form of its
	// kind, or that its Validate refuses.
	ErrInvalid = errors.New("invalid state")
)

//go:embed migrations/*.sql
var files embed.FS

// Migrations are the tables of entities and transitions.
func Migrations() db.Migrations { return db.MigrationsIn("entities", files) }

// Registry holds the kinds, the committer of their changes and the queries
// over their history.
type Registry struct {
	db     *db.DB
	now    func() time.Time
	log    *slog.Logger
	timers *timer.Timers
	commit committer

	mu          sync.RWMutex
	kinds       map[string]*kind
	nonReactive map[string]NonReactive
	given       map[key]bool
}

// NewRegistry makes an empty registry on a migrated database. now is the
// engine's clock. Deadlines of kinds come due through timers.
func NewRegistry(d *db.DB, now func() time.Time, log *slog.Logger, timers *timer.Timers) *Registry {
	r := &Registry{db: d, now: now, log: log, timers: timers, kinds: map[string]*kind{}, nonReactive: map[string]NonReactive{}}
	r.commit.registry = r
	timers.HandleBatch(deadlineTimer, r.onDeadlines)
	return r
}

// Spec defines a kind of entity whose state is an S: a struct whose JSON form
// is what history, rules and readers see. A field tagged `reactive:"false"`
// is carried along but is no change by itself; one tagged `json:"-"` is seen by
// Deadline alone. S may have a method Validate() error.
type Spec[S any] struct {
	// Name is lower case, with underscores: "satellite".
	Name string
	// Doc is a sentence for people.
	Doc string
	// Shape is the form of the state; nil: made from S.
	Shape *shape.Shape

	// Read computes the states of some entities at one instant; entities that do
	// not exist are left out. It reads through idb alone, also inside
	// transactions. nil: the engine keeps the state.
	Read func(ctx context.Context, idb bun.IDB, at time.Time, ids []string) (map[string]S, error)
	// Deadline is when the state, left alone, will read differently; zero:
	// never. The engine looks again then, and only at what is due. It wants Read.
	Deadline func(S) time.Time
	// Due is the plugin's own write for entities whose deadline has come, run
	// before they are read again, in the same transaction. It must cope with
	// entities that are no longer due. May be nil.
	Due func(ctx context.Context, tx bun.Tx, at time.Time, ids []string) error
}

// kind is a Spec without its type.
type kind struct {
	name, doc string
	shape     *shape.Shape
	passive   map[string]bool // fields that are no change by themselves
	read      func(ctx context.Context, idb bun.IDB, at time.Time, ids []string) (map[string]any, error)
	deadline  func(state any) time.Time
	due       func(ctx context.Context, tx bun.Tx, at time.Time, ids []string) error
	validate  func(state any) error
	decode    func(view View) (any, error) // a View as an S
	declared  *Declared                    // nil for a kind of Define
}

var kindName = regexp.MustCompile(`^[a-z][a-z0-9_]*$`)

// Define adds a kind and gives the handle through which its entities change.
func Define[S any](r *Registry, spec Spec[S]) (*Handle[S], error) {
	if !kindName.MatchString(spec.Name) {
		return nil, fmt.Errorf("define kind %q: a name is lower case letters, digits and underscores", spec.Name)
	}
	if spec.Read == nil && (spec.Deadline != nil || spec.Due != nil) {
		return nil, fmt.Errorf("define kind %q: a deadline wants Read", spec.Name)
	}
	form := spec.Shape
	if form == nil {
		var err error
		if form, err = shape.Of[S](); err != nil {
			return nil, fmt.Errorf("define kind %q: %w", spec.Name, err)
		}
	}
	if form.Type != shape.Object {
		return nil, fmt.Errorf("define kind %q: a state is an object with fields, not %s", spec.Name, form.Type)
	}
	k := &kind{
		name: spec.Name, doc: spec.Doc, shape: form, passive: passive(form), due: spec.Due,
		decode: func(v View) (any, error) { return decode[S](v) },
		validate: func(state any) error {
			if v, ok := state.(interface{ Validate() error }); ok {
				return v.Validate()
			}
			return nil
		},
	}
	if spec.Read != nil {
		k.read = func(ctx context.Context, idb bun.IDB, at time.Time, ids []string) (map[string]any, error) {
			states, err := spec.Read(ctx, idb, at, ids)
			out := make(map[string]any, len(states))
			for id, s := range states {
				out[id] = s
			}
			return out, err
		}
	}
	if spec.Deadline != nil {
		k.deadline = func(state any) time.Time { return spec.Deadline(state.(S)) }
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if _, ok := r.kinds[spec.Name]; ok {
		return nil, fmt.Errorf("define kind %q: the name is taken", spec.Name)
	}
	r.kinds[spec.Name] = k
	return &Handle[S]{registry: r, kind: k}, nil
}

// passive are the fields of a form that are no change by themselves.
func passive(form *shape.Shape) map[string]bool {
	names := map[string]bool{}
	for _, field := range form.Fields {
		if !field.Reactive {
			names[field.Name] = true
		}
	}
	return names
}

func (r *Registry) kind(name string) (*kind, error) {
	r.mu.RLock()
	defer r.mu.RUnlock()
	k, ok := r.kinds[name]
	if !ok {
		return nil, fmt.Errorf("%w: %q", ErrUnknownKind, name)
	}
	return k, nil
}

// KindInfo describes a kind for the catalogue.
type KindInfo struct {
	Name     string
	Doc      string
	Shape    *shape.Shape // of the state
	Kept     bool         // the engine keeps the state; else the plugin does
	Declared bool         // in a file, not by a plugin
}

// Kinds lists the kinds by name.
func (r *Registry) Kinds() []KindInfo {
	r.mu.RLock()
	defer r.mu.RUnlock()
	list := make([]KindInfo, 0, len(r.kinds))
	for _, k := range r.kinds {
		list = append(list, k.info())
	}
	sort.Slice(list, func(i, j int) bool { return list[i].Name < list[j].Name })
	return list
}

// Kind describes one kind; false when there is none of that name.
func (r *Registry) Kind(name string) (KindInfo, bool) {
	k, err := r.kind(name)
	if err != nil {
		return KindInfo{}, false
	}
	return k.info(), true
}

func (k *kind) info() KindInfo {
	return KindInfo{Name: k.name, Doc: k.doc, Shape: k.shape, Kept: k.read == nil, Declared: k.declared != nil}
}

// Reason says why a table that looks like state is not made of entities.
type Reason string

// The reasons there are.
const (
	RawSample       Reason = "raw_sample"       // measurements, too many to react to
	Sensitive       Reason = "sensitive"        // must not stand in a history
	ExternallyOwned Reason = "externally_owned" // somebody else's truth, mirrored
	Bookkeeping     Reason = "bookkeeping"      // the plugin's own housekeeping
)

// NonReactive is a table that a plugin declares to be no entities.
type NonReactive struct {
	Table  string `json:"table"`
	Reason Reason `json:"reason"`
	Note   string `json:"note"`
}

// DeclareNonReactive records that a table holds no entities, and why, so that
// a reader of the catalogue need not wonder.
func (r *Registry) DeclareNonReactive(table string, reason Reason, note string) error {
	switch reason {
	case RawSample, Sensitive, ExternallyOwned, Bookkeeping:
	default:
		return fmt.Errorf("declare table %q non-reactive: unknown reason %q", table, reason)
	}
	if table == "" || note == "" {
		return fmt.Errorf("declare table %q non-reactive: a table and a note are wanted", table)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if _, ok := r.nonReactive[table]; ok {
		return fmt.Errorf("declare table %q non-reactive: it was declared already", table)
	}
	r.nonReactive[table] = NonReactive{Table: table, Reason: reason, Note: note}
	return nil
}

// NonReactive lists the tables declared not to be entities, by name.
func (r *Registry) NonReactive() []NonReactive {
	r.mu.RLock()
	defer r.mu.RUnlock()
	list := make([]NonReactive, 0, len(r.nonReactive))
	for _, n := range r.nonReactive {
		list = append(list, n)
	}
	sort.Slice(list, func(i, j int) bool { return list[i].Table < list[j].Table })
	return list
}
