package replay_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/uptrace/bun"

	"github.com/flightrules/flightrules/engine/action"
	"github.com/flightrules/flightrules/engine/enginetest"
	"github.com/flightrules/flightrules/engine/journal"
	"github.com/flightrules/flightrules/entities"
	"github.com/flightrules/flightrules/internal/db"
	"github.com/flightrules/flightrules/internal/replay"
	"github.com/flightrules/flightrules/plugins"
	"github.com/flightrules/flightrules/triggers"
)

// door is the kind of entity in these tests.
type door struct {
	Status string `json:"status" enum:"open,closed,ajar"`
	Count  int    `json:"count"`
}

type opened struct {
	Count int `json:"count"`
}

type ring struct {
	Text string `json:"text"`
}

// house brings doors, the event of one that opens, and an action that fails on
// its second call and must not be called by a replay.
type house struct {
	doors *entities.Handle[door]
	rings *int
}

func (*house) Name() string { return "house" }

func (p *house) Register(h *plugins.Host) error {
	var err error
	if p.doors, err = entities.Define(h.Entities(), entities.Spec[door]{Name: "door", Doc: "A door."}); err != nil {
		return err
	}
	event, err := triggers.Define[opened](h.Events(), triggers.EventSpec{Name: "door.opened", Doc: "It was opened."})
	if err != nil {
		return err
	}
	return errors.Join(
		triggers.Derive(h.Events(), p.doors, event, func(c entities.Change[door]) (opened, bool) {
			if c.Next == nil || c.Next.Status != "open" || c.Prev != nil && c.Prev.Status == "open" {
				return opened{}, false
			}
			return opened{c.Next.Count}, true
		}),
		action.Register(h.Actions(), action.Spec[ring, struct{}]{Name: "house.ring", Doc: "Rings.", Run: func(context.Context, action.Call, ring) (struct{}, error) {
			if *p.rings++; *p.rings%5 == 0 {
				return struct{}{}, errors.New("the bell is broken")
			}
			return struct{}{}, nil
		}}),
	)
}

// live is an engine whose clock goes on by a microsecond with each look at it,
// as clocks do: no two things happen at one time.
type live struct {
	*enginetest.Engine
	t     testing.TB
	url   string
	house *house
	rings int
}

func start(t testing.TB, url, rules string) *live {
	t.Helper()
	l := &live{t: t, url: url}
	looked := func() {
		if l.Engine != nil {
			l.Engine.Sim.Jump(l.Time().Add(time.Microsecond))
		}
	}
	l.Engine = enginetest.Start(t, enginetest.Options{URL: url, Rules: rules, Looked: looked, Plugins: func() []plugins.Plugin {
		l.house = &house{rings: &l.rings}
		return []plugins.Plugin{l.house}
	}})
	l.Settle()
	return l
}

func (l *live) put(id string, d door) {
	l.t.Helper()
	_, err := l.house.doors.Mutate(l.t.Context(), id, func(context.Context, bun.Tx, *door) (door, error) { return d, nil })
	l.must(err)
}

func (l *live) remove(id string) {
	l.t.Helper()
	err := l.house.doors.Remove(l.t.Context(), id, func(context.Context, bun.Tx, door) error { return nil })
	if !errors.Is(err, entities.ErrNotFound) {
		l.must(err)
	}
}

func (l *live) must(err error) {
	l.t.Helper()
	if err != nil {
		l.t.Fatal(err)
	}
}

// replay replays the log beside the engine.
func (l *live) replay(o replay.Options) *replay.Report {
	l.t.Helper()
	source, err := db.OpenReadOnly(l.t.Context(), l.url)
	l.must(err)
	defer func() {
		if err := source.Close(); err != nil {
			l.t.Error(err)
		}
	}()
	o.Source, o.Plugins = source, bring
	rings := forbidden
	report, err := replay.Run(l.t.Context(), o)
	l.must(err)
	if forbidden != rings {
		l.t.Error("a replay has rung")
	}
	return report
}

// forbidden counts what replays do.
var forbidden int

func bring() []plugins.Plugin { return []plugins.Plugin{&house{rings: &forbidden}} }

// all are all decisions, oldest first.
func (l *live) all() (list []journal.Decision) {
	l.t.Helper()
	l.must(l.DB.Read().NewSelect().Model(&list).Order("seq").Scan(l.t.Context()))
	return list
}
