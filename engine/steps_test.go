package engine_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/flightrules/flightrules/engine/journal"
)

// acting is a file with a rule of these actions, on custom.x.
func acting(actions string) string {
	return "rules:\n  - id: r\n    triggers: [{event: custom.x}]\n    actions:\n" + strings.ReplaceAll(strings.Trim(actions, "\n"), "\t", "  ") + "\n"
}

// wantTexts compares what was rung, in order.
func (l *lab) wantTexts(want ...string) {
	l.t.Helper()
	l.world.mu.Lock()
	defer l.world.mu.Unlock()
	got := append([]string{}, l.world.texts...)
	if want == nil {
		want = []string{}
	}
	if diff := cmp.Diff(want, got); diff != "" {
		l.t.Errorf("rung (-want +got):\n%s", diff)
	}
}

// wantTrace compares the steps of the last run of r.
func (l *lab) wantTrace(want ...string) {
	l.t.Helper()
	runs := l.Runs("r")
	var got []string
	for _, s := range l.Steps(runs[len(runs)-1].ID) {
		place := s.Path
		if s.Iteration != "" {
			place += "@" + s.Iteration
		}
		got = append(got, strings.TrimSpace(fmt.Sprintf("%s %s %s", place, s.Status, s.Error)))
	}
	if diff := cmp.Diff(want, got); diff != "" {
		l.t.Errorf("trace (-want +got):\n%s", diff)
	}
}

func (l *lab) lastRun() journal.Run {
	l.t.Helper()
	runs := l.Runs("r")
	return runs[len(runs)-1]
}

func TestRepeat(t *testing.T) {
	timeline(t, "so many times", acting(`
      - set: {sum: 0}
      - repeat: {times: 3}
        do:
          - wait: 10s
          - set: {sum: "${{ vars.sum + index }}"}
          - lab.ring: {text: "${{ index }}/${{ item }} ${{ vars.sum }}"}
      - lab.ring: {text: "sum ${{ vars.sum }}"}
`), func(t *testing.T, l *lab) {
		l.post("custom.x", nil)
		l.sec(10)
		l.wantTexts("0/0 0")
		l.sec(30)
		l.wantTexts("0/0 0", "1/1 1", "2/2 3", "sum 3")
		l.wantRuns("r", succeeded)
		l.wantTrace("actions[0] succeeded", "actions[1] succeeded",
			"actions[1].do[0]@0 succeeded", "actions[1].do[1]@0 succeeded", "actions[1].do[2]@0 succeeded",
			"actions[1].do[0]@1 succeeded", "actions[1].do[1]@1 succeeded", "actions[1].do[2]@1 succeeded",
			"actions[1].do[0]@2 succeeded", "actions[1].do[1]@2 succeeded", "actions[1].do[2]@2 succeeded",
			"actions[2] succeeded")
		if diff := cmp.Diff(map[string]any{"times": 3.0}, l.Output(l.lastRun().ID, "actions[1]")); diff != "" {
			t.Error(diff)
		}
	})
	timeline(t, "never", acting(`
      - repeat: {times: "${{ event.payload.n }}"}
        do: [{lab.ring: {text: never}}]
      - repeat: {for_each: event.payload.none}
        do: [{lab.ring: {text: never}}]
      - repeat: {while: event.payload.n > 0}
        do: [{lab.ring: {text: never}}]
`), func(t *testing.T, l *lab) {
		l.post("custom.x", map[string]any{"n": 0, "none": []any{}})
		l.wantTexts()
		l.wantRuns("r", succeeded)
	})
	timeline(t, "for each item of a list as it was when it began", acting(`
      - set: {hosts: [a, b]}
      - repeat: {for_each: vars.hosts}
        do:
          - set: {hosts: [c, d, e]}
          - wait: 1s
          - repeat: {for_each: "[1, 2]"}
            do: [{wait: 1s}, {lab.ring: {text: "i${{ item }}"}}]
          - lab.ring: {text: "${{ index }} ${{ item }}"}
`), func(t *testing.T, l *lab) {
		l.post("custom.x", nil)
		l.sec(10)
		l.wantTexts("i1", "i2", "0 a", "i1", "i2", "1 b")
		l.wantRuns("r", succeeded)
	})
	timeline(t, "while and until", acting(`
      - set: {n: 0}
      - repeat: {while: vars.n < 2}
        do: [{set: {n: "${{ vars.n + 1 }}"}}, {wait: 1s}]
      - repeat: {until: vars.n >= 5 or index == 9}
        do: [{set: {n: "${{ vars.n + 1 }}"}}, {wait: 1s}]
      - lab.ring: {text: "n ${{ vars.n }}"}
`), func(t *testing.T, l *lab) {
		l.post("custom.x", nil)
		l.sec(20)
		l.wantTexts("n 5")
	})
	timeline(t, "TE-6: one without end fails at max", acting(`
      - repeat: {while: "true"}
        max: 5
        do: [{lab.ring: {text: again}}]
        on_error: continue
      - repeat: {for_each: "1..6"}
        max: 5
        do: [{lab.ring: {text: never}}]
`), func(t *testing.T, l *lab) {
		l.post("custom.x", nil)
		l.wantRung(map[string]int{"again": 5})
		l.wantRuns("r", failed)
		if got := l.lastRun().Error; got != "actions[1]: for_each: the list has 6 items, and max is 5" {
			t.Error(got)
		}
	})
	timeline(t, "a failure inside ends it", acting(`
      - id: loop
        repeat: {for_each: "['a', 'b', 'c']"}
        do: [{lab.ring: {text: "${{ item }}", fail: "${{ item == 'b' ? 'broken' : '' }}"}}]
        on_error: continue
      - lab.ring: {text: "${{ steps.loop.status }}: ${{ steps.loop.error }}"}
`), func(t *testing.T, l *lab) {
		l.post("custom.x", nil)
		l.wantTexts("a", "b", "failed: actions[0].do[0]: broken")
		l.wantRuns("r", succeeded)
	})
}

