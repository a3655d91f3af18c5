package engine_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/flightrules/flightrules/engine"
	"github.com/flightrules/flightrules/engine/enginetest"
	"github.com/flightrules/flightrules/engine/journal"
	"github.com/flightrules/flightrules/internal/db"
)

const (
	counted  = journal.Counted
	grouped  = journal.Grouped
	blocked  = journal.Blocked
	queued   = journal.RunWaits
	dropped  = journal.Dropped
	silenced = journal.Silenced
	cooled   = journal.CooledDown
	falsely  = journal.ConditionFalse
	mistaken = journal.Failed
)

// at moves the clock to a time since the beginning of the test.
func (l *lab) at(since time.Duration) {
	l.t.Helper()
	d := enginetest.Epoch.Add(since).Sub(l.Now())
	if d < 0 {
		l.t.Fatalf("it is past %s", since)
	}
	l.after(d)
}

// sec is at in seconds.
func (l *lab) sec(s float64) {
	l.t.Helper()
	l.at(time.Duration(s * float64(time.Second)))
}

// post makes an event about no entity, now.
func (l *lab) post(name string, payload map[string]any) string {
	l.t.Helper()
	id := l.Emit(name, payload)
	l.then()
	return id
}

// about makes an event about an entity.
func (l *lab) about(id, name string) {
	l.t.Helper()
	if _, _, err := l.Engine.Engine.Emit(l.t.Context(), engine.Emitted{Name: name, Kind: "door", EntityID: id}); err != nil {
		l.t.Fatal(err)
	}
	l.then()
}

// level sets the count of a door.
func (l *lab) level(id string, counts ...int) {
	l.t.Helper()
	for _, n := range counts {
		l.put(id, door{Status: "closed", Count: n})
	}
}

// wantStarted compares how many runs there were so far.
func (l *lab) wantStarted(rule string, want int) {
	l.t.Helper()
	if got := len(l.Runs(rule)); got != want {
		l.t.Errorf("%s: %d runs of %s, want %d\n%s", l.Now().Sub(enginetest.Epoch), got, rule, want, details(l.Decisions(rule)))
	}
}

// rule is a file of one rule that rings.
func rule(lines string) string {
	return fmt.Sprintf("rules:\n  - id: r\n    actions: [{lab.ring: {text: \"${{ event.id }}\"}}]\n%s", indent(lines))
}

func indent(text string) string {
	out := "    "
	for _, c := range text {
		out += string(c)
		if c == '\n' {
			out += "    "
		}
	}
	return out + "\n"
}

// emitLate makes an event that happened some time ago.
func (l *lab) emitLate(ago time.Duration, name string, payload map[string]any) {
	l.t.Helper()
	_, _, err := l.Engine.Engine.Emit(l.t.Context(), engine.Emitted{Name: name, Payload: db.ToJSON(payload), At: l.Now().Add(-ago)})
	if err != nil {
		l.t.Fatal(err)
	}
	l.then()
}

// emitOnly makes an event, now, and routes nothing.
func (l *lab) emitOnly(name string, payload map[string]any) string {
	l.t.Helper()
	e, _, err := l.Engine.Engine.Emit(l.t.Context(), engine.Emitted{Name: name, Payload: db.ToJSON(payload)})
	if err != nil {
		l.t.Fatal(err)
	}
	return e.ID
}

// wantGathered compares how much is kept of what triggers have gathered.
func (l *lab) wantGathered(want int) {
	l.t.Helper()
	got, err := l.DB.Read().NewSelect().Model((*journal.Item)(nil)).Count(l.t.Context())
	if err != nil || int(got) != want {
		l.t.Errorf("%d items are kept, want %d (%v)", got, want, err)
	}
}

// timeline runs a case for a rule in every way; see each.
func timeline(t *testing.T, name, rules string, fn func(t *testing.T, l *lab)) {
	t.Helper()
	t.Run(name, func(t *testing.T) { each(t, rules, fn) })
}
