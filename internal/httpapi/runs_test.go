package httpapi_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/flightrules/flightrules/engine/journal"
	"github.com/flightrules/flightrules/internal/db"
	"github.com/flightrules/flightrules/internal/dbtest"
	"github.com/flightrules/flightrules/plugins"
)

// runBody is what a run looks like.
type runBody struct {
	ID, Rule, Status string
	Attempt          int
	Dead             bool
	CancelAt         *time.Time `json:"cancel_requested_at"`
	Error            string
	Steps            []stepBody
}

type stepBody struct {
	Path, Status, Error string
	Iteration           []string
	Parent              *int
	Attempt, Failures   int
	Input, Output       json.RawMessage
	Truncated           bool
	DueAt               *time.Time `json:"due_at"`
}

func (f *fixture) run(id string) (run runBody) {
	f.t.Helper()
	f.as(plugins.Viewer, "GET", "/api/v1/runs/"+id, "").want(200).into(&run)
	return run
}

func (f *fixture) runs(query string) (list []runBody) {
	f.t.Helper()
	var page struct{ Items []runBody }
	f.as(plugins.Viewer, "GET", "/api/v1/runs"+query, "").want(200).into(&page)
	return page.Items
}

// begin has a run of a rule begin, and gives its id.
func (f *fixture) begin(event string) string {
	f.t.Helper()
	f.as(plugins.Operator, "POST", "/api/v1/events", fmt.Sprintf(`{"name":%q}`, event)).want(201)
	f.settle()
	return f.runs("?limit=1")[0].ID
}

const acting = `rules:
  - id: slow
    mode: parallel
    triggers: [{event: custom.slow}]
    actions:
      - wait: 1h
      - ping: {host: a}
  - id: shaky
    mode: parallel
    retry: {attempts: 2, backoff: 1m}
    triggers: [{event: custom.shaky}]
    actions:
      - ping: {host: a}
      - ping: {host: b}
  - id: alone
    triggers: [{event: custom.alone}]
    actions:
      - ping: {host: b}
      - wait: 1h
  - id: hopeless
    triggers: [{event: custom.hopeless}]
    actions:
      - stop: it is no use
        outcome: failure
`

func TestCancelOfRuns(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, url string) {
		f := newFixture(t, url)
		f.load(acting)
		cancel := func(id, body string) answer {
			return f.as(plugins.Operator, "POST", "/api/v1/runs/"+id+"/cancel", body)
		}

		t.Run("one that waits has ended, by whom and why", func(t *testing.T) {
			id := f.begin("custom.slow")
			var run runBody
			cancel(id, `{"reason":"not today"}`).want(200).into(&run)
			if run.ID != id || run.Status != "cancelled" || run.Error != "cancelled by token:operator: not today" {
				t.Errorf("run %+v", run)
			}
			f.pass(2 * time.Hour)
			f.settle()
			run = f.run(id)
			if run.Status != "cancelled" || len(run.Steps) != 1 || run.Steps[0].Status != "cancelled" {
				t.Errorf("run %+v", run)
			}
			cancel(id, "").problem(409, "ended")
		})

		t.Run("one that is being executed is asked to end", func(t *testing.T) {
			var asked runBody
			f.pings = func(ctx context.Context, host string) (pingOutput, error) {
				cancel(f.runs("?status=running")[0].ID, "").want(200).into(&asked)
				return pingOutput{}, errors.New("it was cut off")
			}
			id := f.begin("custom.shaky")
			if asked.ID != id || asked.Status != "running" || asked.CancelAt == nil {
				t.Errorf("run %+v", asked)
			}
			f.pass(30 * time.Second)
			f.settle()
			if run := f.run(id); run.Status != "cancelled" || run.Error != "cancelled by token:operator" {
				t.Errorf("run %+v", run)
			}
		})

		t.Run("what is none is refused, and a reason of several lines", func(t *testing.T) {
			cancel("none", "").problem(404, "not_found")
			p := cancel("none", `{"reason":"a\nb"}`).problem(422, "unprocessable_entity")
			if p.Errors[0].Location != "body.reason" {
				t.Errorf("errors %+v", p.Errors)
			}
		})

		t.Run("every attempt is in the audit", func(t *testing.T) {
			n := map[int]int{}
			for _, e := range audited(f) {
				if e.Actor == "token:operator" && strings.HasSuffix(e.Path, "/cancel") {
					n[e.Status]++
				}
			}
			if diff := cmp.Diff(map[int]int{200: 2, 404: 1, 409: 1, 422: 1}, n); diff != "" {
				t.Error(diff)
			}
		})
	})
}

