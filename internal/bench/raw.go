package bench

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/uptrace/bun"

	"github.com/flightrules/flightrules/entities"
	"github.com/flightrules/flightrules/internal/db"
)

// rawBatch is how many rows one statement of the baseline inserts.
const rawBatch = 256

// columns are those of a transition.
var columns = []string{"kind", "entity_id", "version", "delta", "next", "actor", "run_id", "depth", "at"}

// rawInserts inserts transitions that were recorded into a table like theirs,
// with prepared statements of so many rows, each its own transaction with the
// same sync to disk, until the length is over. It gives rows per second.
func rawInserts(ctx context.Context, from *db.DB, url string, batch int, length time.Duration) (perSecond float64, err error) {
	rows, err := transitionRows(ctx, from)
	if err != nil {
		return 0, err
	}
	into, err := db.Open(ctx, url, db.Options{})
	if err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, into.Close()) }()
	if err := into.Migrate(ctx, entities.Migrations()); err != nil {
		return 0, err
	}
	inserted, begin := 0, time.Now()
	for inserted+batch <= len(rows) && time.Since(begin) < length {
		if err := insert(ctx, into, rows[inserted:inserted+batch]); err != nil {
			return 0, err
		}
		inserted += batch
	}
	return float64(inserted) / time.Since(begin).Seconds(), nil
}

func transitionRows(ctx context.Context, from *db.DB) (list [][]any, err error) {
	rows, err := from.Read().DB.QueryContext(ctx, "SELECT "+strings.Join(columns, ", ")+" FROM transitions ORDER BY seq")
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, rows.Close()) }()
	for rows.Next() {
		row, into := make([]any, len(columns)), make([]any, len(columns))
		for i := range row {
			into[i] = &row[i]
		}
		if err := rows.Scan(into...); err != nil {
			return nil, err
		}
		list = append(list, row)
	}
	return list, rows.Err()
}

var prepared *sql.Stmt

func insert(ctx context.Context, into *db.DB, rows [][]any) error {
	var args []any
	for _, row := range rows {
		args = append(args, row...)
	}
	return into.Write(ctx, func(ctx context.Context, tx bun.Tx) error {
		_, err := tx.Tx.ExecContext(ctx, statement(len(rows), into.Postgres()), args...)
		return err
	})
}

// statement inserts so many rows.
func statement(rows int, numbered bool) string {
	var text strings.Builder
	text.WriteString("INSERT INTO transitions (" + strings.Join(columns, ", ") + ") VALUES ")
	n := 0
	for row := range rows {
		if row > 0 {
			text.WriteString(", ")
		}
		text.WriteString("(")
		for column := range columns {
			if column > 0 {
				text.WriteString(", ")
			}
			n++
			if numbered {
				fmt.Fprintf(&text, "$%d", n)
			} else {
				text.WriteString("?")
			}
		}
		text.WriteString(")")
	}
	return text.String()
}
