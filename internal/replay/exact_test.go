package replay_test

import (
	"flag"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/flightrules/flightrules/engine"
	"github.com/flightrules/flightrules/engine/enginetest"
	"github.com/flightrules/flightrules/engine/journal"
	"github.com/flightrules/flightrules/internal/dbtest"
	"github.com/flightrules/flightrules/internal/replay"
)

// TestAReplayDecidesAsTheEngineDid draws rules and what happens to them, and
// replays the log: with the same rules each decision is the recorded one.
func TestAReplayDecidesAsTheEngineDid(t *testing.T) {
	if checks := flag.Lookup("rapid.checks"); checks.Value.String() == checks.DefValue {
		defer func() { _ = flag.Set("rapid.checks", checks.DefValue) }()
		if err := flag.Set("rapid.checks", "25"); err != nil {
			t.Fatal(err)
		}
	}
	started, outcomes := 0, map[journal.Outcome]int{}
	rapid.Check(t, func(rt *rapid.T) {
		s := drawTale(rt)
		l := s.live(t)
		o := replay.Options{AsRecorded: true}
		got := []string{}
		o.Decided = func(d journal.Decision) {
			got = append(got, line(d))
			if outcomes[d.Outcome]++; d.Outcome == journal.Started {
				started++
			}
		}
		report := l.replay(o)
		want := []string{}
		for _, d := range l.all() {
			want = append(want, line(d))
		}
		sort(want)
		sort(got)
		if diff := cmp.Diff(want, got); diff != "" {
			rt.Fatalf("(-recorded +replayed):\n%s\n%s%v", diff, s.first, s.told)
		}
		if _, would, did := report.Totals(); would+did > 0 {
			rt.Fatalf("%+v", report)
		}
	})
	if testing.Verbose() {
		t.Logf("%v", outcomes)
	}
	if started == 0 {
		t.Error("nothing has started, so this has shown nothing")
	}
}

// line is a decision, but for the ids of runs.
func line(d journal.Decision) string {
	run := d.RunID != ""
	return fmt.Sprintf("%s %s %s %s %s %s %v", d.At.Sub(enginetest.Epoch), d.Rule, d.Trigger, d.EventID, d.Key, d.Outcome, run)
}

// sort puts the decisions of one look into one order where they are of several
// rules: the order of rules in their files is not recorded.
func sort(lines []string) {
	slices.SortStableFunc(lines, func(a, b string) int {
		x, y := strings.Fields(a), strings.Fields(b)
		if x[0] != y[0] {
			return 0
		}
		return strings.Compare(x[1], y[1])
	})
}

// tale is what happens to some rules.
type tale struct {
	rules []*taleRule
	first string // the text of the rules
	steps []func(l *live)
	told  []string
	busy  []string // ids of silences
}

type taleRule struct {
	id, text string
	edited   int
	slow     bool
	removed  bool
	paused   bool
}

func (s *tale) text() string {
	text := "rules:\n"
	for _, r := range s.rules {
		if r.removed {
			continue
		}
		factor := 1
		if r.slow {
			factor = 2
		}
		one := r.text
		for n := range 61 {
			one = strings.ReplaceAll(one, fmt.Sprintf("<%d>", n), fmt.Sprintf("%ds", n*factor))
		}
		text += fmt.Sprintf(one, r.id, r.edited)
	}
	if text == "rules:\n" {
		return "rules: []\n"
	}
	return text
}

