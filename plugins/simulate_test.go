package plugins_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/flightrules/flightrules/plugins"
)

var noon = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

// bell is a plugin that hears how often somebody outside rings.
type bell struct {
	part
	street *street
	heard  []string
}

type ring struct {
	Times int `json:"times"`
}

// street is where the bell hangs.
type street struct {
	bell   *bell
	before *street
	next   time.Time
	err    error
}

func newBell(name string) *bell {
	b := &bell{part: part{name: name}}
	b.register = func(h *plugins.Host) { b.fail = map[string]error{"register": b.verbs(h)} }
	return b
}

func (b *bell) verbs(h *plugins.Host) error {
	return errors.Join(
		plugins.AddVerb(h, plugins.VerbSpec[*street, ring]{
			Name: b.name, Doc: "Somebody rings.", Do: (*street).ring,
			Check: func(r ring) error {
				if r.Times < 1 {
					return errors.New("times must be 1 at least")
				}
				return nil
			},
		}),
		plugins.AddVerb(h, plugins.VerbSpec[*street, struct{}]{Name: b.name, Given: true, Do: (*street).there}),
	)
}

func (b *bell) Simulate(before plugins.World) plugins.World {
	was, _ := before.(*street)
	b.street = &street{bell: b, before: was}
	return b.street
}

func (s *street) ring(_ context.Context, r ring) error {
	s.bell.heard = append(s.bell.heard, fmt.Sprint("ring ", r.Times))
	return s.err
}
func (s *street) there(context.Context, struct{}) error {
	s.bell.heard = append(s.bell.heard, "there")
	return nil
}
func (s *street) Step(context.Context) (bool, error) {
	s.bell.heard = append(s.bell.heard, "step")
	return false, s.err
}
func (s *street) Next(context.Context) (time.Time, error) { return s.next, nil }
func (s *street) Leap()                                   { s.bell.heard = append(s.bell.heard, "leap") }
func (s *street) Stop()                                   { s.bell.heard = append(s.bell.heard, "stop") }

func TestVerbs(t *testing.T) {
	b := newBell("bell")
	s := mustSet(t, plain{}, b)
	list := s.Verbs()
	if len(list) != 2 || list[0].Name != "bell" || list[0].Doc != "Somebody rings." || list[0].Given || !list[1].Given || len(list[0].Arg.Fields) != 1 {
		t.Fatalf("%+v", list)
	}
	w, err := s.Worlds(nil)
	if err != nil {
		t.Fatal(err)
	}
	times := func(n any) map[string]any { return map[string]any{"times": n} }
	for want, err := range map[string]error{
		`no plugin knows how "bel" could happen, did you mean "bell"?`:         w.Happen(t.Context(), "bel", times(1)),
		`no plugin knows how "knocker" could happen`:                           w.Given(t.Context(), "knocker", nil),
		`bell: times must be 1 at least`:                                       w.Happen(t.Context(), "bell", times(0)),
		`bell: times: must be a whole number, not "x"`:                         w.Happen(t.Context(), "bell", times("x")),
		`bell: times: is required; tims: unknown field, did you mean "times"?`: w.Happen(t.Context(), "bell", map[string]any{"tims": 1}),
	} {
		if err == nil || err.Error() != want {
			t.Errorf("got %v, want %s", err, want)
		}
	}
	if len(b.heard) != 0 {
		t.Errorf("it heard %v of what was wrong", b.heard)
	}
	if err := errors.Join(w.Given(t.Context(), "bell", map[string]any{}), w.Happen(t.Context(), "bell", times(3.0))); err != nil {
		t.Fatal(err)
	}
	w.Leap()
	w.Stop()
	w.Leap()
	if err := w.Happen(t.Context(), "bell", times(2)); err != nil {
		t.Fatal(err)
	}
	if more, err := w.Step(t.Context()); more || err != nil {
		t.Errorf("%v, %v", more, err)
	}
	want := []string{"step", "there", "step", "ring 3", "leap", "stop", "ring 2"} // nothing but verbs while it is down
	if diff := cmp.Diff(want, b.heard); diff != "" {
		t.Error(diff)
	}
}

func TestWorlds(t *testing.T) {
	early, late := newBell("early"), newBell("late")
	s := mustSet(t, late, plain{}, early)
	first, err := s.Worlds(nil)
	if err != nil {
		t.Fatal(err)
	}
	was := late.street
	early.street.next, late.street.next = noon, noon.Add(time.Hour)
	if next, err := first.Next(t.Context()); !next.Equal(noon) || err != nil {
		t.Errorf("next at %s, %v", next, err)
	}
	first.Stop()
	if next, err := first.Next(t.Context()); !next.IsZero() || err != nil {
		t.Errorf("next at %s while it is down, %v", next, err)
	}
	w, err := s.Worlds(first)
	if err != nil {
		t.Fatal(err)
	}
	if late.street.before != was || early.street.before == was {
		t.Error("a world was not made of what it was")
	}
	early.street.err = errors.New("boom")
	if _, err := w.Step(t.Context()); err == nil || err.Error() != "plugin early: step: boom" {
		t.Errorf("got %v", err)
	}
}

func TestVerbsAreRefused(t *testing.T) {
	two := newBell("two")
	two.register = func(h *plugins.Host) { _ = newBell("one").verbs(h) }
	none := &part{name: "none", register: func(h *plugins.Host) { _ = newBell("x").verbs(h) }}
	for want, list := range map[string][]plugins.Plugin{
		`plugin two: verb "one": plugin one has it already`:  {newBell("one"), two},
		`plugin none: verb "x": the plugin is not Simulated`: {none},
	} {
		if _, err := newSet(list...); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("got %v, want %s", err, want)
		}
	}
	var err error
	mustSet(t, &part{name: "a", register: func(h *plugins.Host) {
		err = errors.Join(
			plugins.AddVerb(h, plugins.VerbSpec[*street, ring]{Name: "Ring", Do: (*street).ring}),
			plugins.AddVerb(h, plugins.VerbSpec[*street, func()]{Name: "ring"}),
		)
	}})
	for _, want := range []string{`verb "Ring": a name is lower case letters`, `verb "ring": describe func()`} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("got %v, want %s", err, want)
		}
	}
}
