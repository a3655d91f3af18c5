package satellite

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"time"

	"github.com/uptrace/bun"

	"github.com/flightrules/flightrules/internal/db"
	"github.com/flightrules/flightrules/plugins"
	"github.com/flightrules/flightrules/plugins/satellite/protocol"
)

// maxWork bounds what one satellite has to do, in bytes: it is sent in one
// frame.
const maxWork = protocol.MaxFrame * 3 / 4

// remote is the work that other plugins have satellites do.
type remote struct {
	capabilities map[string]plugins.Capability
	bundles      plugins.Bundles // nil: there are none
}

var capabilityName = regexp.MustCompile(`^[a-z][a-z0-9_]*$`)

// Capability implements plugins.Remote.
func (p *Plugin) Capability(c plugins.Capability) error {
	switch _, taken := p.remote.capabilities[c.Name]; {
	case !capabilityName.MatchString(c.Name):
		return fmt.Errorf("capability %q: a name is lower case letters, digits and underscores", c.Name)
	case taken:
		return fmt.Errorf("capability %q: another plugin has it already", c.Name)
	case c.Results == nil:
		return fmt.Errorf("capability %q: Results is wanted", c.Name)
	}
	p.remote.capabilities[c.Name] = c
	return nil
}

// Bundles implements plugins.Remote.
func (p *Plugin) Bundles(b plugins.Bundles) error {
	if p.remote.bundles != nil {
		return errors.New("another plugin has bundles already")
	}
	p.remote.bundles = b
	return nil
}

// Satellites implements plugins.Remote.
func (p *Plugin) Satellites(ctx context.Context, idb bun.IDB, ids ...string) ([]plugins.RemoteSatellite, error) {
	var rows []row
	q := idb.NewSelect().Model(&rows).Order("name")
	if len(ids) > 0 {
		q = q.Where("id IN (?)", bun.List(ids))
	}
	if err := q.Scan(ctx); err != nil {
		return nil, err
	}
	return p.remotes(ctx, idb, p.host.Now(), rows)
}

// remotes shows satellites to other plugins, as of a time.
func (p *Plugin) remotes(ctx context.Context, idb bun.IDB, at time.Time, rows []row) ([]plugins.RemoteSatellite, error) {
	listened, err := p.readListening(ctx, idb)
	if err != nil {
		return nil, err
	}
	since := listened.since(at, p.config.gap())
	list := make([]plugins.RemoteSatellite, len(rows))
	for i, r := range rows {
		tags, err := r.tags()
		if err != nil {
			return nil, err
		}
		list[i] = plugins.RemoteSatellite{
			ID: r.ID, Name: r.Name, Region: r.Region, Tags: tags,
			Online: status(r.LastEvent, r.deadline(p.config, since), at) == online,
		}
		if err := json.Unmarshal(r.Capabilities, &list[i].Capabilities); err != nil {
			return nil, fmt.Errorf("capabilities of satellite %s: %w", r.ID, err)
		}
	}
	return list, nil
}

// changed tells other plugins of satellites whose rows tx has written.
func (p *Plugin) changed(ctx context.Context, tx bun.Tx, at time.Time, ids ...string) error {
	if !p.remote.heeded() || len(ids) == 0 {
		return nil
	}
	var rows []row
	if err := tx.NewSelect().Model(&rows).Where("id IN (?)", bun.List(ids)).Order("id").Scan(ctx); err != nil {
		return err
	}
	list, err := p.remotes(ctx, tx, at, rows)
	if err != nil {
		return err
	}
	return p.remote.tell(ctx, tx, list)
}

// forget removes what a satellite had to do, and tells other plugins that it is
// gone.
func (p *Plugin) forget(ctx context.Context, tx bun.Tx, at time.Time, r row) error {
	for _, table := range []string{"satellite_assignments", "satellite_streams", "satellite_statuses"} {
		if _, err := tx.NewDelete().TableExpr(table).Where("satellite_id = ?", r.ID).Exec(ctx); err != nil {
			return err
		}
	}
	list, err := p.remotes(ctx, tx, at, []row{r})
	if err != nil {
		return err
	}
	list[0].Online, list[0].Removed = false, true
	return p.remote.tell(ctx, tx, list)
}

