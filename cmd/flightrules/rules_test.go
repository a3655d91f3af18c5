package main

import (
	"encoding/json"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/flightrules/flightrules/internal/client"
	"github.com/google/go-cmp/cmp"
)

const byHand = `rules:
  - id: hello
    triggers:
      - manual: true
        inputs:
          name: {type: string}
          times: {type: integer, default: 1}
    actions: [{log: "hello ${{ event.payload.name }}"}]
`

// remotely runs commands against an engine, and fails the test on another exit
// code.
func remotely(t *testing.T, s *serving) func(code int, args ...string) string {
	return func(code int, args ...string) string {
		t.Helper()
		out, errs, got := run(t, append(args, "--server", s.url, "--data", s.data)...)
		if got != code {
			t.Fatalf("%v: exit %d, want %d: %s%s", args, got, code, out, errs)
		}
		return out + errs
	}
}

func TestRules(t *testing.T) {
	dir := t.TempDir()
	t.Chdir(dir)
	write(t, filepath.Join(dir, "rules", "a.yaml"), byHand)
	s := serve(t, filepath.Join(dir, "data"), "rules")
	do := remotely(t, s)

	if diff := cmp.Diff("ID     STATE   MODE    FILE\nhello  active  single  rules/a.yaml:2\n", do(0, "rules", "list")); diff != "" {
		t.Error(diff)
	}
	if out := do(0, "rules", "pause", "hello", "--reason", "too loud"); !regexp.MustCompile(`^hello is paused by token:admin since \S+Z: too loud\n$`).MatchString(out) {
		t.Errorf("pause: %q", out)
	}
	if out := do(0, "rules", "show", "hello"); !strings.Contains(out, "hello is paused by") || !strings.Contains(out, "rules/a.yaml:2\n") || !strings.Contains(out, "manual: true") {
		t.Errorf("show: %q", out)
	}
	var list []client.Rule
	if err := json.Unmarshal([]byte(do(0, "rules", "list", "-o", "json")), &list); err != nil || len(list) != 1 || list[0].Paused == nil || list[0].Paused.Reason != "too loud" {
		t.Errorf("list: %+v, %v", list, err)
	}
	if out := do(0, "rules", "resume", "hello"); out != "hello is active\n" {
		t.Errorf("resume: %q", out)
	}

	var event struct {
		ID      string
		Payload map[string]any
	}
	if err := json.Unmarshal([]byte(do(0, "rules", "run", "hello", "--input", "name='1'", "--input", "times=3", "-o", "json")), &event); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(map[string]any{"name": "1", "times": 3.0}, event.Payload); diff != "" {
		t.Error(diff)
	}
	until(t, func() bool {
		return len(s.call(t, "GET", "/api/v1/runs?status=succeeded", "")["items"].([]any)) == 1
	})
	if out := do(0, "rules", "run", "hello", "--input", "name=world"); !strings.HasPrefix(out, "hello runs: event ") {
		t.Errorf("run: %q", out)
	}

	// What is wrong is said with its place.
	if out := do(1, "rules", "run", "hello", "--input", "name=world", "--input", "times=many"); !strings.Contains(out, "body.inputs.times: ") {
		t.Errorf("a bad input: %q", out)
	}
	if out := do(1, "rules", "pause", "none"); !strings.Contains(out, "no such rule: none") {
		t.Errorf("no such rule: %q", out)
	}
	do(2, "rules", "run", "hello", "--input", "name")
	do(2, "rules", "list", "-o", "xml")
	do(2, "rules", "show")
	s.stop(t)
}

func TestSilences(t *testing.T) {
	dir := t.TempDir()
	write(t, filepath.Join(dir, "rules", "a.yaml"), good)
	s := serve(t, filepath.Join(dir, "data"), filepath.Join(dir, "rules"))
	do := remotely(t, s)

	out := do(0, "silence", "add", "--id", "move", "--match", `event.name == "custom.hello"`, "--for", "2h", "--reason", "we move")
	if !regexp.MustCompile(`^silence move: from \S+Z until \S+Z\n$`).MatchString(out) {
		t.Errorf("add: %q", out)
	}
	var made client.Silence
	if err := json.Unmarshal([]byte(do(0, "silence", "add", "--match", "true", "--start", "2090-01-01T00:00:00Z", "--end", "2090-01-02T00:00:00Z", "--reason", "r", "-o", "json")), &made); err != nil || made.Author != "token:admin" {
		t.Errorf("add: %+v, %v", made, err)
	}
	list := func(args ...string) (list []client.Silence) {
		t.Helper()
		if err := json.Unmarshal([]byte(do(0, append([]string{"silences", "list", "-o", "json"}, args...)...)), &list); err != nil {
			t.Fatal(err)
		}
		return list
	}
	if len(list()) != 2 {
		t.Errorf("list: %+v", list())
	}
	if out := do(0, "silences", "list"); !strings.Contains(out, "ID ") || !strings.Contains(out, "  token:admin  event.name == \"custom.hello\"  we move\n") {
		t.Errorf("list: %q", out)
	}
	if out := do(0, "silence", "end", "move"); out != "silence move ends now\n" {
		t.Errorf("end: %q", out)
	}
	until(t, func() bool { return len(list()) == 1 && len(list("--all")) == 2 })

	if out := do(1, "silence", "add", "--match", "event.naem", "--for", "2h", "--reason", "r"); !strings.Contains(out, "body.match: at character 7: ") {
		t.Errorf("a bad matcher: %q", out)
	}
	do(1, "silence", "end", "none")
	do(2, "silence", "add", "--match", "true", "--reason", "r")
	do(2, "silence", "add", "--match", "true", "--reason", "r", "--for", "1h", "--end", "2090-01-02T00:00:00Z")
	do(2, "silence", "add", "--for", "1h")
	s.stop(t)
}

func TestInputs(t *testing.T) {
	got, err := inputsOf([]string{
		"text=hello", "number=3", "large=9007199254740993", "part=0.5", "yes=true", "quoted='3'", "none=", "day=2026-01-31",
		"note=a: b", "dash=- a", "list=[1, b]", "map={a: 1}", "equals=a=b",
	})
	if err != nil {
		t.Fatal(err)
	}
	want := map[string]any{
		"text": "hello", "number": 3, "large": 9007199254740993, "part": 0.5, "yes": true, "quoted": "3", "none": nil, "day": "2026-01-31",
		"note": "a: b", "dash": "- a", "list": []any{1, "b"}, "map": map[string]any{"a": 1}, "equals": "a=b",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	for _, bad := range []string{"", "name", "=x", "x=.nan", "x=*a", "x='", "x={1: 2, [a]: 3}"} {
		if got, err := inputsOf([]string{bad}); err == nil {
			t.Errorf("%q: %v, want an error", bad, got)
		}
	}
}
