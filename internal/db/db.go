// Package db opens the database and is the only place that knows SQLite from
// PostgreSQL: connections, transactions, migrations, locks and wake-up hints.
//
// Reads and writes go through bun. Every write runs inside Write, in one
// transaction; inside it everything takes the bun.Tx it was given, never the
// pool, since SQLite has a single writing connection.
package db

import (
	"cmp"
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"
	"net/url"
	"path/filepath"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/stdlib"
	"github.com/uptrace/bun"
	"github.com/uptrace/bun/dialect/pgdialect"
	"github.com/uptrace/bun/dialect/sqlitedialect"
	"modernc.org/sqlite"
	sqlite3 "modernc.org/sqlite/lib"
)

// ErrNested is returned by Write when it is called inside another Write: the
// inner one would wait for the outer one for ever. Use the transaction at hand.
var ErrNested = errors.New("a write inside a write: use the transaction that is open")

// ErrLocked is returned by Open when another process has the SQLite file open.
var ErrLocked = errors.New("the database file is in use by another process")

// maxAttempts bounds how often Write repeats a transaction that lost a
// deadlock or a serialization conflict.
const maxAttempts = 8

// Options tune a database. The zero value is right for production.
type Options struct {
	// NoSync leaves out the sync to disk at commit: for tests, where losing
	// the database with the machine is fine. SQLite only.
	NoSync bool
	// CacheKiB bounds the pages that each connection to SQLite keeps in memory.
	// Zero means 32,000.
	CacheKiB int
	// MaxConns bounds the connections to PostgreSQL, for writers and for
	// readers each, or the readers of SQLite. Zero means 10, or 4.
	MaxConns int
}

// DB is an open database. It is safe for concurrent use.
type DB struct {
	read  *bun.DB
	write *bun.DB
	pg    *pgx.ConnConfig // nil for SQLite
	lock  *fileLock       // SQLite only
	hints *hints
	still *unchanged // of OpenReadOnly; nil: it may change
}

