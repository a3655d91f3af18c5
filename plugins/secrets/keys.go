package secrets

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"strings"
)

// Key encrypts secrets. ParseKeys and NewKey make it.
type Key struct {
	id   string
	aead cipher.AEAD
}

// keySize is that of AES-256.
const keySize = 32

// NewKey makes a key, in the form that ParseKeys reads.
func NewKey() string {
	var key [keySize]byte
	_, _ = rand.Read(key[:]) // it never fails
	return base64.StdEncoding.EncodeToString(key[:])
}

// ParseKeys reads keys, of 32 bytes in base64 each, with white space or commas
// between them. The first is the one that encrypts.
func ParseKeys(text string) ([]Key, error) {
	var keys []Key
	for i, field := range strings.FieldsFunc(text, func(r rune) bool { return strings.ContainsRune(", \t\r\n", r) }) {
		raw, err := base64.StdEncoding.DecodeString(field)
		if err != nil || len(raw) != keySize {
			return nil, fmt.Errorf("key %d is not %d bytes in base64; flightrules secrets key makes one", i+1, keySize)
		}
		key, err := newKey(raw)
		if err != nil {
			return nil, err
		}
		keys = append(keys, key)
	}
	return keys, nil
}

func newKey(raw []byte) (Key, error) {
	block, err := aes.NewCipher(raw)
	if err != nil {
		return Key{}, err
	}
	aead, err := cipher.NewGCMWithRandomNonce(block)
	// Of a random key, a part of its hash tells nothing.
	sum := sha256.Sum256(append([]byte("flightrules key id\x00"), raw...))
	return Key{id: hex.EncodeToString(sum[:6]), aead: aead}, err
}

// bound is what a value is bound to, so that a row cannot stand for another.
func bound(name string) []byte { return []byte("flightrules secret\x00" + name) }

func (k Key) seal(name, value string) string {
	return base64.StdEncoding.EncodeToString(k.aead.Seal(nil, nil, []byte(value), bound(name)))
}

func (k Key) open(name, sealed string) (string, error) {
	raw, err := base64.StdEncoding.DecodeString(sealed)
	if err != nil {
		return "", errTampered
	}
	value, err := k.aead.Open(nil, nil, raw, bound(name))
	if err != nil {
		return "", errTampered
	}
	return string(value), nil
}

// errTampered is returned for a row that is not what was stored under its name.
var errTampered = errors.New("the stored secret is damaged: it is not what was encrypted under this name")
