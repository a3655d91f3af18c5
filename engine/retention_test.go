package engine_test

import (
	"flag"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/flightrules/flightrules/engine"
	"github.com/flightrules/flightrules/engine/journal"
	"github.com/flightrules/flightrules/engine/retention"
	"github.com/flightrules/flightrules/internal/db"
	"github.com/flightrules/flightrules/internal/dbtest"
)

// nothingKept keeps as little as can be said.
const nothingKept = `
retention:
  runs: {keep: 1ms, max: 1}
  decisions: {keep: 1ms, max: 1}
  events: {keep: 1ms, max: 1}
  transitions: {keep: 1ms, max: 1}
`

// prune removes what may go.
func (l *lab) prune() retention.Counts {
	l.t.Helper()
	removed, next := retention.Counts{}, ""
	for {
		some, more, err := l.Engine.Engine.Prune(l.t.Context(), next, 10, false)
		if err != nil {
			l.t.Fatal(err)
		}
		for table, rows := range some {
			removed[table] += rows
		}
		if next = more; next == "" {
			return removed
		}
	}
}

// witness sees what happens before it is pruned.
type witness struct {
	*lab

	prunes    bool
	decisions map[int64]string
	runs      map[string]string
	order     []string // ids of runs
	n         int      // of events
}

func newWitness(t *testing.T, url, text string, prunes bool) *witness {
	return &witness{lab: newLab(t, url, text), prunes: prunes, decisions: map[int64]string{}, runs: map[string]string{}}
}

func (w *witness) look() {
	for _, d := range w.Decisions("") {
		w.decisions[d.Seq] = neutral(fmt.Sprintf("%s %s %s %s %s %q", d.At.Format(time.TimeOnly), d.Rule, d.EventID, d.Key, d.Outcome, d.Detail))
	}
	for _, r := range w.Runs("") {
		if _, known := w.runs[r.ID]; !known {
			w.order = append(w.order, r.ID)
		}
		w.runs[r.ID] = neutral(fmt.Sprintf("%s %s %s %s %s %q", r.CreatedAt.Format(time.TimeOnly), r.Rule, r.EventID, r.Key, r.Status, r.Error))
	}
	if w.prunes {
		w.prune()
	}
}

// own is what is another one in each engine: ids, and the versions of entities
// that were removed and forgotten and came back.
var own = regexp.MustCompile(`[0-9a-f]{8}-[0-9a-f-]{27}|version \d+`)

func neutral(text string) string { return own.ReplaceAllString(text, "-") }

func (w *witness) emit(name string, payload map[string]any) {
	w.t.Helper()
	w.n++
	if _, _, err := w.Engine.Engine.Emit(w.t.Context(), engine.Emitted{ID: fmt.Sprintf("e%d", w.n), Name: name, Payload: db.ToJSON(payload)}); err != nil {
		w.t.Fatal(err)
	}
	w.then()
}

// x makes an event of a number, odd or even.
func (w *witness) x(n int) {
	w.t.Helper()
	w.emit("custom.x", map[string]any{"n": n, "k": []string{"even", "odd"}[n%2]})
}

func (w *witness) silence(length time.Duration) {
	w.t.Helper()
	if _, err := w.Engine.Engine.Silence(w.t.Context(), engine.SilenceSpec{
		Match: `event.entity.kind == "door"`, End: w.Now().Add(length), Reason: "a test",
	}); err != nil {
		w.t.Fatal(err)
	}
	w.then()
}

// told is all that happened, the things of an instant in the order of their
// texts: in which order an engine sees to several that are due is not promised.
func (w *witness) told() (decisions, runs, rung []string) {
	for _, seq := range slices.Sorted(maps.Keys(w.decisions)) {
		decisions = append(decisions, w.decisions[seq])
	}
	for _, id := range w.order {
		runs = append(runs, w.runs[id])
	}
	rung = slices.Clone(w.world.texts)
	slices.Sort(decisions)
	slices.Sort(runs)
	slices.Sort(rung)
	return decisions, runs, rung
}

