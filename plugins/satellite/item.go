package satellite

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"regexp"
	"time"

	"github.com/uptrace/bun"

	"github.com/flightrules/flightrules/internal/db"
	"github.com/flightrules/flightrules/internal/duration"
	"github.com/flightrules/flightrules/plugins/satellite/protocol"
)

// neverConnected is the Status of an Item that has no State.
const neverConnected = "never_connected"

// settings are what an operator says of a new satellite.
type settings struct {
	Name             string            `json:"name" minLength:"1" maxLength:"63" doc:"Unique; letters, digits, dots, underscores and hyphens."`
	Region           string            `json:"region,omitempty" maxLength:"63" pattern:"^[^\\x00-\\x1f]*$" patternDescription:"text in one line"`
	Tags             map[string]string `json:"tags,omitempty" maxProperties:"64"`
	OfflineThreshold string            `json:"offline_threshold,omitempty" maxLength:"50" example:"45s" doc:"Silence after which it is lost; absent: the engine's default."`
}

// changes are what an operator changes; what is absent stays.
type changes struct {
	Name             *string            `json:"name,omitempty" minLength:"1" maxLength:"63"`
	Region           *string            `json:"region,omitempty" maxLength:"63" pattern:"^[^\\x00-\\x1f]*$" patternDescription:"text in one line"`
	Tags             *map[string]string `json:"tags,omitempty" maxProperties:"64" doc:"In the place of all there were."`
	OfflineThreshold *string            `json:"offline_threshold,omitempty" maxLength:"50" example:"45s" doc:"Counts from now at the earliest. \"default\": the engine's default."`
}

// rotation is how a token is replaced.
type rotation struct {
	Grace string `json:"grace,omitempty" maxLength:"50" example:"1h" doc:"How long the old token goes on, 30 days at most; absent: it ends at once."`
}

// Item is a satellite as the API shows it.
type Item struct {
	ID               string            `json:"id"`
	Name             string            `json:"name"`
	Region           string            `json:"region"`
	Tags             map[string]string `json:"tags"`
	Status           string            `json:"status" enum:"online,offline,never_connected"`
	LastEvent        *string           `json:"last_event" enum:"connected,disconnected,heartbeat_lost" doc:"What happened last to its connection."`
	LastSeenAt       *time.Time        `json:"last_seen_at" doc:"When it was heard last."`
	OfflineThreshold string            `json:"offline_threshold" doc:"Silence after which it is lost."`
	Version          string            `json:"version" doc:"Of its agent; empty before the first connection."`
	CreatedAt        time.Time         `json:"created_at"`
	Source           string            `json:"source" enum:"file,api" doc:"Where it is written; one of a file is changed there."`
	TokenIssued      bool              `json:"token_issued" doc:"It has a token; until then it cannot connect."`
	Session          *SessionItem      `json:"session" doc:"Its newest session, unless that has ended."`
	Capabilities     []string          `json:"capabilities" doc:"What its agent can be told to do."`
	Results          ResultsItem       `json:"results" doc:"What came of what it is to do."`
	Files            *FilesItem        `json:"files" doc:"The files that it is to have; null: none."`
	Work             []WorkItem        `json:"work" nullable:"false" doc:"What it said last that it does, by capability."`
}

// WorkItem is what a satellite does of a capability.
type WorkItem struct {
	Capability string    `json:"capability"`
	Assigned   int       `json:"assigned" doc:"How many assignments it does."`
	Unfit      []string  `json:"unfit" nullable:"false" doc:"Those that it cannot do."`
	At         time.Time `json:"at" doc:"When it said so."`
}

// FilesItem is how far a satellite is with the files that it is to have.
type FilesItem struct {
	Bundle string     `json:"bundle" doc:"The hash that names all of them."`
	Status string     `json:"status" enum:"unknown,syncing,ready,failed" doc:"unknown: it has not said yet."`
	Error  string     `json:"error" doc:"Why it cannot get them."`
	At     *time.Time `json:"at" doc:"When it said so."`
}

// ResultsItem counts results of a satellite.
type ResultsItem struct {
	Buffered int64 `json:"buffered" doc:"Not delivered yet, as of its newest heartbeat."`
	Refused  int64 `json:"refused" doc:"Refused, since they were of nothing that is assigned to it."`
}

// SessionItem is where a satellite is connected.
type SessionItem struct {
	Node        string    `json:"node"`
	ConnectedAt time.Time `json:"connected_at"`
}

