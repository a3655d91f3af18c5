package httpapi

import (
	"context"
	"net/http"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"github.com/uptrace/bun"

	"github.com/flightrules/flightrules/entities"
	"github.com/flightrules/flightrules/internal/db"
	"github.com/flightrules/flightrules/plugins"
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

// AuditEntry is one write that came in by HTTP.
type AuditEntry struct {
	Seq    int64     `json:"seq"`
	Actor  string    `json:"actor"`
	Method string    `json:"method"`
	Path   string    `json:"path"`
	Remote string    `json:"remote" doc:"The address that it came from."`
	Status *int      `json:"status" doc:"The HTTP status of its answer; null: it is not known, as after a crash."`
	At     time.Time `json:"at"`
}

func showAudit(row auditRow) AuditEntry {
	out := AuditEntry{Seq: row.Seq, Actor: row.Actor, Method: row.Method, Path: row.Path, Remote: row.Remote, At: row.At.Time}
	if row.Status != 0 {
		out.Status = &row.Status
	}
	return out
}

func (s *Server) auditOperations() {
	huma.Register(s.api, operation("list-audit", http.MethodGet, "/api/v1/audit", plugins.Admin, "Every write that came in by HTTP, newest first"),
		func(ctx context.Context, in *Paging) (*reply[page[AuditEntry]], error) {
			before, err := in.seq()
			if err != nil {
				return nil, err
			}
			var rows []auditRow
			q := s.DB.Read().NewSelect().Model(&rows).Order("seq DESC").Limit(int64(in.ask()))
			if before != 0 {
				q = q.Where("seq < ?", before)
			}
			if err := q.Scan(ctx); err != nil {
				return nil, err
			}
			return &reply[page[AuditEntry]]{pageOf(*in, rows, showAudit, func(row auditRow) string { return number(row.Seq) })}, nil
		})
}