// difference is what is not the same in two engines; "": nothing.
func difference(plain, pruned *witness) (text string) {
	wantDecisions, wantRuns, wantRung := plain.told()
	decisions, runs, rung := pruned.told()
	for what, diff := range map[string]string{
		"decisions": cmp.Diff(wantDecisions, decisions), "runs": cmp.Diff(wantRuns, runs), "what was done": cmp.Diff(wantRung, rung),
	} {
		if diff != "" {
			text += fmt.Sprintf("%s (-plain +pruned):\n%s\n", what, diff)
		}
	}
	return text
}

// pendingRules are rules with something that waits, in every way there is; %d
// stands for seconds.
var pendingRules = []string{
	`triggers: [{state: door.status, to: open, for: %ds}]
    actions: [{lab.ring: {text: "held ${{ event.entity.id }} ${{ event.change.prev?.status }}"}}, {wait: %ds}, {lab.ring: {text: "still ${{ event.change.next.count }}"}}]`,
	`mode: queued
    triggers: [{numeric: door.count, above: 5, reset: 3, for: %ds}]
    actions: [{wait: %ds}, {lab.ring: {text: "many ${{ event.change.next.count }} ${{ vars.begun }}"}}]
    variables: {begun: "${{ event.at }}"}`,
	`triggers: [{state: door.status, to: open, for: 2s, count: 2, within: %ds}]
    actions: [{wait: %ds}, {lab.ring: {text: "twice ${{ event.entity.id }}"}}]`,
	`mode: parallel
    triggers: [{event: custom.x, count: 2, within: %ds, by: event.payload.k}]
    actions: [{wait: %ds}, {lab.ring: {text: "counted ${{ event.payload.n }}"}}]`,
	`mode: parallel
    triggers: [{event: custom.x, unless: {event: custom.end, within: %ds, by: '"k"'}}]
    actions: [{wait: %ds}, {lab.ring: {text: "no end after ${{ event.payload.n }}"}}]`,
	`mode: parallel
    triggers: [{event: custom.x, group: {by: event.payload.k, wait: %ds, interval: 5s, max: 4}}]
    actions: [{wait: %ds}, {lab.ring: {text: "${{ map(events, .payload.n) }} and last ${{ event.payload.n }}"}}]`,
	`triggers: [{state: door.status, to: open, group: {wait: %ds}}]
    actions: [{wait: %ds}, {lab.ring: {text: "${{ map(events, .entity.id) }} ${{ event.change.prev?.status }}"}}]`,
	`triggers: [{absent: custom.x, for: %ds}]
    actions: [{wait: %ds}, {lab.ring: {text: "none since ${{ event.payload.since }}"}}]`,
	`mode: parallel
    triggers: [{all: [{event: custom.x}, {event: custom.end}, {state: door.status, to: open}], within: %ds}]
    actions: [{wait: %ds}, {lab.ring: {text: "${{ event.name }} ${{ event.at }}"}}]`,
	`mode: restart
    cooldown: %ds
    triggers: [{event: custom.x}]
    actions: [{wait: %ds}, {lab.ring: {text: "cooled ${{ event.payload.n }}"}}]`,
	`mode: queued
    per: rule
    triggers: [{state: door.status}]
    actions: [{wait: %ds}, {wait: %ds}, {lab.ring: {text: "${{ event.entity.id }} ${{ event.change.prev?.status }} ${{ event.change.next?.status }}"}}]`,
	`triggers: [{event: custom.end}]
    actions: [{wait: %ds}, {update: {kind: door, id: a, set: {status: ajar, count: %d}}}, {emit: {event: custom.x, payload: {n: 9, k: odd}}}, {lab.ring: {text: "ended ${{ event.at }}"}}]`,
}

