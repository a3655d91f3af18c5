package httpapi

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"
)

// The headers of https://www.standardwebhooks.com.
const (
	standardID        = "Webhook-Id"
	standardTimestamp = "Webhook-Timestamp"
	standardSignature = "Webhook-Signature"
)

// bodySignatures are the headers of a signature of the body alone.
var bodySignatures = []string{"X-Hub-Signature-256", "X-Signature-256"}

// signed says whether a delivery is signed with a secret, and whether as
// Standard Webhooks are; where it claims to be, nothing else counts.
func signed(h http.Header, body []byte, secret string) (good, standard bool) {
	if claimed := h.Get(standardSignature); claimed != "" {
		id, at := h.Get(standardID), h.Get(standardTimestamp)
		if id == "" || at == "" {
			return false, true
		}
		sum := sumOf(standardKey(secret), []byte(id+"."+at+"."), body)
		for one := range strings.FieldsSeq(claimed) { // several, while a secret is replaced
			text, ok := strings.CutPrefix(one, "v1,")
			if mac, err := base64.StdEncoding.DecodeString(text); ok && err == nil && hmac.Equal(mac, sum) {
				return true, true
			}
		}
		return false, true
	}
	for _, name := range bodySignatures {
		if text, ok := strings.CutPrefix(h.Get(name), "sha256="); ok {
			mac, err := hex.DecodeString(text)
			return err == nil && hmac.Equal(mac, sumOf([]byte(secret), body)), false
		}
	}
	return false, false
}

func sumOf(key []byte, parts ...[]byte) []byte {
	mac := hmac.New(sha256.New, key)
	for _, part := range parts {
		mac.Write(part)
	}
	return mac.Sum(nil)
}

// standardKey is a secret as Standard Webhooks write it: its prefix says that
// the rest is Base64.
func standardKey(secret string) []byte {
	if text, ok := strings.CutPrefix(secret, "whsec_"); ok {
		if key, err := base64.StdEncoding.DecodeString(text); err == nil {
			return key
		}
	}
	return []byte(secret)
}

// secretHeader says whether a header, in lower case, is kept out of events: it
// lets somebody in, or vouches for what has been checked.
func secretHeader(name string) bool {
	return slices.Contains([]string{"authorization", "proxy-authorization", "cookie", "x-api-key", "x-gitlab-token"}, name) || strings.Contains(name, "signature")
}

func unixSeconds(text string) (time.Time, bool) {
	n, err := strconv.ParseInt(text, 10, 64)
	if err != nil || n < 0 || n > 1<<40 {
		return time.Time{}, false
	}
	return time.Unix(n, 0), true
}
