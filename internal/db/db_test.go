package db_test

import (
	"context"
	"errors"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"testing/fstest"
	"time"

	"github.com/uptrace/bun"

	"github.com/flightrules/flightrules/internal/db"
	"github.com/flightrules/flightrules/internal/dbtest"
)

func open(t *testing.T, url string) *db.DB {
	t.Helper()
	d, err := db.Open(t.Context(), url, db.Options{NoSync: true})
	must(t, err)
	t.Cleanup(func() { must(t, d.Close()) })
	return d
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func files(pairs ...string) fs.FS {
	m := fstest.MapFS{}
	for i := 0; i < len(pairs); i += 2 {
		m[pairs[i]] = &fstest.MapFile{Data: []byte(pairs[i+1])}
	}
	return m
}

const table = "CREATE TABLE things (id {{identity}}, name TEXT UNIQUE, at BIGINT, doc TEXT);"

type thing struct {
	bun.BaseModel `bun:"table:things"`

	ID   int64   `bun:"id,pk,autoincrement"`
	Name string  `bun:"name"`
	At   db.Time `bun:"at"`
	Doc  db.JSON `bun:"doc"`
}

func withTable(t *testing.T, url string) *db.DB {
	t.Helper()
	d := open(t, url)
	must(t, d.Migrate(t.Context(), db.Migrations{Owner: "test", Files: files("0001_things.sql", table)}))
	return d
}

func insert(ctx context.Context, tx bun.IDB, name string) error {
	_, err := tx.NewInsert().Model(&thing{Name: name}).ExcludeColumn("id").Returning("NULL").Exec(ctx)
	return err
}

func count(t *testing.T, d *db.DB) int {
	t.Helper()
	n, err := d.Read().NewSelect().Model((*thing)(nil)).Count(t.Context())
	must(t, err)
	return int(n)
}

func TestWrite(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, url string) {
		d := withTable(t, url)
		ctx := t.Context()
		boom := errors.New("boom")

		t.Run("an error takes everything back", func(t *testing.T) {
			err := d.Write(ctx, func(ctx context.Context, tx bun.Tx) error { return errors.Join(insert(ctx, tx, "a"), boom) })
			if !errors.Is(err, boom) || count(t, d) != 0 {
				t.Errorf("%v, %d rows", err, count(t, d))
			}
		})
		t.Run("a savepoint is taken back alone", func(t *testing.T) {
			must(t, d.Write(ctx, func(ctx context.Context, tx bun.Tx) error {
				must(t, insert(ctx, tx, "kept"))
				err := db.Savepoint(ctx, tx, func(ctx context.Context, tx bun.Tx) error { return errors.Join(insert(ctx, tx, "b"), boom) })
				if !errors.Is(err, boom) {
					t.Error(err)
				}
				return nil
			}))
			if count(t, d) != 1 {
				t.Errorf("%d rows, want 1", count(t, d))
			}
		})
		t.Run("a write inside a write is refused", func(t *testing.T) {
			err := d.Write(ctx, func(ctx context.Context, _ bun.Tx) error {
				return d.Write(ctx, func(context.Context, bun.Tx) error { return nil })
			})
			if !errors.Is(err, db.ErrNested) {
				t.Error(err)
			}
		})
		t.Run("a second row of one key is told as that", func(t *testing.T) {
			err := d.Write(ctx, func(ctx context.Context, tx bun.Tx) error { return insert(ctx, tx, "kept") })
			if !db.IsUnique(err) || db.Conflict(err) {
				t.Error(err)
			}
			if db.IsUnique(boom) {
				t.Error("any error is taken for that")
			}
		})
		t.Run("readers go on while somebody writes", func(t *testing.T) {
			before := count(t, d)
			must(t, d.Write(ctx, func(ctx context.Context, tx bun.Tx) error {
				must(t, insert(ctx, tx, "unseen"))
				if n := count(t, d); n != before {
					t.Errorf("a reader sees %d rows, want %d", n, before)
				}
				return nil
			}))
		})
		t.Run("times and JSON come back as they were", func(t *testing.T) {
			at := time.Date(2026, 3, 1, 12, 0, 0, 123456789, time.FixedZone("x", 3600))
			in := thing{Name: "values", At: db.At(at), Doc: db.JSON(`{"b": 1, "a": [1.0]}`)}
			must(t, d.Write(ctx, func(ctx context.Context, tx bun.Tx) error {
				_, err := tx.NewInsert().Model(&in).ExcludeColumn("id").Returning("NULL").Exec(ctx)
				return err
			}))
			var out thing
			must(t, d.Read().NewSelect().Model(&out).Where("name = ?", "values").Scan(ctx))
			if !out.At.Equal(at.Truncate(time.Microsecond)) || out.At.Location() != time.UTC || string(out.Doc) != string(in.Doc) {
				t.Errorf("got %+v", out)
			}
			var none thing
			must(t, d.Read().NewSelect().Model(&none).Where("name = ?", "kept").Scan(ctx))
			if !none.At.IsZero() || none.At.Ptr() != nil || none.Doc != nil {
				t.Errorf("null became %+v", none)
			}
		})
		t.Run("the pool for reading cannot write on SQLite", func(t *testing.T) {
			if d.Postgres() {
				return // one pool for both
			}
			if err := insert(ctx, d.Read(), "no"); err == nil {
				t.Error("it wrote")
			}
		})
	})
}