func TestParallel(t *testing.T) {
	timeline(t, "branches wait each by itself", acting(`
      - parallel:
          - [{wait: 10s}, {lab.ring: {text: left}}, {wait: 10s}, {lab.ring: {text: left again}}]
          - [{wait: 15s}, {lab.ring: {text: right}}]
          - [{lab.ring: {text: at once}}]
      - lab.ring: {text: all}
`), func(t *testing.T, l *lab) {
		l.post("custom.x", nil)
		l.wantTexts("at once")
		l.sec(10)
		l.wantTexts("at once", "left")
		l.sec(15)
		l.wantTexts("at once", "left", "right")
		l.sec(19)
		l.wantRuns("r", waiting)
		l.sec(20)
		l.wantTexts("at once", "left", "right", "left again", "all")
		l.wantRuns("r", succeeded)
	})
	timeline(t, "variables are each branch's own until all have ended", acting(`
      - set: {who: nobody, n: 1}
      - parallel:
          - - set: {who: left, left: "${{ vars.n }}"}
            - wait: 20s
            - id: l
              lab.ring: {text: "left sees ${{ vars.who }} ${{ vars.right ?? 'nothing' }}"}
          - - wait: 10s
            - lab.ring: {text: "right sees ${{ vars.who }}"}
            - set: {who: right, right: "${{ vars.n + 1 }}"}
          - [{wait: 30s}]
      - lab.ring: {text: "${{ vars.who }} ${{ vars.left }} ${{ vars.right }} ${{ steps.l.status }}"}
`), func(t *testing.T, l *lab) {
		l.post("custom.x", nil)
		l.sec(10)
		l.sec(20)
		l.sec(30)
		l.wantTexts("right sees nobody", "left sees left nothing", "right 1 2 succeeded")
	})
	timeline(t, "all settle, then the first failure counts", acting(`
      - parallel:
          - [{wait: 10s}, {lab.ring: {text: a, fail: late}}]
          - [{lab.ring: {text: b, fail: early}}, {lab.ring: {text: never}}]
          - [{wait: 20s}, {lab.ring: {text: c}}]
`), func(t *testing.T, l *lab) {
		l.post("custom.x", nil)
		l.sec(15)
		l.wantRuns("r", waiting)
		l.sec(20)
		l.wantTexts("b", "a", "c")
		l.wantRuns("r", failed)
		if got := l.lastRun().Error; got != "actions[0]: actions[0].parallel[0][1]: late" {
			t.Error(got)
		}
	})
	timeline(t, "nested in loops and branches", acting(`
      - repeat: {times: 2}
        do:
          - choose: [{when: index == 5, do: []}]
            else:
              - parallel:
                  - [{wait: 5s}, {lab.ring: {text: "l${{ index }}"}}]
                  - [{repeat: {times: 2}, do: [{wait: 4s}, {lab.ring: {text: "r${{ index }}"}}]}]
`), func(t *testing.T, l *lab) {
		l.post("custom.x", nil)
		l.sec(40)
		l.wantTexts("r0", "l0", "r1", "r0", "l1", "r1")
		l.wantRuns("r", succeeded)
	})
}

