package main

import (
	"path/filepath"
	"strings"
	"testing"
)

// TestChecks makes a check that the core looks at, and shows what comes of it.
func TestChecks(t *testing.T) {
	dir := t.TempDir()
	write(t, filepath.Join(dir, "rules", "a.yaml"), "checks: [{id: kept, local: true, dns: {name: localhost}}]\n")
	s := serve(t, filepath.Join(dir, "data"), filepath.Join(dir, "rules"))
	call := func(code int, part string, args ...string) {
		t.Helper()
		out, errs, got := run(t, append(append([]string{"checks"}, args...), "--server", s.url, "--data", s.data)...)
		if got != code || !strings.Contains(out+errs, part) {
			t.Errorf("checks %s: exit %d, %s%s; want %d and %s", args, got, out, errs, code, part)
		}
	}
	file := filepath.Join(dir, "port.yaml")
	write(t, file, "id: port\ntcp: {address: \"127.0.0.1:1\"}\nlocal: true\ninterval: 1s\nfailures: 1\n")
	call(0, "check port is set", "set", "port", file)
	until(t, func() bool {
		state, _ := s.call(t, "GET", "/api/v1/checks/port", "")["state"].(map[string]any)
		return state["status"] == "down"
	})
	call(0, "down", "list")
	call(0, "over the API", "show", "port")
	call(0, "connection refused", "results", "port")
	call(1, "can only be changed there", "set", "kept", file)
	write(t, file, "tcp: {address: nowhere}\nlocal: true\n")
	call(1, "is not host:port", "set", "port", file)
	write(t, file, "tcp: [\n")
	call(1, "yaml", "set", "port", file)
	call(1, "no such file", "set", "port", filepath.Join(dir, "none"))
	call(0, "check port is removed", "remove", "port")
	call(1, "no such check", "show", "port")
	s.stop(t)
}