func drawTaleRule(rt *rapid.T, id string) *taleRule {
	pick := func(label string, from ...string) string { return rapid.SampledFrom(from).Draw(rt, label) }
	above := rapid.IntRange(0, 6).Draw(rt, "above")
	modifier := pick("modifier", "", "", "count: 2, within: <10>", "count: 3, within: <20>, refire: every", "unless: {event: custom.end, within: <5>, by: '\"k\"'}",
		"group: {wait: <3>, interval: <5>, max: 3}", "count: 2, within: <10>, group: {wait: <2>}")
	hold := pick("hold", "", modifier, "for: <4>", "for: <4>, count: 2, within: <60>")
	initial := pick("initial", "", "", ", initial: true")
	trigger := ""
	switch rapid.IntRange(0, 10).Draw(rt, "trigger") {
	case 0, 1:
		trigger = fmt.Sprintf("event: custom.x, where: event.payload.n > %d", above)
	case 2:
		trigger, modifier = "state: door.status, to: open"+initial, hold
	case 3:
		trigger, modifier = "state: door.status"+initial, hold
	case 4:
		trigger, modifier = pick("numeric", "numeric: door.count, above: 5", "numeric: door.count, above: 5, reset: 2"), hold
	case 5:
		trigger, modifier = `becomes: entity.state.count > 4 and entity.state.status == "open", kind: door`+initial, hold
	case 6:
		trigger, modifier = fmt.Sprintf("all: [{event: custom.x, where: event.payload.n > %d}, {state: door.status, to: open}], within: <10>", above), ""
	case 7:
		trigger, modifier = fmt.Sprintf("absent: custom.x, for: <6>, where: event.payload.n > %d, by: event.payload.n > 4", above), ""
	case 8:
		trigger, modifier = "absent: custom.x, for: <6>, since: start", ""
	case 9:
		trigger, modifier = pick("schedule", "cron: '* * * * *'", "every: <7>")+", misfire: "+pick("misfire", "once", "all", "skip"), ""
	case 10:
		trigger = "event: door.opened, where: event.payload.count < 8"
	}
	if modifier != "" {
		trigger += ", " + modifier
	}
	reads := pick("condition", "", "", "    cooldown: <7>\n", "    per: rule\n",
		"    conditions: ['state(\"door\", \"a\")?.status == \"open\"']\n",
		"    conditions: ['len(entities(\"door\")) > 1']\n",
		"    conditions: ['state(\"door\", \"a\") == nil or held(\"door\", \"a\", \"status\") > duration(\"3s\")']\n",
		"    conditions: ['transitions(\"door\", \"b\", \"status\", \"20s\") < 2']\n",
		"    conditions: ['now().Second() < 40']\n")
	actions := pick("actions", "{wait: 3s}", "{house.ring: {text: hi}}, {wait: 5s}", "{emit: {event: custom.x, payload: {n: 9}}}",
		"{wait_for: {event: custom.end}, timeout: 8s}", "{house.ring: {text: hi}, retry: {attempts: 2, backoff: 4s}}",
		"{silence: {match: 'event.name == \"custom.x\"', for: 5s}}, {wait: 1s}", "{wait: 20s}, {log: bye}")
	return &taleRule{id: id, text: fmt.Sprintf("  - id: %%s\n    mode: %s\n    triggers: [{%s}]\n%s    actions: [{log: hi %%d}, %s]\n",
		pick("mode", "single", "restart", "queued", "parallel"), strings.ReplaceAll(trigger, "%", "%%"), strings.ReplaceAll(reads, "%", "%%"), actions)}
}

func drawTale(rt *rapid.T) *tale {
	s := &tale{}
	for i := range rapid.IntRange(1, 6).Draw(rt, "rules") {
		s.rules = append(s.rules, drawTaleRule(rt, fmt.Sprintf("r%d", i)))
	}
	s.first = s.text()
	for range rapid.IntRange(5, 40).Draw(rt, "steps") {
		s.draw(rt)
	}
	for _, r := range s.rules { // schedules would never come to an end
		r.removed = r.removed || strings.Contains(r.text, "cron:") || strings.Contains(r.text, "every:")
	}
	text := s.text()
	s.do("the end", func(l *live) { l.Settle(); l.Reload(text); l.Advance(10 * time.Minute) })
	return s
}

func (s *tale) do(told string, step func(l *live)) {
	s.told, s.steps = append(s.told, told), append(s.steps, step)
}

