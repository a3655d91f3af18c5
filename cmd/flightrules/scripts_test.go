package main

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// TestScripts publishes a folder, has the agent of a satellite run it as a check,
// with a secret that is stored, and publishes another.
func TestScripts(t *testing.T) {
	dir := t.TempDir()
	rules, data, folder := filepath.Join(dir, "rules"), filepath.Join(dir, "data"), filepath.Join(dir, "disk")
	write(t, filepath.Join(rules, "a.yaml"), `
satellites:
  - {name: edge}
scripts:
  - {name: disk, satellites: {names: [edge]}}
secrets:
  - {name: disk_key, stored: true}
checks:
  - id: disk
    script: {path: disk/check.sh, args: [data]}
    interval: 1s
    failures: 1
    successes: 1
    satellites: {}
    secret_env: {KEY: disk_key}
`)
	publish := func(script string) {
		t.Helper()
		write(t, filepath.Join(folder, "check.sh"), "#!/bin/sh\n"+script)
		if err := os.Chmod(filepath.Join(folder, "check.sh"), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	keyFile := filepath.Join(dir, "key")
	key, _, _ := run(t, "secrets", "key")
	write(t, keyFile, key)
	t.Setenv("FLIGHTRULES_SECRETS_KEY_FILE", keyFile)
	s := serve(t, data, rules)
	ask := func(args ...string) string {
		t.Helper()
		out, errs, code := run(t, append(args, "--server", s.url, "--data", s.data)...)
		if code != 0 {
			t.Fatalf("%s: exit %d: %s", args, code, errs)
		}
		return out
	}
	write(t, filepath.Join(dir, "value"), "hunter2\n")
	ask("secrets", "set", "disk_key", "--file", filepath.Join(dir, "value"))
	publish(`echo "$1 with $KEY in $(ls "$FLIGHTRULES_FILES")"; exit 2`)
	if out := ask("scripts", "publish", "disk", folder); !strings.Contains(out, "1 files") {
		t.Errorf("published: %s", out)
	}
	tokenFile := filepath.Join(dir, "edge.token")
	ask("satellite", "token", "edge", "--file", tokenFile)
	arguments := []string{"satellite", "run", "--core", s.url, "--id", "edge", "--token-file", tokenFile, "--data", filepath.Join(dir, "agent")}
	if os.Geteuid() == 0 {
		arguments = append(arguments, "--script-user", "root")
	}
	agent := program(t.Context(), arguments...)
	if err := agent.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = agent.Process.Kill()
		_ = agent.Wait() // it was killed
	})
	check := func() map[string]any {
		state, _ := s.call(t, "GET", "/api/v1/checks/disk", "")["state"].(map[string]any)
		return state
	}
	until(t, func() bool { return check()["status"] == "down" })
	if got := check()["message"]; got != "data with **** in check.sh" {
		t.Errorf("it says %q", got)
	}
	publish("exit 0")
	ask("scripts", "publish", "disk", folder)
	until(t, func() bool { return check()["status"] == "up" })

	var shown struct{ Files struct{ Status string } }
	if err := json.Unmarshal([]byte(ask("satellites", "show", "edge", "-o", "json")), &shown); err != nil || shown.Files.Status != "ready" {
		t.Errorf("%+v, %v", shown, err)
	}
	if out := ask("satellites", "show", "edge"); !strings.Contains(out, "check: 1 assigned\n") {
		t.Errorf("shown: %s", out)
	}
	if out := ask("scripts", "list"); strings.Count(out, "disk ") != 2 || !strings.Contains(out, "to satellites, as the newest") {
		t.Errorf("listed: %s", out)
	}
	if out := ask("scripts", "show", "disk"); !strings.Contains(out, "check.sh") {
		t.Errorf("shown: %s", out)
	}
	if out := ask("secrets", "uses", "disk_key"); !strings.Contains(out, "satellite:edge check:disk") || strings.Contains(out, "hunter2") {
		t.Errorf("uses: %s", out)
	}
	if _, errs, code := run(t, "scripts", "remove", "disk", "--server", s.url, "--data", s.data); code == 0 || !strings.Contains(errs, "a file gives these scripts to satellites") {
		t.Errorf("removed: exit %d: %s", code, errs)
	}
	write(t, filepath.Join(rules, "a.yaml"), "satellites: [{name: edge}]\n")
	until(t, func() bool { return s.call(t, "GET", "/api/v1/satellites/edge", "")["files"] == nil })
	if diff := cmp.Diff("scripts disk is removed\n", ask("scripts", "remove", "disk")); diff != "" {
		t.Error(diff)
	}
	s.stop(t)
}
