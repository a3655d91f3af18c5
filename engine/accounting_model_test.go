package engine_test

import (
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"pgregory.net/rapid"

	"github.com/flightrules/flightrules/engine/enginetest"
)

// story is what happens to some rules, and what must come of it: worked out
// from what each kind of trigger promises, without the engine.
type story struct {
	now      time.Duration // since the beginning
	odd      []time.Time   // when things happen late, or in an order of their own
	rules    []*modelRule
	doors    map[string]door
	changes  []doorChange
	silences []*modelSilence
	first    string // the text of the rules
	steps    []step
}

// step is one thing that happens.
type step struct {
	do     string
	late   time.Duration // it is seen so much later than what was due before it
	length time.Duration // of waits, outages and silences
	delay  time.Duration // until a silence begins
	n      int           // of custom.x, or the count of a door
	on     string        // the door, the rule or the silence
	text   string        // a status, a matcher, or all the rules
}

// doorChange is a door as a step has left it.
type doorChange struct {
	id         string
	prev, next door
}

// modelSilence is a silence. Its end is known to the rules when it has come:
// what changed before that is the beginning of changes.
type modelSilence struct {
	id, match string
	from, to  time.Duration
	over      bool
	known     int // of changes
	inForce   []string
}

// modelRule is a rule, and the events that it must have decided about.
type modelRule struct {
	id, trigger, rest string // the lines of the trigger and of all else
	edited            int
	slow              bool // its durations are twice what they were
	removed, paused   bool
	pauses            []time.Duration // when it was paused and resumed, in turns

	kind  modelKind
	want  []string // see identity
	fires []string // of them, those with which an `all` was complete
}

// modelKind is how a kind of trigger finds its events.
type modelKind interface {
	begin(s *story, r *modelRule)                     // the rule is in force
	event(s *story, r *modelRule, name string, n int) // an event about nothing
	change(s *story, r *modelRule, c doorChange)
	// until is called before the clock moves to a time; late: at once.
	until(s *story, r *modelRule, end time.Duration, late bool)
}

// idle is a kind to which nothing means anything.
type idle struct{}

func (idle) begin(*story, *modelRule)                      {}
func (idle) event(*story, *modelRule, string, int)         {}
func (idle) change(*story, *modelRule, doorChange)         {}
func (idle) until(*story, *modelRule, time.Duration, bool) {}

// identity names an event of which only this is known.
func identity(name, entity string, at time.Duration) string {
	return fmt.Sprintf("%s %s %s", at, name, entity)
}

func (s *story) match(r *modelRule, name, entity string) {
	r.want = append(r.want, identity(name, entity, s.now))
}

// onEvent matches custom.x with an n above a number.
type onEvent struct {
	idle
	above int
}

func (k onEvent) event(s *story, r *modelRule, name string, n int) {
	if name == "custom.x" && n > k.above {
		s.match(r, name, "")
	}
}

// onDoor matches the changes of doors of which it can be told by themselves.
type onDoor struct {
	idle
	enters, breaks func(prev, next door) bool
}

func (k onDoor) change(s *story, r *modelRule, c doorChange) {
	if k.enters(c.prev, c.next) {
		s.match(r, "door.changed", c.id)
	}
}

// onCount matches a count that crosses a bound, and needs to fall to another
// one before it does so again.
type onCount struct {
	idle
	above, reset int
	on           map[string]bool
}

func (k *onCount) begin(*story, *modelRule) { k.on = map[string]bool{} }

func (k *onCount) change(s *story, r *modelRule, c doorChange) {
	if c.prev.Count == c.next.Count {
		return
	}
	on := k.on[c.id] || c.prev.Count > k.above
	if c.next.Count > k.above && !on {
		s.match(r, "door.changed", c.id)
	}
	k.on[c.id] = c.next.Count > k.above || on && c.next.Count > k.reset
}

