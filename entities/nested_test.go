package entities_test

import (
	"context"
	"errors"
	"testing"

	"github.com/uptrace/bun"

	"github.com/flightrules/flightrules/entities"
	"github.com/flightrules/flightrules/internal/db"
	"github.com/flightrules/flightrules/internal/dbtest"
)

func TestAMutateInsideAWriteIsRefusedWhileOthersWaitForThatWrite(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, url string) {
		n := open(t, url)
		doors := define(t, n, entities.Spec[door]{Name: "door"})
		mutate := func(ctx context.Context, id string) error {
			_, err := doors.Mutate(ctx, id, func(context.Context, bun.Tx, *door) (door, error) { return door{Status: "open"}, nil })
			return err
		}
		other := make(chan error, 1)
		err := n.db.Write(t.Context(), func(ctx context.Context, _ bun.Tx) error {
			go func() { other <- mutate(t.Context(), "a") }()
			if !n.db.Postgres() {
				n.kinds.AwaitWaiting(1) // on SQLite it cannot begin before this Write has ended
			}
			return mutate(ctx, "b")
		})
		if !errors.Is(err, db.ErrNested) {
			t.Errorf("got %v, want %v", err, db.ErrNested)
		}
		must(t, <-other)
	})
}
