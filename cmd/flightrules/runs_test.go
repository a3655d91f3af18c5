package main

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"regexp"
	"strings"
	"sync/atomic"
	"testing"
)

const acting = `rules:
  - id: nested
    triggers: [{event: custom.nested}]
    actions:
      - id: hosts
        repeat: {for_each: "['web-1', 'web-2']"}
        do:
          - parallel:
              - [{log: "${{ item }}"}]
              - - choose: [{when: index == 0, do: [{log: "the first"}]}]
                  else: [{log: "another\u001b[31m one"}]
      - choose: [{when: event.depth == 1, do: [{log: never}]}]
      - repeat: {times: 1}
        retry: {attempts: 2, backoff: 1ms}
        on_error: continue
        do: [{http: {url: "URL/broken"}}]
      - log: never
        if: event.depth == 1
      - wait: 1h
  - id: shaky
    mode: parallel
    retry: {attempts: 2, backoff: 1ms}
    triggers: [{event: custom.shaky}]
    actions:
      - log: once
      - http: {url: "URL/shaky"}
  - id: queue
    mode: single
    retry: {attempts: 2, backoff: 1ms}
    triggers: [{event: custom.queue}]
    actions:
      - http: {url: "URL/shaky"}
      - wait: 1h
`

// settled makes a text the same whenever and as often as it is printed.
func settled(text, url string) string {
	text = strings.ReplaceAll(text, url, "URL")
	text = regexp.MustCompile(`[0-9a-f]{8}-[0-9a-f-]{27}`).ReplaceAllString(text, "ID")
	text = regexp.MustCompile(`\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ`).ReplaceAllString(text, "TIME")
	return regexp.MustCompile(`took [0-9.ms]+`).ReplaceAllString(text, "took D")
}

