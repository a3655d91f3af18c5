package main

import (
	"bufio"
	"encoding/csv"
	"encoding/json"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

const historyRules = `kinds:
  - name: room
    fields:
      name: {type: string}
      status: {type: string, enum: [ok, failing]}
rules:
  - id: hello
    triggers: [{event: custom.hello}]
    actions: [{log: hello}]
`

// TestHistoryCommands does by commands what the API can.
func TestHistoryCommands(t *testing.T) {
	dir := t.TempDir()
	data, rules := filepath.Join(dir, "data"), filepath.Join(dir, "rules")
	write(t, filepath.Join(rules, "a.yaml"), historyRules)
	write(t, filepath.Join(dir, "room.yaml"), "name: Kitchen\nstatus: ok\n")
	write(t, filepath.Join(dir, "bad.json"), `{"status": "failing"}`)
	s := serve(t, data, rules)
	ask := func(args ...string) string {
		t.Helper()
		out, errs, code := run(t, append(args, "--server", s.url, "--data", s.data)...)
		if code != 0 {
			t.Fatalf("%s: exit %d: %s%s", args, code, out, errs)
		}
		return out
	}
	says := func(want string, args ...string) {
		t.Helper()
		if out := ask(args...); !strings.Contains(out, want) {
			t.Errorf("%s prints %q, want %q in it", args, out, want)
		}
	}
	refuses := func(want string, code int, args ...string) {
		t.Helper()
		if out, errs, got := run(t, append(args, "--server", s.url, "--data", s.data)...); got != code || !strings.Contains(errs, want) {
			t.Errorf("%s: exit %d: %q %q, want %d and %q", args, got, out, errs, code, want)
		}
	}

	follow := program(t.Context(), "transitions", "-f", "-o", "json", "--kind", "room", "--server", s.url, "--data", s.data)
	followed, err := follow.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := follow.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = follow.Process.Kill()
		_ = follow.Wait() // it was killed
	})
	lines := make(chan string)
	go func() {
		defer close(lines)
		for scanner := bufio.NewScanner(followed); scanner.Scan(); {
			lines <- scanner.Text()
		}
	}()
	next := func() (version int) {
		t.Helper()
		select {
		case line := <-lines:
			var shown struct{ Version int }
			if err := json.Unmarshal([]byte(line), &shown); err != nil {
				t.Fatalf("%q: %v", line, err)
			}
			return shown.Version
		case <-time.After(30 * time.Second):
			t.Fatal("nothing came")
		}
		return 0
	}
	// It is not known from outside when it listens: until then nothing comes.
	listens := false
	for i := 0; !listens; i++ {
		ask("entities", "set", "room", "lobby", filepath.Join(dir, "room.yaml"))
		ask("entities", "remove", "room", "lobby")
		select {
		case <-lines:
			listens = true
		case <-time.After(200 * time.Millisecond):
		}
	}
	for drained := false; !drained; {
		select {
		case <-lines:
		case <-time.After(1500 * time.Millisecond):
			drained = true
		}
	}

	says("room kitchen is set", "entities", "set", "room", "kitchen", filepath.Join(dir, "room.yaml"))
	if v := next(); v != 1 {
		t.Errorf("followed version %d", v)
	}
	says("room kitchen is set", "entities", "set", "--merge", "room", "kitchen", filepath.Join(dir, "bad.json"))
	if v := next(); v != 2 {
		t.Errorf("followed version %d", v)
	}
	// The engine is restarted: who follows misses nothing.
	address := strings.TrimPrefix(s.url, "http://")
	s.stop(t)
	s = serveAt(t, data, rules, address)
	says("room kitchen is set", "entities", "set", "room", "kitchen", filepath.Join(dir, "room.yaml"))
	if v := next(); v != 3 {
		t.Errorf("followed version %d", v)
	}

	says("kitchen  Kitchen  ok", "entities", "list", "room", "--search", "KITCH", "--status", "ok")
	says("version 3", "entities", "show", "room", "kitchen")
	refuses("must be one of", 1, "entities", "set", "room", "x", writeTemp(t, dir, `{"status": "odd"}`))
	refuses("no such", 1, "entities", "show", "room", "cellar")
	says("status: ok -> failing", "transitions", "--kind", "room", "--id", "kitchen", "--field", "status")
	refuses("--field does not go with -f", 2, "transitions", "-f", "--field", "status")
	rows, err := csv.NewReader(strings.NewReader(ask("transitions", "export", "--format", "csv", "--kind", "room", "--id", "kitchen"))).ReadAll()
	if err != nil || len(rows) != 4 {
		t.Errorf("exported %v, %v", rows, err)
	}

	says("event deploy-1: custom.hello", "events", "post", "custom.hello", "--id", "deploy-1", "--payload", filepath.Join(dir, "room.yaml"), "--entity", "room/kitchen")
	until(t, func() bool { return strings.Contains(ask("decisions", "--rule", "hello"), "started") })
	says(`payload: {"name":"Kitchen","status":"ok"}`, "events", "show", "deploy-1")
	says("hello: started", "events", "show", "deploy-1")
	says("room/kitchen", "events", "--name", "custom.hello")
	refuses("begins with custom.", 1, "events", "post", "other.hello")

	refuses("only --rule goes with -f", 2, "runs", "-f", "--status", "failed")
	says("room: 1  1 ok", "overview")
	says("runs: 0 queued", "overview")
	ann := filepath.Join(dir, "ann.token")
	says("the token of ann is in "+ann, "token", "create", "ann", "--role", "viewer", "--ends", "1h", "--file", ann)
	if out := ask("token", "create", "bob"); !strings.HasPrefix(out, "frt_") {
		t.Errorf("printed %q", out)
	}
	if _, errs, code := run(t, "entities", "list", "room", "--server", s.url, "--token-file", ann); code != 0 {
		t.Errorf("with the new token: %s", errs)
	}
	if _, errs, code := run(t, "audit", "--server", s.url, "--token-file", ann); code != 1 || !strings.Contains(errs, "role admin") {
		t.Errorf("a viewer reads the audit: %s", errs)
	}
	says("ann ", "token", "list")
	says("token ann is revoked", "token", "revoke", "ann")
	refuses("there is no token ann", 1, "token", "revoke", "ann")
	says("POST /api/v1/tokens", "audit")

	if out, _, code := run(t, "completion", "bash"); code != 0 || !strings.Contains(out, "flightrules") {
		t.Error("there is no completion for the shell")
	}
	s.stop(t)
}

// writeTemp writes a file of some name.
func writeTemp(t *testing.T, dir, text string) string {
	t.Helper()
	path := filepath.Join(dir, "temp.json")
	write(t, path, text)
	return path
}