func TestStop(t *testing.T) {
	timeline(t, "it ends the run from anywhere", acting(`
      - repeat: {times: 5}
        do:
          - wait: 1s
          - stop: "enough at ${{ index }}"
            if: index == 2
          - lab.ring: {text: "i${{ index }}"}
      - lab.ring: {text: never}
`), func(t *testing.T, l *lab) {
		l.post("custom.x", nil)
		l.sec(10)
		l.wantTexts("i0", "i1")
		l.wantRuns("r", succeeded)
		if got := l.lastRun().Error; got != "" {
			t.Error(got)
		}
		var outputs []string
		for _, s := range l.Steps(l.lastRun().ID) {
			if s.Action == "stop" && s.Status == journal.StepSucceeded {
				outputs = append(outputs, s.Iteration+" "+string(s.Output))
			}
		}
		if diff := cmp.Diff([]string{`2 {"outcome":"success","reason":"enough at 2"}`}, outputs); diff != "" {
			t.Error(diff)
		}
	})
	timeline(t, "with failure, whatever on_error says", acting(`
      - choose: [{when: event.depth == 0, do: [{stop: "${{ event.payload.why }}", outcome: failure}]}]
        on_error: continue
      - lab.ring: {text: never}
`), func(t *testing.T, l *lab) {
		l.post("custom.x", map[string]any{"why": "it is hopeless"})
		l.wantTexts()
		l.wantRuns("r", failed)
		if got := l.lastRun().Error; got != "stopped: it is hopeless" {
			t.Error(got)
		}
		if _, err := l.Engine.Engine.RetryRun(t.Context(), l.lastRun().ID); err == nil {
			t.Error("it was retried")
		}
	})
	timeline(t, "in a branch the others end first", acting(`
      - parallel:
          - [{stop: done}, {lab.ring: {text: never}}]
          - [{wait: 10s}, {lab.ring: {text: right}}]
      - lab.ring: {text: never}
`), func(t *testing.T, l *lab) {
		l.post("custom.x", nil)
		l.sec(9)
		l.wantRuns("r", waiting)
		l.sec(10)
		l.wantTexts("right")
		l.wantRuns("r", succeeded)
	})
}

