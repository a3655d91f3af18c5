package triggers_test

import (
	"context"
	"errors"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/uptrace/bun"

	"github.com/flightrules/flightrules/engine/outbox"
	"github.com/flightrules/flightrules/engine/timer"
	"github.com/flightrules/flightrules/entities"
	"github.com/flightrules/flightrules/internal/db"
	"github.com/flightrules/flightrules/internal/dbtest"
	"github.com/flightrules/flightrules/triggers"
)

var start = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

type valve struct {
	Status string     `json:"status" enum:"open,shut"`
	Turned *time.Time `json:"turned,omitempty"`
}

type turned struct {
	Valve string    `json:"valve"`
	At    time.Time `json:"at"`
}

type fixture struct {
	kinds     *entities.Registry
	valves    *entities.Handle[valve]
	catalogue *triggers.Catalogue
	db        *db.DB
}

func open(t *testing.T) *fixture {
	t.Helper()
	d, err := db.Open(t.Context(), dbtest.SQLite(t), db.Options{NoSync: true})
	must(t, err)
	t.Cleanup(func() { must(t, d.Close()) })
	must(t, d.Migrate(t.Context(), timer.Migrations(), outbox.Migrations(), entities.Migrations()))
	now := func() time.Time { return start }
	log := slog.New(slog.DiscardHandler)
	f := &fixture{db: d, kinds: entities.NewRegistry(d, now, log, timer.New(d, now, log, nil))}
	f.valves, err = entities.Define(f.kinds, entities.Spec[valve]{Name: "valve"})
	must(t, err)
	f.catalogue = triggers.NewCatalogue(f.kinds)
	return f
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// turn changes a valve and gives the transition.
func (f *fixture) turn(t *testing.T, v valve) entities.Transition {
	t.Helper()
	_, err := f.valves.Mutate(t.Context(), "v", func(context.Context, bun.Tx, *valve) (valve, error) { return v, nil })
	must(t, err)
	log, err := f.valves.Transitions(t.Context(), "v", 1)
	must(t, err)
	return log[0]
}

func define(t *testing.T, f *fixture, name string) *triggers.Handle[turned] {
	t.Helper()
	h, err := triggers.Define[turned](f.catalogue, triggers.EventSpec{Name: name, Doc: "It was turned."})
	must(t, err)
	return h
}

func TestDerive(t *testing.T) {
	f := open(t)
	opened, first := define(t, f, "valve.opened"), define(t, f, "valve.first")
	must(t, triggers.Derive(f.catalogue, f.valves, opened, func(c entities.Change[valve]) (turned, bool) {
		return turned{Valve: c.ID, At: c.At}, c.Next != nil && c.Next.Status == "open"
	}))
	must(t, triggers.Derive(f.catalogue, f.valves, first, func(c entities.Change[valve]) (turned, bool) {
		if c.Next != nil && c.Next.Status == "shut" {
			panic("no shut valve was foreseen")
		}
		return turned{Valve: c.ID}, c.Prev == nil
	}))
	names := func(list []triggers.Derived) (names []string) {
		for _, d := range list {
			names = append(names, d.Name)
		}
		return names
	}

	got := f.catalogue.Derive(f.turn(t, valve{Status: "open"}))
	if diff := cmp.Diff([]string{"valve.opened", "valve.first"}, names(got)); diff != "" {
		t.Error(diff)
	}
	if want := `{"valve":"v","at":"2026-03-01T12:00:00Z"}`; string(got[0].Payload) != want {
		t.Errorf("payload %s, want %s", got[0].Payload, want)
	}
	got = f.catalogue.Derive(f.turn(t, valve{Status: "shut"}))
	if diff := cmp.Diff([]string{triggers.DeriverFailed}, names(got)); diff != "" {
		t.Error(diff)
	}
	if !strings.Contains(string(got[0].Payload), "no shut valve was foreseen") || !strings.Contains(string(got[0].Payload), "valve.first") {
		t.Errorf("payload %s", got[0].Payload)
	}
	if err := triggers.Derive(f.catalogue, f.valves, opened, func(entities.Change[valve]) (turned, bool) { return turned{}, false }); err == nil {
		t.Error("one event was derived twice from one kind")
	}
}

func TestDefineRefuses(t *testing.T) {
	f := open(t)
	define(t, f, "valve.opened")
	for name, why := range map[string]string{
		"valve.opened":  "the name is taken",
		"valve":         "bad event name",
		"Valve.Opened":  "bad event name",
		"custom.x":      "are taken",
		"valve.changed": "are taken",
		"engine.valve":  "are taken",
	} {
		_, err := triggers.Define[turned](f.catalogue, triggers.EventSpec{Name: name})
		if err == nil || !strings.Contains(err.Error(), why) {
			t.Errorf("%s: %v, want %q", name, err, why)
		}
	}
	if _, err := triggers.Define[chan int](f.catalogue, triggers.EventSpec{Name: "valve.odd"}); err == nil {
		t.Error("a payload that is no JSON was accepted")
	}
}

func TestLookup(t *testing.T) {
	f := open(t)
	opened := define(t, f, "valve.opened")
	must(t, triggers.Derive(f.catalogue, f.valves, opened, func(entities.Change[valve]) (turned, bool) { return turned{}, false }))
	for _, name := range []string{"valve.opened", "valve.changed", "custom.anything.at_all", triggers.DeriverFailed} {
		if _, err := f.catalogue.Lookup(name); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	for _, name := range []string{"valve.closed", "pipe.changed"} {
		if _, err := f.catalogue.Lookup(name); !errors.Is(err, triggers.ErrUnknownEvent) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if e, _ := f.catalogue.Lookup("valve.opened"); e.Kind != "valve" || !e.Derived {
		t.Errorf("got %+v", e)
	}
	var names []string
	for _, e := range f.catalogue.Events() {
		if !strings.HasPrefix(e.Name, triggers.EnginePrefix) {
			names = append(names, e.Name)
		}
	}
	if diff := cmp.Diff([]string{"valve.changed", "valve.opened"}, names); diff != "" {
		t.Error(diff)
	}
}

func TestValueHasTheFormThatShapeTells(t *testing.T) {
	f := open(t)
	opened := define(t, f, "valve.opened")
	must(t, triggers.Derive(f.catalogue, f.valves, opened, func(c entities.Change[valve]) (turned, bool) {
		return turned{Valve: c.ID, At: c.At}, true
	}))
	f.turn(t, valve{Status: "shut"})
	transition := f.turn(t, valve{Status: "open", Turned: &start})
	derived := f.catalogue.Derive(transition)[0]
	value, err := f.catalogue.Value(triggers.Event{
		ID: "e", Name: derived.Name, At: start, Kind: "valve", EntityID: "v", Payload: derived.Payload,
		Cause: entities.Cause{Actor: "alice", Depth: 3}, Change: &transition,
	})
	must(t, err)
	want := map[string]any{
		"id": "e", "name": "valve.opened", "kind": "valve", "at": start, "actor": "alice", "depth": 3,
		"entity":  map[string]any{"kind": "valve", "id": "v"},
		"payload": map[string]any{"valve": "v", "at": start},
		"change": map[string]any{
			"prev":   map[string]any{"status": "shut", "turned": nil},
			"next":   map[string]any{"status": "open", "turned": start},
			"fields": []string{"status", "turned"},
		},
	}
	if diff := cmp.Diff(want, value); diff != "" {
		t.Error(diff)
	}
	e, err := f.catalogue.Lookup("valve.opened")
	must(t, err)
	for name := range want {
		if _, ok := f.catalogue.Shape(e).Field(name); !ok {
			t.Errorf("the shape has no %s", name)
		}
	}
	custom, err := f.catalogue.Value(triggers.Event{ID: "c", Name: "custom.x", At: start, Payload: db.JSON(`{"any": [1, {"thing": true}]}`)})
	must(t, err)
	if diff := cmp.Diff(map[string]any{"any": []any{1.0, map[string]any{"thing": true}}}, custom["payload"]); diff != "" {
		t.Error(diff)
	}
}

func TestOnState(t *testing.T) {
	change := func(field string, from, to any) entities.Transition {
		return entities.Transition{Kind: "valve", ID: "v", Version: 2, Delta: entities.Delta{field: {from, to}}, Next: entities.View{field: to}}
	}
	for name, c := range map[string]struct {
		trigger         triggers.OnState
		change          entities.Transition
		matches, breaks bool
	}{
		"into a value":             {triggers.OnState{Field: "s", To: []any{"b"}}, change("s", "a", "b"), true, false},
		"out of it":                {triggers.OnState{Field: "s", To: []any{"b"}}, change("s", "b", "a"), false, true},
		"another field":            {triggers.OnState{Field: "s", To: []any{"b"}}, change("x", "a", "b"), false, false},
		"between values of a list": {triggers.OnState{Field: "s", To: []any{"b", "c"}}, change("s", "b", "c"), false, false},
		"out of from":              {triggers.OnState{Field: "s", From: []any{"a"}}, change("s", "a", "z"), true, true},
		"out of another":           {triggers.OnState{Field: "s", From: []any{"a"}}, change("s", "b", "z"), false, true},
		"any change":               {triggers.OnState{Field: "s"}, change("s", "a", "b"), true, true},
		"a number":                 {triggers.OnState{Field: "s", To: []any{int64(3)}}, change("s", int64(2), int64(3)), true, false},
		"a list as value":          {triggers.OnState{Field: "s", To: []any{[]any{"x"}}}, change("s", nil, []any{"x"}), true, false},
		"into absence":             {triggers.OnState{Field: "s", To: []any{nil}}, change("s", "a", nil), true, false},
		"of another entity":        {triggers.OnState{Field: "s", Entities: []string{"w"}}, change("s", "a", "b"), false, true},
	} {
		c.trigger.Kind = "valve"
		e := triggers.Event{Name: "valve.changed", Kind: "valve", EntityID: "v", Change: &c.change}
		if got, _, _ := c.trigger.Match(e, triggers.Forgotten); got != c.matches {
			t.Errorf("%s: match %v", name, got)
		}
		if got := c.trigger.Breaks(c.change); got != c.breaks {
			t.Errorf("%s: break %v", name, got)
		}
	}
	if yes, _, _ := (triggers.OnState{Kind: "valve", Field: "s"}).Match(triggers.Event{Name: "custom.x"}, triggers.Forgotten); yes {
		t.Error("an event without a change matched")
	}
}
