package dbtest_test

import (
	"net/url"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"

	"github.com/flightrules/flightrules/internal/dbtest"
	"github.com/flightrules/flightrules/internal/dbtest/cluster"
)

func TestEach(t *testing.T) {
	t.Run("the function runs once on each database, under its name", func(t *testing.T) {
		want := []string{"sqlite"}
		if _, err := cluster.Find(); err == nil || os.Getenv("FLIGHTRULES_TEST_POSTGRES") != "" {
			want = append(want, "postgres")
		}
		var names, schemes []string
		dbtest.Each(t, func(t *testing.T, url string) {
			names = append(names, t.Name()[strings.LastIndex(t.Name(), "/")+1:])
			schemes = append(schemes, url[:strings.Index(url, ":")])
		})
		if !slices.Equal(names, want) {
			t.Errorf("ran the sub-tests %v, want %v", names, want)
		}
		if !slices.Equal(schemes, want) {
			t.Errorf("gave URLs of %v, want %v", schemes, want)
		}
	})
}

func TestSQLite(t *testing.T) {
	t.Run("every call names another file that does not exist", func(t *testing.T) {
		a, b := dbtest.SQLite(t), dbtest.SQLite(t)
		if a == b {
			t.Errorf("twice the same database: %s", a)
		}
		path, ok := strings.CutPrefix(a, "sqlite:")
		if !ok {
			t.Fatalf("URL %q does not begin with sqlite:", a)
		}
		if _, err := os.Stat(path); !os.IsNotExist(err) {
			t.Errorf("stat %s: %v, want that it does not exist", path, err)
		}
	})
}

func TestPostgres(t *testing.T) {
	t.Run("the database is empty and allows everything", func(t *testing.T) {
		conn := connect(t, dbtest.Postgres(t))
		var tables int
		scan(t, conn, &tables, "SELECT count(*) FROM pg_tables WHERE schemaname = 'public'")
		if tables != 0 {
			t.Errorf("%d tables in a fresh database", tables)
		}
		if _, err := conn.Exec(t.Context(), "CREATE TABLE planets (name text)"); err != nil {
			t.Error(err)
		}
	})

	t.Run("every call makes another database on the same server", func(t *testing.T) {
		a, b := parse(t, dbtest.Postgres(t)), parse(t, dbtest.Postgres(t))
		if a.Path == b.Path {
			t.Errorf("twice the same database: %s", a)
		}
		if a.Host != b.Host {
			t.Errorf("two servers: %s and %s", a.Host, b.Host)
		}
	})

	t.Run("the end of the test drops the database under open connections", func(t *testing.T) {
		var name string
		var left *pgx.Conn
		t.Run("a test that leaves a connection open", func(t *testing.T) {
			u := dbtest.Postgres(t)
			name = parse(t, u).Path[1:]
			var err error
			if left, err = pgx.Connect(t.Context(), u); err != nil {
				t.Fatal(err)
			}
		})
		if left == nil {
			t.Skip("no database was made")
		}
		if err := left.Ping(t.Context()); err == nil {
			t.Error("the connection outlived its database")
		}
		var exists bool
		scan(t, connect(t, dbtest.Postgres(t)), &exists, "SELECT EXISTS (SELECT FROM pg_database WHERE datname = $1)", name)
		if exists {
			t.Errorf("database %s is still there", name)
		}
	})

	t.Run("the server that the environment names is used with its parameters", func(t *testing.T) {
		server := parse(t, dbtest.Postgres(t))
		server.RawQuery = "sslmode=disable&application_name=orbit"
		t.Setenv("FLIGHTRULES_TEST_POSTGRES", server.String())
		var application string
		scan(t, connect(t, dbtest.Postgres(t)), &application, "SHOW application_name")
		if application != "orbit" {
			t.Errorf("application_name is %q, want orbit", application)
		}
	})

	t.Run("an address that is no URL of a PostgreSQL ends the test and says what one looks like", func(t *testing.T) {
		t.Setenv("FLIGHTRULES_TEST_POSTGRES", "host=localhost")
		r := record(t, func(tb testing.TB) { dbtest.Postgres(tb) })
		if !r.failed || !strings.Contains(r.message, "postgres://user@127.0.0.1:5432/postgres") {
			t.Errorf("failed %v with %q", r.failed, r.message)
		}
	})
}

func TestWithoutPostgres(t *testing.T) {
	for _, c := range []struct {
		name, strict    string
		failed, skipped bool
	}{
		{name: "the test is skipped", skipped: true},
		{name: "the test fails in strict mode", strict: "1", failed: true},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Setenv("FLIGHTRULES_TEST_STRICT", c.strict)
			r := record(t, func(tb testing.TB) { dbtest.Unavailable(tb, cluster.ErrNotInstalled) })
			if r.failed != c.failed || r.skipped != c.skipped {
				t.Errorf("failed %v, skipped %v, want %v, %v", r.failed, r.skipped, c.failed, c.skipped)
			}
			for _, hint := range []string{"PostgreSQL is not installed", "apt-get install postgresql", "FLIGHTRULES_TEST_POSTGRES"} {
				if !strings.Contains(r.message, hint) {
					t.Errorf("message %q does not name %q", r.message, hint)
				}
			}
		})
	}
}

func connect(t *testing.T, url string) *pgx.Conn {
	t.Helper()
	conn, err := pgx.Connect(t.Context(), url)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		// The context of the test is over by now.
		if err := conn.PgConn().Conn().Close(); err != nil {
			t.Error(err)
		}
	})
	return conn
}

func scan(t *testing.T, conn *pgx.Conn, into any, query string, args ...any) {
	t.Helper()
	if err := conn.QueryRow(t.Context(), query, args...).Scan(into); err != nil {
		t.Fatalf("%s: %v", query, err)
	}
}

func parse(t *testing.T, raw string) *url.URL {
	t.Helper()
	u, err := url.Parse(raw)
	if err != nil {
		t.Fatal(err)
	}
	return u
}