// breaksOf says which changes end what a kind matched; nil: none can.
func breaksOf(kind modelKind) func(prev, next door) bool {
	switch k := kind.(type) {
	case onDoor:
		return k.breaks
	case *onCount:
		return func(prev, next door) bool { return prev.Count != next.Count && next.Count <= k.reset }
	default:
		return nil
	}
}

// onAll matches each of its parts, and fires when there was each of them in a
// window. An event may be several of them, and counts for one firing.
type onAll struct {
	idle
	parts []allPart
	last  []time.Duration // when each was there; -1: not since it fired
}

type allPart struct {
	line string
	is   func(name string, n int) bool
}

const allWithin = 10 * time.Second

func (k *onAll) begin(*story, *modelRule) { k.last = slices.Repeat([]time.Duration{-1}, len(k.parts)) }

func (k *onAll) event(s *story, r *modelRule, name string, n int) { k.part(s, r, name, "", n) }

func (k *onAll) change(s *story, r *modelRule, c doorChange) {
	if c.prev.Status != "open" && c.next.Status == "open" {
		k.part(s, r, "door.changed", c.id, 0)
	}
}

func (k *onAll) part(s *story, r *modelRule, name, entity string, n int) {
	any, full := false, true
	for i, part := range k.parts {
		if part.is(name, n) {
			any = true
			if !r.paused {
				k.last[i] = s.now
			}
		}
		full = full && k.last[i] >= 0 && s.now-k.last[i] < r.long(allWithin)
	}
	if !any {
		return
	}
	s.match(r, name, entity)
	if full && !r.paused {
		r.fires = append(r.fires, identity(name, entity, s.now))
		k.begin(s, r)
	}
}

// onAbsence fires when custom.x has not come for a time: of small and of
// large n, or of any since the rule is in force.
type onAbsence struct {
	idle
	above  int
	length time.Duration
	start  bool
	seen   map[string]time.Duration
}

func (k *onAbsence) begin(s *story, _ *modelRule) {
	k.seen = map[string]time.Duration{}
	if k.start {
		k.seen[""] = s.now
	}
}

func (k *onAbsence) event(s *story, _ *modelRule, name string, n int) {
	switch {
	case name != "custom.x" || n <= k.above:
	case k.start:
		k.seen[""] = s.now
	default:
		k.seen[strconv.FormatBool(n > 4)] = s.now
	}
}

func (k *onAbsence) until(_ *story, r *modelRule, end time.Duration, _ bool) {
	for key, seen := range k.seen {
		if due := seen + r.long(k.length); due <= end {
			r.want = append(r.want, identity("engine.absence", r.id, due))
			delete(k.seen, key)
		}
	}
}

// onTicks fires at multiples of a period since the rule is in force, or on the
// clock, and makes up for what it missed as its policy says.
type onTicks struct {
	idle
	period  time.Duration
	clock   bool
	misfire string
	from    time.Duration
}

func (k *onTicks) begin(s *story, _ *modelRule) {
	if k.from = s.now; k.clock {
		k.from = 0
	}
}

func (k *onTicks) until(s *story, r *modelRule, end time.Duration, late bool) {
	if r.paused {
		return
	}
	period := r.long(k.period)
	var due []string
	for at := k.from + (s.now-k.from)/period*period + period; at <= end; at += period {
		due = append(due, identity("engine.tick", r.id, at))
	}
	if late && k.misfire != "all" && len(due) > 0 {
		due = due[len(due)-1:]
	}
	r.want = append(r.want, due...)
}

// long is a duration of the rule's text as it is now.
func (r *modelRule) long(d time.Duration) time.Duration {
	if r.slow {
		return 2 * d
	}
	return d
}

var secondsOf = regexp.MustCompile(`<(\d+)>`)

