package web

import (
	"fmt"
	"html/template"
	"maps"
	"slices"
	"strconv"
	"time"

	"github.com/flightrules/flightrules/internal/client"
)

// line is the history of one field in some time.
type line struct {
	Field   string
	Now     any // the value at its end; nil: none
	Picture template.HTML
	Parts   []part // the same in words
	Still   bool   // it has had one value all the time
}

// part is how much of the time a field had a value.
type part struct {
	Value string
	Tone  string
	Share string // "92 %"
}

// Timeline is the history of an entity in some time, a line for each field.
type timeline struct {
	From, To time.Time
	Lines    []line
	Cut      bool // the beginning is left out, as there is too much
}

// span is a value that a field had.
type span struct {
	from, to time.Time
	value    any // nil: it was absent
	seq      int64
}

// maxLine is how long a text may be that is shown as the value of a bar.
const maxLine = 200

// draw makes the lines of the fields: of what was at the beginning (nil: nothing
// was), and of what changed since, oldest first.
func drawTimeline(from, to time.Time, before map[string]any, changed []client.Transition) []line {
	spans := map[string][]span{}
	begin := func(field string, value any, at time.Time, seq int64) {
		if n := len(spans[field]); n > 0 {
			spans[field][n-1].to = at
		}
		spans[field] = append(spans[field], span{from: at, to: to, value: value, seq: seq})
	}
	for field, value := range before {
		begin(field, value, from, 0)
	}
	for _, t := range changed {
		for field, c := range t.Changes {
			if len(spans[field]) == 0 {
				begin(field, c[0], from, 0)
			}
			begin(field, c[1], t.At, t.Seq)
		}
	}
	var lines []line
	for _, field := range slices.SortedFunc(maps.Keys(spans), fieldOrder) {
		lines = append(lines, lineOf(field, from, to, spans[field]))
	}
	return lines
}

// fieldOrder puts the field that people look for first.
func fieldOrder(a, b string) int {
	switch {
	case a == b:
		return 0
	case a == "status", b != "status" && a < b:
		return -1
	}
	return 1
}

func lineOf(field string, from, to time.Time, spans []span) line {
	l := line{Field: field, Now: spans[len(spans)-1].value}
	had := map[string]time.Duration{}
	shades := map[string]int{}
	var bars []bar
	for _, s := range spans {
		if s.value == nil {
			continue
		}
		text := plain(s.value)
		if len(text) > maxLine {
			text = text[:maxLine] + "…"
		}
		had[text] += s.to.Sub(s.from)
		b := bar{
			from: share(from, to, s.from), to: share(from, to, s.to), class: shade(text, shades),
			title: fmt.Sprintf("%s: %s, from %s for %s", field, text, s.from.UTC().Format("2006-01-02 15:04:05"), rough(s.to.Sub(s.from))),
		}
		if s.seq != 0 {
			b.jump = "t" + strconv.FormatInt(s.seq, 10)
		}
		bars = append(bars, b)
	}
	label := field + ":"
	for _, text := range slices.SortedFunc(maps.Keys(had), func(a, b string) int { return int(had[b] - had[a]) }) {
		p := part{Value: text, Tone: shade(text, shades), Share: percent(had[text], to.Sub(from))}
		label += " " + text + " " + p.Share
		l.Parts = append(l.Parts, p)
	}
	l.Picture, l.Still = strip(label, bars), len(had) == 1 && field != "status"
	return l
}

// shade is the class of a value: its tone, or one of those that tell values apart
// which mean nothing.
func shade(value string, seen map[string]int) string {
	if t := toneOf(value); t != neutral {
		return string(t)
	}
	n, ok := seen[value]
	if !ok {
		n = len(seen)
		seen[value] = n
	}
	return "shade" + strconv.Itoa(n%6)
}

func percent(part, whole time.Duration) string {
	if whole <= 0 {
		return "0 %"
	}
	share := float64(part) / float64(whole) * 100
	switch {
	case share > 0 && share < 0.1:
		return "< 0.1 %"
	case share > 99.9 && share < 100:
		return "> 99.9 %"
	case share < 10 || share > 99 && share < 100:
		return fmt.Sprintf("%.1f %%", share)
	}
	return fmt.Sprintf("%.0f %%", share)
}
