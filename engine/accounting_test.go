package engine_test

import (
	"flag"
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/flightrules/flightrules/engine"
	"github.com/flightrules/flightrules/engine/enginetest"
	"github.com/flightrules/flightrules/engine/journal"
	"github.com/flightrules/flightrules/internal/dbtest"
)

// TestEveryMatchIsAccountedFor draws rules and what happens to them, and
// compares the matches, worked out without the engine, with the decisions: no
// match is without one, no decision is without a match, what waited has come to
// an end, each run has the decision that made it, and all of it is the same
// with a restart after each step.
//
// Each draw is two whole engines: there are few of them unless -rapid.checks
// asks for more.
func TestEveryMatchIsAccountedFor(t *testing.T) {
	if checks := flag.Lookup("rapid.checks"); checks.Value.String() == checks.DefValue {
		defer func() { _ = flag.Set("rapid.checks", checks.DefValue) }()
		if err := flag.Set("rapid.checks", "5"); err != nil {
			t.Fatal(err)
		}
	}
	rapid.Check(t, func(rt *rapid.T) {
		s := drawStory(rt)
		defer func() {
			if t.Failed() { // by the lab, of which rapid knows nothing
				t.Logf("%s%+v", s.first, s.steps)
			}
		}()
		plain := s.play(t, false)
		for _, r := range s.rules {
			s.check(rt, plain, r)
		}
		restarted := s.play(t, true)
		for _, r := range s.rules {
			if diff := cmp.Diff(record(plain, r.id), record(restarted, r.id)); diff != "" {
				rt.Fatalf("decisions of %s without and with restarts:\n%s\n%s", r.id, diff, r.text())
			}
		}
	})
}

// play makes the steps happen.
func (s *story) play(t *testing.T, restart bool) *lab {
	l := newLab(t, dbtest.SQLite(t), s.first)
	l.restart = restart
	l.then()
	for _, p := range s.steps {
		l.Jump(p.late)
		p.play(l)
	}
	return l
}

func (p step) play(l *lab) {
	l.t.Helper()
	var err error
	ctx := l.t.Context()
	switch p.do {
	case "x":
		l.post("custom.x", map[string]any{"n": p.n})
	case "end":
		l.post("custom.end", nil)
	case "door":
		l.put(p.on, door{Status: p.text, Count: p.n})
	case "wait":
		l.after(p.length)
	case "outage":
		l.Jump(p.length)
		l.Restart()
	case "silence":
		_, err = l.Engine.Engine.Silence(ctx, engine.SilenceSpec{
			ID: p.on, Match: p.text, Start: l.Now().Add(p.delay), End: l.Now().Add(p.delay + p.length),
		})
		l.then()
	case "unsilence":
		_, err = l.Engine.Engine.Unsilence(ctx, p.on)
		l.then()
	case "reload":
		l.Reload(p.text)
		l.then()
	case "pause":
		_, err = l.Engine.Engine.Pause(ctx, p.on, "")
		l.then()
	case "resume":
		_, err = l.Engine.Engine.Resume(ctx, p.on)
		l.then()
	}
	if err != nil {
		l.t.Fatal(err)
	}
}

var (
	idIn    = regexp.MustCompile(`[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[0-9a-f]{4}-[0-9a-f]{12}`)
	batchIn = regexp.MustCompile(`a batch of (\d+) `)

	silencedBy = regexp.MustCompile(`(\S+) until `)
)

// record is what was decided about a rule, but for the ids, which nobody can
// foresee.
func record(l *lab, rule string) (lines []string) {
	events := eventsOf(l)
	for _, d := range l.Decisions(rule) {
		e := events[d.EventID]
		lines = append(lines, fmt.Sprintf("%s %s %s %s %q, %s",
			d.At.Sub(enginetest.Epoch), d.Trigger, d.Key, d.Outcome, idIn.ReplaceAllString(d.Detail, "ID"), identity(e.Name, e.EntityID, e.At.Sub(enginetest.Epoch))))
	}
	for _, r := range l.Runs(rule) {
		lines = append(lines, fmt.Sprintf("run for %s: %s, from %s to %s", r.Key, r.Status, r.CreatedAt.Sub(enginetest.Epoch), r.FinishedAt.Sub(enginetest.Epoch)))
	}
	return lines
}

func eventsOf(l *lab) map[string]journal.Event {
	events := map[string]journal.Event{}
	for _, e := range l.Events("") {
		events[e.ID] = e
	}
	return events
}

// The outcomes after which a match may go on.
var passing = []journal.Outcome{held, counted, grouped}

// check compares the decisions of a rule with what should have come of it.
func (s *story) check(rt *rapid.T, l *lab, r *modelRule) {
	list, events := l.Decisions(r.id), eventsOf(l)
	fail := func(format string, args ...any) {
		rt.Helper()
		rt.Fatalf("%s\n%s%s", fmt.Sprintf(format, args...), r.text(), strings.Join(record(l, r.id), "\n"))
	}
	outcomes := map[string][]journal.Outcome{} // by event
	var got, fired []string
	for _, d := range list {
		if outcomes[d.EventID] == nil {
			e := events[d.EventID]
			got = append(got, identity(e.Name, e.EntityID, e.At.Sub(enginetest.Epoch)))
		}
		outcomes[d.EventID] = append(outcomes[d.EventID], d.Outcome)
		if byPause := strings.Contains(d.Detail, "the rule was paused"); !byPause && !slices.Contains(passing, d.Outcome) {
			e := events[d.EventID]
			fired = append(fired, identity(e.Name, e.EntityID, e.At.Sub(enginetest.Epoch)))
		}
	}
	want := slices.Concat(r.want, s.again(l, r))
	slices.Sort(want)
	slices.Sort(got)
	if diff := cmp.Diff(want, got); diff != "" {
		fail("what matched and what has decisions:\n%s", diff)
	}
	if _, all := r.kind.(*onAll); all {
		if diff := cmp.Diff(r.fires, fired); diff != "" {
			fail("what completed the parts and what fired:\n%s", diff)
		}
	}
	for id, each := range outcomes {
		if !r.comesToAnEnd(each) {
			fail("event %s, %s: %v", id, events[id].Name, each)
		}
	}
	s.checkGroups(fail, list, outcomes)
	s.checkRuns(fail, list, l.Runs(r.id))
	s.checkGates(fail, r, list, events)
}

