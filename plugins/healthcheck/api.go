package healthcheck

import (
	"context"
	"errors"
	"net/http"
	"strings"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"github.com/uptrace/bun"

	"github.com/flightrules/flightrules/internal/db"
	"github.com/flightrules/flightrules/plugins"
)

type (
	byPath struct {
		ID string `path:"id" maxLength:"100" doc:"The id of the check."`
	}
	listInput struct {
		Limit int    `query:"limit" minimum:"1" maximum:"1000" default:"50" doc:"At most so many."`
		After string `query:"after" maxLength:"100" doc:"What the list before this one gave as next."`
	}
	putInput struct {
		ID   string `path:"id" maxLength:"100" doc:"The id of the check."`
		Body Settings
	}
	resultsInput struct {
		ID       string    `path:"id" maxLength:"100" doc:"The id of the check."`
		Observer string    `query:"observer" maxLength:"100" doc:"Of this observer alone: the id of a satellite, or local."`
		Since    time.Time `query:"since" doc:"Not before this time."`
		Until    time.Time `query:"until" doc:"Before this time."`
		Limit    int       `query:"limit" minimum:"1" maximum:"10000" default:"100" doc:"At most so many, the newest."`
	}
	reply[T any] struct{ Body T }
)

// page is a part of the list of checks, by id.
type page struct {
	Items []Item  `json:"items" nullable:"false"`
	Next  *string `json:"next" doc:"Pass it as after to go on; null at the end."`
}

// Item is a check as the API shows it.
type Item struct {
	ID        string         `json:"id"`
	Source    string         `json:"source" enum:"file,api" doc:"Where it is written."`
	Settings  Settings       `json:"settings"`
	State     *State         `json:"state" doc:"null before its first result."`
	Observers []ObserverItem `json:"observers" nullable:"false"`
	UpdatedAt time.Time      `json:"updated_at" doc:"When it was written last."`
}

// ObserverItem is what one who looks thinks of a check.
type ObserverItem struct {
	ID        string     `json:"id" doc:"Of the satellite; or local, for the core."`
	Name      string     `json:"name"`
	Region    string     `json:"region"`
	Observing bool       `json:"observing" doc:"Whether it counts: he is there, and can look."`
	Status    string     `json:"status" enum:"up,degraded,down," doc:"Empty before it is known."`
	Flapping  bool       `json:"flapping"`
	LatencyMS float64    `json:"latency_ms" doc:"Of his newest result."`
	Message   string     `json:"message" doc:"Of his newest result: why it is not up."`
	ResultAt  *time.Time `json:"result_at" doc:"When he looked last."`
}

// ResultItem is what came of looking once.
type ResultItem struct {
	At        time.Time `json:"at"`
	Observer  string    `json:"observer"`
	Outcome   string    `json:"outcome" enum:"up,degraded,down,failed" doc:"failed: it could not be looked, which says nothing about the check."`
	LatencyMS float64   `json:"latency_ms"`
	Message   string    `json:"message"`
}

// HourItem sums up an hour.
type HourItem struct {
	At           time.Time `json:"at" doc:"When the hour begins."`
	Observer     string    `json:"observer"`
	Up           int64     `json:"up"`
	Degraded     int64     `json:"degraded"`
	Down         int64     `json:"down"`
	Failed       int64     `json:"failed"`
	LatencyMSAvg float64   `json:"latency_ms_avg"`
	LatencyMSMin float64   `json:"latency_ms_min"`
	LatencyMSMax float64   `json:"latency_ms_max"`
}

// history is a list of results, newest first.
type history[T any] struct {
	Items []T `json:"items" nullable:"false"`
}

