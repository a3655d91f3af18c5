package httpapi

import (
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"net/http"
	"strings"
	"sync"

	"github.com/danielgtaylor/huma/v2"

	"github.com/flightrules/flightrules/engine"
	"github.com/flightrules/flightrules/engine/journal"
	"github.com/flightrules/flightrules/entities"
	"github.com/flightrules/flightrules/internal/shape"
	"github.com/flightrules/flightrules/triggers"
)

// Problem is an error as clients see it: a problem document of RFC 9457.
type Problem struct {
	Title  string   `json:"title" doc:"The status in words."`
	Status int      `json:"status" doc:"The HTTP status."`
	Code   string   `json:"code" doc:"What a program tells problems apart by."`
	Detail string   `json:"detail,omitempty" doc:"What went wrong this time."`
	Errors []Detail `json:"errors,omitempty" doc:"Each single thing that is wrong with the request."`

	headers http.Header
}

// Detail is one thing that is wrong with a request.
type Detail struct {
	Location string `json:"location,omitempty" doc:"Where: body.name, query.limit, path.id."`
	Message  string `json:"message"`
}

// newProblem makes a problem; with code "" it is the status in lower case:
// not_found.
func newProblem(status int, code, detail string, details ...Detail) *Problem {
	title := http.StatusText(status)
	if code == "" {
		code = strings.ReplaceAll(strings.ToLower(title), " ", "_")
	}
	return &Problem{Title: title, Status: status, Code: code, Detail: detail, Errors: details}
}

// with adds a header that goes with the problem.
func (p *Problem) with(name, value string) *Problem {
	if p.headers == nil {
		p.headers = http.Header{}
	}
	p.headers.Set(name, value)
	return p
}

// Error implements error.
func (p *Problem) Error() string { return p.Detail }

// GetStatus implements huma.StatusError.
func (p *Problem) GetStatus() int { return p.Status }

// GetHeaders implements huma.HeadersError.
func (p *Problem) GetHeaders() http.Header { return p.headers }

// ContentType implements huma.ContentTypeFilter.
func (p *Problem) ContentType(string) string { return "application/problem+json" }

// write answers a request with the problem.
func (p *Problem) write(w http.ResponseWriter) {
	for name, values := range p.headers {
		w.Header()[name] = values
	}
	w.Header().Set("Content-Type", p.ContentType(""))
	w.WriteHeader(p.Status)
	_ = json.NewEncoder(w).Encode(p) // it fails only when the client is gone
}

// installProblems makes huma answer with Problems. It is huma's only way to be
// told, and is for the whole process.
var installProblems = sync.OnceFunc(func() {
	huma.NewError = func(status int, message string, errs ...error) huma.StatusError {
		return newProblem(status, "", message, detailsOf(errs)...)
	}
	huma.NewErrorWithContext = func(ctx huma.Context, status int, message string, errs ...error) huma.StatusError {
		if status < http.StatusInternalServerError {
			return huma.NewError(status, message, errs...)
		}
		return unexpected(ctx.Context(), status, errors.Join(errs...))
	}
})

// detailsOf leaves out what was sent, which huma would send back.
func detailsOf(errs []error) []Detail {
	var list []Detail
	for _, err := range errs {
		if err == nil {
			continue
		}
		if d, ok := err.(huma.ErrorDetailer); ok {
			list = append(list, Detail{Location: d.ErrorDetail().Location, Message: inWords(d.ErrorDetail().Message)})
			continue
		}
		list = append(list, Detail{Message: err.Error()})
	}
	return list
}

// inWords replaces the message of huma that shows how Go writes a format.
func inWords(message string) string {
	if strings.HasPrefix(message, "invalid date/time for format") {
		return "write a time as RFC 3339 has it, such as 2030-01-31T12:00:00Z"
	}
	return message
}

type logKey struct{}

