package satellite

import (
	"context"
	"errors"
	"net/http"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"github.com/uptrace/bun"

	"github.com/flightrules/flightrules/internal/db"
	"github.com/flightrules/flightrules/internal/duration"
	"github.com/flightrules/flightrules/plugins"
)

type (
	// byPath names a satellite in an address.
	byPath struct {
		ID string `path:"id" maxLength:"100" doc:"The id of the satellite, or its name."`
	}
	listInput struct {
		Limit int    `query:"limit" minimum:"1" maximum:"1000" default:"50" doc:"At most so many."`
		After string `query:"after" maxLength:"100" doc:"What the list before this one gave as next."`
	}
	createInput struct{ Body settings }
	changeInput struct {
		ID   string `path:"id" maxLength:"100" doc:"The id of the satellite, or its name."`
		Body changes
	}
	rotateInput struct {
		ID   string `path:"id" maxLength:"100" doc:"The id of the satellite, or its name."`
		Body *rotation
	}
	reply[T any] struct{ Body T }
)

// page is a part of the list of satellites, newest first.
type page struct {
	Items []Item  `json:"items" nullable:"false"`
	Next  *string `json:"next" doc:"Pass it as after to go on; null at the end."`
}

func (p *Plugin) operations(api huma.API) {
	const path = "/api/v1/satellites"
	huma.Register(api, operation("list-satellites", http.MethodGet, path, plugins.Viewer, http.StatusOK, "List satellites, newest first"), p.list)
	huma.Register(api, operation("list-satellite-regions", http.MethodGet, "/api/v1/satellite-regions", plugins.Viewer, http.StatusOK, "How many satellites of each region there are, by status"), p.listRegions)
	huma.Register(api, operation("create-satellite", http.MethodPost, path, plugins.Admin, http.StatusCreated, "Create a satellite and its token"), p.createSatellite)
	huma.Register(api, operation("get-satellite", http.MethodGet, path+"/{id}", plugins.Viewer, http.StatusOK, "One satellite"), p.get)
	huma.Register(api, operation("change-satellite", http.MethodPatch, path+"/{id}", plugins.Admin, http.StatusOK, "Change the settings of a satellite"), p.changeSatellite)
	huma.Register(api, operation("remove-satellite", http.MethodDelete, path+"/{id}", plugins.Admin, http.StatusNoContent, "Remove a satellite and close its sockets"), p.removeSatellite)
	huma.Register(api, operation("replace-satellite-token", http.MethodPost, path+"/{id}/token", plugins.Admin, http.StatusOK, "Replace the token of a satellite; the old one ends at once, or after a while"), p.newTokenFor)
}

func operation(id, method, path string, role plugins.Role, status int, summary string) huma.Operation {
	return huma.Operation{
		OperationID: id, Method: method, Path: path, Summary: summary, DefaultStatus: status, Tags: []string{"satellites"},
		Metadata: map[string]any{plugins.RoleKey: role},
	}
}