// text is the rule as it is written now. Its durations stand in the lines as
// <seconds>, and as <m> where it is a number of minutes.
func (r *modelRule) text() string {
	text := secondsOf.ReplaceAllStringFunc(r.trigger+"\n"+r.rest, func(found string) string {
		n, _ := strconv.Atoi(strings.Trim(found, "<>"))
		return r.long(time.Duration(n) * time.Second).String()
	})
	minutes := "1"
	if r.slow {
		minutes = "2"
	}
	text = strings.ReplaceAll(text, "<m>", minutes)
	return fmt.Sprintf("  - id: %s\n    triggers: [{%s\n    actions: [{log: hi %d}, {wait: 3s}]\n", r.id, text, r.edited)
}

func (s *story) text() string {
	var text strings.Builder
	text.WriteString("rules:\n")
	for _, r := range s.rules {
		if !r.removed {
			text.WriteString(r.text())
		}
	}
	if text.String() == "rules:\n" {
		return "rules: []\n"
	}
	return text.String()
}

func drawRule(rt *rapid.T, id string) *modelRule {
	r := &modelRule{id: id}
	above := rapid.IntRange(-1, 6).Draw(rt, "above")
	modifiers := []string{
		"", "count: 2, within: <10>", "count: 3, within: <20>, refire: every", "unless: {event: custom.end, within: <5>, by: '\"k\"'}",
		"group: {wait: <3>, interval: <5>, max: 3}", "count: 2, within: <10>, group: {wait: <2>}",
	}
	holding := append(slices.Clone(modifiers), "for: <4>", "for: <4>, count: 2, within: <60>")
	gates := []string{"", "    cooldown: <7>\n", "    per: rule\n"}
	misfire := rapid.SampledFrom([]string{"once", "all", "skip"})
	switch rapid.IntRange(0, 8).Draw(rt, "trigger") {
	case 0, 1:
		r.kind = onEvent{above: above}
		r.trigger = fmt.Sprintf("event: custom.x, where: event.payload.n > %d", above)
		gates = append(gates, "    conditions: [event.payload.n != 5]\n", "    conditions: [event.payload.nobody > 1]\n")
	case 2:
		open := func(d door) bool { return d.Status == "open" }
		r.kind = onDoor{
			enters: func(prev, next door) bool { return open(next) && !open(prev) },
			breaks: func(prev, next door) bool { return !open(next) },
		}
		r.trigger, modifiers = "state: door.status, to: open", holding
	case 3:
		other := func(prev, next door) bool { return prev.Status != next.Status }
		r.kind = onDoor{enters: other, breaks: other}
		r.trigger, modifiers = "state: door.status", holding
	case 4:
		k := &onCount{above: 5, reset: 5}
		r.trigger, modifiers = "numeric: door.count, above: 5", holding
		if rapid.Bool().Draw(rt, "with reset") {
			k.reset = 2
			r.trigger += ", reset: 2"
		}
		r.kind = k
	case 5:
		is := func(d door) bool { return d.Count > 4 && d.Status == "open" }
		r.kind = onDoor{
			enters: func(prev, next door) bool { return is(next) && !is(prev) },
			breaks: func(prev, next door) bool { return !is(next) },
		}
		r.trigger, modifiers = `becomes: entity.state.count > 4 and entity.state.status == "open", kind: door`, holding
	case 6:
		parts := rapid.Permutation([]allPart{
			{"event: custom.x", func(name string, _ int) bool { return name == "custom.x" }},
			{fmt.Sprintf("event: custom.x, where: event.payload.n > %d", above), func(name string, n int) bool { return name == "custom.x" && n > above }},
			{"event: custom.end", func(name string, _ int) bool { return name == "custom.end" }},
			{"state: door.status, to: open", func(name string, _ int) bool { return name == "door.changed" }},
		}).Draw(rt, "parts")[:rapid.IntRange(2, 3).Draw(rt, "of parts")]
		r.kind = &onAll{parts: parts}
		var lines []string
		for _, part := range parts {
			lines = append(lines, "{"+part.line+"}")
		}
		r.trigger, modifiers = fmt.Sprintf("all: [%s], within: <10>", strings.Join(lines, ", ")), modifiers[:1]
	case 7:
		k := &onAbsence{above: above, length: 6 * time.Second, start: rapid.Bool().Draw(rt, "since the start")}
		r.kind = k
		r.trigger, modifiers = fmt.Sprintf("absent: custom.x, for: <6>, where: event.payload.n > %d", above), modifiers[:1]
		if k.start {
			r.trigger += ", since: start"
		} else {
			r.trigger += ", by: event.payload.n > 4"
		}
	case 8:
		k := &onTicks{period: time.Minute, clock: rapid.Bool().Draw(rt, "on the clock"), misfire: misfire.Draw(rt, "misfire")}
		r.trigger, modifiers = "cron: '*/<m> * * * *'", modifiers[:1]
		if !k.clock {
			k.period = 7 * time.Second
			r.trigger = "every: <7>"
		}
		r.kind = k
		r.trigger += ", misfire: " + k.misfire
	}
	if modifier := rapid.SampledFrom(modifiers).Draw(rt, "modifier"); modifier != "" {
		r.trigger += ", " + modifier
	}
	r.trigger += "}]"
	mode := rapid.SampledFrom([]string{"single", "restart", "queued", "parallel"}).Draw(rt, "mode")
	r.rest = fmt.Sprintf("    mode: %s\n%s", mode, rapid.SampledFrom(gates).Draw(rt, "gate"))
	return r
}