func TestRetryOfSteps(t *testing.T) {
	timeline(t, "with growing pauses, and the same key", acting(`
      - lab.ring: {text: a}
        retry: {attempts: 4, backoff: 10s, max_backoff: 15s}
`), func(t *testing.T, l *lab) {
		l.world.fails["a"] = 3
		l.post("custom.x", nil)
		l.wantRuns("r", waiting)
		l.wantTrace("actions[0] waiting the bell is broken")
		l.sec(9)
		l.wantTexts("a")
		l.sec(10)
		l.wantTexts("a", "a")
		l.sec(24)
		l.wantTexts("a", "a")
		l.sec(25)
		l.wantTexts("a", "a", "a")
		l.sec(40)
		l.wantTexts("a", "a", "a", "a")
		l.wantRuns("r", succeeded)
		l.wantTrace("actions[0] succeeded")
		for i, call := range l.world.rings {
			if call.IdempotencyKey != l.lastRun().ID+"/actions[0]/0" || call.Attempt != i+1 {
				t.Errorf("%d: key %s, attempt %d", i, call.IdempotencyKey, call.Attempt)
			}
		}
	})
	timeline(t, "it fails when all have", acting(`
      - lab.ring: {text: a, fail: no}
        retry: {attempts: 2}
      - lab.ring: {text: never}
`), func(t *testing.T, l *lab) {
		l.post("custom.x", nil)
		l.sec(1)
		l.wantTexts("a", "a")
		l.wantRuns("r", failed)
	})
	timeline(t, "a block begins anew, with what it saw before", acting(`
      - set: {n: 0}
      - choose:
          - when: event.depth == 0
            do:
              - set: {n: "${{ vars.n + 1 }}"}
              - lab.ring: {text: "first ${{ vars.n }}"}
              - lab.ring: {text: second}
        retry: {attempts: 3, backoff: 10s}
      - lab.ring: {text: "n ${{ vars.n }}"}
`), func(t *testing.T, l *lab) {
		l.world.fails["second"] = 2
		l.post("custom.x", nil)
		l.sec(10)
		l.sec(30)
		l.wantTexts("first 1", "second", "first 1", "second", "first 1", "second", "n 1")
		l.wantTrace("actions[0] succeeded", "actions[1] succeeded",
			"actions[1].choose[0].do[0]@1 succeeded", "actions[1].choose[0].do[1]@1 succeeded", "actions[1].choose[0].do[2]@1 failed the bell is broken",
			"actions[1].choose[0].do[0]@2 succeeded", "actions[1].choose[0].do[1]@2 succeeded", "actions[1].choose[0].do[2]@2 failed the bell is broken",
			"actions[1].choose[0].do[0]@3 succeeded", "actions[1].choose[0].do[1]@3 succeeded", "actions[1].choose[0].do[2]@3 succeeded",
			"actions[2] succeeded")
	})
	timeline(t, "an update that was refused", `
rules:
  - id: r
    triggers: [{event: custom.x}]
    actions: [{update: {kind: door, id: a, set: {status: "${{ event.payload.status }}"}}, retry: {attempts: 2, backoff: 5s}, on_error: continue}, {lab.ring: {text: on}}]
`, func(t *testing.T, l *lab) {
		l.post("custom.x", map[string]any{"status": "flying"})
		l.wantTexts()
		l.sec(5)
		l.wantTexts("on")
		l.wantRuns("r", succeeded)
	})
	timeline(t, "an action that cannot begin now is no failure", acting(`
      - lab.ring: {text: a}
`), func(t *testing.T, l *lab) {
		l.world.busy = 2
		l.post("custom.x", nil)
		l.wantTrace("actions[0] waiting not now: the bell is in use")
		l.sec(10)
		l.wantRuns("r", succeeded)
		steps := l.Steps(l.lastRun().ID)
		if steps[0].Attempt != 1 || steps[0].Failures != 0 {
			t.Errorf("attempt %d, failures %d", steps[0].Attempt, steps[0].Failures)
		}
	})
}