func TestRetryOfRuns(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, url string) {
		f := newFixture(t, url)
		f.load(acting)
		broken := true
		var pinged []string
		f.pings = func(_ context.Context, host string) (pingOutput, error) {
			pinged = append(pinged, host)
			if host == "b" && broken {
				return pingOutput{}, errors.New("nobody answers")
			}
			return pingOutput{}, nil
		}
		retry := func(id string) answer { return f.as(plugins.Operator, "POST", "/api/v1/runs/"+id+"/retry", "") }

		t.Run("one that failed every attempt is a dead letter", func(t *testing.T) {
			id := f.begin("custom.shaky")
			if got := f.runs("?dead=true"); len(got) != 0 || f.run(id).Status != "waiting" {
				t.Errorf("dead before its last attempt: %+v", got)
			}
			f.pass(time.Minute)
			f.settle()
			got := f.runs("?dead=true")
			if len(got) != 1 || got[0].ID != id || !got[0].Dead || got[0].Status != "failed" || got[0].Error != "actions[1]: nobody answers" {
				t.Fatalf("dead: %+v", got)
			}
			f.begin("custom.alone") // one without retry is none
			for query, want := range map[string]int{"?dead=true&rule=shaky": 1, "?dead=true&rule=slow": 0, "?dead=false": 2, "?status=failed": 2} {
				if got := f.runs(query); len(got) != want {
					t.Errorf("%s: %+v", query, got)
				}
			}
		})

		t.Run("it goes on from the step that failed", func(t *testing.T) {
			broken, pinged = false, nil
			var run runBody
			id := f.runs("?dead=true")[0].ID
			retry(id).want(200).into(&run)
			if run.ID != id || run.Status != "waiting" || run.Attempt != 3 || run.Dead {
				t.Errorf("run %+v", run)
			}
			f.settle()
			if got := f.run(id); got.Status != "succeeded" || !slices.Equal(pinged, []string{"b"}) || len(f.runs("?dead=true")) != 0 {
				t.Errorf("run %+v, pinged %v", got, pinged)
			}
			p := retry(id).problem(409, "not_failed")
			if p.Detail != "the run has not failed: it is succeeded" {
				t.Errorf("problem %+v", p)
			}
		})

		t.Run("not beside another one that its mode does not admit", func(t *testing.T) {
			failed, active := f.runs("?rule=alone")[0].ID, f.begin("custom.alone")
			if p := retry(failed).problem(409, "another_active"); !strings.Contains(p.Detail, active) {
				t.Errorf("problem %+v", p)
			}
		})

		t.Run("not one that a step has stopped", func(t *testing.T) {
			retry(f.begin("custom.hopeless")).problem(409, "not_failed")
		})

		t.Run("not one whose rule is gone", func(t *testing.T) {
			f.insert(&journal.Run{ID: "0", Rule: "old", Version: "none", EventID: "none", Status: journal.RunFailed, CreatedAt: db.At(start), FinishedAt: db.At(start)})
			retry("0").problem(409, "rule_unusable")
			retry("none").problem(404, "not_found")
		})

		t.Run("every attempt is in the audit", func(t *testing.T) {
			n := map[int]int{}
			for _, e := range audited(f) {
				if e.Actor == "token:operator" && strings.HasSuffix(e.Path, "/retry") {
					n[e.Status]++
				}
			}
			if diff := cmp.Diff(map[int]int{200: 1, 404: 1, 409: 4}, n); diff != "" {
				t.Error(diff)
			}
		})
	})
}

