package httpapi

import (
	"net/http"
	"strconv"
)

// Paging is how much of a list is wanted.
type Paging struct {
	Limit int    `query:"limit" minimum:"1" maximum:"1000" default:"50" doc:"At most so many."`
	After string `query:"after" maxLength:"500" doc:"What the list before this one gave as next."`
}

// page is a part of a list.
type page[T any] struct {
	Items []T     `json:"items" nullable:"false"`
	Next  *string `json:"next" doc:"Pass it as after to go on; null at the end."`
}

// ask is how many rows to read: one more than wanted tells whether there is
// more.
func (p Paging) ask() int { return p.Limit + 1 }

// seq is a cursor that is a sequence number; 0 at the beginning.
func (p Paging) seq() (int64, error) {
	if p.After == "" {
		return 0, nil
	}
	n, err := strconv.ParseInt(p.After, 10, 64)
	if err != nil || n < 1 {
		return 0, newProblem(http.StatusUnprocessableEntity, "invalid_cursor", "validation failed",
			Detail{Location: "query.after", Message: "this is not what a list gave as next"})
	}
	return n, nil
}

// pageOf shows what was asked for. cursor is where the list goes on after a
// row.
func pageOf[R, T any](p Paging, rows []R, show func(R) T, cursor func(R) string) page[T] {
	out := page[T]{Items: make([]T, 0, min(len(rows), p.Limit))}
	for i, row := range rows {
		if i == p.Limit {
			next := cursor(rows[i-1])
			out.Next = &next
			break
		}
		out.Items = append(out.Items, show(row))
	}
	return out
}

// whole is a list that is never long.
func whole[R, T any](rows []R, show func(R) T) page[T] {
	return pageOf(Paging{Limit: len(rows)}, rows, show, nil)
}

func number(n int64) string { return strconv.FormatInt(n, 10) }

// absent is nil for "".
func absent(text string) *string {
	if text == "" {
		return nil
	}
	return &text
}
