package satellite

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"database/sql"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"strings"

	"github.com/google/uuid"
)

// errRefused is returned for a satellite that does not exist, and for a token
// that is not its own; which of the two is not told.
var errRefused = errors.New("unknown satellite or wrong token")

// tokenPrefix lets people and scanners for secrets recognise a token.
const tokenPrefix = "frs_"

// newToken makes a token of 256 random bits.
func newToken() string {
	var secret [32]byte
	_, _ = rand.Read(secret[:]) // it never fails
	return tokenPrefix + base64.RawURLEncoding.EncodeToString(secret[:])
}

// hashToken is what is stored of a token. A fast hash is right: see
// docs/decisions/0008-hash-random-tokens-fast.md.
func hashToken(token string) string {
	sum := sha256.Sum256([]byte(token))
	return hex.EncodeToString(sum[:])
}

// noToken is the hash of no token.
var noToken = strings.Repeat("0", hex.EncodedLen(sha256.Size))

// tokenMatches compares in constant time.
func tokenMatches(hash, token string) bool {
	return subtle.ConstantTimeCompare([]byte(hash), []byte(hashToken(token))) == 1
}

// byID finds the satellite that says it is that one. For an id that does not
// exist, or is none, it does the same work and gives a row whose token nobody
// has.
func (p *Plugin) byID(ctx context.Context, id string) (row, error) {
	if !isID(id) {
		id = uuid.Nil.String()
	}
	r := row{ID: id}
	err := p.host.Read().NewSelect().Model(&r).WherePK().Scan(ctx)
	if errors.Is(err, sql.ErrNoRows) {
		return row{ID: id, TokenHash: noToken}, nil
	}
	return r, err
}
