package duration_test

import (
	"encoding/json"
	"math"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/flightrules/flightrules/internal/duration"
)

const day = 24 * time.Hour

func TestParse(t *testing.T) {
	for text, want := range map[string]time.Duration{
		"0s": 0, "90s": 90 * time.Second, "5m": 5 * time.Minute, "1h30m": 90 * time.Minute, "1d12h": 36 * time.Hour,
		"1w": 7 * day, "1w1d": 8 * day, "1.5d": 36 * time.Hour, "0.5w": 84 * time.Hour, "250ms": 250 * time.Millisecond,
		"1us": time.Microsecond, "1µs": time.Microsecond, "1μs": time.Microsecond, "7ns": 7, "30m1h": 90 * time.Minute,
		"1.000000001s": time.Second + 1, "0.0000000019s": 1, "0.33333333333333333333s": 333333333,
		"9223372036854775807ns": math.MaxInt64, "106751d23h47m16.854775807s": math.MaxInt64,
	} {
		t.Run(text, func(t *testing.T) {
			got, err := duration.Parse(text)
			if err != nil || got != want {
				t.Errorf("got %v, %v; want %v", got, err, want)
			}
		})
	}
}

func TestParseRefuses(t *testing.T) {
	const syntax = ": write a number and a unit, such as 90s, 5m, 1h30m, 2d or 1w"
	for text, want := range map[string]string{
		"":                      `bad duration ""` + syntax,
		"5 minutes":             `bad duration "5 minutes"` + syntax,
		"5":                     `bad duration "5"` + syntax,
		"m":                     `bad duration "m"` + syntax,
		"5.m":                   `bad duration "5.m"` + syntax,
		".5m":                   `bad duration ".5m"` + syntax,
		"1h 30m":                `bad duration "1h 30m"` + syntax,
		"1y":                    `bad duration "1y"` + syntax,
		"--5m":                  `bad duration "--5m"` + syntax,
		"-5m":                   `bad duration "-5m": it must not be negative`,
		"15251w":                `bad duration "15251w": it is longer than 15250w, the longest there is`,
		"15250w1w":              `bad duration "15250w1w": it is longer than 15250w, the longest there is`,
		"99999999999999999999s": `bad duration "99999999999999999999s": it is longer than 15250w, the longest there is`,
	} {
		t.Run(text, func(t *testing.T) {
			got, err := duration.Parse(text)
			if err == nil {
				t.Fatalf("got %v", got)
			}
			if err.Error() != want {
				t.Errorf("got  %v\nwant %v", err, want)
			}
		})
	}
}

func TestFormat(t *testing.T) {
	for want, d := range map[string]time.Duration{
		"0s": 0, "5m": 5 * time.Minute, "1d12h": 36 * time.Hour, "1w": 7 * day, "8d": 8 * day, "2w": 14 * day, "1d": day,
		"1h0.5s": time.Hour + 500*time.Millisecond, "90ms": 90 * time.Millisecond, "1.5ms": 1500 * time.Microsecond,
		"2.001us": 2001, "7ns": 7, "1m30s": 90 * time.Second, "-5m": -5 * time.Minute,
	} {
		t.Run(want, func(t *testing.T) {
			if got := duration.Format(d); got != want {
				t.Errorf("got %s", got)
			}
		})
	}
}

func TestWhatFormatWritesIsReadBack(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		unit := rapid.SampledFrom([]time.Duration{1, time.Microsecond, time.Millisecond, time.Second, time.Minute, day, 7 * day})
		d := time.Duration(rapid.Int64().Draw(t, "ns"))
		d -= d % unit.Draw(t, "unit")
		if got, err := duration.ParseSigned(duration.Format(d)); err != nil || got != d {
			t.Fatalf("%s is read as %v, %v", duration.Format(d), got, err)
		}
		if d < 0 {
			return
		}
		if got, err := duration.Parse(duration.Format(d)); err != nil || got != d {
			t.Fatalf("%s is read as %v, %v", duration.Format(d), got, err)
		}
	})
}

func TestTheSmallestDurationIsReadBack(t *testing.T) {
	if got, err := duration.ParseSigned(duration.Format(math.MinInt64)); err != nil || got != math.MinInt64 {
		t.Errorf("got %v, %v", got, err)
	}
}

func TestTextIsTextInJSON(t *testing.T) {
	type config struct {
		Every duration.Text `json:"every"`
	}
	text, err := json.Marshal(config{Every: duration.Text(90 * time.Minute)})
	if err != nil || string(text) != `{"every":"1h30m"}` {
		t.Errorf("got %s, %v", text, err)
	}
	var back config
	if err := json.Unmarshal([]byte(`{"every":"-2d"}`), &back); err != nil || time.Duration(back.Every) != -2*day {
		t.Errorf("got %v, %v", back.Every, err)
	}
	if err := json.Unmarshal([]byte(`{"every":"soon"}`), &back); err == nil {
		t.Error("a word is taken for a duration")
	}
}
