package engine_test

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/uptrace/bun"

	"github.com/flightrules/flightrules/engine"
	"github.com/flightrules/flightrules/engine/action"
	"github.com/flightrules/flightrules/engine/enginetest"
	"github.com/flightrules/flightrules/engine/journal"
	"github.com/flightrules/flightrules/entities"
	"github.com/flightrules/flightrules/internal/dbtest"
	"github.com/flightrules/flightrules/plugins"
	"github.com/flightrules/flightrules/triggers"
)

// door is the kind of entity in these tests.
type door struct {
	Status string `json:"status" enum:"open,closed,ajar"`
	Count  int    `json:"count"`
	Note   string `json:"note,omitempty"`
}

// opened is the payload of door.opened.
type opened struct {
	Door  string `json:"door"`
	Count int    `json:"count"`
}

// ratio is the payload of door.odd.
type ratio struct {
	Ratio float64 `json:"ratio"`
}

// ring is the configuration of lab.ring.
type ring struct {
	Text string `json:"text"`
	Fail string `json:"fail,omitempty"` // an error to give, or "panic"
	Key  string `json:"key,omitempty" secret:"true"`
}

// rung is its output.
type rung struct {
	Rings int    `json:"rings"`
	Key   string `json:"key,omitempty"` // with which it was rung
}

// token is the secret TOKEN.
const token = `s3cr3t-"value"`

// world is what is outside of the engine: it outlives restarts.
type world struct {
	mu     sync.Mutex
	rings  []action.Call
	texts  []string
	keys   []string
	hook   func(ctx context.Context)
	until  map[string]time.Time // when the ringing of a text no longer fails
	looked func()               // see enginetest.Options
	fails  map[string]int       // how often the ringing of a text is yet to fail
	busy   int                  // how often the bell is yet to be in use
	slow   map[string]time.Time // until when the ringing of a text is at work
}

// labPlugin brings the kind, its events and the action.
type labPlugin struct {
	world *world
	doors *entities.Handle[door]
	now   func() time.Time
}

func (*labPlugin) Name() string { return "lab" }

func (p *labPlugin) Register(h *plugins.Host) error {
	p.now = h.Now
	var err error
	if p.doors, err = entities.Define(h.Entities(), entities.Spec[door]{Name: "door", Doc: "A door."}); err != nil {
		return err
	}
	event, err := triggers.Define[opened](h.Events(), triggers.EventSpec{Name: "door.opened", Doc: "It was opened."})
	if err != nil {
		return err
	}
	bad, err := triggers.Define[opened](h.Events(), triggers.EventSpec{Name: "door.bad", Doc: "Its deriver panics."})
	if err != nil {
		return err
	}
	worse, err := triggers.Define[opened](h.Events(), triggers.EventSpec{Name: "door.worse", Doc: "Its deriver panics too."})
	if err != nil {
		return err
	}
	odd, err := triggers.Define[ratio](h.Events(), triggers.EventSpec{Name: "door.odd", Doc: "Its deriver gives what JSON cannot hold."})
	if err != nil {
		return err
	}
	broken := func(c entities.Change[door]) (opened, bool) {
		if c.Next != nil && c.Next.Note == "panic" {
			panic("the deriver is broken")
		}
		return opened{}, false
	}
	return errors.Join(
		triggers.Derive(h.Events(), p.doors, event, func(c entities.Change[door]) (opened, bool) {
			if c.Next == nil || c.Next.Status != "open" || (c.Prev != nil && c.Prev.Status == "open") {
				return opened{}, false
			}
			return opened{Door: c.ID, Count: c.Next.Count}, true
		}),
		triggers.Derive(h.Events(), p.doors, bad, broken),
		triggers.Derive(h.Events(), p.doors, worse, broken),
		triggers.Derive(h.Events(), p.doors, odd, func(c entities.Change[door]) (ratio, bool) {
			return ratio{math.NaN()}, c.Next != nil && c.Next.Note == "not JSON"
		}),
		action.Register(h.Actions(), action.Spec[ring, rung]{Name: "lab.ring", Doc: "Rings.", Run: p.ring}),
	)
}

func (p *labPlugin) ring(ctx context.Context, call action.Call, c ring) (rung, error) {
	now := p.now()
	p.world.mu.Lock()
	p.world.rings = append(p.world.rings, call)
	p.world.texts = append(p.world.texts, c.Text)
	p.world.keys = append(p.world.keys, c.Key)
	n, hook := len(p.world.rings), p.world.hook
	if p.world.busy > 0 {
		p.world.busy--
		p.world.mu.Unlock()
		return rung{}, &action.Later{After: 5 * time.Second, Reason: "the bell is in use"}
	}
	if end := p.world.slow[c.Text]; now.Before(end) {
		p.world.mu.Unlock()
		return rung{}, &action.Pending{After: end.Sub(now)}
	}
	if now.Before(p.world.until[c.Text]) {
		c.Fail = "not yet"
	}
	if p.world.fails[c.Text] > 0 {
		p.world.fails[c.Text]--
		c.Fail = "the bell is broken"
	}
	p.world.mu.Unlock()
	if hook != nil {
		hook(ctx)
	}
	switch c.Fail {
	case "":
		return rung{Rings: n, Key: c.Key}, nil
	case "panic":
		panic("rung too hard")
	default:
		return rung{}, errors.New(c.Fail)
	}
}

