package rules_test

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"io/fs"
	"log/slog"
	"strings"
	"testing"
	"testing/fstest"
	"time"

	"github.com/uptrace/bun"

	"github.com/flightrules/flightrules/engine/action"
	"github.com/flightrules/flightrules/engine/timer"
	"github.com/flightrules/flightrules/entities"
	"github.com/flightrules/flightrules/internal/duration"
	"github.com/flightrules/flightrules/internal/shape"
	"github.com/flightrules/flightrules/rules"
	"github.com/flightrules/flightrules/triggers"
)

var update = flag.Bool("update", false, "write the golden files anew")

// satellite is a kind whose state belongs to its plugin.
type satellite struct {
	Status     string            `json:"status" enum:"online,offline"`
	Name       string            `json:"name"`
	Region     string            `json:"region,omitempty"`
	Tags       map[string]string `json:"tags,omitempty"`
	LastEvent  string            `json:"last_event,omitempty"`
	LastSeenAt time.Time         `json:"last_seen_at" reactive:"false"`
}

// ticket is a kind whose state the engine keeps.
type ticket struct {
	Status   string         `json:"status" enum:"open,closed"`
	Priority int            `json:"priority,omitempty"`
	Labels   map[string]any `json:"labels,omitempty"`
	OpenedAt *time.Time     `json:"opened_at,omitempty"`
	Watchers []string       `json:"watchers,omitempty"`
	Cost     float64        `json:"cost,omitempty"`
	Budget   *duration.Text `json:"budget,omitempty"`
}

// contact is the payload of the events of satellites.
type contact struct {
	SatelliteID string            `json:"satellite_id"`
	Name        string            `json:"name"`
	Region      string            `json:"region,omitempty"`
	Tags        map[string]string `json:"tags,omitempty"`
	Status      string            `json:"status" enum:"online,offline"`
	LastSeenAt  time.Time         `json:"last_seen_at"`
}

// reading is the payload of an event without an entity.
type reading struct {
	Sensor string  `json:"sensor"`
	Status int     `json:"status"`
	Value  float64 `json:"value,omitempty"`
	Count  int     `json:"count,omitempty"`
	Ok     bool    `json:"ok,omitempty"`
	Extra  any     `json:"extra,omitempty"`
}

// request is what a step says under http.
type request struct {
	Method  string            `json:"method,omitempty"`
	URL     string            `json:"url"`
	Headers map[string]string `json:"headers,omitempty" secret:"true"`
	JSON    any               `json:"json,omitempty"`
	Retries int               `json:"retries,omitempty"`
	Via     any               `json:"via,omitempty" names:"probes"` // one or a list
}

type answer struct {
	Status int `json:"status"`
	Body   any `json:"body"`
}

func checkRequest(r request) error {
	if !strings.HasPrefix(r.URL, "http://") && !strings.HasPrefix(r.URL, "https://") {
		return errors.New("url is not an http:// or https:// address")
	}
	if r.Method == "GET" && r.JSON != nil {
		return errors.New("a GET has no body")
	}
	return nil
}

// newCompiler makes a compiler with a small catalogue. Nothing in it reads or
// writes, so it needs no database.
func newCompiler(t testing.TB) *rules.Compiler {
	t.Helper()
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	log := slog.New(slog.DiscardHandler)
	kinds := entities.NewRegistry(nil, time.Now, log, timer.New(nil, time.Now, log, nil))
	satellites, err := entities.Define(kinds, entities.Spec[satellite]{
		Name: "satellite",
		Read: func(context.Context, bun.IDB, time.Time, []string) (map[string]satellite, error) { return nil, nil },
	})
	must(err)
	_, err = entities.Define(kinds, entities.Spec[ticket]{Name: "ticket"})
	must(err)
	events := triggers.NewCatalogue(kinds)
	for _, name := range []string{"satellite.connected", "satellite.heartbeat_lost"} {
		event, err := triggers.Define[contact](events, triggers.EventSpec{Name: name, Kind: "satellite"})
		must(err)
		must(triggers.Derive(events, satellites, event, func(entities.Change[satellite]) (contact, bool) { return contact{}, false }))
	}
	_, err = triggers.Define[reading](events, triggers.EventSpec{Name: "weather.measured"})
	must(err)
	actions := action.NewSet()
	must(action.Register(actions, action.Spec[request, answer]{
		Name: "http", Check: checkRequest,
		Run: func(context.Context, action.Call, request) (answer, error) { return answer{}, nil },
	}))
	return &rules.Compiler{
		Events: events, Actions: actions, Sections: []rules.Section{probes(t)},
		Functions: []rules.Function{{Name: "roman", Doc: "A number in Roman figures.", Fn: roman}},
	}
}

// probe is an item of the section probes.
type probe struct {
	Name  string            `json:"name"`
	URL   string            `json:"url"`
	Every duration.Text     `json:"every,omitempty"`
	Mode  string            `json:"mode,omitempty" enum:"active,passive"`
	Tries int               `json:"tries,omitempty"`
	Tags  map[string]string `json:"tags,omitempty"`
}

func probes(t testing.TB) rules.Section {
	form, err := shape.Of[probe]()
	if err != nil {
		t.Fatal(err)
	}
	return rules.Section{
		Name: "probes", Doc: "What is looked at.", Item: form,
		Decode: func(v any) (any, error) {
			text, err := json.Marshal(v)
			if err != nil {
				return nil, err
			}
			var p probe
			return p, json.Unmarshal(text, &p)
		},
		Key: func(item any) string { return item.(probe).Name },
		Check: func(item any) error {
			p := item.(probe)
			switch {
			case p.URL == "boom":
				panic("the check is broken")
			case !strings.HasPrefix(p.URL, "https://"):
				return errors.New("url is not an https:// address")
			}
			return nil
		},
	}
}

func roman(n int) (string, error) {
	switch {
	case n < 0:
		return "", errors.New("Rome had no negative numbers")
	case n == 0:
		panic("nulla")
	}
	return strings.Repeat("I", n), nil
}

// files makes a file system of names and texts, in turn.
func files(namesAndTexts ...string) fs.FS {
	all := fstest.MapFS{}
	for i := 0; i < len(namesAndTexts); i += 2 {
		all[namesAndTexts[i]] = &fstest.MapFile{Data: []byte(namesAndTexts[i+1])}
	}
	return all
}

// load loads one file that has no mistakes.
func load(t testing.TB, text string) *rules.Set {
	t.Helper()
	set, err := newCompiler(t).Load(files("rules.yaml", text), "")
	if err != nil {
		t.Fatal(err)
	}
	return set
}

// one loads a file with one rule.
func one(t testing.TB, text string) *rules.Rule {
	t.Helper()
	set := load(t, text)
	if len(set.Rules) != 1 {
		t.Fatalf("%d rules instead of one", len(set.Rules))
	}
	return set.Rules[0]
}
