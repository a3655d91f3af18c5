package scripts

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/flightrules/flightrules/internal/bundle"
)

// Manifest implements plugins.Bundles.
func (p *Plugin) Manifest(ctx context.Context, hash string) (manifest json.RawMessage, digests []string, err error) {
	c := composed{Hash: hash}
	err = p.host.Read().NewSelect().Model(&c).WherePK().Scan(ctx)
	if errors.Is(err, sql.ErrNoRows) {
		return nil, nil, nil // it is not what anybody is to have any more
	}
	if err != nil {
		return nil, nil, err
	}
	m, err := bundle.Decode(c.Manifest, hash)
	return json.RawMessage(c.Manifest), m.Digests(), err
}

// Blob implements plugins.Bundles.
func (p *Plugin) Blob(ctx context.Context, digest string, offset int64, limit int) (data []byte, size int64, err error) {
	one := part{Digest: digest, Part: offset / partSize}
	err = p.host.Read().NewSelect().Model(&one).WherePK().Scan(ctx)
	if errors.Is(err, sql.ErrNoRows) {
		return nil, 0, fmt.Errorf("the content %s has nothing at %d", digest, offset)
	}
	if err != nil {
		return nil, 0, err
	}
	data = one.Data[min(int(offset%partSize), len(one.Data)):]
	return data[:min(len(data), limit)], one.Size, nil
}
