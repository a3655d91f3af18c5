package db

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/uptrace/bun"
	"github.com/uptrace/bun/dialect/sqlitedialect"
)

// ErrChanged is returned by Close when somebody has begun to work on a SQLite
// file that nobody had open when OpenReadOnly opened it: what was read of it may
// be of no single time.
var ErrChanged = errors.New("the database file was changed while it was read: try again")

// OpenReadOnly opens a database to read it, beside whoever works on it: it takes
// no lock, creates no file, migrates nothing, and every write is refused. A
// SQLite file must be there.
func OpenReadOnly(ctx context.Context, ref string) (*DB, error) {
	var (
		d   *DB
		err error
	)
	switch {
	case strings.HasPrefix(ref, "sqlite:"):
		d, err = readSQLite(strings.TrimPrefix(ref, "sqlite:"))
	case strings.HasPrefix(ref, "postgres://"), strings.HasPrefix(ref, "postgresql://"):
		var read *url.URL
		if read, err = url.Parse(ref); err == nil {
			query := read.Query()
			query.Set("default_transaction_read_only", "on")
			read.RawQuery = query.Encode()
			d, err = openPostgres(read.String(), Options{})
		}
	default:
		err = errors.New("write sqlite:PATH or postgres://USER@HOST/NAME")
	}
	if err != nil {
		return nil, fmt.Errorf("open database %s: %w", Redact(ref), err)
	}
	d.hints = newHints(d)
	if err := d.read.PingContext(ctx); err != nil {
		return nil, errors.Join(fmt.Errorf("open database %s: %w", Redact(ref), err), d.Close())
	}
	return d, nil
}

func readSQLite(path string) (*DB, error) {
	abs, err := filepath.Abs(path)
	if err != nil {
		return nil, err
	}
	if _, err := os.Stat(abs); err != nil {
		return nil, err
	}
	query := url.Values{"mode": {"ro"}, "_pragma": {"busy_timeout(10000)", "query_only(1)", "temp_store(MEMORY)", "cache_size(-32000)"}}
	var still *unchanged
	if wal, err := os.Stat(abs + "-wal"); errors.Is(err, fs.ErrNotExist) || err == nil && wal.Size() == 0 && !exists(abs+"-shm") {
		// Nobody has it open, and to open it as usual would create files beside it.
		if still, err = watch(abs); err != nil {
			return nil, err
		}
		query.Set("immutable", "1")
	} else if err != nil {
		return nil, err
	} else if !exists(abs + "-shm") {
		return nil, fmt.Errorf("beside it is a file -wal and no -shm, as of a copy: open it once with flightrules serve, or copy it while nobody has it open")
	}
	pool, err := sql.Open("sqlite", (&url.URL{Scheme: "file", Path: abs, RawQuery: query.Encode()}).String())
	if err != nil {
		return nil, err
	}
	pool.SetMaxOpenConns(4)
	pool.SetMaxIdleConns(4)
	read := bun.NewDB(pool, sqlitedialect.New())
	return &DB{read: read, write: read, still: still}, nil
}

func exists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}

// unchanged is a file that is to stay what it is.
type unchanged struct {
	path string
	size int64
	at   time.Time
}

func watch(path string) (*unchanged, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, err
	}
	return &unchanged{path, info.Size(), info.ModTime()}, nil
}

// check says whether somebody has changed the file, or begun to.
func (u *unchanged) check() error {
	if u == nil {
		return nil
	}
	now, err := watch(u.path)
	if err != nil {
		return err
	}
	if wal, err := os.Stat(u.path + "-wal"); *now != *u || err == nil && wal.Size() > 0 {
		return ErrChanged
	}
	return nil
}

// Migrated says whether a database is at the version of these migrations: what
// Migrate would have left.
func (d *DB) Migrated(ctx context.Context, sets ...Migrations) error {
	for _, set := range sets {
		list, err := d.load(set)
		if err != nil {
			return err
		}
		var newest int
		if err := d.read.NewSelect().Table("migrations").ColumnExpr("COALESCE(MAX(version), 0)").
			Where("owner = ?", set.Owner).Scan(ctx, &newest); err != nil {
			return fmt.Errorf("it was never migrated: %w", err)
		}
		if newest != len(list) {
			return fmt.Errorf("%s is at version %d, and this program knows %d: migrate it, or run the newer program", set.Owner, newest, len(list))
		}
	}
	return nil
}
