package retention

import (
	"context"
	"time"

	"github.com/uptrace/bun"

	"github.com/flightrules/flightrules/engine/timer"
	"github.com/flightrules/flightrules/internal/db"
)

const (
	// passTimer is the kind of the timer at which the next pass begins. Whoever
	// finds it due moves it and makes the pass.
	passTimer = "retention"
	// every is from the beginning of one pass to that of the next.
	every = time.Hour
	// pause is between two batches of a pass, so that it never has the database
	// for itself.
	pause = 20 * time.Millisecond
)

// Topic is the hint that a pass may be due.
const Topic = "retention"

// Step begins a pass that is due, or looks at the next page of the one that is
// under way.
func (p *Pruner) Step(ctx context.Context) (more bool, err error) {
	if p.pass == nil {
		claimed, err := p.claim(ctx)
		if err != nil || !claimed {
			return false, err
		}
		p.pass, p.gone = &walk{}, Counts{}
	}
	more, err = p.batch(ctx, p.pass, p.gone)
	if err != nil || more {
		return false, err // the next one is after a pause
	}
	p.pass = nil
	if len(p.gone) > 0 {
		p.Log.Info("old history was removed", "rows", p.gone)
	}
	return false, nil
}

// Next is when the next page or the next pass is due.
func (p *Pruner) Next(ctx context.Context) (time.Time, error) {
	if p.pass != nil {
		return p.Now().Add(pause), nil
	}
	return timer.Next(ctx, p.DB.Read(), passTimer)
}

// claim says whether a pass is due, and moves its timer: no other node begins
// one then. If this node dies in the middle, the next pass makes up for it.
func (p *Pruner) claim(ctx context.Context) (claimed bool, err error) {
	if p.Rules() == nil {
		return false, nil
	}
	t, ok, err := timer.Get(ctx, p.DB.Read(), passTimer, "")
	if err != nil || ok && t.DueAt.After(p.Now()) {
		return false, err
	}
	err = p.DB.Write(ctx, func(ctx context.Context, tx bun.Tx) error {
		claimed = false
		if err := p.DB.Lock(ctx, tx, Lock); err != nil {
			return err
		}
		t, ok, err := timer.Get(ctx, tx, passTimer, "")
		if err != nil || ok && t.DueAt.After(p.Now()) {
			return err
		}
		claimed = true
		return timer.Set(ctx, tx, timer.Timer{Kind: passTimer, DueAt: db.At(p.Now().Add(every))})
	})
	return claimed, err
}