// heeded says whether anybody wants to hear of satellites.
func (r *remote) heeded() bool {
	if r.bundles != nil {
		return true
	}
	for _, c := range r.capabilities {
		if c.Changed != nil {
			return true
		}
	}
	return false
}

func (r *remote) tell(ctx context.Context, tx bun.Tx, list []plugins.RemoteSatellite) error {
	for _, name := range slices.Sorted(maps.Keys(r.capabilities)) {
		if c := r.capabilities[name]; c.Changed != nil {
			if err := c.Changed(ctx, tx, list); err != nil {
				return fmt.Errorf("capability %s: %w", name, err)
			}
		}
	}
	if r.bundles != nil {
		return r.bundles.Changed(ctx, tx, list)
	}
	return nil
}

// assignment is a row of what a satellite is to do.
type assignment struct {
	bun.BaseModel `bun:"table:satellite_assignments"`

	SatelliteID string  `bun:"satellite_id,pk"`
	Capability  string  `bun:"capability,pk"`
	ID          string  `bun:"id,pk"`
	Interval    int64   `bun:"run_every"` // microseconds
	Timeout     int64   `bun:"timeout"`   // microseconds
	Spec        db.JSON `bun:"spec"`
	Secrets     db.JSON `bun:"secrets"` // by collector, then variable: the name of a secret
}

func newAssignment(capability, satellite string, a plugins.Assignment) (assignment, error) {
	switch {
	case a.ID == "" || len(a.ID) > 200:
		return assignment{}, fmt.Errorf("assignment %.200q: an id has 1 to 200 bytes", a.ID)
	case a.Interval < time.Second || a.Timeout <= 0:
		return assignment{}, fmt.Errorf("assignment %s: the interval is a second at least, and there is a timeout", a.ID)
	}
	spec := a.Spec
	if len(spec) == 0 {
		spec = json.RawMessage("{}")
	}
	var compact bytes.Buffer
	if err := json.Compact(&compact, spec); err != nil {
		return assignment{}, fmt.Errorf("assignment %s: spec: %w", a.ID, err)
	}
	secrets := a.Secrets
	if secrets == nil {
		secrets = map[string]map[string]string{}
	}
	return assignment{
		SatelliteID: satellite, Capability: capability, ID: a.ID, Interval: a.Interval.Microseconds(), Timeout: a.Timeout.Microseconds(),
		Spec: db.JSON(compact.Bytes()), Secrets: db.ToJSON(secrets),
	}, nil
}

// declared are the secrets of an assignment, by collector, then variable.
func (a assignment) declared() (map[string]map[string]string, error) {
	var secrets map[string]map[string]string
	if err := json.Unmarshal(a.Secrets, &secrets); err != nil {
		return nil, fmt.Errorf("secrets of assignment %s of satellite %s: %w", a.ID, a.SatelliteID, err)
	}
	return secrets, nil
}

// wire is an assignment as its agent is told. Which secrets there are is not
// its business before it asks.
func (a assignment) wire() (protocol.Assignment, error) {
	secrets, err := a.declared()
	return protocol.Assignment{
		Capability: a.Capability, ID: a.ID, Interval: protocol.Duration(time.Duration(a.Interval) * time.Microsecond),
		Timeout: protocol.Duration(time.Duration(a.Timeout) * time.Microsecond), Spec: json.RawMessage(a.Spec),
		Collectors: slices.Sorted(maps.Keys(secrets)),
	}, err
}

func (a assignment) same(b assignment) bool {
	return a.Interval == b.Interval && a.Timeout == b.Timeout && bytes.Equal(a.Spec, b.Spec) && bytes.Equal(a.Secrets, b.Secrets)
}

// sizeOf is what assignments take in a message, in bytes.
func sizeOf(list []assignment) (size int, err error) {
	for _, a := range list {
		wire, err := a.wire()
		if err != nil {
			return 0, err
		}
		text, err := json.Marshal(wire)
		if err != nil {
			return 0, err
		}
		size += len(text) + len(",")
	}
	return size, nil
}

