package web

import (
	"bytes"
	"encoding/json"
	"fmt"
	"html/template"
	"maps"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/flightrules/flightrules/internal/client"
	"github.com/flightrules/flightrules/internal/duration"
)

// functions are what templates can call.
var functions = template.FuncMap{
	"asset":   func(name string) string { return "/static/" + name + "?v=" + assets[name].hash },
	"path":    url.PathEscape,
	"q":       url.QueryEscape,
	"time":    stamp,
	"iso":     func(t time.Time) string { return t.UTC().Format(time.RFC3339) },
	"ago":     ago,
	"took":    took,
	"json":    pretty,
	"value":   plain,
	"field":   fieldValue,
	"tone":    func(value any) string { return string(toneOf(plain(value))) },
	"status":  badge,
	"short":   short,
	"changes": changesOf,
	"fields":  func(m map[string]any) []string { return slices.SortedFunc(maps.Keys(m), fieldOrder) },
	"join":    strings.Join,
	"add":     func(a, b int) int { return a + b },
	"lines":   func(text string) []string { return strings.Split(strings.TrimRight(text, "\n"), "\n") },
	"sections": func(admin bool) []string {
		list := []string{"overview", "entities", "transitions", "events", "rules", "runs", "satellites", "checks", "silences"}
		if admin {
			list = append(list, "audit")
		}
		return append(list, "settings")
	},
	"capital": func(word string) string { return strings.ToUpper(word[:1]) + word[1:] },
}

// tone is what a value means to people: how it is coloured, and whether it is
// something to look at.
type tone string

const (
	good    tone = "good"
	bad     tone = "bad"
	warning tone = "warning"
	quiet   tone = "quiet"
	neutral tone = "neutral"
)

// tones are the words that statuses of entities, runs, steps and decisions are
// made of, those of declared kinds as far as they use the usual ones.
var tones = map[string]tone{
	"online": good, "up": good, "ok": good, "healthy": good, "succeeded": good, "started": good, "ready": good, "active": good, "passing": good, "running": good, "open": neutral, "closed": neutral,
	"offline": bad, "down": bad, "failed": bad, "failing": bad, "critical": bad, "error": bad, "unhealthy": bad, "lost": bad, "dead": bad, "heartbeat_lost": bad, "tripped": bad,
	"degraded": warning, "warning": warning, "unobserved": warning, "flapping": warning, "stale": warning, "unknown": warning, "waiting": warning, "queued": warning, "depth_exceeded": warning, "paused": warning, "syncing": warning,
	"cancelled": quiet, "skipped": quiet, "condition_false": quiet, "dropped": quiet, "silenced": quiet, "cooled_down": quiet, "blocked": quiet, "disabled": quiet, "held": quiet, "counted": quiet, "grouped": quiet, "never_connected": quiet,
}

func toneOf(value string) tone {
	if t, ok := tones[strings.ToLower(value)]; ok {
		return t
	}
	return neutral
}

// badge shows a status: its word, and a colour for those who see it.
func badge(value any) template.HTML {
	text := plain(value)
	if text == "" {
		text = "none"
	}
	return template.HTML(`<span class="badge ` + string(toneOf(text)) + `">` + template.HTMLEscapeString(strings.ReplaceAll(text, "_", " ")) + `</span>`) // it is escaped
}

// stamp shows a time, with its exact value for machines and under the mouse.
func stamp(t any) template.HTML {
	var at time.Time
	switch t := t.(type) {
	case time.Time:
		at = t
	case *time.Time:
		if t == nil {
			return "–"
		}
		at = *t
	}
	if at.IsZero() {
		return "–"
	}
	at = at.UTC()
	exact := at.Format(time.RFC3339Nano)
	return template.HTML(`<time datetime="` + exact + `" title="` + exact + `">` + at.Format("2006-01-02 15:04:05") + `</time>`)
}

// ago says how long before now a time was, or how long after it will be.
func ago(now, at time.Time) string {
	d := now.Sub(at)
	switch {
	case at.IsZero():
		return "never"
	case d < -time.Second:
		return "in " + rough(-d)
	case d < time.Second:
		return "now"
	}
	return rough(d) + " ago"
}

// rough is a duration in its largest unit, or two.
func rough(d time.Duration) string {
	const day = 24 * time.Hour
	switch {
	case d < time.Second:
		return fmt.Sprintf("%d ms", d.Milliseconds())
	case d < 2*time.Minute:
		return fmt.Sprintf("%d s", int(d.Seconds()))
	case d < 2*time.Hour:
		return fmt.Sprintf("%d min", int(d.Minutes()))
	case d < 2*day:
		return fmt.Sprintf("%d h", int(d.Hours()))
	}
	return fmt.Sprintf("%d days", int(d/day))
}

// took is how long something took that has begun and ended.
func took(from, to any) string {
	begin, ok := moment(from)
	end, ended := moment(to)
	if !ok || !ended {
		return "–"
	}
	return duration.Format(end.Sub(begin).Round(time.Millisecond))
}

func moment(t any) (time.Time, bool) {
	switch t := t.(type) {
	case time.Time:
		return t, !t.IsZero()
	case *time.Time:
		if t != nil {
			return *t, true
		}
	}
	return time.Time{}, false
}

// plain is a value as a text.
func plain(value any) string {
	switch v := value.(type) {
	case nil:
		return ""
	case string:
		return v
	case *string:
		if v == nil {
			return ""
		}
		return *v
	case fmt.Stringer:
		return v.String()
	}
	text, err := json.Marshal(value)
	if err != nil {
		return fmt.Sprint(value)
	}
	var unquoted string
	if json.Unmarshal(text, &unquoted) == nil {
		return unquoted
	}
	return string(text)
}

// fieldValue shows the value of a field of an entity: a time as a time, all else
// as a text.
func fieldValue(value any) any {
	if text, ok := value.(string); ok {
		if t, err := time.Parse(time.RFC3339Nano, text); err == nil {
			return stamp(t)
		}
	}
	return plain(value)
}

// pretty is JSON with lines.
func pretty(value any) string {
	text, ok := value.(json.RawMessage)
	if !ok {
		var err error
		if text, err = json.Marshal(value); err != nil {
			return fmt.Sprint(value)
		}
	}
	var out bytes.Buffer
	if json.Indent(&out, text, "", "  ") != nil {
		return string(text)
	}
	return out.String()
}

// short is the beginning of a long id.
func short(text string) string {
	if len(text) > 13 && strings.Count(text, "-") == 4 {
		return text[:8] + "…" + text[len(text)-4:]
	}
	return text
}

// change is one field of a transition.
type change struct {
	Field, From, To string
	New, Gone       bool
}

func changesOf(t client.Transition) []change {
	var list []change
	for _, field := range slices.Sorted(maps.Keys(t.Changes)) {
		c := t.Changes[field]
		list = append(list, change{Field: field, From: plain(c[0]), To: plain(c[1]), New: c[0] == nil, Gone: c[1] == nil})
	}
	return list
}
