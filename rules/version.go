package rules

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
)

// normalForm is a rule as JSON with sorted keys, so that comments, layout and
// the order of keys do not make another version of it; and the version.
func normalForm(rule map[string]any) (text, version string) {
	b, err := json.Marshal(normal(rule))
	if err != nil {
		panic(fmt.Sprintf("rules: a value of YAML without a JSON form: %v", err))
	}
	text = escape(string(b))
	sum := sha256.Sum256([]byte(text))
	return text, hex.EncodeToString(sum[:8])
}

// normal gives each number the one form that it has when the text is read
// again. YAML knows -0, and JSON writes 1e6 as a whole number.
func normal(v any) any {
	switch v := v.(type) {
	case map[string]any:
		for key := range v {
			v[key] = normal(v[key])
		}
	case []any:
		for i := range v {
			v[i] = normal(v[i])
		}
	case float64:
		if v == 0 {
			return 0
		}
	}
	return v
}

// escape writes as \uXXXX the characters that JSON allows and YAML does not.
func escape(text string) string {
	var out strings.Builder
	for _, r := range text {
		if r >= 0x7F && r <= 0x9F || r == 0xFEFF || r == 0xFFFE || r == 0xFFFF {
			fmt.Fprintf(&out, `\u%04x`, r)
		} else {
			out.WriteRune(r)
		}
	}
	return out.String()
}

// SameButDurations says whether two rules, as their Texts, differ in nothing
// but how long they wait: their triggers and cooldowns.
func SameButDurations(a, b string) bool {
	return withoutDurations(a) == withoutDurations(b)
}

func withoutDurations(text string) string {
	var rule map[string]any
	if json.Unmarshal([]byte(text), &rule) != nil {
		return text
	}
	delete(rule, "cooldown")
	if list, ok := rule["triggers"]; ok {
		rule["triggers"] = timeless(list)
	}
	b, err := json.Marshal(rule)
	if err != nil {
		return text
	}
	return string(b)
}

// timeless is a trigger, or a list of them, without its durations and without
// the keys that are named; what it is made of is not changed.
func timeless(v any, without ...string) any {
	switch v := v.(type) {
	case []any:
		list := make([]any, len(v))
		for i := range v {
			list[i] = timeless(v[i], without...)
		}
		return list
	case map[string]any:
		m := make(map[string]any, len(v))
		for key, value := range v {
			switch {
			case key == "for", key == "within", key == "wait", key == "interval", slices.Contains(without, key):
			default:
				m[key] = timeless(value)
			}
		}
		return m
	}
	return v
}
