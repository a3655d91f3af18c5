package plugins_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/uptrace/bun"

	"github.com/flightrules/flightrules/plugins"
)

type probe struct {
	Name string `json:"name"`
	URL  string `json:"url,omitempty"`
}

func TestSections(t *testing.T) {
	var got []string
	s := mustSet(t,
		&part{name: "a", register: func(h *plugins.Host) {
			if err := plugins.AddSection(h, plugins.SectionSpec[probe]{
				Name: "probes", Doc: "What is looked at.",
				Key: func(p probe) string { return p.Name },
				Check: func(p probe) error {
					if p.URL == "" {
						return errors.New("url is empty")
					}
					return nil
				},
				Reconcile: func(_ context.Context, _ bun.Tx, items []probe) error {
					got = append(got, fmt.Sprint("probes ", items))
					return nil
				},
			}); err != nil {
				t.Error(err)
			}
		}},
		&part{name: "b", register: func(h *plugins.Host) {
			if err := plugins.AddSection(h, plugins.SectionSpec[probe]{
				Name: "others",
				Reconcile: func(_ context.Context, _ bun.Tx, items []probe) error {
					got = append(got, fmt.Sprint("others ", len(items)))
					if len(items) == 1 {
						return errors.New("one is too few")
					}
					if len(items) == 2 {
						panic("two")
					}
					return nil
				},
			}); err != nil {
				t.Error(err)
			}
		}},
	)
	list := s.Sections()
	if len(list) != 2 || list[0].Name != "probes" || list[0].Doc != "What is looked at." || len(list[0].Item.Fields) != 2 || list[1].Key != nil || list[1].Check != nil {
		t.Fatalf("%+v", list)
	}
	item, err := list[0].Decode(map[string]any{"name": "web", "url": "x"})
	if err != nil || item != (probe{"web", "x"}) || list[0].Key(item) != "web" || list[0].Check(item) != nil || list[0].Check(probe{}) == nil {
		t.Errorf("%+v, %v", item, err)
	}
	if _, err := list[0].Decode(map[string]any{"nmae": "web"}); err == nil {
		t.Error("an unknown field was decoded")
	}

	if err := s.Reconcile(t.Context(), bun.Tx{}, map[string][]any{"probes": {item}}); err != nil {
		t.Error(err)
	}
	if diff := cmp.Diff([]string{"probes [{web x}]", "others 0"}, got); diff != "" {
		t.Error(diff)
	}
	for n, want := range map[int]string{1: "plugin b: section others: one is too few", 2: "plugin b: section others: panic: two"} {
		err := s.Reconcile(t.Context(), bun.Tx{}, map[string][]any{"others": []any{probe{}, probe{}}[:n]})
		var section *plugins.SectionError
		if !errors.As(err, &section) || section.Section != "others" || !strings.HasPrefix(err.Error(), want) {
			t.Errorf("%v, want %q", err, want)
		}
	}
}

func TestSectionsAreApplied(t *testing.T) {
	var got []string
	section := func(name string, apply func(items []probe)) *part {
		return &part{name: name, register: func(h *plugins.Host) {
			if err := plugins.AddSection(h, plugins.SectionSpec[probe]{Name: name, Apply: apply}); err != nil {
				t.Error(err)
			}
		}}
	}
	s := mustSet(t,
		section("probes", func(items []probe) { got = append(got, fmt.Sprint("probes ", items)) }),
		section("bad", func([]probe) { panic("two") }),
		section("others", func(items []probe) { got = append(got, fmt.Sprint("others ", len(items))) }),
	)
	items := map[string][]any{"probes": {probe{"web", "x"}}}
	if err := s.Reconcile(t.Context(), bun.Tx{}, items); err != nil || got != nil {
		t.Errorf("sections without rows: %v, %v", got, err)
	}
	err := s.Apply(items)
	if err == nil || !strings.HasPrefix(err.Error(), "plugin bad: section bad: panic: two") {
		t.Errorf("%v", err)
	}
	if diff := cmp.Diff([]string{"probes [{web x}]", "others 0"}, got); diff != "" {
		t.Error(diff)
	}
}

func TestFunctions(t *testing.T) {
	s := mustSet(t, &part{name: "a", register: func(h *plugins.Host) {
		if err := h.Function("shout", "Louder.", strings.ToUpper); err != nil {
			t.Error(err)
		}
	}})
	if list := s.Functions(); len(list) != 1 || list[0].Name != "shout" || list[0].Doc != "Louder." || list[0].Fn.(func(string) string)("a") != "A" {
		t.Errorf("%+v", list)
	}
}

func TestSectionsAndFunctionsAreRefused(t *testing.T) {
	add := func(name string) func(*plugins.Host) error {
		return func(h *plugins.Host) error {
			return plugins.AddSection(h, plugins.SectionSpec[probe]{
				Name: name, Reconcile: func(context.Context, bun.Tx, []probe) error { return nil },
			})
		}
	}
	for _, tt := range []struct {
		what string
		do   func(*plugins.Host) error
		want string
	}{
		{"a bad name", add("Probes"), `section "Probes": a name is lower case letters`},
		{"rules", add("rules"), "the name is the engine's own"},
		{"silences", add("silences"), "the name is the engine's own"},
		{"nothing to do with the items", func(h *plugins.Host) error { return plugins.AddSection(h, plugins.SectionSpec[probe]{Name: "a"}) }, "are wanted"},
		{"a type without a JSON form", func(h *plugins.Host) error {
			return plugins.AddSection(h, plugins.SectionSpec[func()]{Name: "a"})
		}, `section "a": describe func()`},
		{"a function of the language", func(h *plugins.Host) error { return h.Function("state", "", strings.ToUpper) }, `function "state": the name is taken`},
		{"a function that is none", func(h *plugins.Host) error { return h.Function("five", "", 5) }, `function "five": int is no function`},
	} {
		t.Run(tt.what, func(t *testing.T) {
			var err error
			mustSet(t, &part{name: "a", register: func(h *plugins.Host) { err = tt.do(h) }})
			if err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("%v, want %q", err, tt.want)
			}
		})
	}
	twice := func(do func(*plugins.Host) error) error {
		register := func(h *plugins.Host) { _ = do(h) }
		_, err := newSet(&part{name: "a", register: register}, &part{name: "b", register: register})
		return err
	}
	for want, do := range map[string]func(*plugins.Host) error{
		`plugin b: section "probes": plugin a has it already`: add("probes"),
		`plugin b: function "shout": plugin a has it already`: func(h *plugins.Host) error { return h.Function("shout", "", strings.ToUpper) },
	} {
		if err := twice(do); err == nil || err.Error() != want {
			t.Errorf("%v, want %q", err, want)
		}
	}
}
