package satellite

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/uptrace/bun"

	"github.com/flightrules/flightrules/internal/db"
	"github.com/flightrules/flightrules/plugins/satellite/protocol"
)

// answerSecrets resolves the secrets of a collector, and only of one that the
// satellite's own stored assignment declares.
func (p *Plugin) answerSecrets(ctx context.Context, s *session, m protocol.SecretsRequest) error {
	if len(m.RequestID) > maxStream {
		s.tell(protocol.Error{Code: protocol.CodeMalformed, Message: fmt.Sprintf("a request_id has %d bytes at most", maxStream)})
		return nil
	}
	env, refused, err := p.secretsOf(ctx, s, m)
	if err != nil {
		return err
	}
	if refused != nil {
		p.metrics.requests.WithLabelValues(refused.Code).Inc()
		p.host.Log().Warn("a satellite was refused secrets", "satellite", s.name, "assignment", m.Assignment, "collector", m.Collector, "reason", refused.Code)
		s.tell(protocol.Secrets{RequestID: m.RequestID, Error: refused})
		return nil
	}
	p.metrics.requests.WithLabelValues("answered").Inc()
	s.tell(protocol.Secrets{RequestID: m.RequestID, Env: env})
	return nil
}

// secretsOf are the secrets of a collector by their variables, or why they are
// not given.
func (p *Plugin) secretsOf(ctx context.Context, s *session, m protocol.SecretsRequest) (env map[string]string, refused *protocol.Error, err error) {
	var a assignment
	err = p.host.Read().NewSelect().Model(&a).
		Join("JOIN satellites AS s ON s.id = assignment.satellite_id AND s.session_epoch = ?", s.epoch).
		Where("satellite_id = ? AND capability = ? AND assignment.id = ?", s.id, m.Capability, m.Assignment).Scan(ctx)
	if errors.Is(err, sql.ErrNoRows) {
		return nil, &protocol.Error{Code: protocol.CodeNotAssigned, Message: fmt.Sprintf("this satellite has no assignment %.200q", m.Assignment)}, nil
	}
	if err != nil {
		return nil, nil, err
	}
	declared, err := a.declared()
	if err != nil {
		return nil, nil, err
	}
	names, ok := declared[m.Collector]
	switch {
	case !ok:
		return nil, &protocol.Error{Code: protocol.CodeNoCollector, Message: fmt.Sprintf("assignment %s has no collector %.200q", a.ID, m.Collector)}, nil
	case len(names) == 0:
		return nil, &protocol.Error{Code: protocol.CodeNoSecrets, Message: fmt.Sprintf("collector %s of assignment %s declares no secrets", m.Collector, a.ID)}, nil
	}
	env = make(map[string]string, len(names))
	for variable, name := range names {
		value, err := p.host.Secret(ctx, name, fmt.Sprintf("satellite:%s %s:%s", s.name, a.Capability, a.ID))
		if err != nil {
			// Why is told to the operator; the agent learns which one.
			p.host.Log().Warn("a secret for a satellite cannot be had", "satellite", s.name, "assignment", a.ID, "secret", name, "error", err)
			return nil, &protocol.Error{Code: protocol.CodeUnresolvable, Message: fmt.Sprintf("secret %s of collector %s cannot be had", name, m.Collector)}, nil
		}
		env[variable] = value
	}
	return env, nil, nil
}

// answerBundle tells what the satellite's bundle consists of.
func (p *Plugin) answerBundle(ctx context.Context, s *session, m protocol.BundleRequest) error {
	manifest, _, err := p.bundleOf(ctx, s, m.Hash)
	if err != nil {
		return err
	}
	if manifest == nil {
		s.tell(protocol.BundleManifest{Hash: m.Hash[:min(len(m.Hash), 100)], Error: notIts("bundle")})
		return nil
	}
	s.tell(protocol.BundleManifest{Hash: m.Hash, Manifest: manifest})
	return nil
}

func notIts(what string) *protocol.Error {
	return &protocol.Error{Code: protocol.CodeNotThisBundle, Message: "this satellite is to have another " + what}
}

