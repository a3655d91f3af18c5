package triggers_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/flightrules/flightrules/entities"
	"github.com/flightrules/flightrules/internal/db"
	"github.com/flightrules/flightrules/internal/shape"
	"github.com/flightrules/flightrules/triggers"
)

// lamp is a declared kind of that name.
func lamp(name string) entities.Declared {
	return entities.Declared{Name: name, Shape: &shape.Shape{Type: shape.Object, Fields: []shape.Field{
		{Name: "on", Reactive: true, Shape: &shape.Shape{Type: shape.Boolean}},
	}}}
}

// always is an event that every change of the kind means.
func always(name, kind string) triggers.DeclaredEvent {
	return triggers.DeclaredEvent{
		Name: name, Doc: "It was declared.", Kind: kind, Payload: &shape.Shape{Type: shape.Object},
		Derive: func(entities.Transition) (db.JSON, bool, error) { return db.JSON("{}"), true, nil },
	}
}

func derived(c *triggers.Catalogue, kind string) (names []string) {
	for _, d := range c.Derive(entities.Transition{Kind: kind, ID: "x"}) {
		names = append(names, d.Name)
	}
	return names
}

func TestDeclare(t *testing.T) {
	f := open(t)
	must(t, f.kinds.Declare(t.Context(), []entities.Declared{lamp("lamp")}))
	define(t, f, "valve.opened")

	failing, panicking := always("lamp.failing", "lamp"), always("lamp.panicking", "lamp")
	failing.Derive = func(entities.Transition) (db.JSON, bool, error) { return nil, true, errors.New("no payload") }
	panicking.Derive = func(entities.Transition) (db.JSON, bool, error) { panic("broken") }
	must(t, f.catalogue.Declare([]triggers.DeclaredEvent{failing, panicking, always("lamp.switched", "lamp")}))

	e, err := f.catalogue.Lookup("lamp.switched")
	if err != nil || e.Doc != "It was declared." || e.Kind != "lamp" || !e.Derived || e.Payload == nil {
		t.Errorf("%+v, %v", e, err)
	}
	got := f.catalogue.Derive(entities.Transition{Kind: "lamp", ID: "x"})
	if len(got) != 2 || got[0].Name != "lamp.switched" || got[1].Name != triggers.DeriverFailed {
		t.Fatalf("derived %+v", got)
	}
	for _, part := range []string{"lamp.failing", "no payload", "lamp.panicking", "panic: broken"} {
		if !strings.Contains(string(got[1].Payload), part) {
			t.Errorf("%q is not in %s", part, got[1].Payload)
		}
	}

	must(t, f.catalogue.Declare([]triggers.DeclaredEvent{always("lamp.broken", "lamp")}))
	if _, err := f.catalogue.Lookup("lamp.switched"); !errors.Is(err, triggers.ErrUnknownEvent) {
		t.Errorf("an event that was replaced is known: %v", err)
	}
	if diff := cmp.Diff([]string{"lamp.broken"}, derived(f.catalogue, "lamp")); diff != "" {
		t.Error(diff)
	}
	for name, why := range map[string]string{
		"custom.x": "are taken", "engine.x": "are taken", "webhook.x": "are taken", "lamp.changed": "are taken",
		"valve.opened": "a plugin has it", "lamp": "bad event name", "lamp.double": "declared twice",
	} {
		err := f.catalogue.Declare([]triggers.DeclaredEvent{always(name, "lamp"), always("lamp.double", "lamp")})
		if err == nil || !strings.Contains(err.Error(), why) {
			t.Errorf("%s: %v, want %q", name, err, why)
		}
	}
	if diff := cmp.Diff([]string{"lamp.broken"}, derived(f.catalogue, "lamp")); diff != "" {
		t.Errorf("what was refused took effect: %s", diff)
	}
}

func TestACatalogueWithOthers(t *testing.T) {
	f := open(t)
	must(t, f.kinds.Declare(t.Context(), []entities.Declared{lamp("lamp"), lamp("gone")}))
	define(t, f, "valve.opened")
	must(t, f.catalogue.Declare([]triggers.DeclaredEvent{always("lamp.switched", "lamp")}))

	next := lamp("lamp")
	next.Doc = "The new one."
	overlay := f.catalogue.With([]entities.Declared{next, lamp("bulb")}, []triggers.DeclaredEvent{always("bulb.switched", "bulb")})
	var kinds, events []string
	for _, k := range overlay.Kinds() {
		kinds = append(kinds, strings.TrimSpace(k.Name+" "+k.Doc))
	}
	for _, e := range overlay.Events() {
		if !strings.HasPrefix(e.Name, triggers.EnginePrefix) {
			events = append(events, e.Name)
		}
	}
	if diff := cmp.Diff([]string{"bulb", "lamp The new one.", "valve"}, kinds); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff([]string{"bulb.changed", "bulb.switched", "lamp.changed", "valve.changed", "valve.opened"}, events); diff != "" {
		t.Error(diff)
	}
	for name, known := range map[string]bool{"bulb.switched": true, "bulb.changed": true, "gone.changed": false, "lamp.switched": false, "valve.opened": true} {
		if _, err := overlay.Lookup(name); (err == nil) != known {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, ok := overlay.Kind("gone"); ok {
		t.Error("a kind that will be gone is known")
	}
	if k, ok := f.catalogue.Kind("lamp"); !ok || k.Doc != "" {
		t.Errorf("what is in force is %+v", k)
	}
	if _, err := f.catalogue.Lookup("bulb.switched"); err == nil {
		t.Error("what is not in force is known")
	}
}