// lab is an engine with the plugin, and the world around it.
type lab struct {
	*enginetest.Engine
	t       *testing.T
	world   *world
	restart bool
	pending bool // steps of the timeline are to end together
	plugin  *labPlugin
}

// each runs a case as it is, with a restart after each step of its timeline,
// and on PostgreSQL.
func each(t *testing.T, rules string, fn func(t *testing.T, l *lab)) {
	t.Helper()
	for name, c := range map[string]struct {
		url     func(testing.TB) string
		restart bool
	}{
		"plain":      {url: dbtest.SQLite},
		"restarting": {url: dbtest.SQLite, restart: true},
		"postgres":   {url: dbtest.Postgres},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			l := newLab(t, c.url(t), rules)
			l.restart = c.restart
			fn(t, l)
		})
	}
}

func newLab(t *testing.T, url, rules string) *lab {
	t.Helper()
	l := &lab{t: t, world: &world{fails: map[string]int{}, until: map[string]time.Time{}, slow: map[string]time.Time{}}}
	secret := func(_ context.Context, name, _ string) (string, error) {
		if name != "TOKEN" {
			return "", fmt.Errorf("there is no secret %s", name)
		}
		return token, nil
	}
	l.Engine = enginetest.Start(t, enginetest.Options{URL: url, Rules: rules, Secret: secret, Looked: l.looked, Plugins: func() []plugins.Plugin {
		l.plugin = &labPlugin{world: l.world}
		return []plugins.Plugin{l.plugin}
	}})
	return l
}

func (l *lab) looked() {
	if l.world.looked != nil {
		l.world.looked()
	}
}

// then ends a step of the timeline.
func (l *lab) then() {
	l.t.Helper()
	if l.pending {
		return
	}
	l.Settle()
	if l.restart {
		l.Restart()
	}
}

// together makes changes be routed at once.
func (l *lab) together(changes func()) {
	l.t.Helper()
	l.pending = true
	changes()
	l.pending = false
	l.then()
}

func (l *lab) put(id string, d door) {
	l.t.Helper()
	_, err := l.plugin.doors.Mutate(l.t.Context(), id, func(context.Context, bun.Tx, *door) (door, error) { return d, nil })
	if err != nil {
		l.t.Fatal(err)
	}
	l.then()
}

// be puts a door into a status and leaves the rest as it is.
func (l *lab) be(id, status string) {
	l.t.Helper()
	if err := l.tryToBe(id, status); err != nil {
		l.t.Fatal(err)
	}
	l.then()
}

func (l *lab) tryToBe(id, status string) error {
	_, err := l.plugin.doors.Mutate(l.t.Context(), id, func(_ context.Context, _ bun.Tx, prev *door) (door, error) {
		next := door{}
		if prev != nil {
			next = *prev
		}
		next.Status = status
		return next, nil
	})
	return err
}

func (l *lab) after(d time.Duration) {
	l.t.Helper()
	l.Advance(d)
	l.then()
}

func (l *lab) wantOutcomes(rule string, want ...journal.Outcome) {
	l.t.Helper()
	if want == nil {
		want = []journal.Outcome{}
	}
	if diff := cmp.Diff(want, l.Outcomes(rule)); diff != "" {
		l.t.Errorf("outcomes of %s (-want +got):\n%s\n%s", rule, diff, details(l.Decisions(rule)))
	}
}

func details(list []journal.Decision) (text string) {
	for _, d := range list {
		text += fmt.Sprintf("  %s %s %s %q\n", d.At.Format(time.TimeOnly), d.Key, d.Outcome, d.Detail)
	}
	return text
}

func (l *lab) wantRuns(rule string, want ...journal.RunStatus) {
	l.t.Helper()
	got := []journal.RunStatus{}
	why := ""
	for _, r := range l.Runs(rule) {
		got = append(got, r.Status)
		why += r.Error + "\n"
	}
	if want == nil {
		want = []journal.RunStatus{}
	}
	if diff := cmp.Diff(want, got); diff != "" {
		l.t.Errorf("runs of %s (-want +got):\n%s%s", rule, diff, why)
	}
}

// counted is how often each text was rung.
func (l *lab) counted() map[string]int {
	l.world.mu.Lock()
	defer l.world.mu.Unlock()
	n := map[string]int{}
	for _, text := range l.world.texts {
		n[text]++
	}
	return n
}

func (l *lab) wantRung(want map[string]int) {
	l.t.Helper()
	if got := l.counted(); !maps.Equal(want, got) {
		l.t.Errorf("rung %v, want %v", got, want)
	}
}

func emitted(id string) engine.Emitted { return engine.Emitted{ID: id, Name: "custom.x"} }
