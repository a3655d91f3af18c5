package secret_test

import (
	"encoding/base64"
	"encoding/json"
	"net/url"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/flightrules/flightrules/internal/secret"
)

func TestMasker(t *testing.T) {
	const value = `p@ss "w0rd"/+`
	m := secret.NewMasker(value, "", "p@ss")
	for name, text := range map[string]string{
		"plain": value, "in a query": url.QueryEscape(value), "in a path": url.PathEscape(value),
		"in JSON": `p@ss \"w0rd\"/+`, "base64": base64.StdEncoding.EncodeToString([]byte(value)),
		"base64 for URLs":  base64.RawURLEncoding.EncodeToString([]byte(value)),
		"a part of it too": "p@ss",
	} {
		if got, want := m.Text("<"+text+">"), "<"+secret.Mark+">"; got != want && !strings.HasPrefix(got, "<"+secret.Mark) {
			t.Errorf("%s: %q of %q, want %q", name, got, text, want)
		}
		if strings.Contains(m.Text(text), "p@ss") {
			t.Errorf("%s: %q", name, m.Text(text))
		}
	}
	got := m.Value(map[string]any{"a": []any{value, 1, nil}, value: true})
	if diff := cmp.Diff(map[string]any{"a": []any{secret.Mark, 1, nil}, secret.Mark: true}, got); diff != "" {
		t.Error(diff)
	}
}

func TestANumberThatIsASecretIsMasked(t *testing.T) {
	m := secret.NewMasker("31337")
	got := m.Value([]any{json.Number("31337"), json.Number("313"), json.Number("1313370")})
	if diff := cmp.Diff([]any{secret.Mark, json.Number("313"), "1" + secret.Mark + "0"}, got); diff != "" {
		t.Error(diff)
	}
}

func TestNothingIsMaskedWithoutSecrets(t *testing.T) {
	for _, m := range []*secret.Masker{nil, {}, secret.NewMasker(), secret.NewMasker("")} {
		if got := m.Text("text"); got != "text" {
			t.Errorf("%q", got)
		}
	}
}

func TestASecretInsideOfBase64IsMasked(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		value := rapid.StringMatching(`[a-zA-Z0-9]{8,40}`).Draw(t, "value")
		before, after := rapid.String().Draw(t, "before"), rapid.String().Draw(t, "after")
		m := secret.NewMasker(value)
		text := base64.StdEncoding.EncodeToString([]byte(before + value + after))
		masked := m.Text(text)
		if !strings.Contains(masked, secret.Mark) {
			t.Fatalf("%q in %q is not masked: %q", value, text, masked)
		}
		// What is left on either side tells no more than a character at each end.
		left, right, _ := strings.Cut(masked, secret.Mark)
		if kept := len(left)*6/8 - len(before); kept > 1 {
			t.Fatalf("%d bytes of %q are left before the mark in %q", kept, value, masked)
		}
		if kept := len(strings.TrimRight(right, "="))*6/8 - len(after); kept > 1 {
			t.Fatalf("%d bytes of %q are left after the mark in %q", kept, value, masked)
		}
	})
}
