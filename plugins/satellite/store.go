package satellite

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/google/uuid"
	"github.com/uptrace/bun"

	"github.com/flightrules/flightrules/internal/db"
)

var (
	// errUnknown is returned for a satellite that does not exist.
	errUnknown = errors.New("no such satellite")
	// errTaken is returned for a name that another satellite has.
	errTaken = errors.New("the name is taken by another satellite")
)

// What happened last to a satellite's connection.
const (
	connected     = "connected"
	disconnected  = "disconnected"
	heartbeatLost = "heartbeat_lost"
)

// row is a satellite as it is stored.
type row struct {
	bun.BaseModel `bun:"table:satellites,alias:satellites"`

	ID               string  `bun:"id,pk"`
	Name             string  `bun:"name"`
	Region           string  `bun:"region"`
	Tags             db.JSON `bun:"tags"`
	Capabilities     db.JSON `bun:"capabilities"`
	Version          string  `bun:"version"`
	TokenHash        string  `bun:"token_hash"`
	OldTokenHash     string  `bun:"old_token_hash"`
	OldTokenUntil    db.Time `bun:"old_token_until"` // when the old token ends
	SessionTokenHash string  `bun:"session_token_hash"`
	OfflineThreshold int64   `bun:"offline_threshold,nullzero"` // microseconds; 0: the default
	ThresholdAt      db.Time `bun:"threshold_at"`
	LastHeartbeatAt  db.Time `bun:"last_heartbeat_at"`
	LastEvent        string  `bun:"last_connection_event,nullzero"`
	SessionID        string  `bun:"session_id,nullzero"`
	Epoch            int64   `bun:"session_epoch"`
	NodeID           string  `bun:"node_id,nullzero"`
	ConnectedAt      db.Time `bun:"connected_at"`
	DisconnectedAt   db.Time `bun:"disconnected_at"`
	CreatedAt        db.Time `bun:"created_at"`
	Revision         int64   `bun:"revision"`  // of its assignments
	Bundle           string  `bun:"bundle"`    // the hash of the files that it is to have
	Buffered         int64   `bun:"buffered"`  // results that its agent has not delivered
	Refused          int64   `bun:"refused"`   // results of what was not assigned to it
	Source           string  `bun:"source"`    // where it is written
	MassLoss         string  `bun:"mass_loss"` // that its newest loss belongs to
}

// newRow is a satellite as it is created, with the hash of its token.
func newRow(id string, s settings, threshold time.Duration, hash string, now time.Time) row {
	return row{
		ID: id, Name: s.Name, Region: s.Region, Tags: tagsJSON(s.Tags), Capabilities: db.JSON("[]"), TokenHash: hash,
		OfflineThreshold: threshold.Microseconds(), ThresholdAt: db.At(now), CreatedAt: db.At(now), Source: byAPI,
	}
}

// threshold is how long the satellite may be silent.
func (r row) threshold(c Config) time.Duration {
	if r.OfflineThreshold == 0 {
		return c.OfflineThreshold
	}
	return time.Duration(r.OfflineThreshold) * time.Microsecond
}

// interval is how far apart the satellite's heartbeats are to be.
func (r row) interval(c Config) time.Duration {
	return min(c.HeartbeatInterval, r.threshold(c)/3)
}

// deadline is until when the satellite counts as online without a further
// heartbeat, given since when the core has listened. lostNow is the same in
// SQL.
func (r row) deadline(c Config, since time.Time) time.Time {
	from := r.LastHeartbeatAt.Time
	for _, t := range []time.Time{since, r.ThresholdAt.Time} {
		if t.After(from) {
			from = t
		}
	}
	return from.Add(r.threshold(c))
}

// lostNow says of a row that it is connected and past its deadline. Its
// arguments are since, since, the default threshold and now.
const lostNow = `last_connection_event = 'connected' AND
	CASE WHEN last_heartbeat_at >= ? AND last_heartbeat_at >= threshold_at THEN last_heartbeat_at
	     WHEN threshold_at >= ? THEN threshold_at
	     ELSE ? END + COALESCE(offline_threshold, ?) < ?`

func (r row) tags() (map[string]string, error) {
	tags := map[string]string{}
	if err := json.Unmarshal(r.Tags, &tags); err != nil {
		return nil, fmt.Errorf("tags of satellite %s: %w", r.ID, err)
	}
	return tags, nil
}

// byRef finds a satellite by its id or its name.
func (p *Plugin) byRef(ctx context.Context, idb bun.IDB, ref string) (row, error) {
	column := "name"
	if isID(ref) {
		column = "id"
	}
	var r row
	err := idb.NewSelect().Model(&r).Where("? = ?", bun.Ident(column), ref).Scan(ctx)
	if errors.Is(err, sql.ErrNoRows) {
		return r, fmt.Errorf("%w: %s", errUnknown, ref)
	}
	return r, err
}

func isID(ref string) bool {
	_, err := uuid.Parse(ref)
	return err == nil && len(ref) == 36
}

// maxName is how long a name may be.
const maxName = 63

// isRef says whether a satellite could have that id or name.
func isRef(ref string) bool { return isID(ref) || namePattern.MatchString(ref) && len(ref) <= maxName }

// one says of a write to one satellite that it met its row.
func one(res sql.Result, err error) (bool, error) {
	if err != nil {
		return false, err
	}
	n, err := res.RowsAffected()
	return n == 1, err
}

// lockRows locks satellites in the order of their ids, which is the order in
// which everybody does who writes to many.
func (p *Plugin) lockRows(ctx context.Context, tx bun.Tx, ids []string) ([]row, error) {
	var rows []row
	err := p.host.ForUpdate(tx.NewSelect().Model(&rows).Where("id IN (?)", bun.List(ids)).Order("id")).Scan(ctx)
	return rows, err
}
