package retention_test

import (
	"context"
	"fmt"
	"log/slog"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/uptrace/bun"

	"github.com/flightrules/flightrules/engine/enginetest"
	"github.com/flightrules/flightrules/engine/journal"
	"github.com/flightrules/flightrules/engine/outbox"
	"github.com/flightrules/flightrules/engine/retention"
	"github.com/flightrules/flightrules/entities"
	"github.com/flightrules/flightrules/internal/db"
	"github.com/flightrules/flightrules/internal/dbtest"
)

const day = 24 * time.Hour

// lamps declares a kind; what is said of retention comes after it.
const lamps = `
kinds:
  - {name: lamp, fields: {on: {type: boolean}, watts: {type: integer}}}
`

type fixture struct {
	*enginetest.Engine
	t *testing.T
}

func each(t *testing.T, rules string, fn func(t *testing.T, f *fixture)) {
	dbtest.Each(t, func(t *testing.T, url string) {
		fn(t, &fixture{enginetest.Start(t, enginetest.Options{URL: url, Rules: rules}), t})
	})
}

func (f *fixture) must(err error) {
	f.t.Helper()
	if err != nil {
		f.t.Fatal(err)
	}
}

// lamp changes an entity.
func (f *fixture) lamp(id string, watts int) { f.put(id, map[string]any{"watts": watts}) }

func (f *fixture) put(id string, state map[string]any) {
	f.t.Helper()
	_, err := f.Entities.Put(f.t.Context(), "lamp", id, func(entities.View) (map[string]any, error) { return state, nil })
	f.must(err)
	f.Settle()
}

// count is how many rows a table has.
func (f *fixture) count(table string) int {
	f.t.Helper()
	n, err := f.DB.Read().NewSelect().Table(table).Count(f.t.Context())
	f.must(err)
	return int(n)
}

var tables = []string{"runs", "steps", "decisions", "events", "transitions", "entities"}

func (f *fixture) counts() retention.Counts {
	c := retention.Counts{}
	for _, table := range tables {
		c[table] = f.count(table)
	}
	return c
}

// prune makes a whole pass, a batch at a time, and says how many there were.
func (f *fixture) prune(dry bool, each func(removed retention.Counts)) int {
	f.t.Helper()
	n := 0
	for next := ""; ; n++ {
		removed, more, err := f.Engine.Engine.Prune(f.t.Context(), next, 1, dry)
		f.must(err)
		each(removed)
		if next = more; next == "" {
			return n
		}
	}
}

// insert writes rows as the engine would.
func (f *fixture) insert(rows ...any) {
	f.t.Helper()
	f.must(f.DB.Write(f.t.Context(), func(ctx context.Context, tx bun.Tx) error {
		for _, row := range rows {
			if _, err := tx.NewInsert().Model(row).Returning("NULL").Exec(ctx); err != nil {
				return err
			}
		}
		return nil
	}))
}

