package engine_test

import (
	"errors"
	"flag"
	"fmt"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/flightrules/flightrules/engine"
	"github.com/flightrules/flightrules/engine/journal"
	"github.com/flightrules/flightrules/engine/timer"
	"github.com/flightrules/flightrules/internal/dbtest"
)

// TestNoRunIsEverStuck draws rules of every kind of step and a timeline of
// events, cancels, retries, outages, crashes and, on PostgreSQL, nodes that take
// over. At each point every run has ended, is ready, or waits for something that
// is armed; and when all that can come has come, all runs have ended.
func TestNoRunIsEverStuck(t *testing.T) {
	few(t, "12")
	for name, url := range map[string]func(testing.TB) string{"sqlite": dbtest.SQLite, "postgres": dbtest.Postgres} {
		t.Run(name, func(t *testing.T) {
			rapid.Check(t, func(rt *rapid.T) { stuck(t, rt, url(t)) })
		})
	}
}

// few is how many draws there are unless -rapid.checks asks for more: each is a
// whole engine.
func few(t *testing.T, n string) {
	t.Helper()
	checks := flag.Lookup("rapid.checks")
	if checks.Value.String() != checks.DefValue {
		return
	}
	if err := flag.Set("rapid.checks", n); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = flag.Set("rapid.checks", checks.DefValue) })
}

func stuck(t *testing.T, rt *rapid.T, url string) {
	var text strings.Builder
	text.WriteString("rules:\n")
	for i := range rapid.IntRange(1, 3).Draw(rt, "rules") {
		fmt.Fprintf(&text, "  - id: r%d\n    mode: %s\n    triggers: [{event: custom.x}]\n    actions:\n", i,
			rapid.SampledFrom([]string{"single", "restart", "queued", "parallel"}).Draw(rt, "mode"))
		if rapid.IntRange(0, 2).Draw(rt, "policy") == 0 {
			text.WriteString("      - lab.ring: {text: policy}\n        retry: {attempts: 2, backoff: 3s}\n")
		}
		drawSteps(rt, &text, 3, 3)
	}
	l := newLab(t, url, text.String())
	l.world.fails = map[string]int{"policy": 3, "a": 4, "b": 2}
	dead, fuse := false, 0
	l.world.looked = func() {
		if dead {
			panic("it has crashed")
		}
		if fuse--; fuse == 0 {
			dead = true
			panic("a crash")
		}
	}
	do := func(fn func() error) { guarded(&dead, l, fn) }
	settle := func() {
		do(func() error { return l.Sim.Settle(l.t.Context()) })
		if why := l.unarmed(); why != "" {
			rt.Fatalf("%s\n%s", why, text.String())
		}
	}
	emit := func(name string, n int) {
		id := fmt.Sprintf("e%d", n)
		do(func() error {
			_, _, err := l.Engine.Engine.Emit(t.Context(), engine.Emitted{ID: id, Name: name})
			return err
		})
	}
	for n := range rapid.IntRange(5, 25).Draw(rt, "steps") {
		switch rapid.IntRange(0, 9).Draw(rt, "step") {
		case 0, 1, 2:
			emit("custom.x", n)
		case 3:
			emit(rapid.SampledFrom([]string{"custom.a", "custom.b"}).Draw(rt, "event"), n)
		case 4:
			id, status := rapid.SampledFrom([]string{"a", "b"}).Draw(rt, "door"), rapid.SampledFrom([]string{"open", "closed"}).Draw(rt, "status")
			do(func() error { return l.tryToBe(id, status) })
		case 5:
			if runs := l.Runs(""); len(runs) > 0 {
				id := rapid.SampledFrom(runs).Draw(rt, "run").ID
				do(func() error {
					_, err := l.Engine.Engine.CancelRun(t.Context(), id, "drawn")
					return unless(err, engine.ErrOver)
				})
			}
		case 6:
			if runs := l.Runs(""); len(runs) > 0 {
				id := rapid.SampledFrom(runs).Draw(rt, "run").ID
				do(func() error {
					_, err := l.Engine.Engine.RetryRun(t.Context(), id)
					return unless(err, engine.ErrNotFailed, engine.ErrBusy)
				})
			}
		case 7:
			fuse = rapid.IntRange(1, 60).Draw(rt, "fuse")
		default:
			l.Jump(time.Duration(rapid.IntRange(1, 20_000).Draw(rt, "time")) * time.Millisecond)
		}
		settle()
	}
	// All that they may wait for.
	fuse = 0
	for n := range 200 {
		for i, name := range []string{"custom.a", "custom.b"} {
			emit(name, 1000+2*n+i)
		}
		status := []string{"open", "closed"}[n%2]
		do(func() error { return errors.Join(l.tryToBe("a", status), l.tryToBe("b", status)) })
		l.Jump(10 * time.Second)
		settle()
		if l.active() == 0 {
			return
		}
	}
	for _, r := range l.Runs("") {
		if !r.Status.Final() {
			rt.Fatalf("run %s of %s is %s after all\n%s\n%s", r.ID, r.Rule, r.Status, strings.Join(trace(l.Steps(r.ID)), "\n"), text.String())
		}
	}
}