// WithToken is a satellite with its token, which is shown this once.
type WithToken struct {
	Item
	Token string `json:"token" doc:"Shown this once."`
}

// items shows satellites as they are now.
func (p *Plugin) items(ctx context.Context, rows ...row) ([]Item, error) {
	listened, err := p.readListening(ctx, p.host.Read())
	if err != nil {
		return nil, err
	}
	now := p.host.Now()
	since := listened.since(now, p.config.gap())
	states, work, err := p.told(ctx, rows)
	if err != nil {
		return nil, err
	}
	items := make([]Item, len(rows))
	for i, r := range rows {
		tags, err := r.tags()
		if err != nil {
			return nil, err
		}
		item := Item{
			ID: r.ID, Name: r.Name, Region: r.Region, Tags: tags, Status: neverConnected, LastSeenAt: r.LastHeartbeatAt.Ptr(),
			OfflineThreshold: duration.Format(r.threshold(p.config)), Version: r.Version, CreatedAt: r.CreatedAt.Time,
			Source: r.Source, TokenIssued: r.TokenHash != noToken,
		}
		if err := json.Unmarshal(r.Capabilities, &item.Capabilities); err != nil {
			return nil, fmt.Errorf("capabilities of satellite %s: %w", r.ID, err)
		}
		item.Results = ResultsItem{Buffered: r.Buffered, Refused: r.Refused}
		if r.LastEvent != "" {
			item.Status = status(r.LastEvent, r.deadline(p.config, since), now)
			item.LastEvent = &r.LastEvent
		}
		if r.SessionID != "" {
			item.Session = &SessionItem{Node: r.NodeID, ConnectedAt: r.ConnectedAt.Time}
		}
		item.Work = append([]WorkItem{}, work[r.ID]...)
		if r.Bundle != "" {
			item.Files = &FilesItem{Bundle: r.Bundle, Status: "unknown"}
			if state := states[r.ID]; state.Bundle == r.Bundle {
				*item.Files = state
			}
		}
		items[i] = item
	}
	return items, nil
}

// told is what satellites said of their files and of their work, by their ids.
func (p *Plugin) told(ctx context.Context, rows []row) (files map[string]FilesItem, work map[string][]WorkItem, err error) {
	if len(rows) == 0 {
		return nil, nil, nil
	}
	ids := make([]string, len(rows))
	for i, r := range rows {
		ids[i] = r.ID
	}
	var reports []report
	if err := p.host.Read().NewSelect().Model(&reports).Where("satellite_id IN (?)", bun.List(ids)).Order("satellite_id", "capability").Scan(ctx); err != nil {
		return nil, nil, err
	}
	files, work = map[string]FilesItem{}, map[string][]WorkItem{}
	for _, r := range reports {
		at := r.At.Time
		if r.Capability == bundleStatus {
			var m protocol.SyncState
			if err := json.Unmarshal(r.Payload, &m); err != nil {
				return nil, nil, fmt.Errorf("what satellite %s said of its files: %w", r.SatelliteID, err)
			}
			files[r.SatelliteID] = FilesItem{Bundle: m.Bundle, Status: m.Status, Error: m.Error, At: &at}
			continue
		}
		var m protocol.Work
		if json.Unmarshal(r.Payload, &m) == nil { // an agent may say something else of it
			work[r.SatelliteID] = append(work[r.SatelliteID], WorkItem{Capability: r.Capability, Assigned: m.Assigned, Unfit: append([]string{}, m.Unfit...), At: at})
		}
	}
	return files, work, nil
}

// maxTags is how many tags a satellite may have, and oneLine what its region is.
const maxTags = 64

var oneLine = regexp.MustCompile(`^[^\x00-\x1f]*$`)

var namePattern = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._-]*$`)

// checkName refuses names that an address could not tell from something else.
func checkName(name string) error {
	switch {
	case !namePattern.MatchString(name):
		return errors.New("write letters, digits, dots, underscores and hyphens, with a letter or digit first")
	case isID(name):
		return errors.New("a name must not look like an id")
	case name == "connect":
		return errors.New("this name is taken by the address where satellites connect")
	}
	return nil
}

func tagsJSON(tags map[string]string) db.JSON {
	if tags == nil {
		tags = map[string]string{}
	}
	return db.ToJSON(tags)
}