// unexpected is the problem for an error that a handler did not turn into one:
// what is known to be the request's fault is said, and all else is for the log
// alone.
func unexpected(ctx context.Context, status int, err error) *Problem {
	if p := known(err); p != nil {
		return p
	}
	if errors.Is(ctx.Err(), context.DeadlineExceeded) {
		return newProblem(http.StatusGatewayTimeout, "", "this took too long: ask for less at once")
	}
	if log, ok := ctx.Value(logKey{}).(*slog.Logger); ok && !errors.Is(ctx.Err(), context.Canceled) {
		log.Error("a request failed", "error", err)
	}
	return newProblem(status, "", "the engine could not do this; its log says why")
}

// known turns the errors of the engine's packages into problems; nil where the
// error is not one of them.
func known(err error) *Problem {
	switch {
	case errors.Is(err, entities.ErrUnknownKind):
		return newProblem(http.StatusNotFound, "unknown_kind", err.Error())
	case errors.Is(err, engine.ErrOver):
		return newProblem(http.StatusConflict, "ended", err.Error())
	case errors.Is(err, engine.ErrNotFailed):
		return newProblem(http.StatusConflict, "not_failed", err.Error())
	case errors.Is(err, engine.ErrBusy):
		return newProblem(http.StatusConflict, "another_active", err.Error())
	case errors.Is(err, engine.ErrUnusable): // it may be because its text was not found
		return newProblem(http.StatusConflict, "rule_unusable", err.Error())
	case errors.Is(err, entities.ErrNotFound), errors.Is(err, journal.ErrNotFound), errors.Is(err, ErrNoToken), errors.Is(err, engine.ErrNoRule):
		return newProblem(http.StatusNotFound, "", err.Error())
	case errors.Is(err, entities.ErrPruned):
		return newProblem(http.StatusGone, "pruned", err.Error())
	case errors.Is(err, entities.ErrVersion):
		return newProblem(http.StatusPreconditionFailed, "version_mismatch", err.Error(), Detail{Location: "header.If-Match", Message: err.Error()})
	case errors.Is(err, entities.ErrNotKept):
		return newProblem(http.StatusConflict, "not_kept", err.Error())
	case errors.Is(err, entities.ErrInvalid):
		return newProblem(http.StatusUnprocessableEntity, "invalid_state", err.Error(), mismatches(err, "body")...)
	case errors.Is(err, ErrDryRunBusy):
		return newProblem(http.StatusTooManyRequests, "", err.Error()).with("Retry-After", "1")
	case errors.Is(err, ErrDryRun):
		return newProblem(http.StatusUnprocessableEntity, "invalid_dry_run", err.Error())
	case errors.Is(err, ErrPayload):
		return newProblem(http.StatusUnprocessableEntity, "invalid_payload", err.Error(), mismatches(err, "body.payload")...)
	case errors.Is(err, engine.ErrInputs):
		return newProblem(http.StatusUnprocessableEntity, "invalid_inputs", err.Error(), mismatches(err, "body.inputs")...)
	case errors.Is(err, engine.ErrSilence):
		return newProblem(http.StatusUnprocessableEntity, "invalid_silence", err.Error())
	case errors.Is(err, triggers.ErrUnknownEvent):
		return newProblem(http.StatusUnprocessableEntity, "unknown_event", err.Error(), Detail{Location: "body.name", Message: err.Error()})
	case errors.Is(err, ErrNameTaken):
		return newProblem(http.StatusConflict, "name_taken", err.Error(), Detail{Location: "body.name", Message: err.Error()})
	case errors.Is(err, ErrBadToken):
		return newProblem(http.StatusUnprocessableEntity, "invalid_token", err.Error(), Detail{Location: "body", Message: err.Error()})
	}
	return nil
}

// mismatches are the places below one that do not fit a form.
func mismatches(err error, below string) []Detail {
	mismatch, ok := errors.AsType[*shape.Mismatch](err)
	if !ok {
		return []Detail{{Location: below, Message: err.Error()}}
	}
	var list []Detail
	for _, one := range mismatch.Problems {
		place, message, ok := strings.Cut(one, ": ")
		if !ok {
			place, message = "", one
		}
		list = append(list, Detail{Location: strings.TrimSuffix(below+"."+place, "."), Message: message})
	}
	return list
}