func TestLostConflictsAreRepeated(t *testing.T) {
	d := withTable(t, dbtest.Postgres(t))
	ctx := t.Context()
	must(t, d.Write(ctx, func(ctx context.Context, tx bun.Tx) error {
		return errors.Join(insert(ctx, tx, "a"), insert(ctx, tx, "b"))
	}))
	touch := func(ctx context.Context, tx bun.Tx, name string) error {
		_, err := tx.NewUpdate().Model((*thing)(nil)).Set("at = COALESCE(at, 0) + 1").Where("name = ?", name).Exec(ctx)
		return err
	}
	// Both hold one row and then want the other's: a deadlock, every time.
	var both sync.WaitGroup
	both.Add(2)
	var once [2]sync.Once
	var wg sync.WaitGroup
	for i, order := range [][]string{{"a", "b"}, {"b", "a"}} {
		wg.Go(func() {
			err := d.Write(ctx, func(ctx context.Context, tx bun.Tx) error {
				if err := touch(ctx, tx, order[0]); err != nil {
					return err
				}
				once[i].Do(func() {
					both.Done()
					both.Wait()
				})
				return touch(ctx, tx, order[1])
			})
			if err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	var sum int64
	must(t, d.Read().NewSelect().Model((*thing)(nil)).ColumnExpr("SUM(at)").Scan(ctx, &sum))
	if sum != 4 {
		t.Errorf("%d updates, want 4", sum)
	}
}

func TestMigrate(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, url string) {
		ctx := t.Context()
		d := open(t, url)
		one := files("0001_things.sql", table)
		must(t, d.Migrate(ctx, db.Migrations{Owner: "test", Files: one}))
		must(t, d.Migrate(ctx, db.Migrations{Owner: "test", Files: one})) // a second time changes nothing
		for name, c := range map[string]struct {
			files fs.FS
			want  string
		}{
			"a file that was changed after it was applied": {files("0001_things.sql", table+"\n-- more"), "not the one that was applied"},
			"a gap in the numbers":                         {files("0001_things.sql", table, "0003_x.sql", ""), "file number 2 is missing"},
			"a bad name":                                   {files("things.sql", ""), "not called NNNN_name.sql"},
			"one that fails":                               {files("0001_things.sql", table, "0002_bad.sql", "CREATE TABLE half (a TEXT); CREATE TABLE broken ("), "migrate test to 0002_bad"},
		} {
			err := d.Migrate(ctx, db.Migrations{Owner: "test", Files: c.files})
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("%s: %v, want %q", name, err, c.want)
			}
		}
		if _, err := d.Read().ExecContext(ctx, "SELECT * FROM half"); err == nil {
			t.Error("a migration that failed left half of itself behind")
		}
		must(t, d.Migrate(ctx, db.Migrations{Owner: "test", Files: files("0001_things.sql", table, "0002_more.sql", "CREATE TABLE more (a TEXT);")}))
		if err := d.Migrate(ctx, db.Migrations{Owner: "test", Files: one}); err == nil || !strings.Contains(err.Error(), "run the newer program") {
			t.Errorf("an older program: %v", err)
		}
		if err := d.Migrate(ctx, db.Migrations{Owner: "x", Files: one}, db.Migrations{Owner: "x", Files: one}); err == nil {
			t.Error("two sets of one name were accepted")
		}
	})
}

