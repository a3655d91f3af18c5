package httpapi

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"database/sql"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"regexp"
	"time"

	"github.com/google/uuid"
	"github.com/uptrace/bun"

	"github.com/flightrules/flightrules/internal/db"
	"github.com/flightrules/flightrules/plugins"
)

// TokenPrefix begins every token, so that people and scanners of leaked
// secrets know one when they see it.
const TokenPrefix = "frt_"

var (
	// ErrUnauthenticated is returned for a token that does not let anybody in.
	// It does not say why.
	ErrUnauthenticated = errors.New("the token is unknown, was revoked or has expired")
	// ErrNoToken is returned for the id of a token that does not exist.
	ErrNoToken = errors.New("no such token")
	// ErrNameTaken is returned for a second token of one name: the name is what
	// histories call the caller by.
	ErrNameTaken = errors.New("a token of that name exists")
	// ErrBadToken is returned for a name, a role or an end that a token cannot
	// have.
	ErrBadToken = errors.New("no token can be made")
)

// Token is what is known about a token; not the token itself.
type Token struct {
	ID        string
	Name      string
	Role      plugins.Role
	CreatedAt time.Time
	ExpiresAt time.Time // zero: never
	LastUsed  time.Time // to the hour; zero: not yet
}

// Tokens makes and knows the tokens of the HTTP API. It is safe for concurrent
// use, by several nodes too.
type Tokens struct {
	db  *db.DB
	now func() time.Time
	log *slog.Logger
}

// NewTokens makes Tokens on a migrated database.
func NewTokens(d *db.DB, now func() time.Time, log *slog.Logger) *Tokens {
	return &Tokens{db: d, now: now, log: log}
}

type tokenRow struct {
	bun.BaseModel `bun:"table:tokens"`

	ID        string       `bun:"id,pk"`
	Name      string       `bun:"name"`
	Role      plugins.Role `bun:"role"`
	Hash      string       `bun:"hash"`
	CreatedAt db.Time      `bun:"created_at"`
	ExpiresAt db.Time      `bun:"expires_at"`
	LastUsed  db.Time      `bun:"last_used"`
}

func (row tokenRow) token() Token {
	return Token{
		ID: row.ID, Name: row.Name, Role: row.Role,
		CreatedAt: row.CreatedAt.Time, ExpiresAt: row.ExpiresAt.Time, LastUsed: row.LastUsed.Time,
	}
}

var tokenName = regexp.MustCompile(`^[a-z0-9][a-z0-9._-]{0,62}$`)

// Create makes a token, which is to be had this once; only its hash is kept.
// expires is when it ends, zero for never. Errors: ErrBadToken, ErrNameTaken.
func (t *Tokens) Create(ctx context.Context, name string, role plugins.Role, expires time.Time) (plain string, token Token, err error) {
	switch {
	case !tokenName.MatchString(name):
		return "", Token{}, fmt.Errorf("%w: bad name %q: write up to 63 lower case letters, digits, dots, dashes and underscores", ErrBadToken, name)
	case ranks[role] == 0 && role != Hook:
		return "", Token{}, fmt.Errorf("%w: unknown role %q: it is viewer, operator, admin or hook", ErrBadToken, role)
	case !expires.IsZero() && !expires.After(t.now()):
		return "", Token{}, fmt.Errorf("%w: its end, %s, is in the past", ErrBadToken, expires.UTC().Format(time.RFC3339))
	}
	err = t.db.Write(ctx, func(ctx context.Context, tx bun.Tx) error {
		plain, token, err = t.insert(ctx, tx, name, role, expires)
		return err
	})
	if db.IsUnique(err) {
		return "", Token{}, fmt.Errorf("%w: %q", ErrNameTaken, name)
	}
	return plain, token, err
}

func (t *Tokens) insert(ctx context.Context, tx bun.Tx, name string, role plugins.Role, expires time.Time) (string, Token, error) {
	id, err := uuid.NewV7()
	if err != nil {
		return "", Token{}, err
	}
	secret := make([]byte, 32)
	_, _ = rand.Read(secret) // it never fails, by its contract
	plain := TokenPrefix + base64.RawURLEncoding.EncodeToString(secret)
	row := tokenRow{
		ID: id.String(), Name: name, Role: role, Hash: hashOf(plain), CreatedAt: db.At(t.now()), ExpiresAt: db.At(expires),
	}
	_, err = tx.NewInsert().Model(&row).Returning("NULL").Exec(ctx)
	return plain, row.token(), err
}

// hashOf needs no salt and no slow hash: a token is 256 random bits.
func hashOf(plain string) string {
	sum := sha256.Sum256([]byte(plain))
	return hex.EncodeToString(sum[:])
}

// Revoke ends a token at once; ErrNoToken when there is none of that id.
func (t *Tokens) Revoke(ctx context.Context, id string) error {
	return t.db.Write(ctx, func(ctx context.Context, tx bun.Tx) error {
		res, err := tx.NewDelete().Model((*tokenRow)(nil)).Where("id = ?", id).Exec(ctx)
		if err != nil {
			return err
		}
		if n, err := res.RowsAffected(); err != nil || n == 1 {
			return err
		}
		return fmt.Errorf("%w: %s", ErrNoToken, id)
	})
}

// List is up to limit tokens, newest first, with ids before the given one; ""
// begins with the newest, and limit 0 is no limit.
func (t *Tokens) List(ctx context.Context, before string, limit int) ([]Token, error) {
	var rows []tokenRow
	q := t.db.Read().NewSelect().Model(&rows).Order("id DESC")
	if before != "" {
		q = q.Where("id < ?", before)
	}
	if limit > 0 {
		q = q.Limit(int64(limit))
	}
	if err := q.Scan(ctx); err != nil {
		return nil, err
	}
	list := make([]Token, len(rows))
	for i, row := range rows {
		list[i] = row.token()
	}
	return list, nil
}

// Authenticate finds the token that plain is; ErrUnauthenticated when it is
// none, or its time is over.
func (t *Tokens) Authenticate(ctx context.Context, plain string) (Token, error) {
	var row tokenRow
	err := t.db.Read().NewSelect().Model(&row).Where("hash = ?", hashOf(plain)).Scan(ctx)
	if errors.Is(err, sql.ErrNoRows) {
		return Token{}, ErrUnauthenticated
	}
	if err != nil {
		return Token{}, err
	}
	now := t.now()
	if !row.ExpiresAt.IsZero() && !row.ExpiresAt.After(now) {
		return Token{}, ErrUnauthenticated
	}
	if now.Sub(row.LastUsed.Time) >= time.Hour {
		t.touch(ctx, row.ID, now)
	}
	return row.token(), nil
}

// touch notes that a token is in use. Nobody is turned away because that could
// not be written.
func (t *Tokens) touch(ctx context.Context, id string, now time.Time) {
	if err := t.db.Write(ctx, func(ctx context.Context, tx bun.Tx) error {
		_, err := tx.NewUpdate().Model((*tokenRow)(nil)).Set("last_used = ?", db.At(now)).Where("id = ?", id).Exec(ctx)
		return err
	}); err != nil && ctx.Err() == nil {
		t.log.Warn("the use of a token could not be noted", "token", id, "error", err)
	}
}
