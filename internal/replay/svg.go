package replay

import (
	"bytes"
	"encoding/xml"
	"fmt"
	"io"
	"strings"
	"time"
	"unicode/utf8"
)

// The measures of the picture, in pixels.
const (
	svgWidth  = 1000
	svgLabels = 268 // where the names of rules end
	svgRight  = 24
	svgTop    = 92 // above the first rule
	svgRow    = 44
	svgLane   = 11 // between the lanes of a row
	svgBin    = 8  // marks closer than that are one
	svgMark   = 4.5
)

// svgStyle has the colours for light and dark: of WCAG AA against their ground,
// and told apart by people who see few. What they say, the shapes and lanes say
// too.
const svgStyle = `
svg { background: #ffffff; color-scheme: light dark; font: 13px system-ui, sans-serif; }
.ground { fill: #ffffff } .text { fill: #1f2328 } .quiet { fill: #59636e; font-size: 12px } .line { stroke: #d1d9e0 } .band { fill: #f6f8fa }
.both { fill: #1a7f37; stroke: #1a7f37 } .only_replay { fill: #0969da; stroke: #0969da } .only_recorded { fill: #bc4c00; stroke: #bc4c00 }
@media (prefers-color-scheme: dark) {
svg { background: #0d1117 }
.ground { fill: #0d1117 } .text { fill: #f0f6fc } .quiet { fill: #9198a1 } .line { stroke: #3d444d } .band { fill: #151b23 }
.both { fill: #3fb950; stroke: #3fb950 } .only_replay { fill: #58a6ff; stroke: #58a6ff } .only_recorded { fill: #f0883e; stroke: #f0883e }
}`

// legend says what the marks mean.
var legend = []struct {
	verdict Verdict
	text    string
}{{OnlyReplay, "would have fired"}, {Both, "fired, and would have"}, {OnlyRecorded, "fired, and would not have"}}

// SVG draws the report as a timeline: a row for each rule, with what would have
// fired above the line, what fired in both on it, and what only fired below.
func (r *Report) SVG(w io.Writer) error {
	d := &drawing{report: r, from: r.From, span: max(r.Until.Sub(r.From), time.Second)}
	height := svgTop + max(1, len(r.Rules))*svgRow + 40
	both, would, did := r.Totals()
	title := fmt.Sprintf("Replay of %s from %s to %s", plural(len(r.Rules), "rule"), stamp(r.From), stamp(r.Until))
	d.printf(`<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 %d %d" width="%d" height="%d" role="img" aria-labelledby="t d">`, svgWidth, height, svgWidth, height)
	d.printf(`<title id="t">%s</title><desc id="d">%d would have fired, %d fired in both, %d fired and would not have.</desc>`, escaped(title), would, both, did)
	d.printf("<style>%s</style>\n", svgStyle)
	d.printf(`<rect class="ground" width="%d" height="%d"/><text class="text" x="16" y="28" font-weight="600">%s</text>`+"\n", svgWidth, height, escaped(title))
	x := 16.0
	for i, one := range legend {
		n := []int{would, both, did}[i]
		d.mark(one.verdict, x+6, 50, svgMark)
		text := fmt.Sprintf("%s: %d", one.text, n)
		d.printf(`<text class="text" x="%.0f" y="54">%s</text>`+"\n", x+18, text)
		x += 40 + 7.2*float64(len(text))
	}
	d.axis(height)
	for i, one := range r.Rules {
		d.row(i, one)
	}
	if len(r.Rules) == 0 {
		d.printf(`<text class="quiet" x="16" y="%d">there are no rules</text>`, svgTop+24)
	}
	d.printf("</svg>\n")
	_, err := w.Write(d.out.Bytes())
	return err
}

// drawing is a picture under way.
type drawing struct {
	report *Report
	from   time.Time
	span   time.Duration
	out    bytes.Buffer
}

func (d *drawing) printf(format string, args ...any) { fmt.Fprintf(&d.out, format, args...) }

func escaped(text string) string {
	var out bytes.Buffer
	_ = xml.EscapeText(&out, []byte(text)) // a buffer takes everything
	return out.String()
}

func plural(n int, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return fmt.Sprintf("%d %ss", n, what)
}

func stamp(t time.Time) string { return t.UTC().Format("2006-01-02 15:04:05") }

// x is where a time is.
func (d *drawing) x(t time.Time) float64 {
	part := float64(t.Sub(d.from)) / float64(d.span)
	return svgLabels + min(1, max(0, part))*(svgWidth-svgLabels-svgRight)
}

