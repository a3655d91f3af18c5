package engine

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"github.com/uptrace/bun"

	"github.com/flightrules/flightrules/engine/journal"
	"github.com/flightrules/flightrules/engine/timer"
)

// Waiting is something that will happen at a time, if nothing comes between.
type Waiting struct {
	// What is "dwell" (a `for`), "unless", "group", "absent", "schedule",
	// "silence" (its end) or "run" (a step that waits, or is tried again).
	What    string
	Rule    string // "" of a silence
	Trigger string // "" of a silence and of a run
	Kind    string // of the entity that it is about; may be ""
	Entity  string
	Run     string // its id, of a run
	Silence string // its id, of a silence
	At      time.Time
}

// Waiting lists what waits for a time, the earliest first.
func (e *Engine) Waiting(ctx context.Context) ([]Waiting, error) {
	var rows []timer.Timer
	err := e.DB.Read().NewSelect().Model(&rows).Where("kind IN (?)", bun.List(append([]string{wakeTimer}, routerTimers...))).
		Order("due_at", "id").Scan(ctx)
	if err != nil {
		return nil, err
	}
	list := make([]Waiting, len(rows))
	for i, row := range rows {
		w := Waiting{What: row.Kind, At: row.DueAt.Time}
		switch row.Kind {
		case wakeTimer:
			run, err := journal.RunByID(ctx, e.DB.Read(), row.Key)
			if err != nil {
				return nil, err
			}
			w.What, w.Rule, w.Run = "run", run.Rule, run.ID
		case silenceTimer:
			w.Silence = row.Key
		default:
			var a awaited
			if err := json.Unmarshal(row.Payload, &a); err != nil {
				return nil, fmt.Errorf("timer %s %s: %w", row.Kind, row.Key, err)
			}
			w.Rule, w.Trigger, w.Kind, w.Entity = a.Rule, a.Trigger, a.Kind, a.Entity
		}
		list[i] = w
	}
	return list, nil
}
