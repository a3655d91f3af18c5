package plugins_test

import (
	"context"
	"errors"
	"log/slog"
	"net/http"
	"slices"
	"strings"
	"testing"
	"testing/fstest"
	"testing/synctest"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"github.com/flightrules/flightrules/plugins"
)

// part is a plugin that writes down what is done to it.
type part struct {
	name     string
	needs    []string
	fail     map[string]error // by "register", "init", "ready", "close"
	panics   string           // which of them panics
	register func(*plugins.Host)
	calls    *[]string
}

func (p *part) Name() string    { return p.name }
func (p *part) Needs() []string { return p.needs }

func (p *part) Register(h *plugins.Host) error {
	if p.register != nil {
		p.register(h)
	}
	return p.do("register")
}
func (p *part) Init(context.Context, *plugins.Host) error { return p.do("init") }
func (p *part) Ready(context.Context) error               { return p.do("ready") }
func (p *part) Close(context.Context) error               { return p.do("close") }

func (p *part) do(what string) error {
	if p.calls != nil {
		*p.calls = append(*p.calls, what+" "+p.name)
	}
	if p.panics == what {
		panic("at the disco")
	}
	return p.fail[what]
}

// plain has none of the optional methods, and is a value that cannot be
// compared.
type plain struct{ _ []int }

func (plain) Name() string                 { return "plain" }
func (plain) Register(*plugins.Host) error { return nil }

func newSet(list ...plugins.Plugin) (*plugins.Set, error) {
	return plugins.NewSet(plugins.Services{Log: slog.New(slog.DiscardHandler), Now: time.Now, Node: "n"}, list...)
}