func TestManyNodesMigrateAtOnce(t *testing.T) {
	url := dbtest.Postgres(t)
	var wg sync.WaitGroup
	for range 5 {
		d := open(t, url)
		wg.Go(func() {
			if err := d.Migrate(t.Context(), db.Migrations{Owner: "test", Files: files("0001_things.sql", table, "0002_more.sql", "CREATE TABLE more (a TEXT);")}); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
}

func TestASQLiteFileHasOneProcess(t *testing.T) {
	url := "sqlite:" + filepath.Join(t.TempDir(), "with a space & more.db")
	first, err := db.Open(t.Context(), url, db.Options{})
	must(t, err)
	if _, err := db.Open(t.Context(), url, db.Options{}); !errors.Is(err, db.ErrLocked) {
		t.Errorf("a second opening: %v", err)
	}
	must(t, first.Close())
	second, err := db.Open(t.Context(), url, db.Options{})
	must(t, err)
	must(t, second.Close())
}

func TestOpenRefuses(t *testing.T) {
	for ref, want := range map[string]string{
		"mysql://x":                            "write sqlite:PATH or postgres://",
		"sqlite:":                              "a path must follow",
		"postgres://u:secret@127.0.0.1:1/x":    "u:xxxxx@",
		"postgres://u:secret@127.0.0.1:port/x": "does not parse",
	} {
		_, err := db.Open(t.Context(), ref, db.Options{})
		if err == nil || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "secret") {
			t.Errorf("%s: %v, want %q", ref, err, want)
		}
	}
}

func TestADamagedFileIsFound(t *testing.T) {
	path := filepath.Join(t.TempDir(), "x.db")
	open := func() (*db.DB, error) { return db.Open(t.Context(), "sqlite:"+path, db.Options{CacheKiB: 100}) }
	d, err := open()
	if err != nil {
		t.Fatal(err)
	}
	if err := d.Write(t.Context(), func(ctx context.Context, tx bun.Tx) error {
		_, err := tx.ExecContext(ctx, "CREATE TABLE x AS WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 9999) SELECT i FROM n")
		return err
	}); err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(d.Check(t.Context()), d.Close()); err != nil {
		t.Fatal(err)
	}
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	clear(b[len(b)/2:])
	if err := os.WriteFile(path, b, 0o600); err != nil {
		t.Fatal(err)
	}
	d, err = open()
	if err != nil {
		t.Fatal(err)
	}
	if err := d.Check(t.Context()); !db.Corrupt(err) {
		t.Errorf("got %v", err)
	}
	if err := d.Close(); err != nil {
		t.Error(err)
	}
	if err := os.WriteFile(path, []byte(strings.Repeat("no database ", 100)), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := open(); !db.Corrupt(err) {
		t.Errorf("got %v", err)
	}
	if db.Corrupt(errors.New("another")) || db.Corrupt(nil) {
		t.Error("everything is damage")
	}
}

func TestHints(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, url string) {
		here := withTable(t, url)
		hint, cancel := here.Subscribe("topic")
		defer cancel()
		other, cancelOther := here.Subscribe("other")
		defer cancelOther()

		t.Run("one comes after the commit, and none without it", func(t *testing.T) {
			must(t, here.Write(t.Context(), func(ctx context.Context, _ bun.Tx) error {
				db.HintAfter(ctx, "topic")
				select {
				case <-hint:
					t.Error("it came before the commit")
				default:
				}
				return nil
			}))
			<-hint
			err := here.Write(t.Context(), func(ctx context.Context, _ bun.Tx) error {
				db.HintAfter(ctx, "topic")
				return errors.New("boom")
			})
			select {
			case <-hint:
				t.Errorf("it came though nothing was written (%v)", err)
			case <-other:
				t.Error("another topic was told")
			default:
			}
		})

		if !here.Postgres() {
			return
		}
		t.Run("one reaches the other nodes", func(t *testing.T) {
			there := open(t, url)
			ctx, stop := context.WithCancel(t.Context())
			var wg sync.WaitGroup
			for _, d := range []*db.DB{here, there} {
				wg.Go(func() {
					if err := d.RunHints(ctx, slog.New(slog.DiscardHandler)); err != nil {
						t.Error(err)
					}
				})
			}
			far, cancel := there.Subscribe("topic")
			defer cancel()
			<-far // the first is for whatever was missed before it listened
			here.Hint("topic")
			<-far
			stop()
			wg.Wait()
		})
	})
}