// drawStory draws rules and what happens to them.
func drawStory(rt *rapid.T) *story {
	s := &story{doors: map[string]door{}}
	for i := range rapid.IntRange(1, 6).Draw(rt, "rules") {
		r := drawRule(rt, fmt.Sprintf("r%d", i))
		r.kind.begin(s, r)
		s.rules = append(s.rules, r)
	}
	s.first = s.text()
	for range rapid.IntRange(5, 30).Draw(rt, "steps") {
		s.steps = append(s.steps, s.draw(rt))
	}
	for _, r := range s.rules { // schedules would never come to an end
		if _, ticks := r.kind.(*onTicks); ticks {
			r.removed = true
		}
	}
	s.steps = append(s.steps, step{do: "reload", text: s.text()}, step{do: "wait", length: time.Hour})
	s.strange()
	s.pass(time.Hour, false)
	return s
}

// draw draws a step, and works out what it does.
func (s *story) draw(rt *rapid.T) step {
	millis := func(label string, least, most int) time.Duration {
		return time.Duration(rapid.IntRange(least, most).Draw(rt, label)) * time.Millisecond
	}
	var p step
	switch rapid.IntRange(0, 14).Draw(rt, "step") {
	case 0, 1, 2, 3:
		p = step{do: "x", n: rapid.IntRange(0, 9).Draw(rt, "n"), late: s.drawLate(rt)}
		s.event("custom.x", p.n)
	case 4:
		p = step{do: "end", late: s.drawLate(rt)}
		s.event("custom.end", 0)
	case 5, 6, 7:
		p = step{do: "door", on: rapid.SampledFrom([]string{"a", "b"}).Draw(rt, "door"), late: s.drawLate(rt)}
		next := s.doors[p.on]
		if next.Status == "" || rapid.Bool().Draw(rt, "its status") {
			next.Status = rapid.SampledFrom([]string{"open", "closed", "ajar"}).Draw(rt, "status")
		} else {
			next.Count = rapid.IntRange(0, 9).Draw(rt, "count")
		}
		p.text, p.n = next.Status, next.Count
		s.change(p.on, next)
	case 8, 9:
		p = step{do: "wait", length: millis("wait", 0, 15_000)}
		s.pass(p.length, false)
	case 10:
		p = step{do: "outage", length: millis("outage", 0, 15_000)}
		s.pass(p.length, true)
	case 11:
		p = s.drawSilence(rt)
	case 12, 13:
		p = s.drawReload(rt)
	case 14:
		r := s.rules[rapid.IntRange(0, len(s.rules)-1).Draw(rt, "rule")]
		if r.removed {
			return step{do: "nothing"}
		}
		p = step{do: "pause", on: r.id}
		if r.paused {
			p.do = "resume"
		}
		r.paused = !r.paused
		r.pauses = append(r.pauses, s.now)
	}
	return p
}