// past makes n of everything a day apart at most, long ago, and a run with many
// steps.
func (f *fixture) past(n int) {
	f.t.Helper()
	at := func(i int) db.Time { return db.At(enginetest.Epoch.Add(-400*day + time.Duration(i)*time.Second)) }
	var events []journal.Event
	var decisions []journal.Decision
	var runs []journal.Run
	var steps []journal.Step
	for i := range n {
		id := fmt.Sprintf("e%05d", i)
		events = append(events, journal.Event{ID: id, Name: "custom.x", Actor: "test", At: at(i)})
		decisions = append(decisions, journal.Decision{Rule: "r", Trigger: "1", EventID: id, Outcome: journal.Started, At: at(i)})
		runs = append(runs, journal.Run{ID: id, Rule: "r", EventID: id, Status: journal.RunSucceeded, CreatedAt: at(i), FinishedAt: at(i)})
		more := 1
		if i == n/2 {
			more = 2*retention.Batch + 100
		}
		for s := range more {
			steps = append(steps, journal.Step{RunID: id, Path: fmt.Sprintf("actions[%d]", s), Position: s, Action: "log", Status: journal.StepSucceeded, StartedAt: at(i)})
		}
	}
	f.must(f.DB.Write(f.t.Context(), func(ctx context.Context, tx bun.Tx) error {
		for _, rows := range []any{&decisions, &events} {
			if _, err := tx.NewInsert().Model(rows).ExcludeColumn("seq").Returning("NULL").Exec(ctx); err != nil {
				return err
			}
		}
		for _, rows := range []any{&runs, &steps} {
			if _, err := tx.NewInsert().Model(rows).Returning("NULL").Exec(ctx); err != nil {
				return err
			}
		}
		for i := range n {
			if _, err := tx.ExecContext(ctx, "INSERT INTO transitions (kind, entity_id, version, delta, next, actor, depth, at) VALUES ('lamp', ?, ?, '{}', '{}', 'test', 0, ?)",
				fmt.Sprintf("old%d", i%7), i/7+1, at(i)); err != nil {
				return err
			}
		}
		return nil
	}))
}

func TestBatchesAreSmall(t *testing.T) {
	each(t, lamps, func(t *testing.T, f *fixture) {
		const n = 5000
		f.past(n)
		before := f.counts()
		if f.count("run_changes") < n {
			t.Fatalf("%d statuses of %d runs are on record", f.count("run_changes"), n)
		}
		foreseen, removed := retention.Counts{}, retention.Counts{}
		f.prune(true, func(some retention.Counts) {
			for table, rows := range some {
				foreseen[table] += rows
			}
		})
		batches := f.prune(false, func(some retention.Counts) {
			after, sum := f.counts(), 0
			for _, table := range tables {
				if gone := before[table] - after[table]; gone != some[table] {
					t.Errorf("%d rows of %s are gone, and %d were told", gone, table, some[table])
				}
				sum += some[table]
				removed[table] += some[table]
			}
			if sum > retention.Batch {
				t.Errorf("%d rows are gone at once: %v", sum, some)
			}
			before = after
		})
		want := retention.Counts{"runs": n, "steps": n + 2*retention.Batch + 99, "decisions": n, "events": n, "transitions": n - 7, "entities": 0}
		for table, rows := range want {
			if removed[table] != rows || foreseen[table] != rows {
				t.Errorf("%s: %d rows are gone and %d were foreseen, want %d", table, removed[table], foreseen[table], rows)
			}
		}
		if left := f.count("run_changes"); left != 0 {
			t.Errorf("%d statuses of runs are left that are gone", left)
		}
		if batches < 5*n/retention.Batch {
			t.Errorf("only %d batches", batches)
		}
	})
}

// plans gathers what the database is asked.
type plans struct {
	mu      sync.Mutex
	queries map[string]bool
}

func (p *plans) BeforeQuery(ctx context.Context, _ *bun.QueryEvent) context.Context { return ctx }

func (p *plans) AfterQuery(_ context.Context, e *bun.QueryEvent) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.queries[e.Query] = true
}

