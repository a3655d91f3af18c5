// Package retention removes what happened too long ago, or too often, and that
// nobody needs any more: runs with their steps, decisions, events and
// transitions, in this order, since each refers to those after it.
//
// It goes through the old rows of each rule or kind, oldest first, a page at a
// time; each page that has something to remove is one short transaction, and
// whatever else uses the database has its turn between two of them. Once an
// hour, by a timer that the nodes of a cluster share, one of them makes a pass.
//
// Nothing that is pending loses what it needs: engine/journal says which events
// that is (needed.go), and entities which transitions follow from them.
package retention

import (
	"context"
	"embed"
	"encoding/base64"
	"encoding/json"
	"errors"
	"log/slog"
	"time"

	"github.com/uptrace/bun"

	"github.com/flightrules/flightrules/engine/journal"
	"github.com/flightrules/flightrules/entities"
	"github.com/flightrules/flightrules/internal/db"
	"github.com/flightrules/flightrules/rules"
)

// Batch bounds the rows that one transaction removes.
const Batch = 500

// Lock is the lock that a transaction holds which removes something. Who is
// about to refer to something old that nobody refers to takes it first.
const Lock = "retention"

//go:embed migrations/*.sql
var files embed.FS

// Migrations are the indexes by which old rows are found. They are on tables of
// entities and of the journal, and come after those.
func Migrations() db.Migrations { return db.MigrationsIn("retention", files) }

// Options are what a Pruner works on.
type Options struct {
	DB       *db.DB
	Entities *entities.Registry
	Now      func() time.Time
	Log      *slog.Logger
	// Rules is the set in force, which says what is kept; nil before the first:
	// nothing is removed then.
	Rules func() *rules.Set
	// Recent is how far back somebody looks for the last run of a rule.
	Recent func(rule string) time.Duration
	// Removed is told of the rows that are gone, for counting.
	Removed func(table string, rows int)
}

// Pruner prunes. Prune may be called at any time; Step and Next are for one
// goroutine.
type Pruner struct {
	Options

	pass *walk  // under way; nil: none is
	gone Counts // of the pass
}

// New makes a Pruner.
func New(o Options) *Pruner { return &Pruner{Options: o} }

// Counts are numbers of rows by table.
type Counts map[string]int

func (c Counts) add(table string, rows int) {
	if rows > 0 {
		c[table] += rows
	}
}

// ErrCursor is returned for a cursor that Prune did not give.
var ErrCursor = errors.New("a pass cannot go on there")

// Prune removes what may go, in up to so many batches, from where an earlier
// call stopped; "" is the beginning. next is where to go on, "" at the end.
// With dry it removes nothing and says what it would: about, since what is
// pending may keep a little more. ErrCursor.
func (p *Pruner) Prune(ctx context.Context, cursor string, batches int, dry bool) (removed Counts, next string, err error) {
	removed = Counts{}
	w := &walk{dry: dry}
	if err := w.place.read(cursor); err != nil {
		return removed, "", err
	}
	for range batches {
		more, err := p.batch(ctx, w, removed)
		if err != nil || !more {
			return removed, "", err
		}
	}
	return removed, w.place.String(), nil
}

// place is how far a pass is.
type place struct {
	Shelf int     `json:"shelf"`
	Begun bool    `json:"begun"` // Of is set
	Of    string  `json:"of"`    // the rule or the kind
	After db.Mark `json:"after"` // the last row that was looked at
}

func (p place) String() string { return base64.RawURLEncoding.EncodeToString(db.ToJSON(p)) }

func (p *place) read(cursor string) error {
	if cursor == "" {
		return nil
	}
	text, err := base64.RawURLEncoding.DecodeString(cursor)
	if err != nil || json.Unmarshal(text, p) != nil || p.Shelf < 0 {
		return ErrCursor
	}
	return nil
}

// walk is a pass under way.
type walk struct {
	place

	dry    bool
	known  bool                  // until is
	until  db.Mark               // what is before it, of the rows of Of, is old; zero: nothing is
	bounds map[[2]string]db.Mark // the same by table and rule, where it was asked for
}

