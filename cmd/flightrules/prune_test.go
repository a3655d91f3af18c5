package main

import (
	"fmt"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestPrune(t *testing.T) {
	dir := t.TempDir()
	write(t, filepath.Join(dir, "rules", "a.yaml"), "retention:\n  events: {max: 1}\n")
	s := serve(t, filepath.Join(dir, "data"), filepath.Join(dir, "rules"))
	do := remotely(t, s)
	until(t, func() bool { return len(s.call(t, "GET", "/api/v1/rules", "")["items"].([]any)) == 0 })
	for i := range 3 {
		s.call(t, "POST", "/api/v1/events", fmt.Sprintf(`{"id": "e%d", "name": "custom.x"}`, i))
	}
	// What is yet to be routed stays.
	until(t, func() bool {
		return do(0, "prune", "--dry-run") == "TABLE   WOULD GO\nevents  2\n"
	})
	if diff := cmp.Diff("TABLE   REMOVED\nevents  2\n", do(0, "prune")); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff("there is nothing to remove\n", do(0, "prune")); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff("{\n  \"dry_run\": true,\n  \"rows\": {}\n}\n", do(0, "prune", "--dry-run", "-o", "json")); diff != "" {
		t.Error(diff)
	}
	if got := len(s.call(t, "GET", "/api/v1/events", "")["items"].([]any)); got != 1 {
		t.Errorf("%d events are left", got)
	}
	do(2, "prune", "now")
	s.stop(t)
}
