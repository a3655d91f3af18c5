package dbtest

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"net/url"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/flightrules/flightrules/internal/dbtest/cluster"
)

const (
	envServer = "FLIGHTRULES_TEST_POSTGRES"
	envStrict = "FLIGHTRULES_TEST_STRICT"
)

// patience bounds one request to the server. It is generous, because the
// machine may be running many tests at once.
const patience = 60 * time.Second

// Postgres returns the URL of a fresh, empty database:
// "postgres://user@127.0.0.1:port/name?sslmode=disable". The database is
// dropped at the end of the test, even when connections to it are still open.
// Without a PostgreSQL the test is skipped, or fails if FLIGHTRULES_TEST_STRICT
// is 1.
func Postgres(t testing.TB) string {
	t.Helper()
	server, err := serverURL()
	if errors.Is(err, cluster.ErrNotInstalled) {
		unavailable(t, err)
	}
	if err != nil {
		t.Fatalf("start PostgreSQL: %v", err)
	}
	name := "flightrules_" + strings.ToLower(rand.Text())
	if err := execute(server, "CREATE DATABASE "+pgx.Identifier{name}.Sanitize()+" TEMPLATE template0"); err != nil {
		t.Fatalf("create a test database: %v", err)
	}
	t.Cleanup(func() {
		if err := execute(server, "DROP DATABASE "+pgx.Identifier{name}.Sanitize()+" WITH (FORCE)"); err != nil {
			t.Errorf("drop the test database: %v", err)
		}
	})
	return withDatabase(server, name)
}

// unavailable ends the test that cannot have a PostgreSQL.
func unavailable(t testing.TB, err error) {
	t.Helper()
	message := fmt.Sprintf("%v: install it (Debian: apt-get install postgresql; macOS: brew install postgresql) "+
		"or name a server in %s", err, envServer)
	if os.Getenv(envStrict) == "1" {
		t.Fatal(message)
	}
	t.Skip(message)
}

// serverURL returns the server that the environment names, else that of this
// process's own cluster.
func serverURL() (*url.URL, error) {
	raw := os.Getenv(envServer)
	if raw == "" {
		own, err := ownCluster()
		if err != nil {
			return nil, err
		}
		raw = own.URL()
	}
	server, err := url.Parse(raw)
	if err != nil || (server.Scheme != "postgres" && server.Scheme != "postgresql") {
		return nil, fmt.Errorf("%s must be a URL like postgres://user@127.0.0.1:5432/postgres", envServer)
	}
	return server, nil
}

// ownCluster starts the cluster on the first call. The result is held until the
// process ends, because the cluster ends when it is collected as garbage.
var ownCluster = sync.OnceValues(func() (*cluster.Cluster, error) {
	programs, err := cluster.Find()
	if err != nil {
		return nil, err
	}
	return cluster.Start(context.Background(), programs)
})

// execute runs one statement on a connection of its own: a pool would keep
// goroutines that tests for leaks would find.
func execute(server *url.URL, statement string) error {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	conn, err := pgx.Connect(ctx, server.String())
	if err != nil {
		return err
	}
	_, err = conn.Exec(ctx, statement)
	return errors.Join(err, conn.Close(ctx))
}

func withDatabase(server *url.URL, name string) string {
	u := *server
	u.Path = "/" + name
	return u.String()
}