func TestTraceIsATree(t *testing.T) {
	f := newFixture(t, dbtest.SQLite(t))
	f.insert(&journal.Run{ID: "r", Status: journal.RunSucceeded, CreatedAt: db.At(start)})
	steps := []struct {
		path, iteration string
		parent          int
	}{
		{"actions[0]", "", -1},
		{"actions[0].do[0]", "0", 0}, // of a loop
		{"actions[0].do[1]", "0", 0},
		{"actions[0].do[1].do[0]", "0.0", 2}, // of a loop in a loop
		{"actions[0].do[0]", "1", 0},
		{"actions[0].do[1]", "1", 0},
		{"actions[0].do[1].do[0]", "1.0", 5},
		{"actions[0].do[1].do[0]", "1.1", 5},
		{"actions[1]", "", -1},
		{"actions[1].parallel[0][0]", "", 8},
		{"actions[1].parallel[1][0]", "", 8},
		{"actions[1].parallel[1][0].choose[0].do[1]", "", 10},
		{"actions[1].parallel[1][0].choose[0].do[1].else[0]", "", 11}, // of a choose in a choose
		{"actions[2]", "", -1},
		{"actions[2].parallel[0][0]", "1", 13}, // of a block with retry
		{"actions[2].parallel[0][0]", "2", 13},
		{"actions[2].parallel[0][0].do[0]", "1.3.0", 14}, // of a loop with retry in it
		{"actions[2].parallel[0][0].do[0]", "2.1.0", 15},
		{"actions[2].parallel[0][0].do[0].choose[1].do[0]", "2.1.0.4", 17}, // of a block with retry in that
		{"actions[2].parallel[0][0].do[0].else[10]", "2.1.0.11", 17},
		{"actions[20].do[0]", "2", -1}, // what is above it is not there
	}
	for i, s := range steps {
		f.insert(&journal.Step{RunID: "r", Path: s.path, Iteration: s.iteration, Position: i, Action: "x", Status: journal.StepSucceeded, StartedAt: db.At(start)})
	}
	for i, got := range f.run("r").Steps {
		parent := -1
		if got.Parent != nil {
			parent = *got.Parent
		}
		if got.Path != steps[i].path || parent != steps[i].parent {
			t.Errorf("%s %v stands below %d, want %d", got.Path, got.Iteration, parent, steps[i].parent)
		}
	}
}

