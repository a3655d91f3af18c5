package scripts

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"

	"github.com/uptrace/bun"

	"github.com/flightrules/flightrules/internal/bundle"
	"github.com/flightrules/flightrules/internal/db"
)

// keptVersions is how many versions of a name are kept; those that the files
// name are kept besides.
const keptVersions = 10

// partSize is how long a part of a stored content is, in bytes.
const partSize = 256 << 10

var (
	errUnknown = errors.New("no such scripts")
	// errTargeted is returned for scripts that are to be removed, and that a file
	// gives to satellites.
	errTargeted = errors.New("a file gives these scripts to satellites; take them out of it first")
)

// version is a folder as it was published.
type version struct {
	bun.BaseModel `bun:"table:script_versions"`

	Name        string  `bun:"name,pk"`
	Hash        string  `bun:"hash,pk"`
	Manifest    db.JSON `bun:"manifest"`
	Number      int64   `bun:"number"` // the newest has the highest
	PublishedAt db.Time `bun:"published_at"`
}

func (v version) decode() (m bundle.Manifest, err error) {
	if err := json.Unmarshal(v.Manifest, &m); err != nil {
		return m, fmt.Errorf("manifest of scripts %s: %w", v.Name, err)
	}
	return m, nil
}

// need is a content that a version needs.
type need struct {
	bun.BaseModel `bun:"table:script_files"`

	Name   string `bun:"name,pk"`
	Hash   string `bun:"hash,pk"`
	Digest string `bun:"digest,pk"`
}

// part is a part of a content.
type part struct {
	bun.BaseModel `bun:"table:script_blobs"`

	Digest string `bun:"digest,pk"`
	Part   int64  `bun:"part,pk"`
	Size   int64  `bun:"size"` // of the whole
	Data   []byte `bun:"data"`
}

// publish makes a folder the newest version of a name, with what it needs and is
// not there yet, and has satellites given it. What is not needed any more goes.
func (p *Plugin) publish(ctx context.Context, name string, m bundle.Manifest, contents map[string][]byte) (v version, err error) {
	text, hash, err := m.Encode()
	if err != nil {
		return v, err
	}
	v = version{Name: name, Hash: hash, Manifest: db.JSON(text), PublishedAt: db.At(p.host.Now())}
	err = p.host.Write(ctx, func(ctx context.Context, tx bun.Tx) error {
		if err := keep(ctx, tx, contents); err != nil {
			return err
		}
		if err := tx.NewSelect().Model((*version)(nil)).ColumnExpr("COALESCE(MAX(number), 0) + 1").Scan(ctx, &v.Number); err != nil {
			return err
		}
		if _, err := tx.NewInsert().Model(&v).On("CONFLICT (name, hash) DO UPDATE").Set("number = EXCLUDED.number, published_at = EXCLUDED.published_at").
			Returning("NULL").Exec(ctx); err != nil {
			return err
		}
		if needs := needsOf(v, m); len(needs) > 0 {
			if _, err := tx.NewInsert().Model(&needs).On("CONFLICT DO NOTHING").Returning("NULL").Exec(ctx); err != nil {
				return err
			}
		}
		return errors.Join(p.dropOld(ctx, tx, name), collect(ctx, tx), p.assignLater(ctx, tx, everySatellite))
	})
	return v, err
}

func needsOf(v version, m bundle.Manifest) (list []need) {
	for _, digest := range m.Digests() {
		list = append(list, need{Name: v.Name, Hash: v.Hash, Digest: digest})
	}
	return list
}

// keep stores contents, each once.
func keep(ctx context.Context, tx bun.Tx, contents map[string][]byte) error {
	for digest, content := range contents {
		there, err := tx.NewSelect().Model((*part)(nil)).Where("digest = ?", digest).Exists(ctx)
		if err != nil || there {
			if err != nil {
				return err
			}
			continue
		}
		for i := 0; i == 0 || i*partSize < len(content); i++ {
			data := content[min(i*partSize, len(content)):min((i+1)*partSize, len(content))]
			one := part{Digest: digest, Part: int64(i), Size: int64(len(content)), Data: data}
			if one.Data == nil {
				one.Data = []byte{}
			}
			if _, err := tx.NewInsert().Model(&one).On("CONFLICT DO NOTHING").Returning("NULL").Exec(ctx); err != nil {
				return err
			}
		}
	}
	return nil
}

// dropOld drops versions of a name that are neither new nor named by the files.
func (p *Plugin) dropOld(ctx context.Context, tx bun.Tx, name string) error {
	versions, err := versionsOf(ctx, tx, name)
	if err != nil {
		return err
	}
	targets, err := allTargets(ctx, tx)
	if err != nil {
		return err
	}
	named := func(v version) bool {
		return slices.ContainsFunc(targets, func(t target) bool { return t.Name == v.Name && t.Version != "" && has(v, t.Version) })
	}
	for i, v := range versions {
		if i < keptVersions || named(v) {
			continue
		}
		if err := dropVersion(ctx, tx, v); err != nil {
			return err
		}
	}
	return nil
}

func dropVersion(ctx context.Context, tx bun.Tx, v version) error {
	if _, err := tx.NewDelete().Model((*need)(nil)).Where("name = ? AND hash = ?", v.Name, v.Hash).Exec(ctx); err != nil {
		return err
	}
	_, err := tx.NewDelete().Model(&v).WherePK().Exec(ctx)
	return err
}

// collect removes contents that no version needs.
func collect(ctx context.Context, tx bun.Tx) error {
	_, err := tx.NewDelete().Model((*part)(nil)).Where("digest NOT IN (SELECT digest FROM script_files)").Exec(ctx)
	return err
}

// versionsOf are the versions of a name, or of all, the newest first.
func versionsOf(ctx context.Context, idb bun.IDB, name string) (list []version, err error) {
	q := idb.NewSelect().Model(&list).Order("name", "number DESC", "hash")
	if name != "" {
		q = q.Where("name = ?", name)
	}
	err = q.Scan(ctx)
	return list, err
}

// has says whether a hash begins so.
func has(v version, beginning string) bool {
	return len(v.Hash) >= len(beginning) && v.Hash[:len(beginning)] == beginning
}

// remove removes all versions of a name.
func (p *Plugin) remove(ctx context.Context, name string) error {
	return p.host.Write(ctx, func(ctx context.Context, tx bun.Tx) error {
		versions, err := versionsOf(ctx, tx, name)
		if err != nil {
			return err
		}
		if len(versions) == 0 {
			return errUnknown
		}
		targeted, err := tx.NewSelect().Model((*target)(nil)).Where("name = ?", name).Exists(ctx)
		if err == nil && targeted {
			err = errTargeted
		}
		if err != nil {
			return err
		}
		for _, v := range versions {
			if err := dropVersion(ctx, tx, v); err != nil {
				return err
			}
		}
		return collect(ctx, tx)
	})
}
