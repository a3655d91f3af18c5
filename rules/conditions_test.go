package rules_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/flightrules/flightrules/rules"
)

// window is the time window of a condition: whether it is open at a time.
func window(t *testing.T, keys string) func(at time.Time) bool {
	t.Helper()
	r := one(t, "rules:\n  - id: page\n    triggers: [{event: custom.x}]\n    conditions: [{time: {"+keys+"}}]\n    actions: [{log: hi}]\n")
	return r.Conditions[0].Time.Contains
}

func zone(t *testing.T, name string) *time.Location {
	t.Helper()
	loc, err := time.LoadLocation(name)
	if err != nil {
		t.Fatal(err)
	}
	return loc
}

// The names in brackets are those of docs/scenarios.md.
func TestTimeWindow(t *testing.T) {
	for name, c := range map[string]struct {
		keys    string
		in, out string // times, separated by spaces
	}{
		"from after on, and before before [CR-22]": {`after: "08:09:10", before: "16:17:18"`,
			"2026-03-02T08:09:10Z 2026-03-02T12:13:14Z 2026-03-02T16:17:17.999999Z",
			"2026-03-02T00:00:00Z 2026-03-02T04:05:06Z 2026-03-02T08:09:09.999999Z 2026-03-02T16:17:18Z 2026-03-02T20:21:22Z"},
		"the other way round, past midnight [CR-22]": {`after: "16:17:18", before: "08:09:10"`,
			"2026-03-02T00:00:00Z 2026-03-02T04:05:06Z 2026-03-02T16:17:18Z 2026-03-02T20:21:22Z",
			"2026-03-02T08:09:10Z 2026-03-02T12:13:14Z"},
		"from the afternoon to the morning [CR-24]": {`after: "15:00", before: "08:00"`,
			"2026-03-02T15:04:00Z 2026-03-02T05:04:00Z", "2026-03-02T10:04:00Z"},
		"after alone is until midnight": {`after: "22:00"`,
			"2026-03-02T22:00:00Z 2026-03-02T23:59:59Z", "2026-03-02T21:59:59Z 2026-03-03T00:00:00Z"},
		"before alone is from midnight": {`before: "06:00"`,
			"2026-03-02T00:00:00Z 2026-03-02T05:59:59Z", "2026-03-02T06:00:00Z 2026-03-02T23:00:00Z"},
		"weekdays alone are whole days": {`weekdays: [sat, sun]`,
			"2026-03-07T00:00:00Z 2026-03-08T23:59:59Z", "2026-03-06T23:59:59Z 2026-03-09T00:00:00Z"},
		"on some days": {`after: "09:00", before: "17:00", weekdays: [mon]`,
			"2026-03-02T09:00:00Z", "2026-03-03T09:00:00Z 2026-03-02T17:00:00Z"},
		"past midnight it belongs to the day on which it starts": {`after: "22:00", before: "06:00", weekdays: [fri]`,
			"2026-03-06T22:00:00Z 2026-03-07T05:59:59Z",
			"2026-03-06T05:00:00Z 2026-03-07T06:00:00Z 2026-03-07T22:00:00Z"},
		"from Saturday into Sunday": {`after: "22:00", before: "06:00", weekdays: [sat]`,
			"2026-03-07T23:00:00Z 2026-03-08T03:00:00Z", "2026-03-08T23:00:00Z 2026-03-07T03:00:00Z"},
		"the clock and the weekday are those of the zone": {`after: "22:00", before: "06:00", weekdays: [fri], timezone: Asia/Tokyo`,
			"2026-03-06T13:00:00Z 2026-03-06T20:59:59Z", "2026-03-06T12:59:59Z 2026-03-06T21:00:00Z 2026-03-07T01:00:00Z"},
		"a zone with half an hour": {`after: "09:00", before: "10:00", timezone: Asia/Kolkata`,
			"2026-03-02T03:30:00Z 2026-03-02T04:29:59Z", "2026-03-02T03:29:59Z 2026-03-02T04:30:00Z"},
		"spring: what the clocks skip is not there": {`after: "02:00", before: "03:00", timezone: Europe/Berlin`,
			"2026-03-28T01:30:00Z 2026-03-30T00:30:00Z", "2026-03-29T00:59:59Z 2026-03-29T01:00:00Z 2026-03-29T01:30:00Z"},
		"spring: a window around the gap is open on both sides": {`after: "01:30", before: "03:30", timezone: Europe/Berlin`,
			"2026-03-29T00:30:00Z 2026-03-29T00:59:59Z 2026-03-29T01:00:00Z 2026-03-29T01:29:59Z", "2026-03-29T00:29:59Z 2026-03-29T01:30:00Z"},
		"autumn: what comes twice is open twice": {`after: "02:00", before: "03:00", timezone: Europe/Berlin`,
			"2026-10-25T00:00:00Z 2026-10-25T00:59:59Z 2026-10-25T01:00:00Z 2026-10-25T01:59:59Z", "2026-10-24T23:59:59Z 2026-10-25T02:00:00Z"},
	} {
		t.Run(name, func(t *testing.T) {
			open := window(t, c.keys)
			for want, list := range map[bool]string{true: c.in, false: c.out} {
				for _, text := range strings.Fields(list) {
					at, err := time.Parse(time.RFC3339Nano, text)
					if err != nil {
						t.Fatal(err)
					}
					if got := open(at); got != want {
						t.Errorf("at %s it is %v, want %v", text, got, want)
					}
				}
			}
		})
	}

	t.Run("all days of the week are always open, also when the clocks change [CR-26]", func(t *testing.T) {
		for _, name := range []string{"UTC", "Europe/Berlin", "America/New_York", "Australia/Lord_Howe", "America/Sao_Paulo"} {
			week := window(t, "weekdays: [mon, tue, wed, thu, fri, sat, sun], timezone: "+name)
			halves := []func(time.Time) bool{
				window(t, `after: "06:00", before: "18:00", timezone: `+name), window(t, `after: "18:00", before: "06:00", timezone: `+name),
			}
			loc := zone(t, name)
			for _, day := range []time.Time{
				time.Date(2026, 3, 7, 12, 0, 0, 0, loc), time.Date(2026, 3, 28, 12, 0, 0, 0, loc), time.Date(2026, 4, 4, 12, 0, 0, 0, loc),
				time.Date(2026, 10, 3, 12, 0, 0, 0, loc), time.Date(2026, 10, 24, 12, 0, 0, 0, loc), time.Date(2026, 10, 31, 12, 0, 0, 0, loc),
				time.Date(2018, 11, 3, 12, 0, 0, 0, loc), // a day that begins at one o'clock in Sao Paulo
			} {
				for at := day; at.Before(day.Add(36 * time.Hour)); at = at.Add(30 * time.Minute) {
					if !week(at) {
						t.Errorf("it is not open at %s", at)
					}
					if halves[0](at) == halves[1](at) {
						t.Errorf("of two halves of the day both or none are open at %s", at)
					}
				}
			}
		}
	})
}

