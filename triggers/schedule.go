package triggers

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/fnv"
	"strings"
	"time"
	_ "time/tzdata" // zones are the same on machines that have none

	"github.com/robfig/cron/v3"
)

// Schedule computes when a schedule comes due.
type Schedule interface {
	// Next is the first time after t; zero: never again.
	Next(t time.Time) time.Time
}

// Every is due at the multiples of Interval after Anchor.
type Every struct {
	Interval time.Duration
	Anchor   time.Time
}

// Next implements Schedule.
func (e Every) Next(t time.Time) time.Time {
	if t.Before(e.Anchor) {
		return e.Anchor.Add(e.Interval)
	}
	return e.Anchor.Add((t.Sub(e.Anchor)/e.Interval + 1) * e.Interval)
}

// Cron is a five-field cron schedule on the clocks of a zone.
//
// In spring, what falls into the hour that the clocks skip is due at the first
// instant after it. In autumn, what falls into the hour that comes twice is due
// the first time. A schedule for every hour (its hour field is *) is one in real
// time instead: it goes on through both.
type Cron struct {
	spec string
	zone *time.Location
	// wall is the schedule on clocks that are never moved.
	wall *cron.SpecSchedule
	// real says that it goes by real time.
	real bool
}

var cronParser = cron.NewParser(cron.Minute | cron.Hour | cron.Dom | cron.Month | cron.Dow | cron.Descriptor)

// starBit is how robfig/cron marks a field that is *.
const starBit = 1 << 63

// ParseCron reads a cron spec of five fields, or @hourly and its friends, in
// the zone of an IANA name; "" is UTC. Errors have the form "what is wrong; what
// to do about it".
func ParseCron(spec, timezone string) (*Cron, error) {
	if timezone == "" {
		timezone = "UTC"
	}
	zone, err := time.LoadLocation(timezone)
	if err != nil {
		return nil, fmt.Errorf("unknown time zone %q; it is a name such as Europe/Berlin", timezone)
	}
	if err := checkCron(spec); err != nil {
		return nil, err
	}
	parsed, err := cronParser.Parse(spec)
	if err != nil {
		return nil, fmt.Errorf("bad cron %q: %v; the fields are minute, hour, day of month, month, day of week", spec, err)
	}
	wall, ok := parsed.(*cron.SpecSchedule)
	if !ok {
		return nil, fmt.Errorf("bad cron %q; write every: DURATION for a fixed interval", spec)
	}
	wall.Location = time.UTC
	if wall.Next(time.Date(2001, 1, 1, 0, 0, 0, 0, time.UTC)).IsZero() {
		return nil, fmt.Errorf("cron %q never comes due; no month has such a day", spec)
	}
	return &Cron{spec: spec, zone: zone, wall: wall, real: wall.Hour&starBit != 0}, nil
}

// checkCron finds the mistakes for which there is better advice than the
// parser's.
func checkCron(spec string) error {
	fields := strings.Fields(spec)
	switch {
	case len(fields) == 0:
		return errors.New("the cron spec is empty; it has five fields, such as 30 2 * * *")
	case strings.HasPrefix(spec, "TZ=") || strings.HasPrefix(spec, "CRON_TZ="):
		return fmt.Errorf("bad cron %q; the zone goes under timezone", spec)
	case fields[0] == "@every":
		return fmt.Errorf("bad cron %q; write every: DURATION for a fixed interval", spec)
	case strings.HasPrefix(spec, "@"):
		return nil
	case len(fields) == 6:
		return fmt.Errorf("bad cron %q: it has six fields; there is no field for seconds", spec)
	case len(fields) != 5:
		return fmt.Errorf("bad cron %q: it has %d fields; it needs five: minute, hour, day of month, month, day of week", spec, len(fields))
	}
	return nil
}

// String is the spec, and the zone unless that is UTC.
func (c *Cron) String() string {
	if c.zone == time.UTC {
		return c.spec
	}
	return c.spec + " in " + c.zone.String()
}

// Next implements Schedule. The result is in UTC.
func (c *Cron) Next(t time.Time) time.Time {
	if c.real {
		return c.nextReal(t)
	}
	for wall := asWall(t.In(c.zone)); ; {
		if wall = c.wall.Next(wall); wall.IsZero() {
			return time.Time{}
		}
		if at := c.instant(wall); at.After(t) {
			return at
		}
	}
}

// nextReal is the next instant at which the clocks show a time of the
// schedule. Between two moves of the clocks real time and theirs go alike.
func (c *Cron) nextReal(t time.Time) time.Time {
	for {
		_, moved := t.In(c.zone).ZoneBounds()
		_, offset := t.In(c.zone).Zone()
		wall := c.wall.Next(asWall(t.In(c.zone)))
		if wall.IsZero() {
			return time.Time{}
		}
		at := wall.Add(-time.Duration(offset) * time.Second)
		if moved.IsZero() || at.Before(moved) {
			return at
		}
		// The clocks are moved before that; what they show just then may be due.
		first := asWall(moved.In(c.zone))
		if wall = c.wall.Next(first.Add(-time.Nanosecond)); wall.Equal(first) {
			return moved.UTC()
		}
		t = moved
	}
}

// asWall is what a clock shows, as a time in UTC.
func asWall(t time.Time) time.Time {
	return time.Date(t.Year(), t.Month(), t.Day(), t.Hour(), t.Minute(), t.Second(), t.Nanosecond(), time.UTC)
}

// instant is when the clocks first show a time or, where they skip it, when
// they are moved.
func (c *Cron) instant(wall time.Time) time.Time {
	around := time.Date(wall.Year(), wall.Month(), wall.Day(), wall.Hour(), wall.Minute(), wall.Second(), wall.Nanosecond(), c.zone)
	_, before := around.Add(-24 * time.Hour).Zone()
	_, after := around.Add(24 * time.Hour).Zone()
	var first time.Time
	for _, offset := range []int{before, after} {
		at := wall.Add(-time.Duration(offset) * time.Second)
		if asWall(at.In(c.zone)).Equal(wall) && (first.IsZero() || at.Before(first)) {
			first = at
		}
	}
	if !first.IsZero() {
		return first
	}
	// Skipped: by the old offset it is after the move, which began the zone.
	start, _ := wall.Add(-time.Duration(before) * time.Second).In(c.zone).ZoneBounds()
	return start.UTC()
}

// Jitter is how much later than its time a tick is due: a part of longest that
// follows from the name and the time, so that all nodes agree.
func Jitter(longest time.Duration, name string, tick time.Time) time.Duration {
	if longest <= 0 {
		return 0
	}
	h := fnv.New64a()
	h.Write([]byte(name))
	h.Write(binary.BigEndian.AppendUint64(nil, uint64(tick.UnixMicro())))
	// The low bits of FNV are the better mixed ones.
	return (time.Duration(h.Sum64()%1_000_000) * (longest / 1_000_000)).Truncate(time.Microsecond)
}