// shelf is a table that is pruned.
type shelf struct {
	db.Aged

	size    int // of a page
	keeping func(rules.Retention) rules.Keeping
	nobody  bool // rows may belong to nobody
	prune   func(ctx context.Context, idb bun.IDB, w *walk, page []db.Mark, dry bool, removed Counts) (done int, err error)
}

// shelves are in the order in which rows refer to each other.
func (p *Pruner) shelves() []shelf {
	return []shelf{
		{Aged: journal.OldRuns, size: Batch / 2, keeping: func(r rules.Retention) rules.Keeping { return r.Runs }, prune: p.runs},
		{Aged: journal.OldDecisions, size: Batch, keeping: func(r rules.Retention) rules.Keeping { return r.Decisions }, prune: p.decisions},
		{Aged: journal.OldEvents, size: Batch, nobody: true, keeping: func(r rules.Retention) rules.Keeping { return r.Events }, prune: p.events},
		// The row of an entity may go with its last transition.
		{Aged: entities.OldTransitions, size: Batch / 2, keeping: func(r rules.Retention) rules.Keeping { return r.Transitions }, prune: p.transitions},
	}
}

// batch looks at one page of old rows and removes what may go; false when there
// are no more.
func (p *Pruner) batch(ctx context.Context, w *walk, removed Counts) (more bool, err error) {
	if p.Rules() == nil {
		return false, nil
	}
	for all := p.shelves(); w.Shelf < len(all); {
		s := all[w.Shelf]
		page, err := p.page(ctx, s, w)
		if err != nil {
			return false, err
		}
		if len(page) > 0 {
			return true, p.see(ctx, s, w, page, removed)
		}
		if err := p.advance(ctx, s, w); err != nil {
			return false, err
		}
	}
	return false, nil
}

// page are the next old rows of a rule or a kind.
func (p *Pruner) page(ctx context.Context, s shelf, w *walk) (page []db.Mark, err error) {
	if !w.Begun {
		return nil, nil
	}
	if !w.known {
		if w.until, err = p.bound(ctx, s, w.Of); err != nil {
			return nil, err
		}
		w.known = true
	}
	if w.until.At.IsZero() {
		return nil, nil
	}
	return s.Oldest(ctx, p.DB.Read(), db.Span{Of: w.Of, After: w.After, Until: w.until}, s.size)
}

// advance goes on to the next rule or kind, or to the next table.
func (p *Pruner) advance(ctx context.Context, s shelf, w *walk) error {
	w.known, w.After = false, db.Mark{}
	if !w.Begun && s.nobody {
		w.Begun = true
		return nil
	}
	next, ok, err := s.Next(ctx, p.DB.Read(), w.Of)
	if err != nil {
		return err
	}
	if w.Begun, w.Of = ok, next; !ok {
		w.Shelf++
	}
	return nil
}

// bound is where the old rows of a rule or a kind end; zero: there are none.
func (p *Pruner) bound(ctx context.Context, s shelf, of string) (until db.Mark, err error) {
	limit := s.keeping(p.Rules().Retention).For(of)
	if limit.Keep > 0 {
		until.At = db.At(p.Now().Add(-limit.Keep))
	}
	if limit.Max == 0 {
		return until, nil
	}
	oldest, ok, err := s.Newest(ctx, p.DB.Read(), of, limit.Max)
	if ok && (until.At.IsZero() || s.Before(until, oldest)) {
		until = oldest
	}
	return until, err
}

// see removes what may go of a page. It looks before it writes: where nothing
// may go, no writer has to wait.
func (p *Pruner) see(ctx context.Context, s shelf, w *walk, page []db.Mark, removed Counts) error {
	found := Counts{}
	done, err := s.prune(ctx, p.DB.Read(), w, page, true, found)
	if err != nil {
		return err
	}
	if len(found) > 0 && !w.dry {
		if err := p.DB.Write(ctx, func(ctx context.Context, tx bun.Tx) (err error) {
			if err := p.DB.Lock(ctx, tx, Lock); err != nil {
				return err
			}
			found = Counts{}
			done, err = s.prune(ctx, tx, w, page, false, found)
			return err
		}); err != nil {
			return err
		}
		for table, rows := range found {
			p.Removed(table, rows)
		}
	}
	for table, rows := range found {
		removed.add(table, rows)
	}
	if done > 0 {
		w.After = page[done-1]
	}
	return nil
}