// TestEveryQueryUsesAnIndex looks at the plan of everything that a pass asks,
// which is all but the removal of rows by their primary keys.
func TestEveryQueryUsesAnIndex(t *testing.T) {
	each(t, lamps, func(t *testing.T, f *fixture) {
		f.past(100)
		seen := &plans{queries: map[string]bool{}}
		idb, ctx := f.DB.Read().WithQueryHook(seen), t.Context()
		page := func(a db.Aged, of string) (list []db.Mark) {
			t.Helper()
			_, _, err := a.Next(ctx, idb, "")
			f.must(err)
			until, ok, err := a.Newest(ctx, idb, of, 10)
			if f.must(err); !ok {
				t.Fatalf("%s has no ten rows", a.Table)
			}
			first, err := a.Oldest(ctx, idb, db.Span{Of: of, Until: until}, 10)
			f.must(err)
			list, err = a.Oldest(ctx, idb, db.Span{Of: of, After: first[9], Until: until}, 50)
			if f.must(err); len(list) != 50 {
				t.Fatalf("%d rows of %s", len(list), a.Table)
			}
			return list
		}
		var ids []string
		for _, m := range page(journal.OldRuns, "r") {
			ids = append(ids, m.ID)
		}
		_, _, _, err := journal.PruneRuns(ctx, idb, ids, f.Now(), retention.Batch, true)
		f.must(err)
		_, err = journal.PruneDecisions(ctx, idb, db.Seqs(page(journal.OldDecisions, "r")), true)
		f.must(err)
		_, err = journal.PruneEvents(ctx, idb, db.Seqs(page(journal.OldEvents, "")), true, func(db.Aged, string, db.Mark) (bool, error) { return false, nil })
		f.must(err)
		_, _, err = f.Entities.Prune(ctx, idb, "lamp", db.Mark{At: db.At(f.Now())}, db.Seqs(page(entities.OldTransitions, "lamp")), journal.NeededTransitions, true)
		f.must(err)
		if len(seen.queries) < 20 {
			t.Fatalf("only %d queries", len(seen.queries))
		}
		whole := regexp.MustCompile(`SCAN (\w+)$|Seq Scan on (\w+)`)
		for query := range seen.queries {
			for _, line := range f.plan(query) {
				if found := whole.FindStringSubmatch(line); found != nil {
					// What is yet to be routed is short, and gone through once for a page.
					if table := found[1] + found[2]; table != "outbox" && table != "o" {
						t.Errorf("%s\n  %s", query, line)
					}
				}
				if strings.Contains(line, "TEMP B-TREE") && !strings.Contains(query, `ORDER BY "t"."seq"`) {
					t.Errorf("%s\n  %s", query, line)
				}
			}
		}
	})
}

// plan is how the database would answer, with nothing but indexes if it can.
func (f *fixture) plan(query string) (lines []string) {
	f.t.Helper()
	if !f.DB.Postgres() {
		var rows []struct {
			ID, Parent, Notused int
			Detail              string
		}
		f.must(f.DB.Read().NewRaw("EXPLAIN QUERY PLAN "+query).Scan(f.t.Context(), &rows))
		for _, row := range rows {
			lines = append(lines, row.Detail)
		}
		return lines
	}
	f.must(f.DB.Write(f.t.Context(), func(ctx context.Context, tx bun.Tx) error {
		for _, off := range []string{"enable_seqscan", "enable_bitmapscan", "enable_hashjoin"} {
			if _, err := tx.ExecContext(ctx, "SET LOCAL "+off+" = off"); err != nil {
				return err
			}
		}
		return tx.NewRaw("EXPLAIN "+query).Scan(ctx, &lines)
	}))
	return lines
}

func TestOncePerHourOneNodePrunes(t *testing.T) {
	each(t, lamps, func(t *testing.T, f *fixture) {
		f.past(600)
		pruner := f.Engine.Engine.Pruner()
		step := func() {
			t.Helper()
			_, err := pruner.Step(t.Context())
			f.must(err)
		}
		next := func() time.Time {
			t.Helper()
			at, err := pruner.Next(t.Context())
			f.must(err)
			return at
		}
		step()
		if f.count("runs") == 600 || f.count("runs") == 0 {
			t.Fatalf("%d runs are left after one step", f.count("runs"))
		}
		if until := next().Sub(f.Now()); until <= 0 || until > time.Second {
			t.Errorf("the next batch is in %s", until)
		}
		if f.DB.Postgres() { // another node sees that a pass is under way
			peer := f.Engine.Peer()
			before := f.counts()
			_, err := peer.Engine.Pruner().Step(t.Context())
			f.must(err)
			if after := f.counts(); after["runs"] != before["runs"] {
				t.Error("two nodes prune at once")
			}
		}
		for range 100 {
			step()
		}
		if f.count("events") != 0 || f.count("transitions") != 7 {
			t.Errorf("left: %v", f.counts())
		}
		if due := next(); !due.Equal(enginetest.Epoch.Add(time.Hour)) {
			t.Errorf("the next pass is at %s", due)
		}
		f.insert(&journal.Event{Seq: 9999, ID: "late", Name: "custom.x", Actor: "test", At: db.At(enginetest.Epoch.Add(-300 * day))})
		f.Jump(59 * time.Minute)
		step()
		if f.count("events") != 1 {
			t.Error("it did not wait for an hour")
		}
		f.Restart()
		pruner = f.Engine.Engine.Pruner()
		f.Jump(time.Minute)
		step()
		step()
		if f.count("events") != 0 {
			t.Error("it did not begin after an hour")
		}
	})
}