func (p *Plugin) operations(api huma.API) {
	const path = "/api/v1/checks"
	huma.Register(api, operation("list-checks", http.MethodGet, path, plugins.Viewer, http.StatusOK, "List checks, by id"), p.list)
	huma.Register(api, operation("get-check", http.MethodGet, path+"/{id}", plugins.Viewer, http.StatusOK, "One check, and who looks at it"), p.get)
	huma.Register(api, operation("put-check", http.MethodPut, path+"/{id}", plugins.Admin, http.StatusOK, "Write a check, unless a file has it"), p.putCheck)
	huma.Register(api, operation("remove-check", http.MethodDelete, path+"/{id}", plugins.Admin, http.StatusNoContent, "Remove a check, unless a file has it"), p.removeCheck)
	huma.Register(api, operation("list-check-results", http.MethodGet, path+"/{id}/results", plugins.Viewer, http.StatusOK, "The results of a check, newest first"), p.listResults)
	huma.Register(api, operation("list-check-hours", http.MethodGet, path+"/{id}/hours", plugins.Viewer, http.StatusOK, "The results of a check by the hour, newest first"), p.listHours)
}

func operation(id, method, path string, role plugins.Role, status int, summary string) huma.Operation {
	return huma.Operation{
		OperationID: id, Method: method, Path: path, Summary: summary, DefaultStatus: status, Tags: []string{"checks"},
		Metadata: map[string]any{plugins.RoleKey: role},
	}
}

func (p *Plugin) list(ctx context.Context, in *listInput) (*reply[page], error) {
	var rows []check
	if err := p.host.Read().NewSelect().Model(&rows).Where("id > ?", in.After).Order("id").Limit(int64(in.Limit) + 1).Scan(ctx); err != nil {
		return nil, err
	}
	out := page{Items: []Item{}}
	if len(rows) > in.Limit {
		rows = rows[:in.Limit]
		out.Next = &rows[in.Limit-1].ID
	}
	items, err := p.items(ctx, rows...)
	out.Items = append(out.Items, items...)
	return &reply[page]{out}, err
}

func (p *Plugin) get(ctx context.Context, in *byPath) (*reply[Item], error) {
	c, err := checkOf(ctx, p.host.Read(), in.ID)
	if err != nil {
		return nil, answer(err)
	}
	items, err := p.items(ctx, c)
	if err != nil {
		return nil, err
	}
	return &reply[Item]{items[0]}, nil
}

func (p *Plugin) items(ctx context.Context, rows ...check) ([]Item, error) {
	ids := make([]string, len(rows))
	for i, c := range rows {
		ids[i] = c.ID
	}
	if len(ids) == 0 {
		return nil, nil
	}
	states, err := p.read(ctx, p.host.Read(), p.host.Now(), ids)
	if err != nil {
		return nil, err
	}
	observers, err := observersOf(ctx, p.host.Read(), ids)
	if err != nil {
		return nil, err
	}
	items := make([]Item, len(rows))
	for i, c := range rows {
		d, err := c.decode()
		if err != nil {
			return nil, err
		}
		items[i] = Item{ID: c.ID, Source: c.Source, Settings: d.Settings, Observers: []ObserverItem{}, UpdatedAt: c.UpdatedAt.Time}
		if s, ok := states[c.ID]; ok {
			items[i].State = &s
		}
		for _, o := range observers[c.ID] {
			items[i].Observers = append(items[i].Observers, ObserverItem{
				ID: o.Observer, Name: o.Name, Region: o.Region, Observing: o.Observing, Status: o.Status, Flapping: o.Flapping,
				LatencyMS: ms(o.Latency), Message: o.Message, ResultAt: o.ResultAt.Ptr(),
			})
		}
	}
	return items, nil
}

func (p *Plugin) putCheck(ctx context.Context, in *putInput) (*reply[Item], error) {
	d := Definition{ID: in.ID, Settings: in.Body}
	if err := d.check(); err != nil {
		return nil, misdefined(err)
	}
	err := p.host.Write(ctx, func(ctx context.Context, tx bun.Tx) error {
		before, err := checkOf(ctx, tx, in.ID)
		switch {
		case errors.Is(err, errUnknown):
			before = check{}
		case err != nil:
			return err
		case before.Source == inFile:
			return errInFile
		}
		return p.put(ctx, tx, d, byAPI, before)
	})
	if err != nil {
		return nil, answer(err)
	}
	return p.get(ctx, &byPath{in.ID})
}

