package httpapi

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"time"
	"unicode/utf8"

	"github.com/danielgtaylor/huma/v2"

	"github.com/flightrules/flightrules/engine"
	"github.com/flightrules/flightrules/engine/journal"
	"github.com/flightrules/flightrules/internal/duration"
	"github.com/flightrules/flightrules/internal/expression"
	"github.com/flightrules/flightrules/plugins"
)

type silence struct {
	ID        string     `json:"id"`
	Match     string     `json:"match" doc:"An expression over event and trigger: the matches that are recorded and not run."`
	Start     time.Time  `json:"start"`
	End       time.Time  `json:"end"`
	Reason    string     `json:"reason"`
	Author    string     `json:"author"`
	File      bool       `json:"file" doc:"It stands in the files, and is ended there."`
	CreatedAt time.Time  `json:"created_at"`
	EndedAt   *time.Time `json:"ended_at" doc:"When its end was seen to; null: it is not over."`
}

func showSilence(s journal.Silence) silence {
	return silence{
		ID: s.ID, Match: s.Matcher, Start: s.StartsAt.Time, End: s.EndsAt.Time, Reason: s.Reason, Author: s.Author,
		File: s.File, CreatedAt: s.CreatedAt.Time, EndedAt: s.EndedAt.Ptr(),
	}
}

type listSilences struct {
	Paging
	Open bool `query:"open" doc:"Only those that are not over, those yet to start included."`
}

type silencePath struct {
	ID string `path:"id" maxLength:"200"`
}

type postSilence struct {
	Body struct {
		ID       string    `json:"id,omitempty" maxLength:"200" pattern:"^[a-z0-9][a-z0-9-]*$" doc:"Yours, in lower case letters, digits and dashes. One is made when there is none."`
		Match    string    `json:"match" minLength:"1" maxLength:"10000" example:"event.entity.id == \"db-1\""`
		Start    time.Time `json:"start,omitempty" doc:"Now, unless given."`
		End      time.Time `json:"end,omitempty" doc:"Either this or a duration."`
		Duration string    `json:"duration,omitempty" maxLength:"100" example:"2h" doc:"How long it lasts from its start."`
		Reason   string    `json:"reason" minLength:"1" maxLength:"1000" pattern:"^[^\\x00-\\x1f]*$"`
	}
}

func (s *Server) silenceOperations() {
	huma.Register(s.api, operation("list-silences", http.MethodGet, "/api/v1/silences", plugins.Viewer, "The silences, by id"), s.listSilences)
	huma.Register(s.api, operation("get-silence", http.MethodGet, "/api/v1/silences/{id}", plugins.Viewer, "One silence"),
		func(ctx context.Context, in *silencePath) (*reply[silence], error) {
			row, err := journal.SilenceByID(ctx, s.DB.Read(), in.ID)
			if err != nil {
				return nil, err
			}
			return &reply[silence]{showSilence(row)}, nil
		})
	op := operation("create-silence", http.MethodPost, "/api/v1/silences", plugins.Operator, "Have the matches of an expression recorded and not run for a time")
	op.DefaultStatus = http.StatusCreated
	huma.Register(s.api, op, s.postSilence)
	huma.Register(s.api, operation("end-silence", http.MethodDelete, "/api/v1/silences/{id}", plugins.Operator, "End a silence now; one of the files is ended there"),
		func(ctx context.Context, in *silencePath) (*struct{}, error) {
			_, err := s.Unsilence(ctx, in.ID)
			return nil, err
		})
}

func (s *Server) listSilences(ctx context.Context, in *listSilences) (*reply[page[silence]], error) {
	list, err := journal.Silences(ctx, s.DB.Read(), in.After, in.Open, in.ask())
	if err != nil {
		return nil, err
	}
	return &reply[page[silence]]{pageOf(in.Paging, list, showSilence, func(row journal.Silence) string { return row.ID })}, nil
}

func (s *Server) postSilence(ctx context.Context, in *postSilence) (*reply[silence], error) {
	spec := engine.SilenceSpec{ID: in.Body.ID, Match: in.Body.Match, Start: in.Body.Start, End: in.Body.End, Reason: in.Body.Reason}
	if (in.Body.Duration == "") == spec.End.IsZero() {
		return nil, badSilence(Detail{Location: "body.end", Message: "a silence has either an end or a duration"})
	}
	if spec.Start.IsZero() {
		spec.Start = s.Now()
	}
	if in.Body.Duration != "" {
		d, err := duration.Parse(in.Body.Duration)
		if err != nil {
			return nil, badSilence(Detail{Location: "body.duration", Message: err.Error()})
		}
		spec.End = spec.Start.Add(d)
	}
	row, err := s.Silence(ctx, spec)
	if bad, ok := errors.AsType[*expression.Error](err); ok {
		return nil, badSilence(Detail{Location: "body.match", Message: placed(spec.Match, bad)})
	}
	if err != nil {
		return nil, err
	}
	return &reply[silence]{showSilence(row)}, nil
}

func badSilence(details ...Detail) *Problem {
	return newProblem(http.StatusUnprocessableEntity, "invalid_silence", "validation failed", details...)
}

// placed says what is wrong with an expression, and where.
func placed(source string, err *expression.Error) string {
	before := source[:min(max(err.Offset, 0), len(source))]
	return fmt.Sprintf("at character %d: %s", utf8.RuneCountInString(before)+1, err)
}