func TestActionsThatTakeTime(t *testing.T) {
	timeline(t, "one is asked again as the same attempt", acting(`
      - lab.ring: {text: a}
        retry: {attempts: 2, backoff: 5s}
      - lab.ring: {text: b}
`), func(t *testing.T, l *lab) {
		l.world.slow["a"] = l.Time().Add(90 * time.Second)
		l.post("custom.x", nil)
		l.wantTrace("actions[0] waiting still at work")
		l.sec(89)
		l.wantTrace("actions[0] waiting still at work")
		l.sec(90)
		l.wantTexts("a", "a", "b")
		l.wantRuns("r", succeeded)
		if one := l.Steps(l.lastRun().ID)[0]; one.Attempt != 1 || one.Failures != 0 {
			t.Errorf("attempt %d, failures %d", one.Attempt, one.Failures)
		}
		if l.world.keys[0] != l.world.keys[1] {
			t.Errorf("it was asked again with the key %s, and before with %s", l.world.keys[1], l.world.keys[0])
		}
	})
	timeline(t, "the timeout counts on, for each attempt", acting(`
      - lab.ring: {text: a}
        timeout: 10s
        retry: {attempts: 2, backoff: 5s}
`), func(t *testing.T, l *lab) {
		l.world.slow["a"] = l.Time().Add(time.Hour)
		l.post("custom.x", nil)
		l.sec(10)
		l.wantTrace("actions[0] waiting timed out after 10s")
		l.sec(24)
		l.wantTrace("actions[0] waiting still at work")
		l.sec(25)
		l.wantTrace("actions[0] failed timed out after 10s")
		l.wantRuns("r", failed)
	})
	timeline(t, "one can be cancelled", acting(`
      - lab.ring: {text: a}
`), func(t *testing.T, l *lab) {
		l.world.slow["a"] = l.Time().Add(time.Hour)
		l.post("custom.x", nil)
		if _, err := l.Engine.Engine.CancelRun(t.Context(), l.lastRun().ID, "enough"); err != nil {
			t.Fatal(err)
		}
		l.sec(2 * 3600)
		l.wantRuns("r", journal.RunCancelled)
		l.wantTexts("a")
	})
}

func TestTimeoutOfSteps(t *testing.T) {
	timeline(t, "of a block with a wait", acting(`
      - repeat: {times: 10}
        timeout: 25s
        on_error: continue
        do: [{wait: 10s}, {lab.ring: {text: "i${{ index }}"}}]
      - lab.ring: {text: on}
`), func(t *testing.T, l *lab) {
		l.post("custom.x", nil)
		l.sec(24)
		l.wantTexts("i0", "i1")
		l.sec(25)
		l.wantTexts("i0", "i1", "on")
		l.wantTrace("actions[0] failed timed out after 25s", "actions[0].do[0]@0 succeeded", "actions[0].do[1]@0 succeeded",
			"actions[0].do[0]@1 succeeded", "actions[0].do[1]@1 succeeded", "actions[0].do[0]@2 cancelled the time of actions[0] is over", "actions[1] succeeded")
	})
	timeline(t, "of a wait, and each attempt anew", acting(`
      - wait: 1h
        timeout: 10s
        retry: {attempts: 2, backoff: 5s}
`), func(t *testing.T, l *lab) {
		l.post("custom.x", nil)
		l.sec(24)
		l.wantRuns("r", waiting)
		l.sec(25)
		l.wantRuns("r", failed)
		if got := l.lastRun().Error; got != "actions[0]: timed out after 10s" {
			t.Error(got)
		}
	})
	timeline(t, "the innermost that is over counts", acting(`
      - parallel:
          - [{wait: 1h, timeout: 10s, on_error: continue}, {lab.ring: {text: inner}}, {wait: 1h}]
          - [{wait: 15s}, {lab.ring: {text: beside}}]
        timeout: 20s
`), func(t *testing.T, l *lab) {
		l.post("custom.x", nil)
		l.sec(19)
		l.wantTexts("inner", "beside")
		l.wantRuns("r", waiting)
		l.sec(20)
		l.wantRuns("r", failed)
		if got := l.lastRun().Error; got != "actions[0]: timed out after 20s" {
			t.Error(got)
		}
	})
	timeline(t, "what is done just in time is done", acting(`
      - choose: [{when: event.depth == 0, do: [{wait: 10s}]}]
        timeout: 10s
`), func(t *testing.T, l *lab) {
		l.post("custom.x", nil)
		l.sec(10)
		l.wantRuns("r", succeeded)
	})
}