// TestWhatWaitsForLongLosesNothing has each of these rules wait for weeks by
// itself, and all of them together on PostgreSQL, and removes all that may go
// after every step.
func TestWhatWaitsForLongLosesNothing(t *testing.T) {
	all := ""
	for i, rule := range pendingRules {
		text := fmt.Sprintf("  - id: r%d\n    "+rule+"\n", i, 10*24*3600, 30*24*3600)
		all += text
		t.Run(fmt.Sprint(i), func(t *testing.T) { t.Parallel(); waitForLong(t, dbtest.SQLite(t), "rules:\n"+text) })
	}
	t.Run("postgres", func(t *testing.T) { t.Parallel(); waitForLong(t, dbtest.Postgres(t), "rules:\n"+all) })
}

func waitForLong(t *testing.T, url, text string) {
	const day = 24 * time.Hour
	plain, pruned := newWitness(t, dbtest.SQLite(t), text, false), newWitness(t, url, text+nothingKept, true)
	for _, w := range []*witness{plain, pruned} {
		do := func(steps ...func()) {
			for _, step := range steps {
				step()
				w.look()
			}
		}
		be := func(id, status string, count int) func() {
			return func() { w.put(id, door{Status: status, Count: count}) }
		}
		x := func(n int) func() { return func() { w.x(n) } }
		end := func() { w.emit("custom.end", nil) }
		after := func(d time.Duration) func() { return func() { w.after(d) } }
		do(be("a", "closed", 1), x(1), be("a", "open", 7), be("b", "open", 8), be("a", "open", 9))
		for n := range 6 {
			do(x(n), after(time.Minute))
		}
		do(func() { w.silence(12 * day) }, be("c", "ajar", 1), be("c", "open", 6), be("c", "open", 7), after(4*day))
		do(be("c", "open", 8), be("b", "closed", 8), after(4*day), be("b", "open", 8), end, x(8))
		do(after(12*day), be("d", "open", 3), be("a", "ajar", 1), be("a", "open", 9), be("a", "open", 8), after(2*day))
		for range 14 {
			do(after(7 * day))
		}
	}
	if diff := difference(plain, pruned); diff != "" {
		t.Errorf("%s\n%s", diff, text)
	}
	if len(plain.world.texts) == 0 {
		t.Errorf("nothing happened:\n%s", text)
	}
}

// TestPruningChangesNothing draws rules and timelines and runs each twice: once
// as it is, and once removing all that may go after every step. What is decided
// and done is the same.
func TestPruningChangesNothing(t *testing.T) {
	if checks := flag.Lookup("rapid.checks"); checks.Value.String() == checks.DefValue {
		defer func() { _ = flag.Set("rapid.checks", checks.DefValue) }()
		if err := flag.Set("rapid.checks", "5"); err != nil {
			t.Fatal(err)
		}
	}
	rapid.Check(t, func(rt *rapid.T) {
		var text strings.Builder
		text.WriteString("rules:\n")
		for i, at := range rapid.SliceOfN(rapid.IntRange(0, len(pendingRules)-1), 1, 5).Draw(rt, "rules") {
			fmt.Fprintf(&text, "  - id: r%d\n    "+pendingRules[at]+"\n", i, rapid.IntRange(1, 9).Draw(rt, "seconds"), rapid.IntRange(1, 9).Draw(rt, "seconds"))
		}
		plain, pruned := newWitness(t, dbtest.SQLite(t), text.String(), false), newWitness(t, dbtest.SQLite(t), text.String()+nothingKept, true)
		both := func(do func(w *witness)) {
			for _, w := range []*witness{plain, pruned} {
				do(w)
				w.look()
			}
		}
		for range rapid.IntRange(5, 40).Draw(rt, "steps") {
			switch rapid.IntRange(0, 12).Draw(rt, "step") {
			case 0, 1, 2:
				n := rapid.IntRange(0, 9).Draw(rt, "n")
				both(func(w *witness) { w.x(n) })
			case 3, 4, 5, 6:
				d := door{Status: rapid.SampledFrom([]string{"open", "closed", "ajar"}).Draw(rt, "status"), Count: rapid.IntRange(0, 9).Draw(rt, "count")}
				id := rapid.SampledFrom([]string{"a", "b"}).Draw(rt, "door")
				both(func(w *witness) { w.put(id, d) })
			case 7:
				both(func(w *witness) { w.emit("custom.end", nil) })
			case 8:
				id := rapid.SampledFrom([]string{"a", "b"}).Draw(rt, "door")
				both(func(w *witness) { _ = w.plugin.doors.Remove(t.Context(), id, nil); w.then() })
			case 9:
				length := time.Duration(rapid.IntRange(1, 15_000).Draw(rt, "silence")) * time.Millisecond
				both(func(w *witness) { w.silence(length) })
			case 10:
				outage := time.Duration(rapid.IntRange(0, 15_000).Draw(rt, "outage")) * time.Millisecond
				both(func(w *witness) { w.Jump(outage); w.Restart() })
			default:
				wait := time.Duration(rapid.IntRange(0, 15_000).Draw(rt, "wait")) * time.Millisecond
				both(func(w *witness) { w.after(wait) })
			}
		}
		for range 8 {
			both(func(w *witness) { w.after(12 * time.Second) })
		}
		if diff := difference(plain, pruned); diff != "" {
			rt.Errorf("%s\n%s", diff, text.String())
		}
		pruned.after(time.Minute)
		pruned.prune()
		for _, run := range pruned.Runs("") {
			if run.Status.Final() {
				rt.Errorf("run %s of %s is left", run.ID, run.Rule)
			}
		}
	})
}