func (p *Plugin) list(ctx context.Context, in *listInput) (*reply[page], error) {
	var rows []row
	q := p.host.Read().NewSelect().Model(&rows).Order("id DESC").Limit(int64(in.Limit) + 1)
	if in.After != "" {
		if !isID(in.After) {
			return nil, invalid("query.after", "this is not what a list gave as next")
		}
		q = q.Where("id < ?", in.After)
	}
	if err := q.Scan(ctx); err != nil {
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

// RegionItem counts the satellites of a region.
type RegionItem struct {
	Name     string           `json:"name"`
	Statuses map[string]int64 `json:"statuses" doc:"How many are online, offline or never_connected."`
}

// regions is a list of all of them, by name.
type regions struct {
	Items []RegionItem `json:"items" nullable:"false"`
}

func (p *Plugin) listRegions(ctx context.Context, _ *struct{}) (*reply[regions], error) {
	listened, err := p.readListening(ctx, p.host.Read())
	if err != nil {
		return nil, err
	}
	now := p.host.Now()
	since := listened.since(now, p.config.gap())
	var rows []row
	if err := p.host.Read().NewSelect().Model(&rows).
		Column("region", "last_connection_event", "last_heartbeat_at", "offline_threshold", "threshold_at").Order("region").Scan(ctx); err != nil {
		return nil, err
	}
	out := regions{Items: []RegionItem{}}
	for _, r := range rows {
		if n := len(out.Items); n == 0 || out.Items[n-1].Name != r.Region {
			out.Items = append(out.Items, RegionItem{Name: r.Region, Statuses: map[string]int64{}})
		}
		is := neverConnected
		if r.LastEvent != "" {
			is = status(r.LastEvent, r.deadline(p.config, since), now)
		}
		out.Items[len(out.Items)-1].Statuses[is]++
	}
	return &reply[regions]{out}, nil
}

func (p *Plugin) get(ctx context.Context, in *byPath) (*reply[Item], error) {
	r, err := p.byRef(ctx, p.host.Read(), in.ID)
	if err != nil {
		return nil, answer(err)
	}
	return p.reply(ctx, r)
}

func (p *Plugin) createSatellite(ctx context.Context, in *createInput) (*reply[WithToken], error) {
	threshold, err := p.config.parseThreshold(in.Body.OfflineThreshold)
	if err != nil {
		return nil, err
	}
	if err := checkName(in.Body.Name); err != nil {
		return nil, invalid("body.name", err.Error())
	}
	id, err := p.newID(in.Body.Name)
	if err != nil {
		return nil, err
	}
	token := newToken()
	if err := p.create(ctx, newRow(id, in.Body, threshold, hashToken(token), p.host.Now())); err != nil {
		return nil, answer(err)
	}
	return p.withToken(ctx, id, token)
}

func (p *Plugin) changeSatellite(ctx context.Context, in *changeInput) (*reply[Item], error) {
	r, err := p.changeable(ctx, in.ID)
	if err != nil {
		return nil, answer(err)
	}
	var threshold time.Duration
	if in.Body.OfflineThreshold != nil {
		if threshold, err = p.config.parseThreshold(*in.Body.OfflineThreshold); err != nil {
			return nil, err
		}
	}
	if in.Body.Name != nil {
		if err := checkName(*in.Body.Name); err != nil {
			return nil, invalid("body.name", err.Error())
		}
	}
	err = p.update(ctx, r.ID, func(_ context.Context, _ bun.Tx, q *bun.UpdateQuery, at db.Time) (*bun.UpdateQuery, error) {
		q = q.Set("id = id") // something is set also when nothing is to change
		if in.Body.Name != nil {
			q = q.Set("name = ?", *in.Body.Name)
		}
		if in.Body.Region != nil {
			q = q.Set("region = ?", *in.Body.Region)
		}
		if in.Body.Tags != nil {
			q = q.Set("tags = ?", tagsJSON(*in.Body.Tags))
		}
		if in.Body.OfflineThreshold != nil {
			q = q.Set("offline_threshold = ?, threshold_at = ?", bun.NullZero(threshold.Microseconds()), at)
		}
		return q, nil
	})
	if err != nil {
		return nil, answer(err)
	}
	return p.get(ctx, &byPath{r.ID})
}

func (p *Plugin) removeSatellite(ctx context.Context, in *byPath) (*struct{}, error) {
	r, err := p.changeable(ctx, in.ID)
	if err == nil {
		err = p.remove(ctx, r.ID)
	}
	return nil, answer(err)
}

// changeable finds a satellite that is not the files'.
func (p *Plugin) changeable(ctx context.Context, ref string) (row, error) {
	r, err := p.byRef(ctx, p.host.Read(), ref)
	if err == nil && r.Source == inFile {
		err = errInFile
	}
	return r, err
}

func (p *Plugin) newTokenFor(ctx context.Context, in *rotateInput) (*reply[WithToken], error) {
	grace, err := in.Body.grace()
	if err != nil {
		return nil, err
	}
	r, err := p.byRef(ctx, p.host.Read(), in.ID)
	if err != nil {
		return nil, answer(err)
	}
	token := newToken()
	if err := p.replaceToken(ctx, r.ID, hashToken(token), grace); err != nil {
		return nil, answer(err)
	}
	return p.withToken(ctx, r.ID, token)
}

func (p *Plugin) withToken(ctx context.Context, id, token string) (*reply[WithToken], error) {
	r, err := p.byRef(ctx, p.host.Read(), id)
	if err != nil {
		return nil, answer(err)
	}
	items, err := p.items(ctx, r)
	if err != nil {
		return nil, err
	}
	return &reply[WithToken]{WithToken{items[0], token}}, nil
}

func (p *Plugin) reply(ctx context.Context, r row) (*reply[Item], error) {
	items, err := p.items(ctx, r)
	if err != nil {
		return nil, err
	}
	return &reply[Item]{items[0]}, nil
}

// answer turns the errors of a caller into what the caller is told.
func answer(err error) error {
	switch {
	case errors.Is(err, errUnknown):
		return huma.Error404NotFound(err.Error())
	case errors.Is(err, errInFile):
		return huma.Error409Conflict(err.Error())
	case errors.Is(err, errTaken):
		return huma.Error409Conflict(err.Error(), &huma.ErrorDetail{Location: "body.name", Message: err.Error()})
	default:
		return err
	}
}

func invalid(location, message string) error {
	return huma.Error422UnprocessableEntity("validation failed", &huma.ErrorDetail{Location: location, Message: message})
}

// parseThreshold reads a threshold of a satellite's own; zero is the default.
func (c Config) parseThreshold(text string) (time.Duration, error) {
	if text == "" || text == "default" {
		return 0, nil
	}
	d, err := duration.Parse(text)
	if err != nil {
		return 0, invalid("body.offline_threshold", err.Error())
	}
	if err := c.checkThreshold(d); err != nil {
		return 0, invalid("body.offline_threshold", err.Error())
	}
	return d, nil
}

// grace is how long the old token goes on.
func (r *rotation) grace() (time.Duration, error) {
	if r == nil || r.Grace == "" {
		return 0, nil
	}
	d, err := duration.Parse(r.Grace)
	if err == nil && (d < time.Second || d > maxGrace) {
		err = errors.New("it must be from 1s to " + duration.Format(maxGrace))
	}
	if err != nil {
		return 0, invalid("body.grace", err.Error())
	}
	return d, nil
}

func (c Config) checkThreshold(d time.Duration) error {
	if d < c.MinThreshold || d > c.MaxThreshold {
		return errors.New("it must be from " + duration.Format(c.MinThreshold) + " to " + duration.Format(c.MaxThreshold))
	}
	return nil
}