// comesToAnEnd says whether the outcomes of an event are those of one match
// that has come to an end.
func (r *modelRule) comesToAnEnd(outcomes []journal.Outcome) bool {
	if outcomes[0] == held {
		outcomes = outcomes[1:]
	}
	switch len(outcomes) {
	case 1:
		return outcomes[0] != held
	case 2:
		_, all := r.kind.(*onAll) // of which an event may be two parts
		return (outcomes[0] == grouped || all && outcomes[0] == counted) && !slices.Contains(passing, outcomes[1])
	default:
		return false
	}
}

// checkGroups compares what was put into batches with what came out of them.
func (s *story) checkGroups(fail func(string, ...any), list []journal.Decision, outcomes map[string][]journal.Outcome) {
	in, out := 0, 0
	for _, d := range list {
		if d.Outcome == grouped {
			in++
		}
		if found := batchIn.FindStringSubmatch(d.Detail); found != nil {
			n, _ := strconv.Atoi(found[1])
			out += n
		}
		if d.Outcome == cancelled && slices.Contains(outcomes[d.EventID], grouped) {
			out++
		}
	}
	if in != out {
		fail("%d matches went into batches, and %d came out", in, out)
	}
}

// checkRuns compares the runs with the decisions that made one.
func (s *story) checkRuns(fail func(string, ...any), list []journal.Decision, runs []journal.Run) {
	var want, got []string
	for _, d := range list {
		if d.Outcome == started || d.Outcome == queued {
			want = append(want, d.RunID)
		}
	}
	for _, run := range runs {
		got = append(got, run.ID)
		if !run.Status.Final() {
			fail("run %s is %s", run.ID, run.Status)
		}
	}
	slices.Sort(want)
	slices.Sort(got)
	if diff := cmp.Diff(want, got); diff != "" {
		fail("decisions that made a run, and runs:\n%s", diff)
	}
}

// checkGates looks for what was silenced or dropped though the rule was not,
// and for what was not though it was.
func (s *story) checkGates(fail func(string, ...any), r *modelRule, list []journal.Decision, events map[string]journal.Event) {
	for _, d := range list {
		at := d.At.Sub(enginetest.Epoch)
		if slices.ContainsFunc(s.odd, d.At.Equal) {
			continue
		}
		toggles, now := slices.BinarySearch(r.pauses, at)
		if now {
			continue
		}
		paused := toggles%2 == 1
		gated := d.Outcome != cancelled && !slices.Contains(passing, d.Outcome)
		byPause := d.Outcome == dropped && strings.Contains(d.Detail, "the rule was paused")
		if gated && byPause != paused {
			fail("at %s it is paused: %v, and %s", at, paused, d.Outcome)
		}
		if !gated || byPause {
			continue
		}
		silent := slices.ContainsFunc(s.silences, func(one *modelSilence) bool {
			return one.from <= at && at < one.to && one.matches(r, events[d.EventID])
		})
		if silent != (d.Outcome == silenced) {
			fail("at %s it is silenced: %v, and %s", at, silent, d.Outcome)
		}
	}
}

func (s *modelSilence) matches(r *modelRule, e journal.Event) bool {
	switch s.match {
	case "true":
		return true
	case `trigger.rule == "r0"`:
		return r.id == "r0"
	case `event.name == "custom.x"`:
		return e.Name == "custom.x"
	case `event.entity.id == "a"`:
		return e.EntityID == "a"
	default: // it cannot be evaluated
		return false
	}
}

// again are the matches that are looked at again as silences end: the last one
// of each entity that a silence kept from running, where no change has broken
// it.
func (s *story) again(l *lab, r *modelRule) (want []string) {
	breaks := breaksOf(r.kind)
	if breaks == nil {
		return nil
	}
	events, positions := eventsOf(l), s.positions(l)
	for _, one := range s.silences {
		if !slices.Contains(one.inForce, r.id) {
			continue
		}
		last := map[string]int{} // by entity, the position of the change
		for _, d := range l.Decisions(r.id) {
			if by := silencedBy.FindStringSubmatch(d.Detail); d.Outcome == silenced && by[1] == one.id {
				e := events[d.EventID]
				last[e.EntityID] = positions[max(e.TransitionSeq, e.AboutSeq)]
			}
		}
		for id, i := range last {
			if !slices.ContainsFunc(s.changes[i+1:one.known], func(c doorChange) bool { return c.id == id && breaks(c.prev, c.next) }) {
				want = append(want, identity("door.changed", id, one.to))
			}
		}
	}
	return want
}

// positions are where the transitions of doors stand among the changes.
func (s *story) positions(l *lab) map[int64]int {
	found, versions := map[int64]int{}, map[string][]int{}
	for i, c := range s.changes {
		versions[c.id] = append(versions[c.id], i)
	}
	for id, list := range versions {
		log, err := l.plugin.doors.Transitions(l.t.Context(), id, len(list))
		if err != nil {
			l.t.Fatal(err)
		}
		for _, t := range log {
			found[t.Seq] = list[t.Version-1]
		}
	}
	return found
}
