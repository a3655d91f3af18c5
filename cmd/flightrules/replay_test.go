package main

import (
	"bytes"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/flightrules/flightrules/internal/replay"
)

const calling = `rules:
  - id: call
    mode: parallel
    triggers: [{event: custom.alarm, where: event.payload.level > %d}]
    actions: [{http: {method: POST, url: "%s/${{ event.payload.level }}"}}]
`

func TestReplay(t *testing.T) {
	var called atomic.Int64
	pager := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		called.Add(1)
		w.WriteHeader(http.StatusNoContent)
	}))
	defer pager.Close()
	dir := t.TempDir()
	t.Chdir(dir)
	write(t, filepath.Join(dir, "rules", "a.yaml"), fmt.Sprintf(calling, 5, pager.URL))
	write(t, filepath.Join(dir, "changed", "a.yaml"), fmt.Sprintf(calling, 3, pager.URL))
	data := filepath.Join(dir, "data")
	s := serve(t, data, "rules")
	for level := range 10 {
		s.call(t, "POST", "/api/v1/events", fmt.Sprintf(`{"name": "custom.alarm", "payload": {"level": %d}}`, level))
	}
	until(t, func() bool { return called.Load() == 4 })
	until(t, func() bool { return strings.Count(string(mustAsk(t, s, "/api/v1/runs")), `"succeeded"`) == 4 })
	url := "sqlite:" + filepath.Join(data, "flightrules.db")

	result := func(args ...string) replay.Report {
		t.Helper()
		out, errs, code := run(t, append([]string{"replay", "-o", "json"}, args...)...)
		var r replay.Report
		if err := json.Unmarshal([]byte(out), &r); code != 0 || err != nil {
			t.Fatalf("%v: exit %d, %v: %s%s", args, code, err, out, errs)
		}
		return r
	}
	want := func(r replay.Report, both, would, did int) {
		t.Helper()
		if b, w, d := r.Totals(); b != both || w != would || d != did {
			t.Errorf("%d both, %d would, %d did; want %d, %d, %d", b, w, d, both, would, did)
		}
	}

	t.Run("beside the engine that is at work", func(t *testing.T) {
		want(result("--db", url), 4, 0, 0)
		want(result("--db", url, "changed"), 4, 2, 0)
		want(result("--db", url, filepath.Join("changed", "a.yaml"), "--rule", "call", "--since", "1h"), 4, 2, 0)
		s.call(t, "POST", "/api/v1/events", `{"name": "custom.alarm", "payload": {"level": 4}}`)
		want(result("--db", url, "changed"), 4, 3, 0)
	})

	t.Run("by the API of the engine", func(t *testing.T) {
		body, err := json.Marshal(map[string]any{"files": map[string]string{"a.yaml": read(t, filepath.Join("changed", "a.yaml"))}, "rules": []string{"call"}})
		if err != nil {
			t.Fatal(err)
		}
		text, status := s.ask(t, "POST", "/api/v1/replay", string(body))
		var r replay.Report
		if err := json.Unmarshal(text, &r); status != http.StatusOK || err != nil {
			t.Fatalf("%d: %s", status, text)
		}
		want(r, 4, 3, 0)
		if text, status := s.ask(t, "POST", "/api/v1/replay?format=svg", "{}"); status != http.StatusOK || !bytes.HasPrefix(text, []byte("<svg ")) {
			t.Errorf("%d: %.200s", status, text)
		}
		for want, body := range map[string]string{
			"invalid_rules": `{"files": {"a.yaml": "rules: [{id: x}]"}}`,
			"unknown_rule":  `{"rules": ["nobody"]}`,
			"no rules to":   `{"files": {"a.yaml": "kinds: []"}}`,
			"until":         `{"until": "yesterday"}`,
		} {
			if text, status := s.ask(t, "POST", "/api/v1/replay", body); status != http.StatusUnprocessableEntity || !strings.Contains(string(text), want) {
				t.Errorf("%d: %s", status, text)
			}
		}
	})

	t.Run("as an export", func(t *testing.T) {
		out, errs, code := run(t, "export", "--db", url)
		if code != 0 {
			t.Fatal(errs)
		}
		write(t, "log.ndjson", out)
		want(result("--from", "log.ndjson", "changed"), 4, 3, 0)
		cmd := program(t.Context(), "replay", "--from", "-", "changed", "--svg", "out.svg")
		cmd.Stdin = strings.NewReader(out)
		table, err := cmd.Output()
		if err != nil || !strings.Contains(string(table), "3 would have fired, 4 fired in both, 0 fired and would not") || !strings.Contains(string(table), pager.URL+"/4") {
			t.Errorf("%v: %s", err, table)
		}
		if picture := read(t, "out.svg"); !strings.HasPrefix(picture, "<svg ") {
			t.Errorf("%.100s", picture)
		}
	})

	t.Run("of a database that nobody has open, without a trace", func(t *testing.T) {
		s.stop(t)
		before := bytesOf(t, data)
		want(result("--db", url, "changed"), 4, 3, 0)
		for name, sum := range bytesOf(t, data) {
			if before[name] != sum {
				t.Errorf("%s is another file than before", name)
			}
		}
		if len(bytesOf(t, data)) != len(before) {
			t.Error("there are other files than before")
		}
	})

	t.Run("at a terminal there is a bar, and it is gone at the end", func(t *testing.T) {
		screen, code := atTerminal(t, "", "replay", "--db", url)
		bar := strings.Index(screen, "replay                   [")
		if end := strings.LastIndex(screen, clearLine); code != 0 || bar < 0 || end < bar || !strings.Contains(screen, "100%") {
			t.Errorf("exit %d: %q", code, screen)
		}
	})

	t.Run("misuse", func(t *testing.T) {
		for want, args := range map[int][][]string{
			2: {{"replay", "-o", "xml"}, {"replay", "--db", url, "--from", "x"}, {"replay", "--since", "soon"}, {"replay", "--as-recorded", "changed"}},
			1: {{"replay", "--db", "sqlite:nowhere.db"}, {"replay", "--from", filepath.Join("changed", "a.yaml")}, {"replay", "--db", url, "--rule", "nobody"}, {"replay", "--db", url, "nowhere"},
				{"replay", "--db", url, "changed", "./changed"}},
		} {
			for _, one := range args {
				if out, errs, code := run(t, one...); code != want || errs == "" {
					t.Errorf("%v: exit %d, want %d: %s%s", one, code, want, out, errs)
				}
			}
		}
		if _, err := os.Stat("nowhere.db"); err == nil {
			t.Error("a database was made")
		}
	})

	if n := called.Load(); n != 4 {
		t.Errorf("the pager was called %d times", n)
	}
}

func mustAsk(t *testing.T, s *serving, path string) []byte {
	t.Helper()
	text, status := s.ask(t, "GET", path, "")
	if status != http.StatusOK {
		t.Fatalf("%s: %d", path, status)
	}
	return bytes.Clone(text)
}

// bytesOf are the sums of the files in a folder.
func bytesOf(t *testing.T, dir string) map[string][32]byte {
	t.Helper()
	list, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	sums := map[string][32]byte{}
	for _, f := range list {
		sums[f.Name()] = sha256.Sum256([]byte(read(t, filepath.Join(dir, f.Name()))))
	}
	return sums
}