func TestConditionLists(t *testing.T) {
	// A condition is true for YES and false for NO; BAD cannot be evaluated.
	text := strings.NewReplacer("YES", "event.depth == 0", "NO", "event.depth == 1", "BAD", "event.payload.nobody > 1")
	for list, want := range map[string]string{
		"[YES, YES]":              "",
		"[YES, NO]":               "conditions[1]: event.depth == 1",
		"[NO, BAD]":               "conditions[0]: event.depth == 1",
		"[YES, BAD]":              "error conditions[1]: ",
		"[{any: [NO, YES]}]":      "",
		"[{any: [NO, NO]}]":       "conditions[0]: any[event.depth == 1, event.depth == 1]",
		"[{all: [YES, YES]}]":     "",
		"[YES, {all: [YES, NO]}]": "conditions[1]: all[event.depth == 0, event.depth == 1]",
		"[{none: [NO, NO]}]":      "",
		"[{none: [NO, YES]}]":     "conditions[0]: none[event.depth == 1, event.depth == 0]",
		// What is decided before a part that fails is decided.
		"[{any: [YES, BAD]}]":  "",
		"[{any: [NO, BAD]}]":   "error conditions[0].any[1]: ",
		"[{any: [BAD, YES]}]":  "error conditions[0].any[0]: ",
		"[{all: [NO, BAD]}]":   "conditions[0]: all[event.depth == 1, event.payload.nobody > 1]",
		"[{all: [YES, BAD]}]":  "error conditions[0].all[1]: ",
		"[{none: [YES, BAD]}]": "conditions[0]: none[event.depth == 0, event.payload.nobody > 1]",
		"[{none: [NO, BAD]}]":  "error conditions[0].none[1]: ",
		"[{none: [BAD]}]":      "error conditions[0].none[0]: ",
		// Inside each other.
		"[{any: [{all: [YES, NO]}, {none: [NO, NO]}]}]":                                  "",
		"[{any: [{all: [YES, NO]}, {none: [NO, YES]}]}]":                                 "conditions[0]: any[all[event.depth == 0, event.depth == 1], none[event.depth == 1, event.depth == 0]]",
		"[{none: [{any: [NO, {all: [YES, YES]}]}]}]":                                     "conditions[0]: none[any[event.depth == 1, all[event.depth == 0, event.depth == 0]]]",
		"[{none: [{none: [YES]}]}]":                                                      "",
		"[YES, {all: [YES, {any: [NO, {none: [NO, BAD]}]}]}]":                            "error conditions[1].all[1].any[1].none[1]: ",
		"[{any: [{all: [NO, BAD]}, YES]}]":                                               "",
		`[{any: [NO, {time: {after: "12:00", before: "13:00"}}]}]`:                       "",
		`[{none: [{time: {after: "12:00", weekdays: [sun], timezone: Europe/Berlin}}]}]`: "conditions[0]: none[time after 12:00:00 before 00:00:00 on sun in Europe/Berlin]",
	} {
		t.Run(list, func(t *testing.T) {
			r := one(t, "rules:\n  - id: page\n    triggers: [{event: custom.x}]\n    conditions: "+text.Replace(list)+"\n    actions: [{log: hi}]\n")
			env := map[string]any{"event": map[string]any{"depth": 0, "payload": map[string]any{}}}
			refusal, err := rules.Check(r.Conditions, env, time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC))
			got := ""
			switch {
			case err != nil && refusal != nil:
				t.Fatalf("both %v and %v", refusal, err)
			case err != nil:
				got = "error " + err.Error()
			case refusal != nil:
				got = fmt.Sprintf("%s: %s", refusal.Path, refusal.Text)
			}
			if got != want && (!strings.HasPrefix(want, "error ") || !strings.HasPrefix(got, want)) {
				t.Errorf("%q, want %q", got, want)
			}
		})
	}
}
