package duration

import (
	"strconv"
	"strings"
	"time"
)

// Format writes d in the shortest form that is easy to read: 5m, 1d12h, 1w, 250ms. Weeks are used for whole weeks only.
// ParseSigned(Format(d)) == d for every d, and Parse(Format(d)) == d for every d that is not negative.
func Format(d time.Duration) string {
	if d < 0 {
		return "-" + format(-uint64(d))
	}
	return format(uint64(d))
}

func format(ns uint64) string {
	if ns == 0 {
		return "0s"
	}
	if ns%uint64(week) == 0 {
		return strconv.FormatUint(ns/uint64(week), 10) + "w"
	}
	if ns < uint64(time.Second) {
		return formatShort(ns)
	}
	var out strings.Builder
	for _, u := range []struct {
		name string
		size time.Duration
	}{{"d", day}, {"h", time.Hour}, {"m", time.Minute}} {
		if n := ns / uint64(u.size); n > 0 {
			out.WriteString(strconv.FormatUint(n, 10) + u.name)
			ns %= uint64(u.size)
		}
	}
	if ns > 0 {
		out.WriteString(decimal(ns, uint64(time.Second), 9) + "s")
	}
	return out.String()
}

// formatShort writes what is shorter than a second.
func formatShort(ns uint64) string {
	switch {
	case ns >= uint64(time.Millisecond):
		return decimal(ns, uint64(time.Millisecond), 6) + "ms"
	case ns >= uint64(time.Microsecond):
		return decimal(ns, uint64(time.Microsecond), 3) + "us"
	default:
		return strconv.FormatUint(ns, 10) + "ns"
	}
}

// decimal writes ns in the unit, which is 10^places nanoseconds, without trailing zeros.
func decimal(ns, unit uint64, places int) string {
	text := strconv.FormatUint(ns/unit, 10)
	if rest := ns % unit; rest > 0 {
		fraction := strconv.FormatUint(rest, 10)
		text += "." + strings.Repeat("0", places-len(fraction)) + strings.TrimRight(fraction, "0")
	}
	return text
}
