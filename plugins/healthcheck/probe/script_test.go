//go:build unix

package probe_test

import (
	"context"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/flightrules/flightrules/internal/scriptrun"
	"github.com/flightrules/flightrules/plugins"
	"github.com/flightrules/flightrules/plugins/healthcheck/probe"
)

// scripts is a folder with one script.
func scripts(t *testing.T, text string) (job plugins.Job, released *int) {
	t.Helper()
	dir := t.TempDir()
	if err := os.MkdirAll(filepath.Join(dir, "disk"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "disk", "check.sh"), []byte("#!/bin/sh\n"+text), 0o755); err != nil {
		t.Fatal(err)
	}
	released = new(int)
	return plugins.Job{Files: func() (string, func(), error) { return dir, func() { *released++ }, nil }}, released
}

func runScript(t *testing.T, spec string, job plugins.Job) (string, error) {
	t.Helper()
	job.Spec = json.RawMessage(spec)
	payload, err := probe.Runner{Scripts: &scriptrun.Config{AllowRoot: true}}.Run(t.Context(), job)
	if err != nil {
		return "", err
	}
	var r probe.Report
	if err := json.Unmarshal(payload, &r); err != nil {
		t.Fatal(err)
	}
	if r.LatencyUS <= 0 {
		t.Errorf("it took %d µs", r.LatencyUS)
	}
	return strings.TrimSpace(string(r.Outcome) + " " + r.Message), nil
}

func TestScripts(t *testing.T) {
	for _, c := range []struct{ text, more, want string }{
		{"exit 0", "", "up"},
		{"echo all good", "", "up"},
		{"echo nearly full; echo more; exit 1", "", "degraded nearly full"},
		{"exit 1", "", "degraded the script ended with 1"},
		{"echo; echo full >&2; exit 2", "", "down full"},
		{"exit 7", "", "down the script ended with 7"},
		{"kill -KILL $$", "", "down the script was ended: killed"},
		{"echo no such disk; exit 3", "", "error: the script could not look: no such disk"},
		{`echo '{"free": 12}'`, `"assert": ["result.json.free > 10"]`, "up"},
		{`echo '{"free": 8}'`, `"assert": ["result.json.free > 10"]`, `down the assertion "result.json.free > 10" does not hold`},
		{"echo hello", `"assert": ["result.stdout contains \"hell\"", "result.exit_code == 0", "result.json == nil"]`, "up"},
		{"sleep 0.05", `"degraded_above": "10ms"`, "degraded it took"},
		{`echo "$1/$#"; ls "$FLIGHTRULES_FILES"; exit 2`, `"script": {"path": "disk/check.sh", "args": ["a b", "c"]}`, "down a b/2"},
		{`ls "$FLIGHTRULES_FILES"; exit 2`, "", "down check.sh"},
	} {
		job, released := scripts(t, c.text)
		spec := `{"script": {"path": "disk/check.sh"}`
		if c.more != "" {
			spec += ", " + c.more
		}
		got, err := runScript(t, spec+"}", job)
		if err != nil {
			got = "error: " + err.Error()
		}
		if !strings.HasPrefix(got, c.want) {
			t.Errorf("%s: %s, want %s", c.text, got, c.want)
		}
		if *released != 1 {
			t.Errorf("%s: the files were let go of %d times", c.text, *released)
		}
	}
}

func TestAScriptsSecrets(t *testing.T) {
	job, _ := scripts(t, `echo "key $KEY"; exit 2`)
	job.Secrets = map[string]map[string]string{"script": nil}
	job.Env = func(_ context.Context, collector string) (map[string]string, error) {
		if collector != "script" {
			t.Errorf("it asks for %s", collector)
		}
		return map[string]string{"KEY": "hunter2"}, nil
	}
	if got, err := runScript(t, `{"script": {"path": "disk/check.sh"}}`, job); got != "down key hunter2" { // the schedule masks it
		t.Errorf("%s, %v", got, err)
	}
	job.Env = func(context.Context, string) (map[string]string, error) { return nil, errors.New("the core is away") }
	if got, err := runScript(t, `{"script": {"path": "disk/check.sh"}}`, job); err == nil || err.Error() != "the core is away" {
		t.Errorf("%s, %v", got, err)
	}
}

func TestScriptsThatCannotRun(t *testing.T) {
	job, _ := scripts(t, "")
	if _, err := runScript(t, `{"script": {"path": "disk/none.sh"}}`, job); err == nil || !strings.Contains(err.Error(), "no such file") {
		t.Errorf("a file that is not there: %v", err)
	}
	job.Files = func() (string, func(), error) { return "", nil, errors.New("this satellite has no files yet") }
	if _, err := runScript(t, `{"script": {"path": "disk/check.sh"}}`, job); err == nil || !strings.Contains(err.Error(), "has no files yet") {
		t.Errorf("no files: %v", err)
	}
	job.Spec = json.RawMessage(`{"script": {"path": "disk/check.sh"}}`)
	if _, err := (probe.Runner{}).Run(t.Context(), job); err == nil || !strings.Contains(err.Error(), "scripts do not run here") {
		t.Errorf("where they do not run: %v", err)
	}
	job, _ = scripts(t, "sleep 60")
	job.Spec = json.RawMessage(`{"script": {"path": "disk/check.sh"}}`)
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	payload, err := probe.Runner{Scripts: &scriptrun.Config{AllowRoot: true}}.Run(ctx, job)
	if err != nil || !strings.Contains(string(payload), `"down"`) || !strings.Contains(string(payload), "no answer within its time") {
		t.Errorf("one that takes too long: %s, %v", payload, err)
	}
}

func TestMistakesOfScripts(t *testing.T) {
	for spec, want := range map[string]string{
		`{"script": {"path": "check.sh"}}`:                                "script: path: write the name of the scripts and the file",
		`{"script": {"path": "disk/../../x"}}`:                            `script: path "disk/../../x": it must stay inside`,
		`{"script": {"path": ""}}`:                                        `script: path "": it has from 1 to 500 bytes`,
		`{"script": {"path": "a/b", "args": ["${{ env.KEY }}"]}}`:         "script: args: everybody on the machine sees them",
		`{"script": {"path": "a/b"}, "assert": ["result.stdot == \"\""]}`: "assert[0]:",
	} {
		var s probe.Spec
		if err := json.Unmarshal([]byte(spec), &s); err != nil {
			t.Fatal(err)
		}
		if err := s.Check(); err == nil || !strings.HasPrefix(err.Error(), want) {
			t.Errorf("%s: %v, want %s", spec, err, want)
		}
	}
}
