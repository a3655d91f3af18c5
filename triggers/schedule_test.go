package triggers_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/flightrules/flightrules/triggers"
)

func cron(t testing.TB, spec, zone string) *triggers.Cron {
	t.Helper()
	c, err := triggers.ParseCron(spec, zone)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// TestCron compares the first ticks after a time with those that are wanted;
// the names in brackets are those of docs/scenarios.md.
func TestCron(t *testing.T) {
	for name, c := range map[string]struct {
		spec, zone, from string
		want             []string
	}{
		"autumn: the first of two [CR-2]": {"30 2 * * *", "Europe/Vienna", "2021-10-31T00:00:00+02:00",
			[]string{"2021-10-31T02:30:00+02:00", "2021-11-01T02:30:00+01:00"}},
		"autumn: not again in the second pass [CR-2]": {"30 2 * * *", "Europe/Vienna", "2021-10-31T02:30:01+02:00",
			[]string{"2021-11-01T02:30:00+01:00"}},
		"spring, every hour: no double and no gap but the hour that is skipped [CR-4]": {"0 * * * *", "America/New_York", "2012-03-11T01:00:00-05:00",
			[]string{"2012-03-11T03:00:00-04:00", "2012-03-11T04:00:00-04:00"}},
		"autumn, every hour: each hour of real time": {"0 * * * *", "America/New_York", "2012-11-04T00:30:00-04:00",
			[]string{"2012-11-04T01:00:00-04:00", "2012-11-04T01:00:00-05:00", "2012-11-04T02:00:00-05:00"}},
		"autumn: once a day [CR-6]": {"0 1 * * *", "America/New_York", "2012-11-04T00:00:00-04:00",
			[]string{"2012-11-04T01:00:00-04:00", "2012-11-05T01:00:00-05:00"}},
		"two in the hour that comes twice [CR-10]": {"33,44 1 * * *", "US/Pacific", "2021-11-07T00:15:15-07:00",
			[]string{"2021-11-07T01:33:00-07:00", "2021-11-07T01:44:00-07:00", "2021-11-08T01:33:00-08:00"}},
		"spring: at the first instant after the gap": {"30 2 * * *", "Europe/Berlin", "2026-03-28T12:00:00+01:00",
			[]string{"2026-03-29T03:00:00+02:00", "2026-03-30T02:30:00+02:00"}},
		"spring: several in the gap are one": {"*/20 2 * * *", "Europe/Berlin", "2026-03-29T00:00:00+01:00",
			[]string{"2026-03-29T03:00:00+02:00", "2026-03-30T02:00:00+02:00"}},
		"spring: one in the gap and one right after it are one": {"0 2,3 * * *", "Europe/Berlin", "2026-03-29T00:00:00+01:00",
			[]string{"2026-03-29T03:00:00+02:00", "2026-03-30T02:00:00+02:00"}},
		"a gap of half an hour": {"15 2 * * *", "Australia/Lord_Howe", "2026-10-03T12:00:00+10:30",
			[]string{"2026-10-04T02:30:00+11:00", "2026-10-05T02:15:00+11:00"}},
		"an overlap of half an hour, in real time": {"45 * * * *", "Australia/Lord_Howe", "2026-04-05T01:00:00+11:00",
			[]string{"2026-04-05T01:45:00+11:00", "2026-04-05T01:45:00+10:30", "2026-04-05T02:45:00+10:30"}},
		"leap days":  {"0 12 29 2 *", "", "2025-01-01T00:00:00Z", []string{"2028-02-29T12:00:00Z", "2032-02-29T12:00:00Z"}},
		"month ends": {"0 0 31 * *", "", "2026-01-31T00:00:00Z", []string{"2026-03-31T00:00:00Z", "2026-05-31T00:00:00Z"}},
		"both days: either will do": {"0 0 13 * fri", "", "2026-02-01T00:00:00Z",
			[]string{"2026-02-06T00:00:00Z", "2026-02-13T00:00:00Z", "2026-02-20T00:00:00Z"}},
		"each second minute [CR-12]":      {"*/2 * * * *", "", "2026-01-01T12:00:00Z", []string{"2026-01-01T12:02:00Z"}},
		"one minute of each hour [CR-12]": {"2 * * * *", "", "2026-01-01T01:01:59Z", []string{"2026-01-01T01:02:00Z", "2026-01-01T02:02:00Z"}},
		"@daily":                          {"@daily", "Asia/Tokyo", "2026-01-01T00:00:00Z", []string{"2026-01-02T00:00:00+09:00"}},
		"a day that the zone skipped":     {"0 12 30 12 *", "Pacific/Apia", "2011-12-01T00:00:00Z", []string{"2011-12-31T00:00:00+14:00"}},
	} {
		t.Run(name, func(t *testing.T) {
			at, err := time.Parse(time.RFC3339, c.from)
			must(t, err)
			var got, want []string
			for _, text := range c.want {
				next, err := time.Parse(time.RFC3339, text)
				must(t, err)
				want = append(want, next.UTC().Format(time.RFC3339))
				at = cron(t, c.spec, c.zone).Next(at)
				got = append(got, at.Format(time.RFC3339))
			}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestCronRefuses(t *testing.T) {
	for spec, want := range map[string]string{
		"0 0 30 2 *":          "never comes due", // [CR-8]
		"0 0 0 * * *":         "no field for seconds",
		"* * * *":             "it has 4 fields",
		"@every 5m":           "every: DURATION",
		"TZ=UTC 0 0 * * *":    "under timezone",
		"CRON_TZ=UTC 0 0 * *": "under timezone",
		"@reboot":             "bad cron",
		"":                    "is empty",
		"61 * * * *":          "bad cron",
		"a b c d e":           "bad cron",
	} {
		_, err := triggers.ParseCron(spec, "")
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v, want %q", spec, err, want)
		}
	}
	if _, err := triggers.ParseCron("@daily", "Europe/Atlantis"); err == nil || !strings.Contains(err.Error(), "unknown time zone") {
		t.Errorf("zone: %v", err)
	}
}

// Ticks rise, and each one is the first minute after the one before at which
// the clocks show a time of the schedule, or the end of a gap.
func TestCronAgainstLookingAtEachMinute(t *testing.T) {
	zones := []string{"UTC", "Europe/Vienna", "America/New_York", "Australia/Lord_Howe", "America/St_Johns"}
	rapid.Check(t, func(t *rapid.T) {
		minute, hour := rapid.IntRange(0, 59).Draw(t, "minute"), rapid.IntRange(0, 4).Draw(t, "hour")
		spec := fmt.Sprintf("%d %d * * *", minute, hour)
		everyHour := rapid.Bool().Draw(t, "every hour")
		if everyHour {
			spec = fmt.Sprintf("%d * * * *", minute)
		}
		zone := rapid.SampledFrom(zones).Draw(t, "zone")
		loc, err := time.LoadLocation(zone)
		if err != nil {
			t.Fatal(err)
		}
		c, err := triggers.ParseCron(spec, zone)
		if err != nil {
			t.Fatal(err)
		}
		days := []string{"2026-03-07", "2026-03-28", "2026-04-04", "2026-10-03", "2026-10-24", "2026-10-31"}
		from, err := time.Parse(time.DateOnly, rapid.SampledFrom(days).Draw(t, "day"))
		if err != nil {
			t.Fatal(err)
		}
		end := from.Add(72 * time.Hour)
		var got, want []time.Time
		for at := c.Next(from); at.Before(end); at = c.Next(at) {
			if len(got) > 0 && !at.After(got[len(got)-1]) {
				t.Fatalf("%s comes after %s", at, got[len(got)-1])
			}
			got = append(got, at)
		}
		seen := map[string]bool{}
		for at := from.Add(time.Minute); at.Before(end); at = at.Add(time.Minute) {
			local, before := at.In(loc), at.Add(-time.Minute).In(loc)
			due := local.Minute() == minute && (everyHour || local.Hour() == hour)
			if !everyHour {
				if key := local.Format("2006-01-02 15:04"); due && seen[key] {
					due = false
				} else if due {
					seen[key] = true
				}
				if skipped := time.Date(local.Year(), local.Month(), local.Day(), hour, minute, 0, 0, time.UTC); !due &&
					wallClock(before).Before(skipped) && wallClock(local).After(skipped) {
					due = true
				}
			}
			if due {
				want = append(want, at)
			}
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Fatalf("%s in %s from %s (-minutes +Next):\n%s", spec, zone, from, diff)
		}
	})
}

func wallClock(t time.Time) time.Time {
	return time.Date(t.Year(), t.Month(), t.Day(), t.Hour(), t.Minute(), 0, 0, time.UTC)
}

func TestEvery(t *testing.T) {
	e := triggers.Every{Interval: 20 * time.Second, Anchor: start}
	for from, want := range map[time.Duration]time.Duration{
		-time.Hour: 20 * time.Second, 0: 20 * time.Second, time.Microsecond: 20 * time.Second,
		20 * time.Second: 40 * time.Second, 39 * time.Second: 40 * time.Second, 1000 * time.Hour: 1000*time.Hour + 20*time.Second,
	} {
		if got := e.Next(start.Add(from)); !got.Equal(start.Add(want)) {
			t.Errorf("after %s: %s, want %s", from, got.Sub(start), want)
		}
	}
}

func TestJitter(t *testing.T) {
	spread := map[time.Duration]bool{}
	for i := range 100 {
		at := start.Add(time.Duration(i) * time.Hour)
		j := triggers.Jitter(time.Minute, "r 1", at)
		if j < 0 || j >= time.Minute || j != triggers.Jitter(time.Minute, "r 1", at) {
			t.Fatalf("jitter %s", j)
		}
		spread[j.Truncate(10*time.Second)] = true
	}
	if len(spread) != 6 {
		t.Errorf("only %d of 6 parts of the minute are hit", len(spread))
	}
	if triggers.Jitter(0, "r 1", start) != 0 {
		t.Error("no jitter is some")
	}
}
