package httpapi

import (
	"context"
	"net/http"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"github.com/uptrace/bun"

	"github.com/flightrules/flightrules/entities"
	"github.com/flightrules/flightrules/internal/db"
)

// auditRow is one write that came in by HTTP.
type auditRow struct {
	bun.BaseModel `bun:"table:audit"`

	Seq    int64   `bun:"seq,pk,autoincrement"`
	Actor  string  `bun:"actor"`
	Method string  `bun:"method"`
	Path   string  `bun:"path"`
	Remote string  `bun:"remote"`
	Status int     `bun:"status,nullzero"`
	At     db.Time `bun:"at"`
}

// maxPath bounds the part of a path that is kept.
const maxPath = 1000

// audit notes a write before it is made, so that none can be without its note,
// and how it ended after. It comes before permit: who was turned away is noted
// too. Requests without a token are not, or strangers could fill the table.
func (s *Server) audit(ctx huma.Context, next func(huma.Context)) {
	if ctx.Method() == http.MethodGet || ctx.Method() == http.MethodHead {
		next(ctx)
		return
	}
	url := ctx.URL()
	row, err := s.note(ctx.Context(), ctx.Method(), url.EscapedPath(), ctx.RemoteAddr())
	if err != nil {
		refuse(ctx, unexpected(ctx.Context(), http.StatusServiceUnavailable, err))
		return
	}
	row.Status = http.StatusInternalServerError // unless next returns
	defer func() { s.outcome(ctx.Context(), row) }()
	next(ctx)
	row.Status = ctx.Status()
}

// note writes down that a write is about to be made, by the actor of ctx.
func (s *Server) note(ctx context.Context, method, path, remote string) (auditRow, error) {
	row := auditRow{
		Actor: entities.CauseOf(ctx).Actor, Method: method, Path: path[:min(len(path), maxPath)], Remote: remote, At: db.At(s.Now()),
	}
	err := s.DB.Write(ctx, func(ctx context.Context, tx bun.Tx) error {
		_, err := tx.NewInsert().Model(&row).ExcludeColumn("seq").Returning("seq").Exec(ctx)
		return err
	})
	return row, err
}

// outcome completes the note. The client's going away must not keep it from
// that.
func (s *Server) outcome(ctx context.Context, row auditRow) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 10*time.Second)
	defer cancel()
	if err := s.DB.Write(ctx, func(ctx context.Context, tx bun.Tx) error {
		_, err := tx.NewUpdate().Model(&row).Column("status").WherePK().Exec(ctx)
		return err
	}); err != nil {
		s.Log.Error("the outcome of a write is missing in the audit", "seq", row.Seq, "method", row.Method, "path", row.Path, "status", row.Status, "error", err)
	}
}
