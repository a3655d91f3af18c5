// Package duration reads and writes durations as people write them: Go's syntax, and d (24 hours) and w (7 days).
package duration

import (
	"errors"
	"fmt"
	"math"
	"math/bits"
	"strconv"
	"strings"
	"time"
)

const (
	day  = 24 * time.Hour
	week = 7 * day
)

var (
	errSyntax   = errors.New("write a number and a unit, such as 90s, 5m, 1h30m, 2d or 1w")
	errNegative = errors.New("it must not be negative")
	errTooLong  = errors.New("it is longer than 15250w, the longest there is")
)

// units holds the units that Parse knows, longer names before their prefixes.
var units = []struct {
	name string
	size time.Duration
}{
	{"ns", time.Nanosecond},
	{"us", time.Microsecond},
	{"µs", time.Microsecond},
	{"μs", time.Microsecond},
	{"ms", time.Millisecond},
	{"s", time.Second},
	{"m", time.Minute},
	{"h", time.Hour},
	{"d", day},
	{"w", week},
}

// Parse reads a duration such as 90s, 1h30m, 1.5d or 1w. It accepts 0s; a negative duration is an error.
// The error says what is allowed.
func Parse(s string) (time.Duration, error) {
	if strings.HasPrefix(s, "-") {
		if _, err := parse(s[1:]); err == nil {
			return 0, bad(s, errNegative)
		}
	}
	d, err := parse(s)
	if err != nil {
		return 0, bad(s, err)
	}
	return d, nil
}

// ParseSigned is Parse for data instead of settings: a leading minus is allowed, so that it reads all that Format writes.
func ParseSigned(s string) (time.Duration, error) {
	rest, negative := strings.CutPrefix(s, "-")
	if !negative {
		return Parse(s)
	}
	if rest == strings.TrimPrefix(Format(math.MinInt64), "-") {
		return math.MinInt64, nil
	}
	d, err := parse(rest)
	if err != nil {
		return 0, bad(s, err)
	}
	return -d, nil
}

func bad(s string, reason error) error {
	return fmt.Errorf("bad duration %q: %w", s, reason)
}

func parse(s string) (time.Duration, error) {
	if s == "" {
		return 0, errSyntax
	}
	var total uint64
	for s != "" {
		part, rest, err := parsePart(s)
		if err != nil {
			return 0, err
		}
		total += part
		if total > math.MaxInt64 {
			return 0, errTooLong
		}
		s = rest
	}
	return time.Duration(total), nil
}

// parsePart reads one number with its unit from the front of s and returns it in nanoseconds, at most math.MaxInt64.
func parsePart(s string) (ns uint64, rest string, err error) {
	whole, s := digits(s)
	fraction := ""
	if after, ok := strings.CutPrefix(s, "."); ok {
		fraction, s = digits(after)
		if fraction == "" {
			return 0, "", errSyntax
		}
	}
	if whole == "" {
		return 0, "", errSyntax
	}
	for _, u := range units {
		after, ok := strings.CutPrefix(s, u.name)
		if !ok {
			continue
		}
		n, err := strconv.ParseUint(whole, 10, 64)
		if err != nil {
			return 0, "", errTooLong
		}
		high, low := bits.Mul64(n, uint64(u.size))
		low, carry := bits.Add64(low, fractionOf(fraction, u.size), 0)
		if high+carry > 0 || low > math.MaxInt64 {
			return 0, "", errTooLong
		}
		return low, after, nil
	}
	return 0, "", errSyntax
}

// digits splits s behind its leading decimal digits.
func digits(s string) (number, rest string) {
	end := len(s) - len(strings.TrimLeft(s, "0123456789"))
	return s[:end], s[end:]
}

// fractionOf returns 0.fraction of the unit in nanoseconds, rounded down. It is exact, unlike a float.
func fractionOf(fraction string, unit time.Duration) uint64 {
	const most = 18 // decimal digits that fit into 64 bits; more cannot make a nanosecond
	if len(fraction) > most {
		fraction = fraction[:most]
	}
	if fraction == "" {
		return 0
	}
	n, err := strconv.ParseUint(fraction, 10, 64)
	if err != nil {
		panic("duration: digits that are no number: " + fraction)
	}
	scale := uint64(1)
	for range fraction {
		scale *= 10
	}
	high, low := bits.Mul64(n, uint64(unit))
	quotient, _ := bits.Div64(high, low, scale)
	return quotient
}
