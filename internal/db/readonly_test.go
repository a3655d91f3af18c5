package db_test

import (
	"context"
	"crypto/sha256"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/uptrace/bun"

	"github.com/flightrules/flightrules/internal/db"
	"github.com/flightrules/flightrules/internal/dbtest"
)

func numbers(t *testing.T, url string) *db.DB {
	t.Helper()
	d, err := db.Open(t.Context(), url, db.Options{NoSync: true})
	if err != nil {
		t.Fatal(err)
	}
	exec(t, d, "CREATE TABLE numbers (n BIGINT)")
	exec(t, d, "INSERT INTO numbers VALUES (1), (2)")
	return d
}

func exec(t *testing.T, d *db.DB, statement string) {
	t.Helper()
	if err := d.Write(t.Context(), func(ctx context.Context, tx bun.Tx) error {
		_, err := tx.ExecContext(ctx, statement)
		return err
	}); err != nil {
		t.Fatal(err)
	}
}

// folder is what a folder holds, by name.
func folder(t *testing.T, dir string) map[string][32]byte {
	t.Helper()
	files := map[string][32]byte{}
	list, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range list {
		text, err := os.ReadFile(filepath.Join(dir, f.Name()))
		if err != nil {
			t.Fatal(err)
		}
		files[f.Name()] = sha256.Sum256(text)
	}
	return files
}

func sum(t *testing.T, d *db.DB) (n int) {
	t.Helper()
	if err := d.Read().NewSelect().Table("numbers").ColumnExpr("SUM(n)").Scan(t.Context(), &n); err != nil {
		t.Fatal(err)
	}
	return n
}

func TestOpenReadOnly(t *testing.T) {
	t.Run("a database that nobody has open is read without a trace, also in a folder that nobody may write to", func(t *testing.T) {
		url := dbtest.SQLite(t)
		if err := numbers(t, url).Close(); err != nil {
			t.Fatal(err)
		}
		dir := filepath.Dir(strings.TrimPrefix(url, "sqlite:"))
		if err := os.Chmod(dir, 0o500); err != nil {
			t.Fatal(err)
		}
		defer func() { _ = os.Chmod(dir, 0o700) }()
		before := folder(t, dir)
		d, err := db.OpenReadOnly(t.Context(), url)
		if err != nil {
			t.Fatal(err)
		}
		if got := sum(t, d); got != 3 {
			t.Errorf("read %d", got)
		}
		if err := d.Close(); err != nil {
			t.Error(err)
		}
		after := folder(t, dir)
		if len(before) != len(after) {
			t.Errorf("there are the files %v", after)
		}
		for name, text := range before {
			if after[name] != text {
				t.Errorf("%s was changed", name)
			}
		}
	})

	t.Run("a database that is in use is read with what is committed, and its owner goes on", func(t *testing.T) {
		dbtest.Each(t, func(t *testing.T, url string) {
			owner := numbers(t, url)
			d, err := db.OpenReadOnly(t.Context(), url)
			if err != nil {
				t.Fatal(err)
			}
			exec(t, owner, "INSERT INTO numbers VALUES (4)")
			if got := sum(t, d); got != 7 {
				t.Errorf("read %d", got)
			}
			if err := errors.Join(owner.Close(), d.Close()); err != nil {
				t.Error(err)
			}
			again, err := db.Open(t.Context(), url, db.Options{NoSync: true})
			if err != nil {
				t.Fatal(err)
			}
			if err := again.Close(); err != nil {
				t.Error(err)
			}
		})
	})

	t.Run("writes are refused", func(t *testing.T) {
		dbtest.Each(t, func(t *testing.T, url string) {
			owner := numbers(t, url)
			defer func() { _ = owner.Close() }()
			d, err := db.OpenReadOnly(t.Context(), url)
			if err != nil {
				t.Fatal(err)
			}
			defer func() { _ = d.Close() }()
			if err := d.Write(t.Context(), func(ctx context.Context, tx bun.Tx) error {
				_, err := tx.ExecContext(ctx, "INSERT INTO numbers VALUES (4)")
				return err
			}); err == nil || !slices.ContainsFunc([]string{"readonly", "read-only"}, func(s string) bool { return strings.Contains(err.Error(), s) }) {
				t.Errorf("%v", err)
			}
		})
	})

	t.Run("whoever begins to work on a file that nobody had open is noticed", func(t *testing.T) {
		url := dbtest.SQLite(t)
		if err := numbers(t, url).Close(); err != nil {
			t.Fatal(err)
		}
		d, err := db.OpenReadOnly(t.Context(), url)
		if err != nil {
			t.Fatal(err)
		}
		owner, err := db.Open(t.Context(), url, db.Options{NoSync: true})
		if err != nil {
			t.Fatal(err)
		}
		exec(t, owner, "INSERT INTO numbers VALUES (4)")
		if err := errors.Join(owner.Close()); err != nil {
			t.Fatal(err)
		}
		if err := d.Close(); !errors.Is(err, db.ErrChanged) {
			t.Errorf("%v", err)
		}
	})

	t.Run("a file that is not there is not made", func(t *testing.T) {
		url := dbtest.SQLite(t)
		if _, err := db.OpenReadOnly(t.Context(), url); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("%v", err)
		}
		if files := folder(t, filepath.Dir(strings.TrimPrefix(url, "sqlite:"))); len(files) > 0 {
			t.Errorf("there are the files %v", files)
		}
	})
}