// An event is the same for as long as it is kept; with a decision about it, as
// long as that is.
func TestAnEventIsForgottenWithItsID(t *testing.T) {
	each(t, `
rules:
  - {id: r, triggers: [{event: custom.known}], actions: [{log: hi}]}
retention:
  runs: {keep: 1d}
  decisions: {keep: 9d}
  events: {keep: 3d}
`, func(t *testing.T, l *lab) {
		const day = 24 * time.Hour
		send := func(name string, want bool) {
			t.Helper()
			_, fresh, err := l.Engine.Engine.Emit(t.Context(), engine.Emitted{ID: "the " + name, Name: name})
			if err != nil {
				t.Fatal(err)
			}
			l.then()
			if fresh != want {
				t.Errorf("%s was taken: %v", name, fresh)
			}
		}
		pass := func(d time.Duration) {
			l.after(d)
			l.prune()
		}
		send("custom.known", true)
		send("custom.other", true)
		pass(2 * day)
		send("custom.known", false)
		send("custom.other", false)
		pass(2 * day)
		send("custom.known", false)
		send("custom.other", true)
		pass(6 * day)
		send("custom.known", true)
		l.wantRuns("r", succeeded)
	})
}

// The gates look back at runs that have ended: those of a cooldown, and those
// that trip a rule.
func TestTheGatesStillSeeTheRunsThatTheyLookBackAt(t *testing.T) {
	each(t, `
rules:
  - {id: cooled, cooldown: 10d, triggers: [{event: custom.x}], actions: [{log: hi}]}
  - {id: loud, triggers: [{event: custom.loud}], actions: [{log: hi}]}
`+nothingKept, func(t *testing.T, l *lab) {
		const day = 24 * time.Hour
		pass := func(d time.Duration) {
			l.after(d)
			l.prune()
		}
		last := func(want journal.Outcome) {
			t.Helper()
			l.Emit("custom.x", nil)
			list := l.Decisions("cooled")
			if got := list[len(list)-1].Outcome; got != want {
				t.Errorf("%s, want %s", got, want)
			}
		}
		last(started)
		pass(5 * day)
		last(cooled)
		pass(4 * day)
		last(cooled)
		pass(2 * day)
		last(started)

		for range 101 {
			l.Emit("custom.loud", nil)
			l.prune()
		}
		states, err := journal.RuleStates(t.Context(), l.DB.Read(), false)
		if err != nil || !states["loud"].Tripped {
			t.Errorf("it is not tripped: %v, %v", states, err)
		}
	})
}