func (p *Plugin) removeCheck(ctx context.Context, in *byPath) (*struct{}, error) {
	return nil, answer(p.host.Write(ctx, func(ctx context.Context, tx bun.Tx) error {
		c, err := checkOf(ctx, tx, in.ID)
		switch {
		case err != nil:
			return err
		case c.Source == inFile:
			return errInFile
		}
		return p.drop(ctx, tx, in.ID)
	}))
}

// errInFile is returned for a change of a check that a file has.
var errInFile = errors.New("the check is written in a file, and can only be changed there")

func (p *Plugin) listResults(ctx context.Context, in *resultsInput) (*reply[history[ResultItem]], error) {
	var rows []result
	if err := p.history(ctx, in, p.host.Read().NewSelect().Model(&rows).Order("at DESC", "id DESC")); err != nil {
		return nil, err
	}
	items := make([]ResultItem, len(rows))
	for i, r := range rows {
		items[i] = ResultItem{At: r.At.Time, Observer: r.Observer, Outcome: r.Outcome, LatencyMS: ms(r.Latency), Message: r.Message}
	}
	return &reply[history[ResultItem]]{history[ResultItem]{items}}, nil
}

func (p *Plugin) listHours(ctx context.Context, in *resultsInput) (*reply[history[HourItem]], error) {
	var rows []hour
	if err := p.history(ctx, in, p.host.Read().NewSelect().Model(&rows).Order("at DESC", "observer")); err != nil {
		return nil, err
	}
	items := make([]HourItem, len(rows))
	for i, h := range rows {
		items[i] = HourItem{
			At: h.At.Time, Observer: h.Observer, Up: h.Up, Degraded: h.Degraded, Down: h.Down, Failed: h.Failed,
			LatencyMSAvg: ms(h.LatencySum / max(h.Up+h.Degraded+h.Down, 1)), LatencyMSMin: ms(h.LatencyMin), LatencyMSMax: ms(h.LatencyMax),
		}
	}
	return &reply[history[HourItem]]{history[HourItem]{items}}, nil
}

// history narrows a query of results and scans it.
func (p *Plugin) history(ctx context.Context, in *resultsInput, q *bun.SelectQuery) error {
	if _, err := checkOf(ctx, p.host.Read(), in.ID); err != nil {
		return answer(err)
	}
	q = q.Where("check_id = ?", in.ID).Limit(int64(in.Limit))
	if in.Observer != "" {
		q = q.Where("observer = ?", in.Observer)
	}
	if !in.Since.IsZero() {
		q = q.Where("at >= ?", db.At(in.Since))
	}
	if !in.Until.IsZero() {
		q = q.Where("at < ?", db.At(in.Until))
	}
	return q.Scan(ctx)
}

func ms(us int64) float64 { return float64(us) / 1000 }

// answer turns the errors of a caller into what the caller is told.
func answer(err error) error {
	switch {
	case errors.Is(err, errUnknown):
		return huma.Error404NotFound(err.Error())
	case errors.Is(err, errInFile):
		return huma.Error409Conflict(err.Error())
	}
	return err
}

// misdefined tells of what is wrong with a definition, at its fields.
func misdefined(err error) error {
	var details []error
	for line := range strings.SplitSeq(err.Error(), "\n") {
		detail := &huma.ErrorDetail{Location: "body", Message: line}
		if field, message, ok := strings.Cut(line, ": "); ok && !strings.Contains(field, " ") {
			detail = &huma.ErrorDetail{Location: "body." + field, Message: message}
		}
		details = append(details, detail)
	}
	return huma.Error422UnprocessableEntity("validation failed", details...)
}