// Open opens "sqlite:PATH" or "postgres://...". A SQLite file is created when
// it is missing, and belongs to one process at a time (ErrLocked otherwise).
func Open(ctx context.Context, ref string, opts Options) (*DB, error) {
	var (
		d   *DB
		err error
	)
	switch {
	case strings.HasPrefix(ref, "sqlite:"):
		d, err = openSQLite(strings.TrimPrefix(ref, "sqlite:"), opts)
	case strings.HasPrefix(ref, "postgres://"), strings.HasPrefix(ref, "postgresql://"):
		d, err = openPostgres(ref, opts)
	default:
		return nil, fmt.Errorf("open database %q: write sqlite:PATH or postgres://USER@HOST/NAME", Redact(ref))
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

func openSQLite(path string, opts Options) (*DB, error) {
	if path == "" {
		return nil, errors.New("a path must follow the scheme, as in sqlite:flightrules.db")
	}
	abs, err := filepath.Abs(path)
	if err != nil {
		return nil, err
	}
	lock, err := lockFile(abs + ".lock")
	if err != nil {
		return nil, err
	}
	synchronous := "FULL"
	if opts.NoSync {
		synchronous = "OFF"
	}
	dsn := func(extra url.Values) string {
		query := url.Values{"_pragma": {
			"busy_timeout(10000)", "journal_mode(WAL)", "synchronous(" + synchronous + ")", "foreign_keys(1)",
			"temp_store(MEMORY)", fmt.Sprintf("cache_size(-%d)", cmp.Or(opts.CacheKiB, 32000)), "journal_size_limit(67108864)",
		}}
		for key, values := range extra {
			query[key] = append(query[key], values...)
		}
		return (&url.URL{Scheme: "file", Path: abs, RawQuery: query.Encode()}).String()
	}
	writer, err := sql.Open("sqlite", dsn(url.Values{"_txlock": {"immediate"}}))
	if err != nil {
		return nil, errors.Join(err, lock.release())
	}
	writer.SetMaxOpenConns(1)
	reader, err := sql.Open("sqlite", dsn(url.Values{"_pragma": {"query_only(1)"}}))
	if err != nil {
		return nil, errors.Join(err, writer.Close(), lock.release())
	}
	conns := opts.MaxConns
	if conns == 0 {
		conns = 4
	}
	reader.SetMaxOpenConns(conns)
	reader.SetMaxIdleConns(conns)
	d := &DB{read: bun.NewDB(reader, sqlitedialect.New()), write: bun.NewDB(writer, sqlitedialect.New()), lock: lock}
	// The first connection creates the file and switches it to WAL, so that
	// no reader meets an empty one.
	if err := d.write.Ping(); err != nil {
		return nil, errors.Join(err, d.Close())
	}
	return d, nil
}

func openPostgres(ref string, opts Options) (*DB, error) {
	config, err := pgx.ParseConfig(ref)
	if err != nil {
		return nil, errors.New("the URL does not parse: write postgres://USER:PASSWORD@HOST:PORT/NAME")
	}
	if config.RuntimeParams["application_name"] == "" {
		config.RuntimeParams["application_name"] = "flightrules"
	}
	// A node that is frozen inside a transaction must not hold its locks for
	// as long as it is frozen, nor for as long as a heartbeat may be late.
	if config.RuntimeParams["idle_in_transaction_session_timeout"] == "" {
		config.RuntimeParams["idle_in_transaction_session_timeout"] = "5s"
	}
	conns := opts.MaxConns
	if conns == 0 {
		conns = 10
	}
	pool := func() *bun.DB {
		pool := stdlib.OpenDB(*config)
		pool.SetMaxOpenConns(conns)
		pool.SetMaxIdleConns(conns)
		pool.SetConnMaxIdleTime(5 * time.Minute)
		return bun.NewDB(pool, pgdialect.New())
	}
	// Readers have connections of their own: who reads while it holds locks must
	// not wait for a connection of those that wait for the locks.
	return &DB{read: pool(), write: pool(), pg: config}, nil
}

// Postgres says whether this is PostgreSQL, where other nodes may be at work
// on the same rows. Otherwise it is SQLite and this process is alone.
func (d *DB) Postgres() bool { return d.pg != nil }

// Read is the pool for reading outside of transactions.
func (d *DB) Read() *bun.DB { return d.read }

// CopyTo writes all that is committed into a new SQLite file. SQLite only.
func (d *DB) CopyTo(ctx context.Context, path string) error {
	_, err := d.write.ExecContext(ctx, "VACUUM INTO ?", path)
	return err
}

// Close ends every connection. Subscriptions get no more hints.
func (d *DB) Close() error {
	if d.hints != nil {
		d.hints.close()
	}
	err := errors.Join(d.read.Close(), d.write.Close())
	if d.lock != nil {
		err = errors.Join(err, d.lock.release())
	}
	return errors.Join(err, d.still.check())
}

type inWrite struct{}

// pending is what Write looks at before and after it commits.
type pending struct {
	topics map[string]struct{} // hints to give once it has
	broken error               // why it must not
}

// HintAfter gives the hint once the Write that ctx belongs to has committed.
// Outside of a Write there is nothing to wait for and it panics.
func HintAfter(ctx context.Context, topic string) {
	ctx.Value(inWrite{}).(*pending).topics[topic] = struct{}{}
}

// InWrite says whether ctx is one that Write gave.
func InWrite(ctx context.Context) bool { return ctx.Value(inWrite{}) != nil }

// Write runs fn in one transaction and commits it when fn returns nil. A lost
// deadlock or serialization conflict runs fn again, a bounded number of times,
// so fn must leave nothing behind but rows. On SQLite writers queue for the
// one writing connection.
func (d *DB) Write(ctx context.Context, fn func(ctx context.Context, tx bun.Tx) error) error {
	return d.attempt(ctx, d.write, fn)
}

// WriteShared is Write for a transaction that does the work of several callers:
// ctx counts until it is its turn to begin, and then no longer. fn's context
// has nothing of it, neither its end nor its values.
func (d *DB) WriteShared(ctx context.Context, fn func(ctx context.Context, tx bun.Tx) error) error {
	if InWrite(ctx) {
		return ErrNested
	}
	for attempt := 1; ; attempt++ {
		conn, err := d.write.Conn(ctx)
		if err != nil {
			return err
		}
		begun := false
		err = func() error {
			defer func() { _ = conn.Close() }() // back to the pool; what was committed stays so
			return d.attempt(context.Background(), conn, func(ctx context.Context, tx bun.Tx) error {
				begun = true
				return fn(ctx, tx)
			})
		}()
		if begun || attempt == maxAttempts || !errors.Is(err, driver.ErrBadConn) {
			return err
		}
	}
}

// beginner is a connection, or the pool of them.
type beginner interface {
	RunInTx(ctx context.Context, opts *sql.TxOptions, fn func(ctx context.Context, tx bun.Tx) error) error
}

func (d *DB) attempt(ctx context.Context, on beginner, fn func(ctx context.Context, tx bun.Tx) error) error {
	if InWrite(ctx) {
		return ErrNested
	}
	for attempt := 1; ; attempt++ {
		after := &pending{topics: map[string]struct{}{}}
		err := on.RunInTx(context.WithValue(ctx, inWrite{}, after), nil, func(ctx context.Context, tx bun.Tx) error {
			return errors.Join(fn(ctx, tx), after.broken)
		})
		if err == nil {
			for topic := range after.topics {
				d.Hint(topic)
			}
			return nil
		}
		if attempt == maxAttempts || !Conflict(err) {
			return err
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(time.Duration(attempt*attempt) * 2 * time.Millisecond):
		}
	}
}

// Savepoint runs fn so that its failure takes back what fn wrote and nothing
// else of the transaction, also when it fails because its ctx has ended. Where
// that cannot be done the Write fails as a whole.
func Savepoint(ctx context.Context, tx bun.Tx, fn func(ctx context.Context, tx bun.Tx) error) error {
	inner, err := tx.BeginTx(context.WithoutCancel(ctx), nil)
	if err != nil {
		return err
	}
	done := false
	defer func() {
		if done {
			return
		}
		if err := inner.Rollback(); err != nil {
			// SQLite ends the whole transaction when it cuts a statement short; what
			// came now would be committed by itself.
			ctx.Value(inWrite{}).(*pending).broken = errors.Join(
				fmt.Errorf("a part of the transaction could not be taken back: %w", err), tx.Tx.Rollback())
		}
	}()
	if err := fn(ctx, inner); err != nil {
		return err
	}
	done = true
	return inner.Commit()
}

// Conflict says whether err is one that a repeated transaction may not meet: a
// lost deadlock or serialization conflict.
func Conflict(err error) bool {
	if pgErr, ok := errors.AsType[*pgconn.PgError](err); ok {
		return pgErr.Code == "40001" || pgErr.Code == "40P01" // serialization failure, deadlock
	}
	if liteErr, ok := errors.AsType[*sqlite.Error](err); ok {
		return liteErr.Code()&0xff == sqlite3.SQLITE_BUSY
	}
	return false
}

// Corrupt says whether err is that a SQLite file is damaged, or is none.
func Corrupt(err error) bool {
	if errors.Is(err, errCorrupt) {
		return true
	}
	liteErr, ok := errors.AsType[*sqlite.Error](err)
	return ok && (liteErr.Code()&0xff == sqlite3.SQLITE_CORRUPT || liteErr.Code() == sqlite3.SQLITE_NOTADB)
}

var errCorrupt = errors.New("the file is damaged")

// Check reads a SQLite file whole, and gives an error that is Corrupt if it is
// damaged.
func (d *DB) Check(ctx context.Context) error {
	var found string
	if err := d.read.NewRaw("PRAGMA quick_check(1)").Scan(ctx, &found); err != nil {
		return err
	}
	if found != "ok" {
		return fmt.Errorf("%w: %s", errCorrupt, found)
	}
	return nil
}

// IsUnique says whether err is the refusal of a second row with the same key.
func IsUnique(err error) bool {
	if pgErr, ok := errors.AsType[*pgconn.PgError](err); ok {
		return pgErr.Code == "23505"
	}
	if liteErr, ok := errors.AsType[*sqlite.Error](err); ok {
		return liteErr.Code() == sqlite3.SQLITE_CONSTRAINT_UNIQUE || liteErr.Code() == sqlite3.SQLITE_CONSTRAINT_PRIMARYKEY
	}
	return false
}

// ForUpdate locks the selected rows until the end of the transaction; with
// skip, rows that somebody else has locked are left out. SQLite has one writer
// and needs neither.
func (d *DB) ForUpdate(q *bun.SelectQuery, skip bool) *bun.SelectQuery {
	switch {
	case !d.Postgres():
		return q
	case skip:
		return q.For("UPDATE SKIP LOCKED")
	default:
		return q.For("UPDATE")
	}
}

// Lock waits for the cluster-wide lock of that name and holds it until the end
// of the transaction. On SQLite the transaction itself is that lock.
func (d *DB) Lock(ctx context.Context, tx bun.Tx, name string) error {
	if !d.Postgres() {
		return nil
	}
	_, err := tx.ExecContext(ctx, "SELECT pg_advisory_xact_lock(hashtextextended(?, 0))", "flightrules/"+name)
	return err
}

// TryLock is Lock without waiting: false when another node holds it.
func (d *DB) TryLock(ctx context.Context, tx bun.Tx, name string) (bool, error) {
	if !d.Postgres() {
		return true, nil
	}
	var got bool
	err := tx.QueryRowContext(ctx, "SELECT pg_try_advisory_xact_lock(hashtextextended(?, 0))", "flightrules/"+name).Scan(&got)
	return got, err
}

// Redact takes the password out of a database URL, for messages.
func Redact(ref string) string {
	u, err := url.Parse(ref)
	if err != nil {
		return "(a URL that does not parse)"
	}
	return u.Redacted()
}
