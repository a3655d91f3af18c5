package satellite

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
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

// matching is the hash of a token, and whether it is one of those. It takes the
// same time whatever they are.
func matching(token string, hashes ...string) (hash string, ok bool) {
	hash = hashToken(token)
	same := 0
	for _, h := range hashes {
		same |= subtle.ConstantTimeCompare([]byte(h), []byte(hash))
	}
	return hash, same == 1
}

// byClient finds the satellite that a client says it is, by its id or its name.
// For one that does not exist it does the same work and gives a row whose token
// nobody has.
func (p *Plugin) byClient(ctx context.Context, client string) (row, error) {
	if !isRef(client) {
		client = uuid.Nil.String()
	}
	r, err := p.byRef(ctx, p.host.Read(), client)
	if errors.Is(err, errUnknown) {
		return row{ID: client, TokenHash: noToken, OldTokenHash: noToken}, nil
	}
	return r, err
}
