package httpapi_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/flightrules/flightrules/engine"
	"github.com/flightrules/flightrules/engine/journal"
	"github.com/flightrules/flightrules/internal/db"
	"github.com/flightrules/flightrules/internal/dbtest"
	"github.com/flightrules/flightrules/internal/httpapi"
	"github.com/flightrules/flightrules/internal/yamlx"
	"github.com/flightrules/flightrules/plugins"
)

const dryRunPath = "/api/v1/rules/page-when-lost/dry-run"

func TestDryRun(t *testing.T) {
	f := newFixture(t, dbtest.SQLite(t))
	var asked httpapi.DryRun
	answer := func(err error) {
		f.dryRun = func(ask httpapi.DryRun) (*httpapi.DryRunResult, error) {
			asked = ask
			rule := f.engine.Rules().Rule(ask.Rule)
			event := journal.Event{ID: "e1", Name: "probe.lost", Payload: db.JSON(`{"probe_id":"p2"}`), Actor: "token:operator", At: db.At(start)}
			steps := []journal.Step{
				{Path: "actions[0]", Action: "log", Status: journal.StepSucceeded, Attempt: 1, Input: db.JSON(`{"text":"lost"}`), StartedAt: db.At(start), FinishedAt: db.At(start)},
				{Path: "actions[1]", Action: "ping", StepID: "p", Status: journal.StepSucceeded, Attempt: 1, Input: db.JSON(`{"host":"p2"}`), StartedAt: db.At(start.Add(time.Hour)), FinishedAt: db.At(start.Add(time.Hour))},
				{Path: "actions[4]", Action: "emit", Status: journal.StepSkipped, StartedAt: db.At(start), FinishedAt: db.At(start)},
				{Path: "actions[2]", Action: "run", Status: journal.StepFailed, Attempt: 1, Failures: 1, Input: db.JSON(`{"rule":"none"}`), StartedAt: db.At(start), FinishedAt: db.At(start), Error: "no such rule: none"},
				{Path: "actions[3]", Action: "update", Status: journal.StepSucceeded, Attempt: 1, Input: db.JSON(`{"id":"p2"}`), StartedAt: db.At(start), FinishedAt: db.At(start)},
			}
			return &httpapi.DryRunResult{
				Explanation: engine.Explanation{
					Rule: rule, Event: event,
					Triggers:  []engine.Considered{{Trigger: &rule.Triggers[0], Matched: true}},
					Decisions: []journal.Decision{{Rule: rule.ID, Trigger: "1", EventID: "e1", Key: "-", Outcome: journal.Started, RunID: "r1", At: db.At(start)}},
				},
				Run:   &journal.Run{ID: "r1", Rule: rule.ID, EventID: "e1", Status: journal.RunSucceeded, Attempt: 1, CreatedAt: db.At(start), StartedAt: db.At(start), FinishedAt: db.At(start.Add(time.Hour))},
				Steps: steps, Vars: map[string]any{"n": 1.0}, Notes: []string{"it is only a test"},
			}, err
		}
	}

	t.Run("the answer has the run, and what would have had an effect", func(t *testing.T) {
		answer(nil)
		golden(t, "dry-run", f.as(plugins.Operator, "POST", dryRunPath, `{"event_id":"e1"}`).want(200).Body.Bytes())
	})

	t.Run("the question is passed on", func(t *testing.T) {
		answer(nil)
		for body, want := range map[string]httpapi.DryRun{
			``:   {},
			`{}`: {},
			`{"event_id":"e1","trigger":"dwell","force":true,"source":"id: x"}`: {EventID: "e1", Trigger: "dwell", Force: true, Source: "id: x"},
			`{"payload":{"n":9007199254740993},"name":"custom.x","entity":{"kind":"planet","id":"mars"}}`: {
				Payload: map[string]any{"n": json.Number("9007199254740993")}, Name: "custom.x", Kind: "planet", EntityID: "mars",
			},
			`{"inputs":{"who":"me"}}`: {Inputs: map[string]any{"who": "me"}},
		} {
			want.Rule = "page-when-lost"
			f.as(plugins.Operator, "POST", dryRunPath, body).want(200)
			if diff := cmp.Diff(want, asked); diff != "" {
				t.Errorf("%s (-want +got):\n%s", body, diff)
			}
		}
	})

	t.Run("a question that makes no sense is refused", func(t *testing.T) {
		answer(nil)
		for body, code := range map[string]string{
			`{"event_id":"e1","payload":{}}`:  "invalid_dry_run",
			`{"payload":{},"inputs":{}}`:      "invalid_dry_run",
			`{"event_id":"e1","name":"a.b"}`:  "invalid_dry_run",
			`{"inputs":[1]}`:                  "invalid_inputs",
			`{"event":"e1"}`:                  "unprocessable_entity",
			`{"entity":{"kind":"a","id":""}}`: "unprocessable_entity",
		} {
			f.as(plugins.Operator, "POST", dryRunPath, body).problem(422, code)
		}
	})

	t.Run("why it could not be done is said", func(t *testing.T) {
		for _, c := range []struct {
			err    error
			status int
			code   string
			place  string
		}{
			{engine.ErrNoRule, 404, "not_found", ""},
			{journal.ErrNotFound, 404, "not_found", ""},
			{fmt.Errorf("%w: say which", httpapi.ErrDryRun), 422, "invalid_dry_run", ""},
			{fmt.Errorf("%w: n", httpapi.ErrPayload), 422, "invalid_payload", "body.payload"},
			{&yamlx.Error{Problems: []yamlx.Problem{{Line: 3, Column: 2, Message: "bad", Hint: "write well"}}}, 422, "invalid_rule", "body.source"},
			{httpapi.ErrDryRunBusy, 429, "too_many_requests", ""},
			{errors.New("the secret is 42"), 500, "internal_server_error", ""},
		} {
			answer(c.err)
			a := f.as(plugins.Operator, "POST", dryRunPath, "")
			p := a.problem(c.status, c.code)
			if c.place != "" && (len(p.Errors) != 1 || p.Errors[0].Location != c.place) {
				t.Errorf("%v: %+v", c.err, p)
			}
			if strings.Contains(a.Body.String(), "secret") {
				t.Errorf("the answer says %s", a.Body)
			}
		}
	})
}