func mustSet(t *testing.T, list ...plugins.Plugin) *plugins.Set {
	t.Helper()
	s, err := newSet(list...)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func TestOrder(t *testing.T) {
	var calls []string
	s := mustSet(t,
		&part{name: "a", needs: []string{"c", "plain"}, calls: &calls},
		plain{},
		&part{name: "b", calls: &calls},
		&part{name: "c", needs: []string{"d"}, calls: &calls},
		&part{name: "d", calls: &calls},
	)
	for _, do := range []func(context.Context) error{s.Init, s.Ready, s.Run, s.Close} {
		if err := do(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	want := []string{
		"register d", "register c", "register a", "register b",
		"init d", "init c", "init a", "init b",
		"ready d", "ready c", "ready a", "ready b",
		"close b", "close a", "close c", "close d",
	}
	if !slices.Equal(calls, want) {
		t.Errorf("got  %v\nwant %v", calls, want)
	}
}

func TestNewSetRefuses(t *testing.T) {
	boom := errors.New("boom")
	for name, c := range map[string]struct {
		list []plugins.Plugin
		want string
	}{
		"a bad name":      {[]plugins.Plugin{&part{name: "No Name"}}, `plugin "No Name": a name is lower case letters, digits and underscores`},
		"a doubled name":  {[]plugins.Plugin{&part{name: "a"}, &part{name: "a"}}, "plugin a: the name is taken by another plugin"},
		"an unknown need": {[]plugins.Plugin{&part{name: "a", needs: []string{"b"}}}, "plugin a: it needs plugin b, which is not there"},
		"a circle": {[]plugins.Plugin{
			&part{name: "a", needs: []string{"b"}}, &part{name: "b", needs: []string{"c"}}, &part{name: "c", needs: []string{"b"}},
		}, "plugin b: it needs itself: b needs c needs b"},
		"itself":               {[]plugins.Plugin{&part{name: "a", needs: []string{"a"}}}, "plugin a: it needs itself: a needs a"},
		"a failing Register":   {[]plugins.Plugin{&part{name: "a", fail: map[string]error{"register": boom}}}, "plugin a: register: boom"},
		"a panicking Register": {[]plugins.Plugin{&part{name: "a", panics: "register"}}, "plugin a: register: panic: at the disco"},
	} {
		t.Run(name, func(t *testing.T) {
			if _, err := newSet(c.list...); err == nil || !strings.HasPrefix(err.Error(), c.want) {
				t.Errorf("got  %v\nwant %s", err, c.want)
			}
		})
	}
}

// remote offers nothing but itself.
type remote struct{ plugins.Remote }

func TestPluginsMeetOverSatellites(t *testing.T) {
	offers := func(name string, needs ...string) *part {
		return &part{name: name, needs: needs, register: func(h *plugins.Host) {
			if err := h.OfferRemote(remote{}); err != nil {
				t.Error(err)
			}
		}}
	}
	asks := func(want string, needs ...string) *part {
		return &part{name: "asks", needs: needs, register: func(h *plugins.Host) {
			r, err := h.Remote()
			if want == "" && (err != nil || r != remote{}) || want != "" && (err == nil || err.Error() != want) {
				t.Errorf("%v, %v, want %q", r, err, want)
			}
		}}
	}
	mustSet(t, asks("", "offers"), offers("offers"))
	mustSet(t, asks("plugin asks: no plugin has satellites; it needs one that does"))
	mustSet(t, offers("one"), &part{name: "two", register: func(h *plugins.Host) {
		if err := h.OfferRemote(remote{}); err == nil {
			t.Error("two plugins have satellites")
		}
	}})
}

func TestFailures(t *testing.T) {
	boom := errors.New("boom")
	for what, do := range map[string]func(*plugins.Set) error{
		"init":  func(s *plugins.Set) error { return s.Init(t.Context()) },
		"ready": func(s *plugins.Set) error { return s.Ready(t.Context()) },
		"close": func(s *plugins.Set) error { return s.Close(t.Context()) },
	} {
		t.Run("an error of "+what+" names the plugin", func(t *testing.T) {
			err := do(mustSet(t, &part{name: "a"}, &part{name: "b", fail: map[string]error{what: boom}}))
			if !errors.Is(err, boom) || err.Error() != "plugin b: "+what+": boom" {
				t.Errorf("got %v", err)
			}
		})
		t.Run("a panic of "+what+" names the plugin", func(t *testing.T) {
			err := do(mustSet(t, &part{name: "a", panics: what}))
			if err == nil || !strings.HasPrefix(err.Error(), "plugin a: "+what+": panic: at the disco") {
				t.Errorf("got %v", err)
			}
		})
	}

	t.Run("init stops at the first error", func(t *testing.T) {
		var calls []string
		s := mustSet(t, &part{name: "a", fail: map[string]error{"init": boom}}, &part{name: "b", calls: &calls})
		if err := s.Init(t.Context()); err == nil || slices.Contains(calls, "init b") {
			t.Errorf("%v, and then %v", err, calls)
		}
	})

	t.Run("all are closed, also when some fail", func(t *testing.T) {
		var calls []string
		s := mustSet(t, &part{name: "a", calls: &calls}, &part{name: "b", fail: map[string]error{"close": boom}}, &part{name: "c", panics: "close"})
		err := s.Close(t.Context())
		if !errors.Is(err, boom) || !strings.Contains(err.Error(), "plugin c: close: panic") || !slices.Contains(calls, "close a") {
			t.Errorf("%v, and %v", err, calls)
		}
	})
}

func TestRun(t *testing.T) {
	boom := errors.New("boom")
	wait := func(ctx context.Context) error { <-ctx.Done(); return ctx.Err() }
	background := func(name string, works ...func(context.Context) error) plugins.Plugin {
		return &part{name: name, register: func(h *plugins.Host) {
			for _, work := range works {
				h.Background("work", work)
			}
		}}
	}

	t.Run("ends without an error when its context does", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			s := mustSet(t, background("a", wait, func(context.Context) error { return nil }), background("b", wait))
			ctx, stop := context.WithCancel(t.Context())
			done := make(chan error, 1)
			go func() { done <- s.Run(ctx) }()
			synctest.Wait()
			select {
			case err := <-done:
				t.Fatalf("it ended by itself: %v", err)
			default:
			}
			stop()
			if err := <-done; err != nil {
				t.Error(err)
			}
		})
	})

	t.Run("returns the first error when all work has ended", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			ended := false
			s := mustSet(t, background("a", func(context.Context) error { time.Sleep(time.Second); return boom }), background("b", func(ctx context.Context) error {
				<-ctx.Done()
				time.Sleep(time.Second)
				ended = true
				return errors.New("a second one")
			}))
			if err := s.Run(t.Context()); !errors.Is(err, boom) || err.Error() != "plugin a: work: boom" {
				t.Errorf("got %v", err)
			}
			if !ended {
				t.Error("work was still going on")
			}
		})
	})

	t.Run("contains a panic", func(t *testing.T) {
		s := mustSet(t, background("a", func(context.Context) error { panic("at the disco") }))
		if err := s.Run(t.Context()); err == nil || !strings.HasPrefix(err.Error(), "plugin a: work: panic: at the disco") {
			t.Errorf("got %v", err)
		}
	})
}

func TestWhatPluginsBring(t *testing.T) {
	files := fstest.MapFS{"0001_x.sql": {Data: []byte("SELECT 1")}}
	s := mustSet(t, &part{name: "a", register: func(h *plugins.Host) {
		h.Migrations(files)
		h.API(func(huma.API) {})
		h.Mount("GET /a", http.NotFoundHandler())
	}}, &part{name: "b", register: func(h *plugins.Host) { h.Mount("GET /b", http.NotFoundHandler()) }})
	if m := s.Migrations(); len(m) != 1 || m[0].Owner != "plugin.a" {
		t.Errorf("migrations %v", m)
	}
	if n := len(s.Operations()); n != 1 {
		t.Errorf("%d operations", n)
	}
	if m := s.Mounts(); len(m) != 2 || m[0].Pattern != "GET /a" || m[1].Pattern != "GET /b" {
		t.Errorf("mounts %v", m)
	}
}
