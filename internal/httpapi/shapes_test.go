package httpapi_test

import (
	"bytes"
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/flightrules/flightrules/engine/journal"
	"github.com/flightrules/flightrules/internal/db"
	"github.com/flightrules/flightrules/internal/dbtest"
	"github.com/flightrules/flightrules/internal/yamlx"
	"github.com/flightrules/flightrules/plugins"
)

var update = flag.Bool("update", false, "write the golden files anew")

// history makes one of everything: entities with transitions, events,
// decisions, and runs with steps.
func history(f *fixture) {
	at := func(seconds int) db.Time { return db.At(start.Add(time.Duration(seconds) * time.Second)) }
	f.as(plugins.Operator, "PUT", "/api/v1/entities/planet/mars", `{"status":"unknown","moons":2}`).want(201)
	f.pass(time.Minute)
	f.as(plugins.Operator, "PATCH", "/api/v1/entities/planet/mars", `{"status":"charted"}`).want(200)
	f.pass(time.Minute)
	f.as(plugins.Operator, "PUT", "/api/v1/entities/planet/pluto", `{"status":"unknown"}`).want(201)
	f.as(plugins.Operator, "DELETE", "/api/v1/entities/planet/pluto", "").want(204)
	f.insert(&probeRow{ID: "p1", Status: "online"})
	f.no(f.probes.Look(f.t.Context(), "p1"))
	f.insert(
		&journal.Event{
			Seq: 7, ID: "e1", Name: "probe.lost", Kind: "probe", EntityID: "p1", Payload: db.JSON(`{"probe_id":"p1"}`),
			TransitionSeq: 5, Actor: "system", At: at(1),
		},
		&journal.Event{Seq: 8, ID: "e2", Name: "custom.deployed", Actor: "token:operator", RunID: "r1", Depth: 1, At: at(2)},
		&journal.Decision{Seq: 3, Rule: "page-when-lost", Version: "9f3c", Trigger: "1", EventID: "e1", Key: "probe/p1", Outcome: journal.Started, RunID: "r1", At: at(3)},
		&journal.Decision{Seq: 4, Rule: "off", Version: "77aa", Trigger: "1", EventID: "e2", Outcome: journal.Failed, Detail: "no such field", At: at(4)},
		&journal.Run{ID: "r1", Rule: "page-when-lost", Version: "9f3c", Trigger: "1", EventID: "e1", Key: "probe/p1", Status: journal.RunWaiting, Attempt: 1, CreatedAt: at(3), StartedAt: at(4)},
		&journal.Run{
			ID: "r2", Rule: "off", Version: "77aa", Trigger: "1", EventID: "e2", Key: "x", Status: journal.RunFailed, Attempt: 2,
			CreatedAt: at(5), StartedAt: at(6), FinishedAt: at(7), Error: "it broke", Dead: true, Recoveries: 1, CancelAt: at(6),
		},
		&journal.Step{
			RunID: "r1", Path: "actions[0]", StepID: "say", Action: "log", Status: journal.StepSucceeded, Attempt: 1,
			Input: db.JSON(`{"z":1,"a":"<>"}`), Output: db.JSON(`{}`), StartedAt: at(4), FinishedAt: at(5),
		},
		&journal.Step{RunID: "r1", Path: "actions[1]", Position: 1, Action: "repeat", Status: journal.StepRunning, Attempt: 1, StartedAt: at(5)},
		&journal.Step{
			RunID: "r1", Path: "actions[1].do[0]", Iteration: "0", Position: 2, Action: "wait", Status: journal.StepWaiting, Attempt: 2, Failures: 1,
			StartedAt: at(6), DueAt: at(60), Error: "it broke",
		},
	)
}

func TestShapes(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, url string) {
		f := newFixture(t, url)
		history(f)
		for name, target := range map[string]string{
			"kinds":               "/api/v1/kinds",
			"kind":                "/api/v1/kinds/probe",
			"entities":            "/api/v1/entities?kind=planet",
			"entity":              "/api/v1/entities/planet/mars",
			"entity-read":         "/api/v1/entities/probe/p1",
			"entity-at":           "/api/v1/entities/planet/mars?at=2026-11-24T05:01:00Z",
			"transitions":         "/api/v1/transitions",
			"transitions-entity":  "/api/v1/entities/planet/pluto/transitions",
			"events":              "/api/v1/events",
			"event":               "/api/v1/events/e1",
			"decisions":           "/api/v1/decisions",
			"decisions-of-event":  "/api/v1/events/e1/decisions",
			"decisions-of-rule":   "/api/v1/rules/off/decisions",
			"runs":                "/api/v1/runs",
			"run":                 "/api/v1/runs/r1",
			"rules":               "/api/v1/rules",
			"rule":                "/api/v1/rules/off",
			"triggers":            "/api/v1/triggers",
			"actions":             "/api/v1/actions",
			"problem-kind":        "/api/v1/kinds/comet",
			"problem-entity":      "/api/v1/entities/planet/pluto",
			"problem-entities":    "/api/v1/entities?limit=5000",
			"problem-transitions": "/api/v1/transitions?from=yesterday&after=x",
			"problem-cursor":      "/api/v1/transitions?after=x",
			"problem-runs":        "/api/v1/runs?status=lost",
			"problem-nothing":     "/api/v1/nothing",
			"problem-unexpected":  "/api/v1/fail",
			"problem-of-plugin":   "/api/v1/missing",
			"ready":               "/readyz",
		} {
			t.Run(name, func(t *testing.T) {
				golden(t, name, f.as(plugins.Viewer, "GET", target, "").Body.Bytes())
			})
		}

		t.Run("rules-refused", func(t *testing.T) {
			f.refused = []yamlx.Problem{{File: "rules/orbit.yaml", Line: 3, Column: 5, Message: "bad", Hint: "write it well"}}
			golden(t, "rules-refused", f.as(plugins.Viewer, "GET", "/api/v1/rules?after=page-when-lost", "").Body.Bytes())
		})
		t.Run("validate", func(t *testing.T) {
			golden(t, "validate", f.as(plugins.Viewer, "POST", "/api/v1/rules/validate", "rules:\n  - id: Bad\n    triggers: []\n", "Content-Type", "application/yaml").Body.Bytes())
		})
		t.Run("problem-state", func(t *testing.T) {
			golden(t, "problem-state", f.as(plugins.Operator, "PUT", "/api/v1/entities/planet/x", `{"status":"lost","moon":1,"names":{"la":2}}`).Body.Bytes())
		})
		t.Run("problem-method", func(t *testing.T) {
			golden(t, "problem-method", f.as(plugins.Viewer, "DELETE", "/api/v1/events/e1", "").Body.Bytes())
		})
	})
}

// golden compares JSON with testdata/NAME.json.
func golden(t *testing.T, name string, body []byte) {
	t.Helper()
	var got bytes.Buffer
	if err := json.Indent(&got, body, "", "  "); err != nil {
		t.Fatalf("%v: %s", err, body)
	}
	path := filepath.Join("testdata", name+".json")
	if *update {
		if err := os.WriteFile(path, got.Bytes(), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), got.String()); diff != "" {
		t.Errorf("%s (-want +got):\n%s", path, diff)
	}
}

// insertDecision has a rule have started something now.
func (f *fixture) insertDecision(rule string) {
	f.t.Helper()
	f.decided++
	f.insert(&journal.Decision{
		Seq: int64(1000 + f.decided), Rule: rule, Version: "1", Trigger: "1", EventID: fmt.Sprintf("d%d", f.decided), Outcome: journal.Started, At: db.At(f.clock()),
	})
}