func TestTraceOfARealRun(t *testing.T) {
	f := newFixture(t, dbtest.SQLite(t))
	f.load(`rules:
  - id: r
    triggers: [{event: custom.x}]
    actions:
      - repeat: {times: 2}
        retry: {attempts: 2, backoff: 1s}
        do:
          - parallel:
              - [{log: left}]
              - - choose: [{when: index == 5, do: [{log: never}]}]
                  else: [{ping: {host: a}}]
      - wait: 1h
`)
	fails := true
	f.pings = func(context.Context, string) (pingOutput, error) {
		if fails {
			fails = false
			return pingOutput{}, errors.New("nobody answers")
		}
		return pingOutput{}, nil
	}
	id := f.begin("custom.x")
	if s := f.run(id).Steps[0]; s.Status != "waiting" || s.DueAt == nil || !s.DueAt.Equal(start.Add(time.Second)) || s.Failures != 1 {
		t.Errorf("the loop between its attempts: %+v", s)
	}
	f.pass(time.Second)
	f.settle()
	var got []string
	run := f.run(id)
	for _, s := range run.Steps {
		line := s.Path + "@" + strings.Join(s.Iteration, ".") + " " + s.Status
		if s.Parent != nil {
			above := run.Steps[*s.Parent]
			line = above.Path + "@" + strings.Join(above.Iteration, ".") + " > " + strings.TrimPrefix(line, above.Path)
		}
		got = append(got, line)
	}
	want := []string{
		"actions[0]@ succeeded",
		"actions[0]@ > .do[0]@1.0 failed",
		"actions[0].do[0]@1.0 > .parallel[0][0]@1.0 succeeded",
		"actions[0].do[0]@1.0 > .parallel[1][0]@1.0 failed",
		"actions[0].do[0].parallel[1][0]@1.0 > .else[0]@1.0 failed",
		"actions[0]@ > .do[0]@2.0 succeeded",
		"actions[0].do[0]@2.0 > .parallel[0][0]@2.0 succeeded",
		"actions[0].do[0]@2.0 > .parallel[1][0]@2.0 succeeded",
		"actions[0].do[0].parallel[1][0]@2.0 > .else[0]@2.0 succeeded",
		"actions[0]@ > .do[0]@2.1 succeeded",
		"actions[0].do[0]@2.1 > .parallel[0][0]@2.1 succeeded",
		"actions[0].do[0]@2.1 > .parallel[1][0]@2.1 succeeded",
		"actions[0].do[0].parallel[1][0]@2.1 > .else[0]@2.1 succeeded",
		"actions[1]@ waiting",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if s := run.Steps[len(run.Steps)-1]; s.DueAt == nil || !s.DueAt.Equal(start.Add(time.Hour+time.Second)) {
		t.Errorf("the wait: %+v", s)
	}
}

func TestLargeInputsAndOutputsAreCut(t *testing.T) {
	f := newFixture(t, dbtest.SQLite(t))
	body := strings.Repeat("ü", 64<<10)
	many := map[string]int{}
	for i := range 20_000 {
		many[fmt.Sprint("key", i)] = i
	}
	f.insert(
		&journal.Run{ID: "r", Status: journal.RunSucceeded, CreatedAt: db.At(start)},
		&journal.Step{RunID: "r", Path: "actions[0]", Input: db.JSON(`{"n":12345678901234567890}`), Output: db.ToJSON(map[string]any{"status": 200, "body": body}), StartedAt: db.At(start)},
		&journal.Step{RunID: "r", Path: "actions[1]", Position: 1, Input: db.ToJSON(many), StartedAt: db.At(start)},
		&journal.Step{RunID: "r", Path: "actions[2]", Position: 2, Input: db.ToJSON(body[:60<<10]), StartedAt: db.At(start)},
	)
	steps := f.run("r").Steps
	var output struct {
		Status int
		Body   string
	}
	if err := json.Unmarshal(steps[0].Output, &output); err != nil {
		t.Fatal(err)
	}
	if !steps[0].Truncated || len(steps[0].Output) > 64<<10 || output.Status != 200 || !strings.HasSuffix(output.Body, "ü… (truncated, 131072 bytes)") {
		t.Errorf("%d bytes, truncated %t, body %q", len(steps[0].Output), steps[0].Truncated, output.Body[len(output.Body)-40:])
	}
	if string(steps[0].Input) != `{"n":12345678901234567890}` {
		t.Errorf("input %s", steps[0].Input)
	}
	if !steps[1].Truncated || !strings.HasPrefix(string(steps[1].Input), `{"truncated":"`) {
		t.Errorf("truncated %t, input %.100s", steps[1].Truncated, steps[1].Input)
	}
	if steps[2].Truncated || len(steps[2].Input) < 60<<10 {
		t.Errorf("truncated %t, %d bytes", steps[2].Truncated, len(steps[2].Input))
	}
	var full runBody
	f.as(plugins.Viewer, "GET", "/api/v1/runs/r?full=true", "").want(200).into(&full)
	if full.Steps[0].Truncated || len(full.Steps[0].Output) < 128<<10 || len(full.Steps[1].Input) < 200_000 {
		t.Errorf("full: %t, %d and %d bytes", full.Steps[0].Truncated, len(full.Steps[0].Output), len(full.Steps[1].Input))
	}
}