func (s *tale) draw(rt *rapid.T) {
	n := rapid.IntRange(0, 9).Draw(rt, "n")
	length := time.Duration(rapid.IntRange(0, 15_000).Draw(rt, "length")) * time.Millisecond
	id := rapid.SampledFrom([]string{"a", "b", "c"}).Draw(rt, "door")
	r := s.rules[rapid.IntRange(0, len(s.rules)-1).Draw(rt, "rule")]
	settles := rapid.IntRange(0, 3).Draw(rt, "settles") > 0 // else it is routed with what comes next
	then := func(l *live) {
		if settles {
			l.Settle()
		}
	}
	switch rapid.IntRange(0, 16).Draw(rt, "step") {
	case 0, 1, 2:
		s.do(fmt.Sprintf("x %d %v", n, settles), func(l *live) {
			_, _, err := l.Engine.Engine.Emit(l.t.Context(), engine.Emitted{Name: "custom.x", Payload: []byte(fmt.Sprintf(`{"n": %d}`, n))})
			l.must(err)
			then(l)
		})
	case 3:
		s.do(fmt.Sprintf("end %v", settles), func(l *live) {
			_, _, err := l.Engine.Engine.Emit(l.t.Context(), engine.Emitted{Name: "custom.end"})
			l.must(err)
			then(l)
		})
	case 4, 5, 6, 7:
		status := rapid.SampledFrom([]string{"open", "closed", "ajar"}).Draw(rt, "status")
		s.do(fmt.Sprintf("door %s %s %d %v", id, status, n, settles), func(l *live) { l.put(id, door{status, n}); then(l) })
	case 8:
		s.do("remove "+id, func(l *live) { l.remove(id); then(l) })
	case 9, 10:
		s.do(fmt.Sprintf("wait %s", length), func(l *live) { l.Advance(length) })
	case 11:
		s.do(fmt.Sprintf("outage %s", length), func(l *live) { l.Jump(length); l.Restart() })
	case 12:
		if len(s.busy) > 0 && n < 4 {
			id := s.busy[len(s.busy)-1]
			s.busy = s.busy[:len(s.busy)-1]
			s.do("unsilence "+id, func(l *live) {
				_, _ = l.Engine.Engine.Unsilence(l.t.Context(), id) // it may be over
				l.Settle()
			})
			return
		}
		id := fmt.Sprintf("s%d", len(s.steps))
		s.busy = append(s.busy, id)
		match := rapid.SampledFrom([]string{"true", `trigger.rule == "r0"`, `event.name == "custom.x"`, `event.entity.id == "a"`}).Draw(rt, "matcher")
		s.do("silence "+id+" "+match, func(l *live) {
			_, err := l.Engine.Engine.Silence(l.t.Context(), engine.SilenceSpec{ID: id, Match: match, Start: l.Time().Add(length / 5), End: l.Time().Add(2*length + time.Second)})
			l.must(err)
			l.Settle()
		})
	case 13:
		switch n % 4 {
		case 0:
			r.slow = !r.slow
		case 1:
			r.edited++
		default:
			r.removed = !r.removed
		}
		text := s.text()
		// Under which rules something was routed that came at nearly the same time,
		// and about which nothing was decided, is not recorded.
		s.do("reload "+text, func(l *live) { l.Settle(); l.Reload(text) })
	case 14:
		if r.removed {
			return
		}
		r.paused = !r.paused
		pause := r.paused
		s.do(fmt.Sprintf("pause %s %v", r.id, pause), func(l *live) {
			var err error
			if pause {
				_, err = l.Engine.Engine.Pause(l.t.Context(), r.id, "a test")
			} else {
				_, err = l.Engine.Engine.Resume(l.t.Context(), r.id)
			}
			l.must(err)
			l.Settle()
		})
	case 15:
		if !r.removed {
			s.do("run "+r.id, func(l *live) {
				_, err := l.Engine.Engine.RunByHand(l.t.Context(), r.id, nil)
				l.must(err)
				then(l)
			})
		}
	case 16:
		s.do("cancel", func(l *live) {
			var active []journal.Run
			l.must(l.DB.Read().NewSelect().Model(&active).Where("finished_at IS NULL").Order("id").Limit(1).Scan(l.t.Context()))
			for _, run := range active {
				_, err := l.Engine.Engine.CancelRun(l.t.Context(), run.ID, "a test")
				l.must(err)
			}
			l.Settle()
		})
	}
}

// live makes the tale happen.
func (s *tale) live(t *testing.T) *live {
	l := start(t, dbtest.SQLite(t), s.first)
	for _, step := range s.steps {
		step(l)
	}
	return l
}
