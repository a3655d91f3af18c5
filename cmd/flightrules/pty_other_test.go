//go:build !linux

package main

import "testing"

// atTerminal skips the test: how a terminal is made differs between systems.
func atTerminal(t *testing.T, _ string, _ ...string) (screen string, code int) {
	t.Skip("terminals are made on Linux alone")
	return "", 0
}
