package db_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/uptrace/bun"

	"github.com/flightrules/flightrules/internal/db"
	"github.com/flightrules/flightrules/internal/dbtest"
)

func names(t *testing.T, d *db.DB) []string {
	t.Helper()
	var list []string
	must(t, d.Read().NewSelect().Model((*thing)(nil)).Column("name").Order("name").Scan(t.Context(), &list))
	return list
}

func add(ctx context.Context, tx bun.Tx, name string) error {
	_, err := tx.NewInsert().Model(&thing{Name: name}).ExcludeColumn("id").Returning("NULL").Exec(ctx)
	return err
}

func TestASavepointWhoseContextEndedIsTakenBack(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, url string) {
		d := withTable(t, url)
		must(t, d.Write(t.Context(), func(ctx context.Context, tx bun.Tx) error {
			must(t, add(ctx, tx, "before"))
			short, cancel := context.WithCancel(ctx)
			err := db.Savepoint(short, tx, func(ctx context.Context, tx bun.Tx) error {
				must(t, add(ctx, tx, "inside"))
				cancel()
				return ctx.Err()
			})
			if !errors.Is(err, context.Canceled) {
				t.Errorf("got %v", err)
			}
			return add(ctx, tx, "after")
		}))
		if got := names(t, d); len(got) != 2 || got[0] != "after" || got[1] != "before" {
			t.Errorf("got %q", got)
		}
	})
}

func TestAPanicInASharedWriteLeavesTheWriterFree(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, url string) {
		d := withTable(t, url)
		for range 20 { // more than there are connections
			func() {
				defer func() {
					if recover() == nil {
						t.Error("no panic")
					}
				}()
				_ = d.WriteShared(t.Context(), func(ctx context.Context, tx bun.Tx) error {
					must(t, add(ctx, tx, "never"))
					panic("boom")
				})
			}()
			ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
			err := d.Write(ctx, func(context.Context, bun.Tx) error { return nil })
			cancel()
			must(t, err)
		}
		if got := names(t, d); len(got) != 0 {
			t.Errorf("got %q", got)
		}
	})
}

type valueKey struct{}

func TestASharedWriteHasNoValuesOfItsCaller(t *testing.T) {
	d := withTable(t, dbtest.SQLite(t))
	must(t, d.WriteShared(context.WithValue(t.Context(), valueKey{}, "mine"), func(ctx context.Context, _ bun.Tx) error {
		if v := ctx.Value(valueKey{}); v != nil {
			t.Errorf("got %v", v)
		}
		return nil
	}))
}

func TestReadsNeedNoConnectionOfWriters(t *testing.T) {
	d, err := db.Open(t.Context(), dbtest.Postgres(t), db.Options{MaxConns: 1})
	must(t, err)
	t.Cleanup(func() { must(t, d.Close()) })
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	must(t, d.Write(ctx, func(ctx context.Context, _ bun.Tx) error {
		var one int
		return d.Read().NewSelect().ColumnExpr("1").Scan(ctx, &one)
	}))
}

func TestAStatementCutShortInASavepointLosesNothingElse(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, url string) {
		d := withTable(t, url)
		err := d.Write(t.Context(), func(ctx context.Context, tx bun.Tx) error {
			must(t, add(ctx, tx, "before"))
			short, cancel := context.WithTimeout(ctx, 50*time.Millisecond)
			defer cancel()
			inner := db.Savepoint(short, tx, func(ctx context.Context, tx bun.Tx) error {
				_, err := tx.ExecContext(ctx, `WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 100000000)
					INSERT INTO things (name) SELECT 'n' || i FROM n`)
				return err
			})
			if inner == nil {
				t.Error("it was not cut short")
			}
			return add(ctx, tx, "after")
		})
		got := names(t, d)
		if err == nil && len(got) != 2 || err != nil && len(got) != 0 {
			t.Errorf("half of it is there: %v, %q", err, got)
		}
	})
}
