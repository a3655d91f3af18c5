package db_test

import (
	"context"
	"errors"
	"testing"

	"github.com/uptrace/bun"

	"github.com/flightrules/flightrules/internal/db"
	"github.com/flightrules/flightrules/internal/dbtest"
)

func TestWriteShared(t *testing.T) {
	nothing := func(context.Context, bun.Tx) error { return nil }
	dbtest.Each(t, func(t *testing.T, url string) {
		d, err := db.Open(t.Context(), url, db.Options{NoSync: true, MaxConns: 1})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() {
			if err := d.Close(); err != nil {
				t.Error(err)
			}
		})
		if _, err := d.Read().ExecContext(t.Context(), "SELECT 1"); err != nil {
			t.Fatal(err)
		}

		t.Run("inside a Write it says so and does not wait for itself", func(t *testing.T) {
			err := d.Write(t.Context(), func(ctx context.Context, _ bun.Tx) error { return d.WriteShared(ctx, nothing) })
			if !errors.Is(err, db.ErrNested) {
				t.Errorf("got %v, want %v", err, db.ErrNested)
			}
		})

		t.Run("who gives up before it is its turn has begun nothing", func(t *testing.T) {
			ctx, giveUp := context.WithCancel(t.Context())
			begun := false
			err := d.Write(t.Context(), func(context.Context, bun.Tx) error {
				ended := make(chan error)
				go func() {
					ended <- d.WriteShared(ctx, func(context.Context, bun.Tx) error { begun = true; return nil })
				}()
				giveUp()
				return <-ended
			})
			if !errors.Is(err, context.Canceled) || begun {
				t.Errorf("got %v; begun: %v", err, begun)
			}
		})

		t.Run("who gives up afterwards ends nothing", func(t *testing.T) {
			ctx, giveUp := context.WithCancel(t.Context())
			err := d.WriteShared(ctx, func(inner context.Context, tx bun.Tx) error {
				giveUp()
				_, err := tx.ExecContext(inner, "CREATE TABLE kept (n BIGINT)")
				return errors.Join(err, inner.Err())
			})
			if err != nil {
				t.Fatal(err)
			}
			if _, err := d.Read().ExecContext(t.Context(), "SELECT n FROM kept"); err != nil {
				t.Error(err)
			}
		})
	})
}