// steps are the distances that the lines of the axis may have.
var steps = []time.Duration{
	time.Second, 5 * time.Second, 15 * time.Second, time.Minute, 5 * time.Minute, 15 * time.Minute, time.Hour, 3 * time.Hour, 6 * time.Hour, 12 * time.Hour,
	24 * time.Hour, 2 * 24 * time.Hour, 7 * 24 * time.Hour, 14 * 24 * time.Hour, 28 * 24 * time.Hour, 91 * 24 * time.Hour, 365 * 24 * time.Hour,
}

// axis draws lines at round times in UTC, at most eight.
func (d *drawing) axis(height int) {
	step := steps[len(steps)-1]
	for _, one := range steps {
		if d.span/one <= 7 {
			step = one
			break
		}
	}
	format := "Jan 2 15:04"
	switch {
	case step < time.Minute:
		format = "15:04:05"
	case step >= 24*time.Hour:
		format = "Jan 2"
	}
	for at := d.from.UTC().Truncate(step); !at.After(d.from.Add(d.span)); at = at.Add(step) {
		if at.Before(d.from) {
			continue
		}
		d.printf(`<line class="line" x1="%.1f" x2="%.1f" y1="%d" y2="%d"/><text class="quiet" x="%.1f" y="%d" text-anchor="middle">%s</text>`+"\n",
			d.x(at), d.x(at), svgTop-6, height-36, d.x(at), height-20, at.Format(format))
	}
	d.printf(`<text class="quiet" x="%d" y="%d" text-anchor="end">UTC</text>`+"\n", svgWidth-8, height-6)
}

// row draws a rule.
func (d *drawing) row(i int, r RuleReport) {
	top := svgTop + i*svgRow
	middle := float64(top) + svgRow/2
	if i%2 == 0 {
		d.printf(`<rect class="band" x="0" y="%d" width="%d" height="%d"/>`, top, svgWidth, svgRow)
	}
	note := "as in force"
	if r.Changed {
		note = "changed or new"
	}
	d.printf(`<text class="text" x="16" y="%.0f"><title>%s</title>%s</text><text class="quiet" x="16" y="%.0f">%d would, %d both, %d did; %s</text>`+"\n",
		middle-4, escaped(r.ID), escaped(short(r.ID, 30)), middle+13, r.OnlyReplay, r.Both, r.OnlyRecorded, note)
	d.printf(`<line class="line" x1="%d" x2="%d" y1="%.1f" y2="%.1f"/>`+"\n", svgLabels, svgWidth-svgRight, middle, middle)
	for lane, one := range legend {
		d.lane(r, one.verdict, middle+float64(lane-1)*svgLane)
	}
}

func short(text string, most int) string {
	if utf8.RuneCountInString(text) <= most {
		return text
	}
	return string([]rune(text)[:most-1]) + "…"
}

// lane draws the items of one verdict; those that would lie on each other are
// one mark with their number.
func (d *drawing) lane(r RuleReport, v Verdict, y float64) {
	bins := map[int][]Item{}
	var order []int
	for _, item := range r.Items {
		if item.Verdict != v {
			continue
		}
		bin := int(d.x(item.At()) / svgBin)
		if bins[bin] == nil {
			order = append(order, bin)
		}
		bins[bin] = append(bins[bin], item)
	}
	for _, bin := range order {
		list := bins[bin]
		x := d.x(list[0].At())
		if len(list) > 1 {
			x = float64(bin)*svgBin + svgBin/2
		}
		d.printf(`<g><title>%s</title>`, escaped(hover(list)))
		d.mark(v, x, y, svgMark)
		d.printf("</g>\n")
	}
}

// hover is what a mark says of itself.
func hover(list []Item) string {
	const most = 5
	var lines []string
	for i, item := range list {
		if i == most {
			lines = append(lines, fmt.Sprintf("and %d more", len(list)-most))
			break
		}
		line := fmt.Sprintf("%s %s", item.At().UTC().Format(time.RFC3339), item.Event.Name)
		if item.Event.Entity != "" {
			line += " " + item.Event.Entity
		}
		if item.Reason != "" {
			line += ": " + item.Reason
		}
		lines = append(lines, line)
	}
	return strings.Join(lines, "\n")
}

// mark draws a mark: each verdict has a shape of its own.
func (d *drawing) mark(v Verdict, x, y, r float64) {
	switch v {
	case OnlyReplay:
		d.printf(`<path class="%s" fill-opacity="0.35" d="M%.1f %.1fL%.1f %.1fL%.1f %.1fZ"/>`, v, x, y-r, x+r, y+r*0.8, x-r, y+r*0.8)
	case OnlyRecorded:
		d.printf(`<path class="%s" stroke-width="2" d="M%.1f %.1fL%.1f %.1fM%.1f %.1fL%.1f %.1f"/>`, v, x-r, y-r, x+r, y+r, x-r, y+r, x+r, y-r)
	default:
		d.printf(`<circle class="%s" cx="%.1f" cy="%.1f" r="%.1f"/>`, v, x, y, r)
	}
}