// passed is a log that tells when a pass has removed something.
type passed struct {
	slog.Handler
	done chan struct{}
}

func (p passed) Enabled(context.Context, slog.Level) bool { return true }

func (p passed) Handle(_ context.Context, r slog.Record) error {
	if r.Message == "old history was removed" {
		close(p.done)
	}
	return nil
}

func TestTheEnginePrunesByItself(t *testing.T) {
	log := passed{slog.DiscardHandler, make(chan struct{})}
	f := &fixture{enginetest.Start(t, enginetest.Options{Rules: lamps, Log: slog.New(log)}), t}
	f.past(700)
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan error)
	go func() { ended <- f.Engine.Engine.Run(ctx) }()
	select {
	case <-log.done:
	case <-time.After(time.Minute):
		t.Error("it does not")
	}
	stop()
	f.must(<-ended)
	if f.count("events") != 0 {
		t.Errorf("left: %v", f.counts())
	}
}

func TestWhatIsNotRoutedStays(t *testing.T) {
	each(t, lamps, func(t *testing.T, f *fixture) {
		for i := range 2 {
			_, err := f.Entities.Put(t.Context(), "lamp", "a", func(entities.View) (map[string]any, error) { return map[string]any{"watts": i}, nil })
			f.must(err)
			id := fmt.Sprint(i)
			f.insert(&journal.Event{Seq: int64(i + 1), ID: id, Name: "custom.x", Actor: "test", At: db.At(f.Now())})
			f.must(f.DB.Write(t.Context(), func(ctx context.Context, tx bun.Tx) error { return outbox.Add(ctx, tx, outbox.Note{EventID: id}) }))
		}
		left := func(transitions, events int) {
			t.Helper()
			f.prune(false, func(retention.Counts) {})
			if f.count("transitions") != transitions || f.count("events") != events {
				t.Errorf("left: %v, want %d transitions and %d events", f.counts(), transitions, events)
			}
		}
		f.Jump(400 * day)
		left(2, 2)
		f.Settle()
		left(1, 0)
	})
}

