package httpapi

import (
	"context"
	"encoding/csv"
	"encoding/json"
	"io"
	"net/http"
	"strconv"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"github.com/flightrules/flightrules/entities"
	"github.com/flightrules/flightrules/plugins"
)

const (
	// exportPage is how many transitions of an export are read at once.
	exportPage = 1000
	// exportPatience is how long a reader may take for a page of an export.
	exportPatience = 30 * time.Second
)

type exportTransitions struct {
	Format string    `query:"format" enum:"csv,ndjson" default:"ndjson"`
	Field  string    `query:"field" maxLength:"200" doc:"Only where that field changed."`
	Actor  string    `query:"actor" maxLength:"200" example:"token:admin"`
	Run    string    `query:"run" maxLength:"200" doc:"Only what that run changed."`
	From   time.Time `query:"from" doc:"At that time or later."`
	To     time.Time `query:"to" doc:"Before that time."`
	Kind   string    `query:"kind" maxLength:"200"`
	ID     string    `query:"id" maxLength:"500" doc:"The entity's id."`
	Limit  int       `query:"limit" minimum:"1" maximum:"10000000" default:"1000000" doc:"At most so many."`
}

func (s *Server) exportOperations() {
	op := unhurried(operation("export-transitions", http.MethodGet, "/api/v1/transitions/export", plugins.Viewer, "What changed, newest first, as one file of CSV or NDJSON"))
	huma.Register(s.api, op, func(_ context.Context, in *exportTransitions) (*huma.StreamResponse, error) {
		return &huma.StreamResponse{Body: func(ctx huma.Context) { s.export(ctx, in) }}, nil
	})
}

// export writes page by page. What fails half way ends the connection without
// its end, so that nobody takes a part for the whole.
func (s *Server) export(ctx huma.Context, in *exportTransitions) {
	filter := entities.Filter{
		Kind: in.Kind, ID: in.ID, Field: in.Field, Actor: in.Actor, RunID: in.Run, From: in.From, To: in.To,
	}
	ctx.SetHeader("Content-Disposition", `attachment; filename="transitions.`+in.Format+`"`)
	write := ndjson(ctx.BodyWriter())
	if in.Format == "csv" {
		ctx.SetHeader("Content-Type", "text/csv; charset=utf-8")
		write = commaSeparated(ctx.BodyWriter())
	} else {
		ctx.SetHeader("Content-Type", "application/x-ndjson")
	}
	defer s.patient(ctx, time.Time{}) // the connection may serve others
	for left := in.Limit; left > 0; {
		filter.Limit = min(left, exportPage)
		list, err := s.Entities.Transitions(ctx.Context(), s.DB.Read(), filter)
		if err != nil {
			if ctx.Context().Err() == nil {
				s.Log.Error("an export was broken off", "error", err)
			}
			panic(http.ErrAbortHandler)
		}
		s.patient(ctx, time.Now().Add(exportPatience))
		if err := write(list); err != nil {
			panic(http.ErrAbortHandler)
		}
		if len(list) < filter.Limit {
			return
		}
		left, filter.Before = left-len(list), list[len(list)-1].Seq
	}
}

// patient gives the reader time for what comes next. Where there is no
// connection there is no deadline.
func (s *Server) patient(ctx huma.Context, until time.Time) {
	if w, ok := ctx.BodyWriter().(http.ResponseWriter); ok {
		_ = http.NewResponseController(w).SetWriteDeadline(until)
	}
}

func ndjson(w io.Writer) func([]entities.Transition) error {
	encoder := json.NewEncoder(w)
	return func(list []entities.Transition) error {
		for _, t := range list {
			if err := encoder.Encode(showTransition(t)); err != nil {
				return err
			}
		}
		return nil
	}
}

// commaSeparated writes a line for each transition; the changes are JSON in one
// column. A text that a spreadsheet would take for a formula gets an apostrophe.
func commaSeparated(w io.Writer) func([]entities.Transition) error {
	out := csv.NewWriter(w)
	head := []string{"seq", "at", "kind", "entity_id", "version", "changes", "removed", "actor", "run_id", "depth"}
	return func(list []entities.Transition) error {
		if head != nil {
			if err := out.Write(head); err != nil {
				return err
			}
			head = nil
		}
		for _, t := range list {
			changes, err := json.Marshal(t.Delta)
			if err != nil {
				return err
			}
			if err := out.Write([]string{
				number(t.Seq), t.At.UTC().Format(time.RFC3339Nano), noFormula(t.Kind), noFormula(t.ID), number(t.Version), string(changes),
				strconv.FormatBool(t.Removed()), noFormula(t.Cause.Actor), noFormula(t.Cause.RunID), strconv.Itoa(t.Cause.Depth),
			}); err != nil {
				return err
			}
		}
		out.Flush()
		return out.Error()
	}
}

func noFormula(text string) string {
	if text != "" && (text[0] == '=' || text[0] == '+' || text[0] == '-' || text[0] == '@') {
		return "'" + text
	}
	return text
}
