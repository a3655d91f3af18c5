// Package dbtest gives tests fresh, empty databases: a SQLite file, and a
// database on a throw-away PostgreSQL.
//
// The PostgreSQL is started on first use, one for each test process, and ends
// with the process, however that ends. The environment can say otherwise:
//
//   - FLIGHTRULES_TEST_POSTGRES is the URL of a server where the user may create
//     databases; it is used, and nothing is started.
//   - FLIGHTRULES_TEST_STRICT=1 makes a test fail that would be skipped because
//     PostgreSQL is not installed.
//
// All functions may be called from parallel tests. They talk to real sockets in
// real time, so call them outside a synctest bubble.
package dbtest

import (
	"path/filepath"
	"testing"
)

// Each runs fn as the sub-tests "sqlite" and "postgres", each with the URL of a
// fresh, empty database.
func Each(t *testing.T, fn func(t *testing.T, url string)) {
	t.Helper()
	t.Run("sqlite", func(t *testing.T) { fn(t, SQLite(t)) })
	t.Run("postgres", func(t *testing.T) { fn(t, Postgres(t)) })
}

// SQLite returns the URL of a database file that does not exist yet, in the
// test's own temporary folder: "sqlite:/path/to/file".
func SQLite(t testing.TB) string {
	t.Helper()
	return "sqlite:" + filepath.Join(t.TempDir(), "flightrules.db")
}