// drawLate draws how much later than what was due before it a step is seen. No
// two times of a story are the same by that: the microsecond tells them apart.
func (s *story) drawLate(rt *rapid.T) time.Duration {
	if rapid.IntRange(0, 5).Draw(rt, "late") > 0 {
		return 0
	}
	late := time.Duration(rapid.IntRange(0, 12_000).Draw(rt, "lateness"))*time.Millisecond + time.Microsecond
	s.pass(late, true)
	return late
}

func (s *story) drawSilence(rt *rapid.T) step {
	for _, one := range s.silences {
		if !one.over && rapid.Bool().Draw(rt, "end "+one.id) {
			one.to = s.now
			s.end(one)
			s.strange()
			return step{do: "unsilence", on: one.id}
		}
	}
	one := &modelSilence{
		id: fmt.Sprintf("s%d", len(s.silences)), match: rapid.SampledFrom([]string{
			"true", `trigger.rule == "r0"`, `event.name == "custom.x"`, `event.entity.id == "a"`, "event.payload.nobody > 1",
		}).Draw(rt, "matcher"),
	}
	p := step{
		do: "silence", on: one.id, text: one.match,
		delay:  time.Duration(rapid.IntRange(0, 2).Draw(rt, "delay")) * 1500 * time.Millisecond,
		length: time.Duration(rapid.IntRange(1, 25).Draw(rt, "length")) * time.Second,
	}
	one.from, one.to = s.now+p.delay, s.now+p.delay+p.length
	s.silences = append(s.silences, one)
	s.strange()
	return p
}

func (s *story) drawReload(rt *rapid.T) step {
	r := s.rules[rapid.IntRange(0, len(s.rules)-1).Draw(rt, "rule")]
	switch rapid.IntRange(0, 4).Draw(rt, "edit") {
	case 0: // nothing but the layout
	case 1:
		r.slow = !r.slow
	case 2:
		r.edited++
	default:
		if r.removed = !r.removed; !r.removed {
			r.kind.begin(s, r)
		}
	}
	s.pass(0, true)
	return step{do: "reload", text: s.text()}
}

// strange marks the present time: what is decided at it may be of another one.
func (s *story) strange() { s.odd = append(s.odd, enginetest.Epoch.Add(s.now)) }

// pass moves the clock; late: what was due is seen at the end.
func (s *story) pass(d time.Duration, late bool) {
	end := s.now + d
	for _, r := range s.rules {
		if !r.removed {
			r.kind.until(s, r, end, late)
		}
	}
	s.now = end
	for _, one := range s.silences {
		if !one.over && one.to <= end {
			s.end(one)
		}
	}
	if late {
		s.strange()
	}
}

func (s *story) end(one *modelSilence) {
	one.over, one.known = true, len(s.changes)
	for _, r := range s.rules {
		if !r.removed {
			one.inForce = append(one.inForce, r.id)
		}
	}
}

func (s *story) event(name string, n int) {
	for _, r := range s.rules {
		if !r.removed {
			r.kind.event(s, r, name, n)
		}
	}
}

func (s *story) change(id string, next door) {
	prev := s.doors[id]
	if prev == next {
		return
	}
	s.doors[id] = next
	c := doorChange{id: id, prev: prev, next: next}
	s.changes = append(s.changes, c)
	for _, r := range s.rules {
		if !r.removed {
			r.kind.change(s, r, c)
		}
	}
}