func TestRunOfARule(t *testing.T) {
	timeline(t, "with inputs", `
rules:
  - id: r
    triggers: [{event: custom.x}]
    actions:
      - id: other
        run: other
        inputs: {door: "${{ event.payload.door }}"}
      - lab.ring: {text: "began ${{ steps.other.output.id != '' }}"}
  - id: other
    triggers: [{manual: true, inputs: {door: {type: string, required: true}, n: {type: integer, default: 7}}}]
    conditions: ["false"]
    actions: [{wait: 10s}, {lab.ring: {text: "${{ event.payload.door }} ${{ event.payload.n }} ${{ event.depth }} ${{ event.actor }}"}}]
`, func(t *testing.T, l *lab) {
		l.post("custom.x", map[string]any{"door": "a"})
		l.wantTexts("began true")
		l.sec(10)
		l.wantTexts("began true", "a 7 1 rule:r")
		l.post("custom.x", map[string]any{"door": 3})
		l.wantRuns("r", succeeded, failed)
		l.wantRuns("other", succeeded)
	})
}

func TestSilencesOfSteps(t *testing.T) {
	timeline(t, "made and ended", `
rules:
  - id: r
    triggers: [{event: custom.x}]
    mode: parallel
    actions:
      - id: quiet
        silence: {match: "event.name == 'custom.y' and event.payload.door == ${{ toJSON(event.payload.door) }}", for: 1m, reason: "because of ${{ event.payload.door }}"}
      - wait: 30s
      - unsilence: ${{ steps.quiet.output.id }}
      - unsilence: ${{ steps.quiet.output.id }}
  - id: y
    triggers: [{event: custom.y}]
    mode: parallel
    actions: [{lab.ring: {text: "${{ event.payload.door }}"}}]
`, func(t *testing.T, l *lab) {
		l.post("custom.x", map[string]any{"door": `a"b`})
		l.post("custom.y", map[string]any{"door": `a"b`})
		l.post("custom.y", map[string]any{"door": "c"})
		l.wantTexts("c")
		l.sec(30)
		l.post("custom.y", map[string]any{"door": `a"b`})
		l.wantTexts("c", `a"b`)
		l.wantRuns("r", succeeded)
		silences, err := journal.Silences(t.Context(), l.DB.Read(), "", false, 10)
		if err != nil || len(silences) != 1 || silences[0].Reason != `because of a"b` || silences[0].Author != "rule:r" {
			t.Errorf("%+v %v", silences, err)
		}
	})
	timeline(t, "a matcher that is none, an id that is taken, and one that there is not", acting(`
      - silence: {match: "event.nme == ${{ event.payload.n }}", for: 1m}
        on_error: continue
      - silence: {match: "true", for: 1m, id: a}
      - silence: {match: "true", for: 1m, id: a}
        on_error: continue
      - unsilence: nobody
`), func(t *testing.T, l *lab) {
		l.post("custom.x", map[string]any{"n": 3})
		l.wantRuns("r", failed)
		trace := l.Steps(l.lastRun().ID)
		for i, want := range []string{"unknown field", "", "taken", "not found"} {
			if !strings.Contains(trace[i].Error, want) || (want == "") != (trace[i].Error == "") {
				t.Errorf("%d: %q", i, trace[i].Error)
			}
		}
	})
}

func TestWhatIsTooLargeIsCut(t *testing.T) {
	timeline(t, "the same before and after a wait", acting(`
      - id: big
        lab.ring: {text: big, key: "${{ repeat('k', 200000) + repeat('l', 200000) }}"}
      - lab.ring: {text: "${{ steps.big.output.key[-20:] }}"}
      - wait: 1s
      - lab.ring: {text: "${{ steps.big.output.key[-20:] }}"}
      - log: "${{ repeat('x', 20000) }}"
`), func(t *testing.T, l *lab) {
		l.post("custom.x", nil)
		l.sec(1)
		l.wantTexts("big", "cated, 400000 bytes)", "cated, 400000 bytes)")
		for _, s := range l.Steps(l.lastRun().ID) {
			if len(s.Output) > 300_000 || s.Action == "log" && len(s.Input) > 17_000 {
				t.Errorf("%s: %d bytes of output, %d of input", s.Path, len(s.Output), len(s.Input))
			}
		}
	})
}
