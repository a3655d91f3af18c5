package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"
)

var update = flag.Bool("update", false, "write the golden files anew")

// asProgram makes the test binary be the program itself, so that tests run it
// as its users do.
const asProgram = "FLIGHTRULES_TEST_AS_PROGRAM"

func TestMain(m *testing.M) {
	if os.Getenv(asProgram) == "1" {
		main()
		return
	}
	os.Exit(m.Run())
}

func program(ctx context.Context, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, os.Args[0], args...)
	cmd.Env = append(os.Environ(), asProgram+"=1")
	return cmd
}

// run runs the program and gives what it printed and its exit code.
func run(t *testing.T, args ...string) (stdout, stderr string, code int) {
	t.Helper()
	var out, errs bytes.Buffer
	cmd := program(t.Context(), args...)
	cmd.Stdout, cmd.Stderr = &out, &errs
	err := cmd.Run()
	var exited *exec.ExitError
	if err != nil && !errors.As(err, &exited) {
		t.Fatal(err)
	}
	return out.String(), errs.String(), cmd.ProcessState.ExitCode()
}

func write(t *testing.T, path, text string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

const good = `rules:
  - id: hello
    triggers: [{event: custom.hello}]
    actions: [{log: "hello ${{ event.payload.name }}"}]
`

const bad = `rules:
  - id: hello
    triggers: [{event: satellite.hartbeat_lost}]
    actions: [{lgo: hello}]
`

func TestCheck(t *testing.T) {
	dir := t.TempDir()
	write(t, filepath.Join(dir, "good", "rules.yaml"), good)
	write(t, filepath.Join(dir, "bad", "rules.yaml"), bad)
	t.Chdir(dir)
	for name, c := range map[string]struct {
		args   []string
		code   int
		golden string
	}{
		"good":            {[]string{"check", "good"}, 0, "check-good.txt"},
		"bad":             {[]string{"check", "bad"}, 1, "check-bad.txt"},
		"bad as JSON":     {[]string{"check", "-o", "json", "bad"}, 1, "check-bad.json"},
		"good as JSON":    {[]string{"check", "-o", "json", "good"}, 0, "check-good.json"},
		"bad for GitHub":  {[]string{"check", "-o", "github", "bad"}, 1, "check-bad.github"},
		"no such folder":  {[]string{"check", "nowhere"}, 1, "check-nowhere.txt"},
		"no folder":       {[]string{"check"}, 2, "check-misused.txt"},
		"another output":  {[]string{"check", "-o", "xml", "good"}, 2, "check-output.txt"},
		"an unknown flag": {[]string{"check", "--fast", "good"}, 2, "check-flag.txt"},
	} {
		t.Run(name, func(t *testing.T) {
			out, errs, code := run(t, c.args...)
			if code != c.code {
				t.Errorf("exit %d, want %d", code, c.code)
			}
			golden(t, c.golden, out+errs)
		})
	}
}

// here is the folder of the golden files; tests change theirs.
var here = func() string { dir, _ := os.Getwd(); return dir }()

func golden(t *testing.T, name, got string) {
	t.Helper()
	path := filepath.Join(here, "testdata", name)
	if *update {
		write(t, path, got)
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestExamplesAreGood(t *testing.T) {
	out, errs, code := run(t, "check", filepath.Join(here, "..", "..", "examples"))
	if code != 0 || !strings.HasPrefix(out, "ok: ") {
		t.Errorf("exit %d: %s%s", code, out, errs)
	}
}

func TestVersion(t *testing.T) {
	out, _, code := run(t, "version")
	if code != 0 || !regexp.MustCompile(`^flightrules \S+.* go1\.\d+`).MatchString(out) {
		t.Errorf("exit %d: %q", code, out)
	}
}

func TestDemo(t *testing.T) {
	out, errs, code := run(t, "demo", "--once")
	if code != 0 {
		t.Fatalf("exit %d\n%s\n%s", code, out, errs)
	}
	for _, want := range []string{
		"edge-frankfurt  is killed with SIGKILL", "is declared lost", "status: online -> offline", "last_event: connected -> heartbeat_lost",
		"decision page-when-satellite-is-lost: started", "step     actions[1] http  succeeded", "run      succeeded",
		`the pager received "edge-frankfurt is dark" with Idempotency-Key`,
	} {
		if !strings.Contains(out, want) {
			t.Errorf("the account does not say %q:\n%s", want, out)
		}
	}
}

// serving is an engine in a process of its own.
type serving struct {
	cmd  *exec.Cmd
	url  string
	data string
	log  *bytes.Buffer
}

func serve(t *testing.T, data, rules string) *serving {
	t.Helper()
	return serveAt(t, data, rules, "127.0.0.1:0")
}

func serveAt(t *testing.T, data, rules, listen string) *serving {
	t.Helper()
	s := &serving{data: data, log: &bytes.Buffer{}}
	s.cmd = program(t.Context(), "serve", rules, "--data", data, "--listen", listen)
	s.cmd.Stderr = s.log
	out, err := s.cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := s.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	line, err := bufio.NewReader(out).ReadString('\n')
	if err != nil {
		t.Fatalf("the engine said nothing: %v\n%s", err, s.log)
	}
	s.url = regexp.MustCompile(`http://\S+`).FindString(line)
	t.Cleanup(func() {
		if s.cmd.ProcessState == nil {
			_ = s.cmd.Process.Kill() // it is still there because the test failed
			_ = s.cmd.Wait()
		}
	})
	return s
}

// stop ends the engine as an operator does.
func (s *serving) stop(t *testing.T) {
	t.Helper()
	if err := s.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	if err := s.cmd.Wait(); err != nil {
		t.Fatalf("%v\n%s", err, s.log)
	}
}

// call calls the API and decodes the answer.
func (s *serving) call(t *testing.T, method, path, body string) map[string]any {
	t.Helper()
	text, status := s.ask(t, method, path, body)
	var answer map[string]any
	if err := json.Unmarshal(text, &answer); err != nil {
		t.Fatalf("%s %s: %d: %s", method, path, status, text)
	}
	answer["status_code"] = status
	return answer
}

// page is what is served at a path.
func (s *serving) page(t *testing.T, path string) string {
	t.Helper()
	text, _ := s.ask(t, "GET", path, "")
	return string(text)
}

func (s *serving) ask(t *testing.T, method, path, body string) (text []byte, status int) {
	t.Helper()
	token, err := os.ReadFile(filepath.Join(s.data, "admin.token"))
	if err != nil {
		t.Fatal(err)
	}
	req, err := http.NewRequestWithContext(t.Context(), method, s.url+path, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer "+strings.TrimSpace(string(token)))
	req.Header.Set("Content-Type", "application/json")
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = res.Body.Close() }()
	if text, err = io.ReadAll(res.Body); err != nil {
		t.Fatal(err)
	}
	return text, res.StatusCode
}

func TestServe(t *testing.T) {
	dir := t.TempDir()
	data, rules := filepath.Join(dir, "data"), filepath.Join(dir, "rules")
	write(t, filepath.Join(rules, "a.yaml"), good)
	s := serve(t, data, rules)

	info, err := os.Stat(filepath.Join(data, "admin.token"))
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("the admin token: %v %v", info, err)
	}
	if got := s.call(t, "GET", "/readyz", ""); got["status"] != "ok" {
		t.Errorf("readyz: %v", got)
	}

	s.call(t, "POST", "/api/v1/events", `{"id": "e1", "name": "custom.hello", "payload": {"name": "world"}}`)
	var runs []any
	until(t, func() bool {
		runs = s.call(t, "GET", "/api/v1/runs?status=succeeded", "")["items"].([]any)
		return len(runs) == 1
	})

	// A change of the files takes effect, and one with a mistake does not.
	write(t, filepath.Join(rules, "sub", "b.yaml"), strings.ReplaceAll(good, "id: hello", "id: second"))
	count := func(n int) func() bool {
		return func() bool { return len(s.call(t, "GET", "/api/v1/rules", "")["items"].([]any)) == n }
	}
	until(t, count(2))
	write(t, filepath.Join(rules, "sub", "c.yaml"), bad)
	until(t, func() bool { p, _ := s.call(t, "GET", "/api/v1/rules", "")["problems"].([]any); return len(p) == 3 })
	if !count(2)() {
		t.Error("a file with mistakes changed the rules in force")
	}
	if err := os.Remove(filepath.Join(rules, "sub", "c.yaml")); err != nil {
		t.Fatal(err)
	}
	until(t, func() bool { p, _ := s.call(t, "GET", "/api/v1/rules", "")["problems"].([]any); return len(p) == 0 })

	// A second engine on the same file is told so.
	if _, errs, code := run(t, "serve", rules, "--data", data, "--listen", "127.0.0.1:0"); code != 1 || !strings.Contains(errs, "in use by another process") {
		t.Errorf("a second engine: exit %d: %s", code, errs)
	}
	s.stop(t)

	// What was recorded is there after a restart, and the event is still known.
	s = serve(t, data, rules)
	if got := s.call(t, "POST", "/api/v1/events", `{"id": "e1", "name": "custom.hello", "payload": {"name": "world"}}`); got["status_code"] != http.StatusOK {
		t.Errorf("the same event again: %v", got)
	}
	if again := s.call(t, "GET", "/api/v1/runs", "")["items"].([]any); len(again) != 1 {
		t.Errorf("%d runs after the restart, want 1", len(again))
	}
	s.stop(t)
}

func TestServeRefusesRulesWithMistakes(t *testing.T) {
	dir := t.TempDir()
	write(t, filepath.Join(dir, "rules", "a.yaml"), bad)
	_, errs, code := run(t, "serve", filepath.Join(dir, "rules"), "--data", filepath.Join(dir, "data"), "--listen", "127.0.0.1:0")
	if code != 1 || !strings.Contains(errs, "2 problems in 1 file") {
		t.Errorf("exit %d: %s", code, errs)
	}
}

func TestSatellite(t *testing.T) {
	dir := t.TempDir()
	write(t, filepath.Join(dir, "rules", "a.yaml"), good)
	s := serve(t, filepath.Join(dir, "data"), filepath.Join(dir, "rules"))
	tokenFile := filepath.Join(dir, "edge.token")
	out, errs, code := run(t, "satellite", "token", "edge", "--server", s.url, "--data", s.data, "--region", "eu-west", "--file", tokenFile)
	if code != 0 {
		t.Fatalf("exit %d: %s", code, errs)
	}
	id := regexp.MustCompile(`--id (\S+)`).FindStringSubmatch(out)[1]
	agent := program(t.Context(), "satellite", "run", "--core", s.url, "--id", id, "--token-file", tokenFile)
	if err := agent.Start(); err != nil {
		t.Fatal(err)
	}
	status := func() any { return s.call(t, "GET", "/api/v1/satellites/edge", "")["status"] }
	until(t, func() bool { return status() == "online" })

	// A new token ends the session of the old one, for good.
	if _, errs, code := run(t, "satellite", "token", "edge", "--server", s.url, "--data", s.data, "--file", filepath.Join(dir, "new.token")); code != 0 {
		t.Fatalf("exit %d: %s", code, errs)
	}
	var exited *exec.ExitError
	if err := agent.Wait(); !errors.As(err, &exited) || exited.ExitCode() != 2 {
		t.Errorf("the agent with the old token ended with %v, want exit 2", err)
	}
	if _, errs, code := run(t, "satellite", "run", "--core", s.url, "--id", id, "--token-file", tokenFile); code != 2 {
		t.Errorf("an agent with the old token: exit %d: %s", code, errs)
	}

	// One that is told to stop says goodbye.
	agent = program(t.Context(), "satellite", "run", "--core", s.url, "--id", id, "--token-file", filepath.Join(dir, "new.token"))
	if err := agent.Start(); err != nil {
		t.Fatal(err)
	}
	until(t, func() bool { return status() == "online" })
	if err := agent.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	if err := agent.Wait(); err != nil {
		t.Errorf("an agent that was told to stop: %v", err)
	}
	until(t, func() bool { return status() == "offline" })
	if got := s.call(t, "GET", "/api/v1/satellites/edge", "")["last_event"]; got != "disconnected" {
		t.Errorf("last event %v", got)
	}

	// What an operator sees of it, and the end of it.
	for want, command := range map[string][]string{
		`(?m)^edge  offline  eu-west  20\S+Z  45s  .*` + id + `$`: {"list"},
		`(?m)^status     offline, after disconnected$`:            {"show", "edge"},
		`(?m)^results    0 not delivered yet, 0 refused$`:         {"show", id},
		`"last_event": "disconnected"`:                            {"show", "edge", "-o", "json"},
	} {
		out, errs, code := run(t, append(append([]string{"satellites"}, command...), "--server", s.url, "--data", s.data)...)
		if code != 0 || !regexp.MustCompile(want).MatchString(out) {
			t.Errorf("satellites %v: exit %d: %s%s", command, code, out, errs)
		}
	}
	out, errs, code = run(t, "satellites", "set", "edge", "--region", "us", "--tags", "a=b,c=d", "--threshold", "90s", "--server", s.url, "--data", s.data)
	if code != 0 || out != "satellite edge is changed\n" {
		t.Errorf("exit %d: %s%s", code, out, errs)
	}
	if got := s.call(t, "GET", "/api/v1/satellites/edge", ""); got["region"] != "us" || got["offline_threshold"] != "1m30s" || len(got["tags"].(map[string]any)) != 2 {
		t.Errorf("got %v", got)
	}
	if _, errs, code := run(t, "satellites", "set", "edge", "--server", s.url, "--data", s.data); code != 2 || !strings.Contains(errs, "is wanted") {
		t.Errorf("exit %d: %s", code, errs)
	}
	if out, errs, code := run(t, "satellites", "remove", "edge", "--server", s.url, "--data", s.data); code != 0 || out != "satellite edge is removed\n" {
		t.Errorf("exit %d: %s%s", code, out, errs)
	}
	if _, errs, code := run(t, "satellites", "show", "edge", "--server", s.url, "--data", s.data); code != 1 || !strings.Contains(errs, "no such satellite") {
		t.Errorf("exit %d: %s", code, errs)
	}
	s.stop(t)
}

// until waits for something that another process does.
func until(t *testing.T, holds func() bool) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), waitFor)
	defer cancel()
	for !holds() {
		pause(ctx)
		if ctx.Err() != nil {
			t.Fatal("it did not come true")
		}
	}
}