// answerBlob gives a part of a file of the satellite's bundle.
func (p *Plugin) answerBlob(ctx context.Context, s *session, m protocol.BlobRequest) error {
	r, err := p.rowOf(ctx, s)
	if err != nil {
		return err
	}
	manifest, digests, err := p.bundleOf(ctx, s, r.Bundle)
	if err != nil {
		return err
	}
	answer := protocol.Blob{Digest: m.Digest[:min(len(m.Digest), 100)], Offset: m.Offset}
	if manifest == nil || !slices.Contains(digests, m.Digest) || m.Offset < 0 {
		answer.Error = notIts("file")
		s.tell(answer)
		return nil
	}
	if answer.Data, answer.Size, err = p.remote.bundles.Blob(ctx, m.Digest, m.Offset, protocol.MaxPart); err != nil {
		return err
	}
	s.tell(answer)
	return nil
}

// bundleOf is the manifest of a bundle and the digests of its files; nil when
// the satellite of the session is not to have it.
func (p *Plugin) bundleOf(ctx context.Context, s *session, hash string) (manifest json.RawMessage, digests []string, err error) {
	r, err := p.rowOf(ctx, s)
	if err != nil || p.remote.bundles == nil || hash == "" || r.Bundle != hash {
		return nil, nil, err
	}
	return p.remote.bundles.Manifest(ctx, hash)
}

// rowOf is the row of a session that is its satellite's newest.
func (p *Plugin) rowOf(ctx context.Context, s *session) (r row, err error) {
	err = p.host.Read().NewSelect().Model(&r).Where("id = ? AND session_epoch = ?", s.id, s.epoch).Scan(ctx)
	if errors.Is(err, sql.ErrNoRows) {
		err = errOutdated
	}
	return r, err
}

// report is a row of what an agent told last of a capability.
type report struct {
	bun.BaseModel `bun:"table:satellite_statuses"`

	SatelliteID string  `bun:"satellite_id,pk"`
	Capability  string  `bun:"capability,pk"`
	Payload     db.JSON `bun:"payload"`
	At          db.Time `bun:"at"`
}

// bundleStatus is the capability under which SyncStates are kept.
const bundleStatus = "bundle"

// keepStatus keeps what an agent tells of a capability.
func (p *Plugin) keepStatus(ctx context.Context, s *session, capability string, payload json.RawMessage, at time.Time) error {
	_, known := p.remote.capabilities[capability]
	if !known && capability != bundleStatus || len(payload) == 0 || len(payload) > protocol.MaxPayload {
		s.tell(protocol.Error{Code: protocol.CodeUnexpected, Message: "this is no status of a capability of the core"})
		return nil
	}
	// Most agents say again what they have said, whenever they connect.
	one := report{SatelliteID: s.id, Capability: capability, Payload: db.JSON(payload), At: db.At(at)}
	said, err := p.host.Read().NewSelect().Model(&one).WherePK().Where("payload = ?", one.Payload).Exists(ctx)
	if err != nil || said {
		return err
	}
	return p.host.Write(ctx, func(ctx context.Context, tx bun.Tx) error {
		if _, err := p.current(ctx, tx, s); err != nil {
			return err
		}
		_, err := tx.NewInsert().Model(&one).On("CONFLICT (satellite_id, capability) DO UPDATE").
			Set("payload = EXCLUDED.payload, at = EXCLUDED.at").Returning("NULL").Exec(ctx)
		return err
	})
}

func (p *Plugin) keepSyncState(ctx context.Context, s *session, m protocol.SyncState, at time.Time) error {
	if !slices.Contains([]string{protocol.Syncing, protocol.Ready, protocol.Failed}, m.Status) || len(m.Bundle) > maxStream {
		s.tell(protocol.Error{Code: protocol.CodeMalformed, Message: "this is no state of a bundle"})
		return nil
	}
	m.Error = m.Error[:min(len(m.Error), protocol.MaxError)]
	payload, err := json.Marshal(m)
	if err != nil {
		return err
	}
	return p.keepStatus(ctx, s, bundleStatus, payload, at)
}
