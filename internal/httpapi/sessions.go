package httpapi

import (
	"context"
	"crypto/rand"
	"database/sql"
	"encoding/base64"
	"errors"
	"net/http"
	"strings"
	"time"

	"github.com/uptrace/bun"

	"github.com/flightrules/flightrules/entities"
	"github.com/flightrules/flightrules/internal/db"
	"github.com/flightrules/flightrules/plugins"
)

const (
	// SessionCookie is the cookie that holds a session.
	SessionCookie = "flightrules_session"
	// SessionLife is how long a session lasts, unless its token ends before.
	SessionLife = 7 * 24 * time.Hour
)

// Caller is who makes a request.
type Caller struct {
	Name  string       // of the token
	Role  plugins.Role // what they may do
	Actor string       // what histories call them by
}

// May says whether the caller may do what wants a role.
func (c Caller) May(want plugins.Role) bool { return allows(c.Role, want) }

func callerOf(t Token) Caller { return Caller{Name: t.Name, Role: t.Role, Actor: "token:" + t.Name} }

type (
	callerKey struct{}
	remoteKey struct{}
)

// WithCaller is for requests that are made inside the process for somebody who
// is known already: pages ask the API in the name of who looks at them. remote
// is their address.
func WithCaller(ctx context.Context, c Caller, remote string) context.Context {
	return context.WithValue(context.WithValue(withActor(ctx, c), callerKey{}, c), remoteKey{}, remote)
}

func withActor(ctx context.Context, c Caller) context.Context {
	return entities.WithCause(ctx, entities.Cause{Actor: c.Actor})
}

// sessionRow is somebody who is signed in with a browser.
type sessionRow struct {
	bun.BaseModel `bun:"table:sessions"`

	Hash      string  `bun:"hash,pk"`
	TokenID   string  `bun:"token_id"`
	CreatedAt db.Time `bun:"created_at"`
	ExpiresAt db.Time `bun:"expires_at"`
}

// BeginSession signs a token in, and gives what the cookie is to hold; it is
// kept nowhere. Errors: ErrUnauthenticated, also for a token that may not look
// at anything.
func (t *Tokens) BeginSession(ctx context.Context, plain string) (session string, c Caller, err error) {
	token, err := t.Authenticate(ctx, plain)
	if err != nil {
		return "", Caller{}, err
	}
	if !allows(token.Role, plugins.Viewer) {
		return "", Caller{}, ErrUnauthenticated
	}
	secret := make([]byte, 32)
	_, _ = rand.Read(secret) // it never fails, by its contract
	session = base64.RawURLEncoding.EncodeToString(secret)
	now := t.now()
	row := sessionRow{Hash: hashOf(session), TokenID: token.ID, CreatedAt: db.At(now), ExpiresAt: db.At(now.Add(SessionLife))}
	err = t.db.Write(ctx, func(ctx context.Context, tx bun.Tx) error {
		if _, err := tx.NewDelete().Model((*sessionRow)(nil)).Where("expires_at <= ?", db.At(now)).Exec(ctx); err != nil {
			return err
		}
		_, err := tx.NewInsert().Model(&row).Returning("NULL").Exec(ctx)
		return err
	})
	return session, callerOf(token), err
}

// EndSession signs out.
func (t *Tokens) EndSession(ctx context.Context, session string) error {
	return t.db.Write(ctx, func(ctx context.Context, tx bun.Tx) error {
		_, err := tx.NewDelete().Model((*sessionRow)(nil)).Where("hash = ?", hashOf(session)).Exec(ctx)
		return err
	})
}

// Session says whose session it is; ErrUnauthenticated when it is none, when
// its time is over, and when its token has ended.
func (t *Tokens) Session(ctx context.Context, session string) (Caller, error) {
	now := db.At(t.now())
	var row tokenRow
	err := t.db.Read().NewSelect().Model(&row).
		Join("JOIN sessions AS s ON s.token_id = token_row.id").
		Where("s.hash = ? AND s.expires_at > ?", hashOf(session), now).
		Where("token_row.expires_at IS NULL OR token_row.expires_at > ?", now).Scan(ctx)
	if errors.Is(err, sql.ErrNoRows) {
		return Caller{}, ErrUnauthenticated
	}
	return callerOf(row.token()), err
}

// SignIn is BeginSession for a form: an address that fails too often is told to
// wait, with a *Problem.
func (s *Server) SignIn(ctx context.Context, plain, remote string) (session string, c Caller, err error) {
	session, c, err = s.tokens.BeginSession(ctx, strings.TrimSpace(plain))
	if err == nil {
		err = s.noted(withActor(ctx, c), "/login", remote)
	}
	if !errors.Is(err, ErrUnauthenticated) {
		return session, c, err
	}
	if p := s.stranger(remote); p != nil {
		return "", Caller{}, p
	}
	s.Log.Warn("a sign-in without a valid token was refused", "remote", remote)
	return "", Caller{}, err
}

// SignOut is EndSession, in the name of whose it is.
func (s *Server) SignOut(ctx context.Context, session, remote string) error {
	if err := s.noted(ctx, "/logout", remote); err != nil {
		return err
	}
	return s.tokens.EndSession(ctx, session)
}

// noted puts a form into the audit that is no call of the API.
func (s *Server) noted(ctx context.Context, path, remote string) error {
	row, err := s.note(ctx, http.MethodPost, path, remote)
	if err == nil {
		row.Status = http.StatusSeeOther
		s.outcome(ctx, row)
	}
	return err
}

// cookieIn is the value of a cookie in a header; "" when it is not there.
func cookieIn(header, name string) string {
	list, err := http.ParseCookie(header)
	if err != nil {
		return ""
	}
	for _, c := range list {
		if c.Name == name {
			return c.Value
		}
	}
	return ""
}