// drawSteps writes a list of steps.
func drawSteps(rt *rapid.T, text *strings.Builder, indent, depth int) {
	for range rapid.IntRange(1, 3).Draw(rt, "length") {
		drawStep(rt, text, indent, depth)
	}
}

func drawStep(rt *rapid.T, text *strings.Builder, indent, depth int) {
	pad := strings.Repeat("  ", indent)
	leaves := []string{
		"wait: 3s", "wait: 0s", "wait_for: {event: custom.a}", "wait_for: {event: custom.*, where: event.name == 'custom.b'}\n" + pad + "  timeout: 5s",
		"wait_for: {event: custom.b}\n" + pad + "  timeout: 4s\n" + pad + "  on_timeout: fail", "wait_for: {condition: \"state('door', 'a')?.status == 'open'\"}",
		"wait_for: {condition: \"now() - run.started_at > duration('7s')\"}", "lab.ring: {text: a}\n" + pad + "  retry: {attempts: 3, backoff: 2s}", "lab.ring: {text: b}",
		"lab.ring: {text: c}\n" + pad + "  on_error: continue", "set: {n: 1}", "log: hi", "update: {kind: door, id: b, set: {status: open}}", "emit: {event: custom.b}",
		"stop: enough\n" + pad + "  if: event.depth > 5",
	}
	blocks := []string{"repeat: {times: 2}", "parallel", "choose", "repeat: {until: index >= 1}"}
	pick := rapid.IntRange(0, len(leaves)+4).Draw(rt, "kind")
	if pick < len(leaves) || depth == 0 {
		fmt.Fprintf(text, "%s- %s\n", pad, leaves[pick%len(leaves)])
		return
	}
	block := rapid.SampledFrom(blocks).Draw(rt, "block")
	extra := rapid.SampledFrom([]string{"", "timeout: 12s", "retry: {attempts: 2, backoff: 1s}", "on_error: continue", "timeout: 8s\n" + pad + "  on_error: continue"}).Draw(rt, "extra")
	switch block {
	case "parallel":
		fmt.Fprintf(text, "%s- parallel:\n", pad)
		for range 2 {
			fmt.Fprintf(text, "%s    -\n", pad)
			drawSteps(rt, text, indent+3, depth-1)
		}
	case "choose":
		fmt.Fprintf(text, "%s- choose:\n%s    - when: event.depth == 0\n%s      do:\n", pad, pad, pad)
		drawSteps(rt, text, indent+4, depth-1)
	default:
		fmt.Fprintf(text, "%s- %s\n%s  do:\n", pad, block, pad)
		drawSteps(rt, text, indent+2, depth-1)
	}
	if extra != "" {
		fmt.Fprintf(text, "%s  %s\n", pad, extra)
	}
}

// unless is an error that is none of some.
func unless(err error, expected ...error) error {
	for _, one := range expected {
		if errors.Is(err, one) {
			return nil
		}
	}
	return err
}

func (l *lab) active() (n int) {
	for _, r := range l.Runs("") {
		if !r.Status.Final() {
			n++
		}
	}
	return n
}

// unarmed says which run waits for nothing; "" when none does.
func (l *lab) unarmed() string {
	l.t.Helper()
	ctx, idb := l.t.Context(), l.DB.Read()
	lanes := map[string]string{} // active runs by lane, the oldest
	runs := l.Runs("")
	for _, r := range runs {
		if !r.Status.Final() && lanes[r.Lane] == "" {
			lanes[r.Lane] = r.ID
		}
	}
	for _, r := range runs {
		if r.Status.Final() || r.Ready {
			continue
		}
		_, wakes, err := timer.Get(ctx, idb, "run.wake", r.ID)
		if err != nil {
			l.t.Fatal(err)
		}
		hears := 0
		for _, model := range []any{(*journal.Listener)(nil), (*journal.Watch)(nil)} {
			n, err := idb.NewSelect().Model(model).Where("run_id = ?", r.ID).Count(ctx)
			if err != nil {
				l.t.Fatal(err)
			}
			hears += int(n)
		}
		switch {
		case r.Status == journal.RunRunning && r.LeaseUntil.IsZero():
			return fmt.Sprintf("run %s of %s is running, and nobody is at it", r.ID, r.Rule)
		case r.Status == journal.RunWaiting && !wakes && (!r.Heeds || hears == 0):
			return fmt.Sprintf("run %s of %s waits for nothing\n%s", r.ID, r.Rule, strings.Join(trace(l.Steps(r.ID)), "\n"))
		case r.Status == journal.RunQueued && lanes[r.Lane] == r.ID:
			return fmt.Sprintf("run %s of %s is the first of its lane and does not begin", r.ID, r.Rule)
		}
	}
	return ""
}
