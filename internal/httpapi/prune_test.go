package httpapi_test

import (
	"context"
	"maps"
	"strings"
	"testing"
	"time"

	"github.com/uptrace/bun"

	"github.com/flightrules/flightrules/engine/journal"
	"github.com/flightrules/flightrules/engine/outbox"
	"github.com/flightrules/flightrules/internal/db"
	"github.com/flightrules/flightrules/internal/dbtest"
	"github.com/flightrules/flightrules/plugins"
)

type prunedRows struct {
	DryRun bool `json:"dry_run"`
	Rows   map[string]int
	Next   *string
}

func TestPrune(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, url string) {
		f := newFixture(t, url)
		history(f)
		f.pass(100 * 24 * time.Hour)
		// e3 came late, and is about the first change of mars.
		f.insert(&journal.Event{Seq: 9, ID: "e3", Name: "planet.changed", Kind: "planet", EntityID: "mars", AboutSeq: 1, Payload: db.JSON("{}"), Actor: "system", At: db.At(f.clock())})
		prune := func(body string, want map[string]int) {
			t.Helper()
			var got prunedRows
			f.as(plugins.Admin, "POST", "/api/v1/prune", body).want(200).into(&got)
			if !maps.Equal(got.Rows, want) || got.Next != nil || got.DryRun != strings.Contains(body, "true") {
				t.Errorf("%s: %+v, want %v", body, got, want)
			}
		}

		// Nobody has routed the changes yet. e1 is of a run that waits.
		journals := map[string]int{"runs": 1, "decisions": 1, "events": 1}
		prune(`{"dry_run": true}`, journals)
		prune(`{"dry_run": true}`, journals)
		prune(`{}`, journals)
		f.no(f.db.Write(t.Context(), func(ctx context.Context, tx bun.Tx) error {
			_, err := tx.NewDelete().Model((*outbox.Note)(nil)).Where("id > 0").Exec(ctx)
			return err
		}))
		// The first of mars, and pluto with all of its changes.
		transitions := map[string]int{"transitions": 3, "entities": 1}
		prune(`{"dry_run": true}`, transitions)
		prune(`{}`, transitions)
		prune(`{}`, map[string]int{})

		f.as(plugins.Viewer, "GET", "/api/v1/runs/r1", "").want(200)
		f.as(plugins.Viewer, "GET", "/api/v1/rules/page-when-lost/explain?event=e1", "").want(200)
		f.as(plugins.Viewer, "GET", "/api/v1/decisions", "").want(200)
		for target, detail := range map[string]string{
			"/api/v1/runs/r2":                                       "run r2: not found: it never was, or is not kept any more",
			"/api/v1/events/e2":                                     "event e2: not found: it never was, or is not kept any more",
			"/api/v1/events/e2/decisions":                           "event e2: not found: it never was, or is not kept any more",
			"/api/v1/rules/page-when-lost/explain?event=e2":         "event e2: not found: it never was, or is not kept any more",
			"/api/v1/entities/planet/pluto?at=2026-11-24T05:03:00Z": "no such entity: planet pluto at 2026-11-24T05:03:00Z",
		} {
			if p := f.as(plugins.Viewer, "GET", target, "").problem(404, "not_found"); p.Detail != detail {
				t.Errorf("%s: %q", target, p.Detail)
			}
		}
		for target, detail := range map[string]string{
			"/api/v1/entities/planet/mars?at=2026-11-24T05:01:00Z": "the log does not go back so far: that of planet mars begins at 2026-11-24T05:01:45Z",
			"/api/v1/rules/page-when-lost/explain?event=e3":        "the event cannot be read: the change that it is about, transition 1, is not kept any more: the log does not go back so far",
		} {
			if p := f.as(plugins.Viewer, "GET", target, "").problem(410, "pruned"); p.Detail != detail {
				t.Errorf("%s: %q", target, p.Detail)
			}
		}
		if p := f.as(plugins.Admin, "POST", "/api/v1/prune", `{"after": "x"}`).problem(422, "invalid_cursor"); p.Errors[0].Location != "body.after" {
			t.Errorf("%+v", p)
		}
	})
}