func assignmentsOf(ctx context.Context, idb bun.IDB, satellite string) (list []assignment, err error) {
	err = idb.NewSelect().Model(&list).Where("satellite_id = ?", satellite).Order("capability", "id").Scan(ctx)
	return list, err
}

// Assign implements plugins.Remote.
func (p *Plugin) Assign(ctx context.Context, tx bun.Tx, capability, satellite string, work []plugins.Assignment) error {
	if _, ok := p.remote.capabilities[capability]; !ok {
		return fmt.Errorf("there is no capability %q", capability)
	}
	// Two who assign to one satellite go one after the other.
	if locked, err := p.lockRows(ctx, tx, []string{satellite}); err != nil || len(locked) == 0 {
		return errors.Join(err, missing(satellite, len(locked)))
	}
	all, err := assignmentsOf(ctx, tx, satellite)
	if err != nil {
		return err
	}
	before := map[string]assignment{}
	var after []assignment // of this capability
	for _, a := range all {
		if a.Capability == capability {
			before[a.ID] = a
		}
	}
	written := map[string]bool{}
	for _, w := range work {
		a, err := newAssignment(capability, satellite, w)
		if err != nil {
			return err
		}
		if written[a.ID] {
			return fmt.Errorf("assignment %s: it is there twice", a.ID)
		}
		written[a.ID] = true
		after = append(after, a)
	}
	others := slices.DeleteFunc(all, func(a assignment) bool { return a.Capability == capability })
	if size, err := sizeOf(slices.Concat(others, after)); err != nil || size > maxWork {
		return cmp.Or(err, fmt.Errorf("satellite %s has too much to do: %d KiB, and %d are possible", satellite, size>>10, maxWork>>10))
	}
	changed := false
	for _, a := range after {
		if was, ok := before[a.ID]; ok && was.same(a) {
			continue
		}
		changed = true
		if _, err := tx.NewInsert().Model(&a).On("CONFLICT (satellite_id, capability, id) DO UPDATE").
			Set("run_every = EXCLUDED.run_every, timeout = EXCLUDED.timeout, spec = EXCLUDED.spec, secrets = EXCLUDED.secrets").
			Returning("NULL").Exec(ctx); err != nil {
			return err
		}
	}
	for id, a := range before {
		if written[id] {
			continue
		}
		changed = true
		if _, err := tx.NewDelete().Model(&a).WherePK().Exec(ctx); err != nil {
			return err
		}
	}
	if !changed {
		return nil
	}
	p.host.HintAfter(ctx, topic)
	_, err = tx.NewUpdate().Model((*row)(nil)).Set("revision = revision + 1").Where("id = ?", satellite).Exec(ctx)
	return err
}

// SetBundle implements plugins.Remote.
func (p *Plugin) SetBundle(ctx context.Context, tx bun.Tx, satellite, hash string) error {
	locked, err := p.lockRows(ctx, tx, []string{satellite})
	if err != nil || len(locked) == 0 {
		return errors.Join(err, missing(satellite, len(locked)))
	}
	if locked[0].Bundle == hash {
		return nil
	}
	p.host.HintAfter(ctx, topic)
	_, err = tx.NewUpdate().Model((*row)(nil)).Set("bundle = ?", hash).Where("id = ?", satellite).Exec(ctx)
	return err
}

func missing(satellite string, found int) error {
	if found > 0 {
		return nil
	}
	return fmt.Errorf("%w: %s", errUnknown, satellite)
}

// work is what the agent of a satellite is told to do. The revision is read
// before the rest: what changes in between is told again.
func (p *Plugin) work(ctx context.Context, r row) (protocol.Assignments, error) {
	told := protocol.Assignments{Revision: r.Revision, Items: []protocol.Assignment{}}
	list, err := assignmentsOf(ctx, p.host.Read(), r.ID)
	if err != nil {
		return told, err
	}
	for _, a := range list {
		item, err := a.wire()
		if err != nil {
			return told, err
		}
		told.Items = append(told.Items, item)
	}
	return told, nil
}
