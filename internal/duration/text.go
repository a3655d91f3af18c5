package duration

import "time"

// Text is a duration that is text in JSON and YAML, such as "1h30m". Use it instead of time.Duration for the fields of
// states, payloads and configurations.
type Text time.Duration

// String returns the text form, as Format.
func (t Text) String() string { return Format(time.Duration(t)) }

// MarshalText writes the text form.
func (t Text) MarshalText() ([]byte, error) { return []byte(t.String()), nil }

// UnmarshalText reads the text form; negative durations are allowed, since data may hold them.
func (t *Text) UnmarshalText(text []byte) error {
	d, err := ParseSigned(string(text))
	if err != nil {
		return err
	}
	*t = Text(d)
	return nil
}
