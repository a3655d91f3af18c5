package secrets

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"slices"

	"github.com/uptrace/bun"

	"github.com/flightrules/flightrules/internal/db"
)

var (
	// errUnknown is returned for a secret that is not stored.
	errUnknown = errors.New("it is not stored")
	// errNoKey is returned where something is to be stored and there is no key.
	errNoKey = errors.New("there is no key to encrypt with: start the engine with --secrets-key-file or FLIGHTRULES_SECRETS_KEY; flightrules secrets key makes one")
)

// row is a secret as it is stored.
type row struct {
	bun.BaseModel `bun:"table:stored_secrets"`

	Name      string  `bun:"name,pk"`
	KeyID     string  `bun:"key_id"`
	Sealed    string  `bun:"sealed"`
	CreatedAt db.Time `bun:"created_at"`
	UpdatedAt db.Time `bun:"updated_at"`
}

// keyOf is the key that a row is encrypted with; false: it was not given.
func (p *Plugin) keyOf(r row) (Key, bool) {
	i := slices.IndexFunc(p.config.Keys, func(k Key) bool { return k.id == r.KeyID })
	if i < 0 {
		return Key{}, false
	}
	return p.config.Keys[i], true
}

// stored is the value of a secret in the database.
func (p *Plugin) stored(ctx context.Context, name string) (string, error) {
	r := row{Name: name}
	err := p.host.Read().NewSelect().Model(&r).WherePK().Scan(ctx)
	if errors.Is(err, sql.ErrNoRows) {
		return "", errUnknown
	}
	if err != nil {
		return "", err
	}
	return p.unseal(r)
}

func (p *Plugin) unseal(r row) (string, error) {
	key, ok := p.keyOf(r)
	if !ok {
		return "", fmt.Errorf("it is encrypted with the key %s, which the engine was not given", r.KeyID)
	}
	return key.open(r.Name, r.Sealed)
}

// put stores a secret, or another value of it.
func (p *Plugin) put(ctx context.Context, name, value string) error {
	if len(p.config.Keys) == 0 {
		return errNoKey
	}
	key, now := p.config.Keys[0], db.At(p.host.Now())
	r := row{Name: name, KeyID: key.id, Sealed: key.seal(name, value), CreatedAt: now, UpdatedAt: now}
	return p.host.Write(ctx, func(ctx context.Context, tx bun.Tx) error {
		_, err := tx.NewInsert().Model(&r).On("CONFLICT (name) DO UPDATE").
			Set("key_id = EXCLUDED.key_id, sealed = EXCLUDED.sealed, updated_at = EXCLUDED.updated_at").Returning("NULL").Exec(ctx)
		return err
	})
}

func (p *Plugin) remove(ctx context.Context, name string) error {
	return p.host.Write(ctx, func(ctx context.Context, tx bun.Tx) error {
		res, err := tx.NewDelete().Model(&row{Name: name}).WherePK().Exec(ctx)
		if err != nil {
			return err
		}
		if n, err := res.RowsAffected(); err != nil || n == 0 {
			return errors.Join(err, errUnknown)
		}
		return nil
	})
}

// rotate encrypts with the first key what is encrypted with another, all of it
// or nothing.
func (p *Plugin) rotate(ctx context.Context) (rotated int, err error) {
	if len(p.config.Keys) == 0 {
		return 0, errNoKey
	}
	key := p.config.Keys[0]
	err = p.host.Write(ctx, func(ctx context.Context, tx bun.Tx) error {
		rotated = 0
		var rows []row
		if err := p.host.ForUpdate(tx.NewSelect().Model(&rows).Where("key_id <> ?", key.id).Order("name")).Scan(ctx); err != nil {
			return err
		}
		for _, r := range rows {
			value, err := p.unseal(r)
			if err != nil {
				return &unreadable{r.Name, err}
			}
			r.KeyID, r.Sealed = key.id, key.seal(r.Name, value)
			if _, err := tx.NewUpdate().Model(&r).Column("key_id", "sealed").WherePK().Exec(ctx); err != nil {
				return err
			}
			rotated++
		}
		return nil
	})
	return rotated, err
}

// unreadable is why a stored secret cannot be had.
type unreadable struct {
	name string
	err  error
}

func (e *unreadable) Error() string { return fmt.Sprintf("secret %s: %s", e.name, e.err) }

func (p *Plugin) rows(ctx context.Context) (rows []row, err error) {
	err = p.host.Read().NewSelect().Model(&rows).Order("name").Scan(ctx)
	return rows, err
}

// unreadable are the stored secrets whose key is missing.
func (p *Plugin) unreadable(ctx context.Context) (names []string, err error) {
	rows, err := p.rows(ctx)
	for _, r := range rows {
		if _, ok := p.keyOf(r); !ok {
			names = append(names, r.Name)
		}
	}
	return names, err
}
