package web

import (
	"fmt"
	"html/template"
	"math"
	"strings"
	"time"
)

// Pictures are SVG without styles of their own: the style sheet colours them, in
// the light and in the dark. They are as wide as their place; nothing in them is
// text, which would be stretched.
const (
	wide = 1000.0 // the width of every picture, in units of its own
	thin = 3      // and that of a bar that would be too thin to see
)

// bar is a part of a strip.
type bar struct {
	from, to float64 // 0 to 1 of the width
	class    string  // a tone
	title    string  // what it is, for those who point at it
	jump     string  // the id of what on the page it leads to; "": it leads nowhere
}

// strip draws bars in one line, above each other in their order.
func strip(label string, bars []bar) template.HTML {
	var out strings.Builder
	fmt.Fprintf(&out, `<svg class="strip" viewBox="0 0 %.0f 20" preserveAspectRatio="none" role="img" aria-label="%s">`, wide, template.HTMLEscapeString(label))
	for _, b := range bars {
		w := math.Max((clamp(b.to)-clamp(b.from))*wide, thin)
		x := min(clamp(b.from)*wide, wide-w)
		to := ""
		if b.jump != "" {
			to = ` data-to="` + template.HTMLEscapeString(b.jump) + `"`
		}
		fmt.Fprintf(&out, `<rect class="%s" x="%.1f" width="%.1f" height="20"%s><title>%s</title></rect>`, b.class, x, w, to, template.HTMLEscapeString(b.title))
	}
	out.WriteString("</svg>")
	return template.HTML(out.String()) // all that comes from outside is escaped
}

func clamp(x float64) float64 { return min(max(x, 0), 1) }

// stack is one column of a chart: numbers by class, from below.
type stack struct {
	counts map[string]int
	title  string
}

// columns draws a chart of stacks over time. Classes are in the order in which
// they stand on each other.
func columns(label string, stacks []stack, classes []string) template.HTML {
	most := 1
	for _, s := range stacks {
		sum := 0
		for _, n := range s.counts {
			sum += n
		}
		most = max(most, sum)
	}
	const high = 120
	var out strings.Builder
	fmt.Fprintf(&out, `<svg class="columns" viewBox="0 0 %.0f %d" preserveAspectRatio="none" role="img" aria-label="%s">`, wide, high, template.HTMLEscapeString(label))
	each := wide / float64(max(len(stacks), 1))
	for i, s := range stacks {
		y := float64(high)
		for _, class := range classes {
			n := s.counts[class]
			if n == 0 {
				continue
			}
			h := math.Max(float64(n)/float64(most)*high, 2)
			y -= h
			fmt.Fprintf(&out, `<rect class="%s" x="%.1f" y="%.1f" width="%.1f" height="%.1f"><title>%s</title></rect>`,
				class, float64(i)*each+1, y, math.Max(each-2, 1), h, template.HTMLEscapeString(s.title))
		}
	}
	out.WriteString("</svg>")
	return template.HTML(out.String()) // all that comes from outside is escaped
}

// point is a value at a time; NaN is a gap.
type point struct {
	at    time.Time
	value float64
}

// sparkline draws values over time.
func sparkline(label string, points []point) template.HTML {
	if len(points) < 2 {
		return ""
	}
	from, to := points[0].at, points[len(points)-1].at
	most := 0.0
	for _, p := range points {
		if !math.IsNaN(p.value) {
			most = max(most, p.value)
		}
	}
	const high = 40
	var line strings.Builder
	draw := false
	for _, p := range points {
		if math.IsNaN(p.value) {
			draw = false
			continue
		}
		command := "M"
		if draw {
			command = "L"
		}
		draw = true
		fmt.Fprintf(&line, "%s%.1f %.1f", command, share(from, to, p.at)*wide, high-2-p.value/max(most, 0.001)*(high-4))
	}
	return template.HTML(fmt.Sprintf(`<svg class="spark" viewBox="0 0 %.0f %d" preserveAspectRatio="none" role="img" aria-label="%s"><path d="%s"/></svg>`, // it is escaped
		wide, high, template.HTMLEscapeString(label), line.String()))
}

// share is where in a time a moment is, 0 to 1.
func share(from, to, at time.Time) float64 {
	if !to.After(from) {
		return 0
	}
	return float64(at.Sub(from)) / float64(to.Sub(from))
}
