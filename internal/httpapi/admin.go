package httpapi

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/uptrace/bun"

	"github.com/flightrules/flightrules/internal/db"
	"github.com/flightrules/flightrules/plugins"
)

// EnsureAdmin makes sure that somebody can get in: when the database has no
// admin token that is valid, it makes one and writes it to the file at path,
// mode 0600, over what was there. When there is one nothing happens, also when
// the file is gone. Of several nodes that start at once, one makes it.
func (t *Tokens) EnsureAdmin(ctx context.Context, path string) (created bool, err error) {
	err = t.db.Write(ctx, func(ctx context.Context, tx bun.Tx) error {
		created = false
		if err := t.db.Lock(ctx, tx, "tokens"); err != nil {
			return err
		}
		admins, err := tx.NewSelect().Model((*tokenRow)(nil)).Where("role = ?", plugins.Admin).
			Where("(expires_at IS NULL OR expires_at > ?)", db.At(t.now())).Count(ctx)
		if err != nil || admins > 0 {
			return err
		}
		name, err := freeName(ctx, tx, "admin")
		if err != nil {
			return err
		}
		plain, _, err := t.insert(ctx, tx, name, plugins.Admin, time.Time{})
		if err != nil {
			return err
		}
		// The file comes before the commit: a token that stands in no file
		// would be of no use to anybody, and one that was not committed is
		// replaced at the next start.
		created = true
		return writeSecret(path, plain+"\n")
	})
	if err != nil {
		return false, fmt.Errorf("write the first admin token to %s: %w", path, err)
	}
	return created, nil
}

// freeName is the name, with a number after it where it is taken.
func freeName(ctx context.Context, tx bun.Tx, name string) (string, error) {
	for n := 1; ; n++ {
		candidate := name
		if n > 1 {
			candidate = fmt.Sprintf("%s-%d", name, n)
		}
		taken, err := tx.NewSelect().Model((*tokenRow)(nil)).Where("name = ?", candidate).Exists(ctx)
		if err != nil || !taken {
			return candidate, err
		}
	}
}

// writeSecret puts a file in place as a whole, readable by its owner alone.
func writeSecret(path, text string) error {
	file, err := os.CreateTemp(filepath.Dir(path), ".token-*") // mode 0600
	if err != nil {
		return err
	}
	_, err = file.WriteString(text)
	err = errors.Join(err, file.Sync(), file.Close())
	if err == nil {
		err = os.Rename(file.Name(), path)
	}
	if err != nil {
		return errors.Join(err, os.Remove(file.Name()))
	}
	return nil
}
