// Package secret keeps values that nobody may read out of what is written: it
// finds them by value, as they are and in the encodings in which they travel.
package secret

import (
	"cmp"
	"encoding/base64"
	"encoding/json"
	"net/url"
	"slices"
	"strings"
)

// Mark is what stands in the place of a secret.
const Mark = "****"

// Masker takes the values of secrets out of texts: plain, URL-encoded, escaped
// as in JSON, and in base64, also where they are a part of what was encoded.
// The zero value and nil mask nothing. It is safe for concurrent use.
type Masker struct{ replacer *strings.Replacer }

// NewMasker makes a masker of values; empty ones are left out.
func NewMasker(values ...string) *Masker {
	var forms []string
	for _, v := range values {
		if v != "" {
			forms = append(forms, formsOf(v)...)
		}
	}
	if len(forms) == 0 {
		return &Masker{}
	}
	// Where one form is a part of another, the longer one is looked for first.
	slices.SortFunc(forms, func(a, b string) int { return cmp.Or(len(b)-len(a), strings.Compare(a, b)) })
	var pairs []string
	for _, form := range slices.Compact(forms) {
		pairs = append(pairs, form, Mark)
	}
	return &Masker{strings.NewReplacer(pairs...)}
}

// shortest is how long a piece of base64 must be to be taken for a secret's:
// shorter ones would be found everywhere.
const shortest = 6

// formsOf are the texts that a value is found as.
func formsOf(v string) []string {
	forms := []string{v, url.QueryEscape(v), url.PathEscape(v)}
	if text, err := json.Marshal(v); err == nil {
		forms = append(forms, string(text[1:len(text)-1]))
	}
	for _, encoding := range []*base64.Encoding{base64.StdEncoding, base64.URLEncoding} {
		forms = append(forms, encoding.EncodeToString([]byte(v)))
		for shift := range 3 {
			if piece := inner(encoding, v, shift); len(piece) >= shortest {
				forms = append(forms, piece, url.QueryEscape(piece))
			}
		}
	}
	return forms
}

// inner is what of the base64 of a longer text follows from v alone, when shift
// bytes more than a multiple of three stand before it.
func inner(encoding *base64.Encoding, v string, shift int) string {
	text := encoding.WithPadding(base64.NoPadding).EncodeToString(append(make([]byte, shift), v...))
	from := (shift*8 + 5) / 6      // the characters that bits of the bytes before are in
	to := (shift + len(v)) * 8 / 6 // the last one may have bits of what follows
	return text[min(from, to):to]
}

// Text masks a text.
func (m *Masker) Text(text string) string {
	if m == nil || m.replacer == nil {
		return text
	}
	return m.replacer.Replace(text)
}

// Value masks every text in a value of maps and lists, keys included; the value
// is not changed.
func (m *Masker) Value(v any) any {
	if m == nil || m.replacer == nil {
		return v
	}
	switch v := v.(type) {
	case string:
		return m.Text(v)
	case json.Number:
		if text := m.Text(v.String()); text != v.String() {
			return text
		}
	case map[string]any:
		out := make(map[string]any, len(v))
		for key, one := range v {
			out[m.Text(key)] = m.Value(one)
		}
		return out
	case []any:
		out := make([]any, len(v))
		for i, one := range v {
			out[i] = m.Value(one)
		}
		return out
	}
	return v
}
