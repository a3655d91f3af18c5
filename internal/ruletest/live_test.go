package ruletest

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io/fs"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/fstest"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/flightrules/flightrules/engine/action"
	"github.com/flightrules/flightrules/internal/app"
	"github.com/flightrules/flightrules/internal/db"
	"github.com/flightrules/flightrules/internal/sim"
	"github.com/flightrules/flightrules/plugins"
	"github.com/flightrules/flightrules/rules"
)

func brought() []plugins.Plugin { return app.Plugins(app.PluginConfig{}) }

// live is an engine as serve runs it, with all its goroutines, in a bubble of
// time that passes when nobody has anything to do.
type live struct {
	*player

	mu     sync.Mutex // the engine's workers act together
	passes int        // how often time has passed
}

// Act implements sim.Outside: an action takes its time there.
func (l *live) Act(ctx context.Context, a action.Action, c action.Call, config any) (any, error) {
	for {
		l.mu.Lock()
		output, err := l.player.Act(ctx, a, c, config)
		l.mu.Unlock()
		var pending *action.Pending
		if !errors.As(err, &pending) {
			return output, err
		}
		select {
		case <-ctx.Done():
			return nil, ctx.Err()
		case <-time.After(pending.After):
		}
	}
}

// AdvanceTo implements passing.
func (l *live) AdvanceTo(ctx context.Context, to time.Time) error {
	l.mu.Lock() // what was looked at until now was before what the workers do next
	l.passes++
	l.mu.Unlock()
	time.Sleep(time.Until(to))
	return l.Settle(ctx)
}

// Settle implements passing.
func (*live) Settle(context.Context) error {
	synctest.Wait()
	return nil
}

// playLive plays a test with a live engine.
func playLive(t *testing.T, lab *sim.Lab, test *Test) (out played, err error) {
	url := "sqlite:" + filepath.Join(t.TempDir(), "live.db")
	synctest.Test(t, func(t *testing.T) {
		time.Sleep(time.Until(test.start.Add(-test.before())))
		l := &live{player: newPlayer(lab, test)}
		ctx, cancel := context.WithCancel(sim.WithOutside(context.Background(), l))
		core, opened := app.Open(ctx, app.Config{
			DB: url, NoSync: true, Plugins: brought(), Secret: test.secret, Act: sim.Answered,
			Set: lab.Set.Only(func(*rules.Rule) bool { return false }),
		})
		if opened != nil {
			cancel()
			err = opened
			return
		}
		l.Sim = &sim.Sim{Core: core}
		var group sync.WaitGroup
		ended := make([]error, 2)
		group.Go(func() { ended[0] = core.Engine.Run(ctx) })
		group.Go(func() { ended[1] = core.DB.RunHints(ctx, core.Log) })
		out, err = l.play(ctx, l, false)
		cancel()
		group.Wait()
		err = errors.Join(err, ended[0], ended[1], core.Close(context.Background()))
	})
	return out, err
}

// playable says whether a live engine can be led through a test in little time:
// its clock cannot be set, it is not stopped, and there is no outside whose part
// a test could play.
func (t *Test) playable() bool {
	return t.before() <= 2*time.Hour && t.steps[len(t.steps)-1].at <= 2*time.Hour && !slices.ContainsFunc(t.steps, func(s step) bool {
		return s.verb == "clock" || s.verb == "restart" || s.verb == "satellite" || s.verb == "check"
	})
}

// anID is an id of a live engine, or of a test.
var anID = regexp.MustCompile(`[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}|"[0-9]{8}"|\b0[0-9]{7}\b`)

// comparable are rows as lines, without what differs of necessity: ids, the order
// of what is done together, and how an action says that it was told to end.
func comparable(rows []map[string]any) (lines []string) {
	for _, row := range rows {
		delete(row, "steps") // they are rows of their own
		text := anID.ReplaceAllString(string(db.ToJSON(row)), "ID")
		lines = append(lines, strings.ReplaceAll(strings.ReplaceAll(text, ": "+context.DeadlineExceeded.Error(), ""), `"ID"`, "ID"))
	}
	slices.Sort(lines)
	return lines
}

// compare plays tests in both ways, and compares all that can be seen.
func compare(t *testing.T, files fs.FS) {
	s, err := Open(t.Context(), files, "", brought)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(context.Background()); err != nil {
			t.Error(err)
		}
	})
	compared := 0
	for _, test := range s.Tests {
		if !test.playable() {
			continue
		}
		compared++
		t.Run(test.Name, func(t *testing.T) {
			want, err := playLive(t, s.lab, test)
			if err != nil {
				t.Fatal(err)
			}
			got, err := play(t.Context(), s.lab, test, false)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(want.failures, got.failures); diff != "" {
				t.Errorf("failures (-live +test):\n%s", diff)
			}
			for _, key := range slices.Sorted(maps.Keys(sights)) {
				if diff := cmp.Diff(comparable(want.seen[key]), comparable(got.seen[key])); diff != "" {
					t.Errorf("%s (-live +test):\n%s", key, diff)
				}
			}
		})
	}
	if compared == 0 {
		t.Error("nothing was compared")
	}
}