func TestLimits(t *testing.T) {
	const text = lamps + `
rules:
  - {id: all, mode: parallel, max: 1000, triggers: [{event: custom.x}], actions: [{log: hi}]}
  - {id: few, mode: parallel, max: 1000, triggers: [{event: custom.x}], actions: [{log: hi}, {log: ho}]}
retention:
  runs: {keep: 10d, rules: {few: {max: 2}}}
  decisions: {keep: forever, max: 7, rules: {few: {keep: 1d}}}
  events: {keep: 1d, kinds: {rule: {keep: forever}}}
  transitions: {keep: forever, kinds: {lamp: {max: 3}}}
`
	each(t, text, func(t *testing.T, f *fixture) {
		for i := range 10 {
			f.Emit("custom.x", map[string]any{"n": i})
			f.lamp(fmt.Sprintf("l%d", i%2), i)
			f.Advance(6 * time.Hour)
		}
		_, err := f.Engine.Engine.RunByHand(t.Context(), "few", nil)
		f.must(err)
		f.Settle()
		f.Advance(20 * day)
		f.prune(false, func(retention.Counts) {})
		if all, few := len(f.Runs("all")), len(f.Runs("few")); all != 0 || few != 0 {
			t.Errorf("%d and %d runs", all, few)
		}
		if all, few := len(f.Decisions("all")), len(f.Decisions("few")); all != 7 || few != 0 {
			t.Errorf("%d and %d decisions", all, few)
		}
		if n := len(f.Events("custom.x")); n != 7 {
			t.Errorf("%d events, and 7 have decisions", n)
		}
		if n := len(f.Events("engine.manual")) + f.count("events") - 7; n == 0 {
			t.Error("the run by hand is gone")
		}
		// One more than three: the state is told as of any time since.
		if n := f.count("transitions"); n != 4 {
			t.Errorf("%d transitions", n)
		}
		// Runs by number.
		for range 5 {
			f.Emit("custom.x", nil)
			f.Advance(time.Hour)
		}
		f.prune(false, func(retention.Counts) {})
		if all, few := len(f.Runs("all")), len(f.Runs("few")); all != 5 || few != 2 {
			t.Errorf("%d and %d runs", all, few)
		}
		if n := f.count("steps"); n != 5+2*2 {
			t.Errorf("%d steps", n)
		}
	})
}

func TestTheLogTellsTheStateAsOfAnyTimeSince(t *testing.T) {
	each(t, lamps+`
rules:
  - {id: r, triggers: [{state: lamp.on, to: true, for: 100d}], actions: [{log: hi}]}
retention: {transitions: {keep: 10d}}
`, func(t *testing.T, f *fixture) {
		for i := range 40 {
			if i > 4 { // a dwell waits for the end of this
				f.put("held", map[string]any{"on": i > 5, "watts": i})
			}
			f.lamp("busy", i)
			if i%13 == 0 {
				f.lamp("idle", i)
			}
			if i == 3 {
				f.lamp("gone", i)
				f.must(f.Entities.Delete(t.Context(), "lamp", "gone"))
			}
			f.Advance(day)
		}
		at := func(id string, ago time.Duration) string {
			then, err := f.Entities.AsOf(t.Context(), f.DB.Read(), "lamp", id, f.Now().Add(-ago))
			return fmt.Sprint(then.Version, then.Next, err)
		}
		var want []string
		ids := []string{"busy", "idle"}
		for _, id := range ids {
			for ago := time.Duration(0); ago <= 10*day; ago += 6 * time.Hour {
				want = append(want, at(id, ago))
			}
		}
		var held []string
		for ago := time.Duration(0); ago <= 30*day; ago += 6 * time.Hour {
			held = append(held, at("held", ago))
		}
		f.prune(false, func(retention.Counts) {})
		for _, id := range ids {
			for ago := time.Duration(0); ago <= 10*day; ago += 6 * time.Hour {
				if got := at(id, ago); got != want[0] {
					t.Errorf("%s %s ago: %s, want %s", id, ago, got, want[0])
				}
				want = want[1:]
			}
		}
		if got := at("busy", 15*day); !strings.Contains(got, entities.ErrPruned.Error()) {
			t.Errorf("before the log begins: %s", got)
		}
		for i, want := range held {
			if got := at("held", time.Duration(i)*6*time.Hour); got != want {
				t.Errorf("held %d quarters of a day ago: %s, want %s", i, got, want)
			}
		}
		if n := f.count("transitions"); n != 10+2+34 {
			t.Errorf("%d transitions", n)
		}
		if n := f.count("entities"); n != 3 {
			t.Errorf("%d entities", n)
		}
		f.lamp("gone", 1)
		if got := at("gone", 0); !strings.HasPrefix(got, "1 map[watts:1]") {
			t.Errorf("one that came back: %s", got)
		}
	})
}
