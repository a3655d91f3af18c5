package db

import (
	"context"
	"database/sql"
	"errors"
	"strconv"

	"github.com/uptrace/bun"
)

// Aged is a table whose rows are gone through by age: each belongs to
// somebody, and those of one have the order of a time and of an id. It wants an
// index on the three columns. Rows without the time are passed over.
type Aged struct {
	Table, Of, At, ID string
	TextID            bool // the id is a text, and not a number
}

// Mark is a place in that order: that of the row with the time and the id. The
// zero Mark is before all rows.
type Mark struct {
	At Time
	ID string
}

// Span is what lies between two marks, neither of which is in it, of the rows
// that belong to Of; "" are those that belong to nobody.
type Span struct {
	Of           string
	After, Until Mark
}

// Next is whose rows come after those of a name, in the order of names; false
// when there are none.
func (a Aged) Next(ctx context.Context, idb bun.IDB, after string) (string, bool, error) {
	var next string
	err := idb.NewSelect().Table(a.Table).Column(a.Of).
		Where("? > ? AND ? IS NOT NULL", bun.Ident(a.Of), after, bun.Ident(a.At)).Order(a.Of).Limit(1).Scan(ctx, &next)
	if errors.Is(err, sql.ErrNoRows) {
		return "", false, nil
	}
	return next, err == nil, err
}

// Newest is where the nth newest row of somebody is, from 1; false when there
// are fewer.
func (a Aged) Newest(ctx context.Context, idb bun.IDB, of string, n int) (Mark, bool, error) {
	var list []Mark
	q := a.rowsOf(idb, of).OrderExpr("? DESC, ? DESC", bun.Ident(a.At), bun.Ident(a.ID)).Offset(int64(n - 1)).Limit(1)
	err := q.Scan(ctx, &list)
	if err != nil || len(list) == 0 {
		return Mark{}, false, err
	}
	return list[0], true, nil
}

// Oldest are the first rows of a span.
func (a Aged) Oldest(ctx context.Context, idb bun.IDB, s Span, limit int) ([]Mark, error) {
	var list []Mark
	q := a.rowsOf(idb, s.Of).Where("(?, ?) < (?, ?)", bun.Ident(a.At), bun.Ident(a.ID), s.Until.At, a.id(s.Until))
	if !s.After.At.IsZero() {
		q = q.Where("(?, ?) > (?, ?)", bun.Ident(a.At), bun.Ident(a.ID), s.After.At, a.id(s.After))
	}
	err := q.OrderExpr("?, ?", bun.Ident(a.At), bun.Ident(a.ID)).Limit(int64(limit)).Scan(ctx, &list)
	return list, err
}

func (a Aged) rowsOf(idb bun.IDB, of string) *bun.SelectQuery {
	q := idb.NewSelect().Table(a.Table).ColumnExpr("? AS at, ? AS id", bun.Ident(a.At), bun.Ident(a.ID)).Where("? IS NOT NULL", bun.Ident(a.At))
	if of == "" {
		return q.Where("? IS NULL", bun.Ident(a.Of))
	}
	return q.Where("? = ?", bun.Ident(a.Of), of)
}

// id is the id of a mark as the column has it.
func (a Aged) id(m Mark) any {
	if a.TextID {
		return m.ID
	}
	return m.Seq()
}

// Seq is the id as a number; 0, which is before all, where it is none.
func (m Mark) Seq() int64 {
	n, err := strconv.ParseInt(m.ID, 10, 64)
	if err != nil {
		return 0
	}
	return n
}

// Seqs are the ids of marks as numbers.
func Seqs(page []Mark) []int64 {
	seqs := make([]int64, len(page))
	for i, m := range page {
		seqs[i] = m.Seq()
	}
	return seqs
}

// Before says whether a mark comes before another one in the table's order.
func (a Aged) Before(m, other Mark) bool {
	if !m.At.Equal(other.At.Time) {
		return m.At.Before(other.At.Time)
	}
	if a.TextID {
		return m.ID < other.ID
	}
	return m.Seq() < other.Seq()
}