var timelines = flag.Int("timelines", 4, "how many random ones TestATestSaysWhatALiveEngineDoes plays")

// TestATestSaysWhatALiveEngineDoes plays the tests of this package, those of the
// examples and random ones in both ways.
func TestATestSaysWhatALiveEngineDoes(t *testing.T) {
	t.Run("passing", func(t *testing.T) {
		all := fstest.MapFS{}
		for name, from := range map[string]string{"rules.yaml": "testdata/rules/rules.yaml", "passing.test.yaml": "testdata/passing/passing.test.yaml"} {
			text, err := os.ReadFile(from)
			if err != nil {
				t.Fatal(err)
			}
			all[name] = &fstest.MapFile{Data: text}
		}
		compare(t, all)
	})
	t.Run("examples", func(t *testing.T) { compare(t, os.DirFS("../../examples")) })
	t.Run("random", func(t *testing.T) { compare(t, randomTests(*timelines)) })
}

// randomRules wait, count, group, and run in all modes.
const randomRules = `
kinds:
  - name: door
    fields:
      open: {type: boolean, default: false}
      room: {type: string, enum: [hall, attic], default: hall}
    events:
      - name: door.opened
        when: change.next.open && !(change.prev?.open ?? false)
rules:
  - id: stays-open
    triggers: [{state: door.open, to: true, for: 90s}]
    mode: single
    actions: [{http: {url: "http://a/", json: {id: "${{ event.entity.id }}"}}}, {wait: 2m}, {log: closed again}]
  - id: counted
    triggers: [{event: door.opened, count: 2, within: 3m, by: event.entity.id}]
    mode: restart
    actions: [{wait: 50s}, {log: "${{ event.entity.id }}"}]
  - id: grouped
    triggers: [{event: door.opened, group: {wait: 1m, interval: 5m}}]
    actions: [{log: "${{ len(events) }}"}]
  - id: unless
    triggers: [{event: door.opened, unless: {event: custom.seen, within: 70s, by: '1'}}]
    actions: [{emit: {event: custom.unseen, payload: {id: "${{ event.entity.id }}"}}}]
  - id: waits
    triggers: [{event: custom.ask}]
    mode: queued
    actions:
      - wait_for: {event: custom.seen}
        timeout: 100s
        on_error: continue
      - parallel:
          - [{wait: 10s}, {log: a}]
          - [{http: {url: "http://b/"}, timeout: 30s, on_error: continue}, {log: b}]
      - repeat: {times: 2}
        do: [{wait: 5s}, {update: {kind: door, id: attic, set: {room: attic}}}]
  - id: often
    triggers: [{every: 4m}]
    conditions: ['count(entities("door"), #.state.open) > 0']
    actions: [{log: "${{ count(entities('door'), #.state.open) }}"}]
  - id: silent
    triggers: [{absent: custom.seen, for: 200s, since: start}]
    actions: [{log: silence}]
  - id: cooled
    triggers: [{event: custom.unseen}]
    cooldown: 3m
    actions: [{run: waits-not}]
  - id: waits-not
    triggers: [{manual: true}]
    actions: [{choose: [{when: 'count(entities("door"), #.state.open) > 1', do: [{log: many}]}], else: [{log: few}]}]
`

// randomTests are tests of what comes in any order.
func randomTests(n int) fs.FS {
	var b strings.Builder
	b.WriteString("tests:\n")
	for i := range n {
		r := rand.New(rand.NewPCG(uint64(i), 7))
		fmt.Fprintf(&b, "  - name: random %d\n", i)
		b.WriteString("    given: [{entity: {kind: door, id: attic, state: {open: false}, since: 1h}}]\n")
		b.WriteString("    responses:\n      - http: {url: /a/}\n        replies: [{delay: 20s}, {error: boom}, {}]\n      - http: {url: /b/}\n        replies: [{delay: 45s}, {delay: 3s}]\n    steps:\n")
		at := 0
		paused := false
		for range 8 + r.IntN(12) {
			at += 1 + r.IntN(90)
			fmt.Fprintf(&b, "      - at: %ds\n", at)
			switch door := []string{"attic", "front"}[r.IntN(2)]; r.IntN(12) {
			case 0, 1, 2, 3:
				fmt.Fprintf(&b, "        update: {kind: door, id: %s, set: {open: true}}\n", door)
			case 4, 5:
				fmt.Fprintf(&b, "        update: {kind: door, id: %s, set: {open: false}}\n", door)
			case 6, 7:
				b.WriteString("        event: custom.ask\n")
			case 8, 9:
				b.WriteString("        event: custom.seen\n")
			case 10:
				fmt.Fprintf(&b, "        silence: {match: 'event.entity?.id == \"%s\"', for: 1m}\n", door)
			default:
				verb := map[bool]string{false: "pause", true: "resume"}[paused]
				paused = !paused
				fmt.Fprintf(&b, "        %s: stays-open\n", verb)
			}
		}
		fmt.Fprintf(&b, "      - at: %ds\n        expect: {runs: {exclude: [{status: queued, rule: often}]}}\n", at+900)
	}
	return fstest.MapFS{"rules.yaml": {Data: []byte(randomRules)}, "random.test.yaml": {Data: []byte(b.String())}}
}