func TestRuns(t *testing.T) {
	var well atomic.Bool
	outside := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/broken" || !well.Load() {
			w.WriteHeader(http.StatusInternalServerError)
		}
	}))
	defer outside.Close()
	dir := t.TempDir()
	write(t, filepath.Join(dir, "rules", "a.yaml"), strings.ReplaceAll(acting, "URL", outside.URL))
	s := serve(t, filepath.Join(dir, "data"), filepath.Join(dir, "rules"))
	do := remotely(t, s)
	post := func(event string) {
		s.call(t, "POST", "/api/v1/events", fmt.Sprintf(`{"name":%q}`, event))
	}
	list := func(args ...string) (list []shownRun) {
		t.Helper()
		if err := json.Unmarshal([]byte(do(0, append([]string{"runs", "-o", "json"}, args...)...)), &list); err != nil {
			t.Fatal(err)
		}
		return list
	}

	// A trace is a tree, and cannot steer the terminal.
	post("custom.nested")
	until(t, func() bool {
		runs := list("--rule", "nested", "--status", "waiting")
		return len(runs) == 1 && strings.Contains(do(0, "runs", "show", runs[0].ID), "actions[4] wait  waiting")
	})
	nested := list()[0].ID
	golden(t, "runs-show.txt", settled(do(0, "runs", "show", nested), outside.URL))
	var trace shownRun
	if err := json.Unmarshal([]byte(do(0, "runs", "show", nested, "-o", "json")), &trace); err != nil || trace.ID != nested || len(trace.Steps) < 10 {
		t.Errorf("show: %+v, %v", trace, err)
	}

	// What is followed ends when the run does.
	followed := make(chan string)
	go func() {
		out, _, _ := run(t, "runs", "show", nested, "-f", "--server", s.url, "--data", s.data)
		followed <- out
	}()
	if out := do(0, "runs", "cancel", nested, "--reason", "not today"); out != "run "+nested+" of nested is cancelled\n" {
		t.Errorf("cancel: %q", out)
	}
	if out := <-followed; !strings.Contains(out, "■ actions[4] wait  cancelled") || !strings.HasSuffix(out, "\n  error  cancelled by token:admin: not today\n") {
		t.Errorf("follow: %s", out)
	}
	if out := do(0, "runs", "show", nested, "-f", "-o", "json"); !strings.Contains(out, `"status": "cancelled"`) {
		t.Errorf("follow: %s", out)
	}
	if out := do(1, "runs", "cancel", nested); !strings.Contains(out, "the run has ended") {
		t.Errorf("cancel of what has ended: %q", out)
	}
	if out := do(1, "runs", "retry", nested); !strings.Contains(out, "the run has not failed: it is cancelled") {
		t.Errorf("retry of what was cancelled: %q", out)
	}

	// Dead letters.
	if out := do(0, "runs", "retry", "--dead"); out != "there are no dead letters\n" {
		t.Errorf("retry: %q", out)
	}
	post("custom.shaky")
	post("custom.shaky")
	until(t, func() bool { return len(list("--dead")) == 2 })
	for n := range 2 {
		post("custom.queue")
		until(t, func() bool { return len(list("--dead", "--rule", "queue")) == n+1 })
	}
	if out := do(0, "runs", "list", "--dead", "--rule", "shaky", "--limit", "1"); !regexp.MustCompile(
		`^ID +RULE   STATUS         BEGAN +TOOK +ERROR\n\S+  shaky  failed \(dead\)  \S+Z  \S+ +actions\[1\]: .*\nthere are more than 1: see --limit\n$`).MatchString(out) {
		t.Errorf("list: %q", out)
	}
	if page := s.page(t, "/metrics"); !strings.Contains(page, "\nflightrules_runs_dead 4\n") {
		t.Error("the metrics do not count the dead letters")
	}
	well.Store(true)
	one := list("--rule", "shaky")[0]
	if out := do(0, "runs", "retry", one.ID); out != "run "+one.ID+" of shaky goes on: attempt 3\n" {
		t.Errorf("retry: %q", out)
	}
	until(t, func() bool { return len(list("--status", "succeeded", "--event", one.EventID)) == 1 })
	if out := do(0, "runs", "retry", "--dead", "--rule", "shaky"); !regexp.MustCompile(`^run \S+ of shaky goes on: attempt 3\n1 of 1 dead letter retried\n$`).MatchString(out) {
		t.Errorf("retry: %q", out)
	}
	// Their rule admits one at a time.
	var done []retried
	if err := json.Unmarshal([]byte(do(1, "runs", "retry", "--dead", "-o", "json")), &done); err != nil || len(done) != 2 ||
		done[0].Error != "" || !strings.HasPrefix(done[1].Error, "another run is active: "+done[0].ID) {
		t.Errorf("retry: %+v, %v", done, err)
	}
	if out := do(1, "runs", "retry", "--dead", "--yes"); !strings.Contains(out, "is not retried: another run is active") || !strings.HasSuffix(out, "0 of 1 dead letter retried\n") {
		t.Errorf("retry: %q", out)
	}

	t.Run("at a terminal", func(t *testing.T) {
		at := []string{"--server", s.url, "--data", s.data}
		screen, code := atTerminal(t, "no\n", append([]string{"runs", "retry", "--dead"}, at...)...)
		if code != 1 || !strings.Contains(screen, "retry 1 dead letter? [y/N] ") || !strings.Contains(screen, "nothing was retried") {
			t.Errorf("exit %d: %s", code, screen)
		}
		screen, code = atTerminal(t, "y\n", append([]string{"runs", "retry", "--dead"}, at...)...)
		if code != 1 || !strings.Contains(screen, "0 of 1 dead letter retried") {
			t.Errorf("exit %d: %s", code, screen)
		}
		if screen, _ = atTerminal(t, "", append([]string{"runs", "show", nested}, at...)...); !strings.Contains(screen, "\x1b[33m■ cancelled\x1b[0m") {
			t.Errorf("no colours: %q", screen)
		}
		t.Setenv("NO_COLOR", "1")
		if screen, _ = atTerminal(t, "", append([]string{"runs", "show", nested}, at...)...); strings.Contains(screen, "\x1b") {
			t.Errorf("colours: %q", screen)
		}
	})

	do(1, "runs", "show", "none")
	do(1, "runs", "--status", "lost")
	do(2, "runs", "none")
	do(2, "runs", "--limit", "0")
	do(2, "runs", "show")
	do(2, "runs", "retry")
	do(2, "runs", "retry", nested, "--dead")
	do(2, "runs", "retry", nested, "--yes")
	do(2, "runs", "list", "-o", "xml")
	s.stop(t)
}
