package engine

import (
	"context"
	"encoding/json"
	"math"
	"time"

	"github.com/flightrules/flightrules/engine/journal"
	"github.com/flightrules/flightrules/engine/timer"
)

// Armed is something that will happen at a time, if nothing comes between.
type Armed struct {
	Kind       string // "dwell" (a `for`), "unless", "group", "absent", "schedule", "silence" (its end), "run" (a step that waits, or is tried again)
	Rule       string // "" of a silence
	Trigger    string // and all that follows: "" of a silence and of a run
	Event      string // the id of the event that armed it; "": none did
	Key        string // of what a trigger gathers; of a silence or run, its id
	EntityKind string // of the entity that it is about; may be ""
	Entity     string
	At         time.Time // from when it counts; of a schedule, the tick
	Due        time.Time
}

// Armed are the deadlines of the router up to a time, in their order.
func (e *Engine) Armed(ctx context.Context, until time.Time) ([]Armed, error) {
	due, err := timer.DueOf(ctx, e.DB.Read(), routerTimers, until, routeBatch)
	if err != nil {
		return nil, err
	}
	list := make([]Armed, len(due))
	for i, t := range due {
		list[i] = armedBy(t)
	}
	return list, nil
}

// Waiting is all that waits for a time, in the order of those: the deadlines of
// the router and the runs. It is for simulations, as there may be very many.
func (e *Engine) Waiting(ctx context.Context) ([]Armed, error) {
	far := e.Now().AddDate(1000, 0, 0)
	due, err := timer.DueOf(ctx, e.DB.Read(), append([]string{wakeTimer}, routerTimers...), far, math.MaxInt32)
	if err != nil {
		return nil, err
	}
	list := make([]Armed, len(due))
	for i, t := range due {
		if list[i] = armedBy(t); t.Kind == wakeTimer {
			run, err := journal.RunByID(ctx, e.DB.Read(), t.Key)
			if err != nil {
				return nil, err
			}
			list[i].Kind, list[i].Rule = "run", run.Rule
		}
	}
	return list, nil
}

func armedBy(t timer.Timer) Armed {
	var a awaited
	if t.Kind == silenceTimer || t.Kind == wakeTimer || json.Unmarshal(t.Payload, &a) != nil {
		return Armed{Kind: t.Kind, Key: t.Key, Due: t.DueAt.Time}
	}
	return Armed{
		Kind: t.Kind, Rule: a.Rule, Trigger: a.Trigger, Event: a.EventID, Key: a.Key, EntityKind: a.Kind, Entity: a.Entity,
		At: time.UnixMicro(a.At).UTC(), Due: t.DueAt.Time,
	}
}
