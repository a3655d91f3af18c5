package main

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"regexp"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/flightrules/flightrules/internal/client"
)

const tried = `rules:
  - id: greet
    triggers: [{event: custom.hello, where: event.payload.name != "nobody"}]
    actions:
      - log: "hello ${{ event.payload.name }}"
      - wait: 1h
      - http: {method: POST, url: "ADDRESS/greet", headers: {Authorization: "Bearer ${{ secrets.HUB }}"}, json: {name: "${{ event.payload.name }}"}}
  - id: slow
    triggers: [{event: custom.hello, count: 2, within: 1h}]
    actions: [{log: twice}]
`

func TestDryRun(t *testing.T) {
	var called atomic.Int64
	hub := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { called.Add(1) }))
	defer hub.Close()
	dir := t.TempDir()
	t.Chdir(dir)
	rules := strings.ReplaceAll(tried, "ADDRESS", hub.URL) + strings.TrimPrefix(byHand, "rules:\n")
	write(t, filepath.Join(dir, "rules", "a.yaml"), rules)
	write(t, filepath.Join(dir, "world.yaml"), "name: world")
	write(t, filepath.Join(dir, "nobody.json"), `{"name": "nobody"}`)
	write(t, filepath.Join(dir, "edited.yaml"), strings.ReplaceAll(rules, "hello ${{", "good day ${{"))
	s := serve(t, filepath.Join(dir, "data"), "rules")
	do := remotely(t, s)

	event := s.call(t, "POST", "/api/v1/events", `{"name": "custom.hello", "payload": {"name": "nobody"}}`)["id"].(string)
	stamps := regexp.MustCompile(`20\d\d-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z|[0-9a-f]{8}-[0-9a-f-]{27}|` + regexp.QuoteMeta(hub.URL))
	trace := func(name string, args ...string) {
		t.Helper()
		golden(t, name, stamps.ReplaceAllString(do(0, args...), "…"))
	}
	trace("dry-run-payload.txt", "run", "greet", "--dry-run", "--payload", "world.yaml")
	trace("dry-run-no-match.txt", "run", "greet", "--dry-run", "--event", event)
	trace("dry-run-force.txt", "run", "greet", "--dry-run", "--event", event, "--force")
	trace("dry-run-counted.txt", "rules", "run", "slow", "--dry-run", "--event", event)
	trace("dry-run-hand.txt", "run", "hello", "--dry-run", "--input", "name=world")
	if out := do(0, "run", "greet", "--dry-run", "--payload", "world.yaml", "--file", "edited.yaml"); !strings.Contains(out, `"text":"good day world"`) {
		t.Errorf("an edited rule: %s", out)
	}

	var answer struct {
		Run struct {
			Status string
			Steps  []client.Step
		}
		Actions []struct {
			Action string
			Sent   bool
			Config map[string]any
		}
	}
	if err := json.Unmarshal([]byte(do(0, "run", "greet", "--dry-run", "--payload", "world.yaml", "-o", "json")), &answer); err != nil {
		t.Fatal(err)
	}
	if answer.Run.Status != "succeeded" || len(answer.Run.Steps) != 3 || len(answer.Actions) != 1 || answer.Actions[0].Sent || answer.Actions[0].Config["url"] != hub.URL+"/greet" {
		t.Errorf("the answer is %+v", answer)
	}

	// What is wrong is said.
	for want, args := range map[string][]string{
		"no such rule: none":           {"run", "none", "--dry-run"},
		"event nothing: not found":     {"run", "greet", "--dry-run", "--event", "nothing"},
		"one of event_id, payload and": {"run", "greet", "--dry-run", "--event", event, "--payload", "world.yaml"},
		"it has 1":                     {"run", "greet", "--dry-run", "--event", event, "--trigger", "2"},
		"body.inputs.name: ":           {"run", "hello", "--dry-run", "--input", "name=1"},
	} {
		if out := do(1, args...); !strings.Contains(out, want) {
			t.Errorf("%v: %q, want %q", args, out, want)
		}
	}
	for want, args := range map[string][]string{
		"go with --dry-run":     {"run", "greet", "--event", event},
		"no such file":          {"run", "greet", "--dry-run", "--payload", "nowhere.json"},
		"--entity is KIND/ID":   {"run", "greet", "--dry-run", "--payload", "world.yaml", "--entity", "planet"},
		"there is no rule none": {"run", "none", "--dry-run", "--file", "edited.yaml"},
	} {
		if out := do(2, args...); !strings.Contains(out, want) {
			t.Errorf("%v: %q, want %q", args, out, want)
		}
	}
	if called.Load() != 0 {
		t.Error("something was sent")
	}
	if runs := s.call(t, "GET", "/api/v1/runs", "")["items"].([]any); len(runs) != 0 {
		t.Errorf("there are runs: %v", runs)
	}

	// Without the flag it is run.
	if out := do(0, "run", "hello", "--input", "name=world"); !strings.HasPrefix(out, "hello runs: event ") {
		t.Errorf("run: %q", out)
	}
	until(t, func() bool { return len(s.call(t, "GET", "/api/v1/runs?status=succeeded", "")["items"].([]any)) == 1 })
	s.stop(t)
}
