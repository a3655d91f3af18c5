package sim_test

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/flightrules/flightrules/entities"
	"github.com/flightrules/flightrules/internal/app"
	"github.com/flightrules/flightrules/internal/dbtest"
	"github.com/flightrules/flightrules/internal/sim"
	"github.com/flightrules/flightrules/plugins"
)

// does is what a satellite does at a time of a scenario.
type does struct {
	at  time.Duration
	arg any    // of the verb; nil: none
	sim string // what the simulation does: "stop", "start", "jump"
}

func verb(at time.Duration, name, id string) does { return does{at: at, arg: map[string]any{name: id}} }

const (
	week      = 7 * 24 * time.Hour
	threshold = 45 * time.Second
	eps       = time.Microsecond
)

// satellites opens a simulation with one satellite that is connected.
func satellites(t *testing.T, lab *sim.Lab, given ...map[string]any) *sim.Sim {
	t.Helper()
	s, done, err := lab.Open(t.Context(), sim.Options{Start: noon, Worlds: true})
	must(t, err)
	t.Cleanup(func() { must(t, done()) })
	if given == nil {
		given = []map[string]any{{"id": "s1", "name": "edge-1", "region": "eu-west", "tags": map[string]any{"tier": "1"}}}
	}
	for _, g := range given {
		must(t, s.Given(t.Context(), "satellite", g))
	}
	return s
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// told are the transitions of satellites: when, which, and what of it changed.
func told(t *testing.T, s *sim.Sim) []string {
	t.Helper()
	list, err := s.Entities.Transitions(t.Context(), s.DB.Read(), entities.Filter{Kind: "satellite"})
	must(t, err)
	slices.Reverse(list)
	var lines []string
	for _, tr := range list {
		line := fmt.Sprintf("%s %s", tr.At.Sub(noon), tr.ID)
		for _, field := range slices.Sorted(maps.Keys(tr.Delta)) {
			if tr.Next != nil && (field == "status" || field == "last_event") {
				line += fmt.Sprintf(" %v", tr.Delta[field][1])
			}
		}
		if tr.Next == nil {
			line += " removed"
		}
		lines = append(lines, line)
	}
	return lines
}

func TestSatellites(t *testing.T) {
	lab := newLab(t)
	const connected = "0s s1 connected online"
	lost := func(at time.Duration) string { return fmt.Sprintf("%s s1 heartbeat_lost offline", at+threshold+eps) }
	back := func(at time.Duration) string { return fmt.Sprintf("%s s1 connected online", at) }
	gone := func(at time.Duration) string { return fmt.Sprintf("%s s1 disconnected offline", at) }
	const m, h = time.Minute, time.Hour
	for _, tt := range []struct {
		name  string
		steps []does
		want  []string // after the first, which is connected
		fast  bool     // it takes too long to look at each second
	}{
		{"one that is connected stays online for a week", []does{{at: week}}, nil, true},
		{"one that falls silent is lost at its threshold", []does{verb(10*m+7*time.Second, "silence", "s1"), {at: h}},
			[]string{lost(10*m + 7*time.Second)}, false},
		{"one that is silent is not lost before its threshold", []does{verb(m, "silence", "s1"), {at: m + threshold}}, nil, false},
		{"one whose socket breaks is lost at its threshold", []does{verb(20*m, "drop", "edge-1"), {at: h}}, []string{lost(20 * m)}, false},
		{"one that leaves is offline at once", []does{verb(20*m, "disconnect", "s1"), {at: h}}, []string{gone(20 * m)}, false},
		{"one that leaves after it fell silent is offline at once", []does{verb(20*m, "silence", "s1"), verb(20*m+9*time.Second, "disconnect", "s1"), {at: h}},
			[]string{gone(20*m + 9*time.Second)}, false},
		{"one that leaves after it was lost stays lost", []does{verb(20*m, "silence", "s1"), verb(30*m, "disconnect", "s1"), {at: h}}, []string{lost(20 * m)}, false},
		{"one that comes back is online", []does{
			verb(m, "drop", "s1"), verb(10*m, "connect", "s1"), verb(20*m, "disconnect", "s1"), verb(30*m, "connect", "s1"), {at: h},
		}, []string{lost(m), back(10 * m), gone(20 * m), back(30 * m)}, false},
		{"one that comes back in time was not away", []does{verb(m, "drop", "s1"), verb(m+threshold, "connect", "s1"), {at: h}}, nil, false},
		{"one that connects again without having left was not away", []does{verb(m, "connect", "s1"), {at: h}}, nil, false},
		{"a heartbeat puts the loss of a silent one off", []does{verb(m, "silence", "s1"), verb(m+threshold, "beat", "s1"), {at: h}}, []string{lost(m + threshold)}, false},
		{"a heartbeat of one that is lost is a recovery, and it is lost again", []does{verb(m, "silence", "s1"), verb(5*m, "beat", "s1"), {at: h}},
			[]string{lost(m), back(5 * m), lost(5 * m)}, false},
		{"a heartbeat of one that is not silent changes nothing", []does{verb(m+time.Second, "beat", "s1"), {at: h}}, nil, false},
		{"a clock that is wrong changes nothing", []does{
			{at: m, arg: map[string]any{"skew": map[string]any{"id": "s1", "by": "5m"}}}, {at: 20 * m},
			{at: 20 * m, arg: map[string]any{"skew": map[string]any{"id": "s1", "by": "-5d"}}}, {at: h}, verb(h, "silence", "s1"), {at: h + h/2},
		}, []string{lost(h)}, false},
		{"one that is removed is no more", []does{verb(m, "remove", "s1"), {at: h}}, []string{"1m0s s1 removed"}, false},
		{"an outage of the core is not the satellite's", []does{{at: 10 * m, sim: "stop"}, {at: 20 * m, sim: "start"}, {at: h}}, nil, false},
		{"nor is one of a week", []does{{at: 10 * m, sim: "stop"}, {at: week, sim: "start"}, {at: week + h}}, nil, false},
		{"nor one that is so short that nobody notices", []does{{at: 10 * m, sim: "stop"}, {at: 10*m + 5*time.Second, sim: "start"}, {at: h}}, nil, false},
		{"nor is a core that was frozen, or whose clock was set", []does{{at: 10 * m, sim: "jump"}, {at: 20 * m}, {at: 5 * m, sim: "jump"}, {at: h}}, nil, false},
		{"nor is a frozen core that is then restarted", []does{{at: 10 * m, sim: "jump"}, {at: 10 * m, sim: "stop"}, {at: 10 * m, sim: "start"}, {at: h}}, nil, false},
		{"one that fell silent while the core was away is lost after the core has listened for its threshold", []does{
			{at: 10 * m, sim: "stop"}, verb(15*m, "silence", "s1"), {at: 20 * m, sim: "start"}, {at: h},
		}, []string{lost(20 * m)}, false},
		{"so is one that left or broke off while the core was away", []does{
			{at: 10 * m, sim: "stop"}, verb(15*m, "disconnect", "s1"), {at: 20 * m, sim: "start"}, {at: h}, verb(h, "connect", "s1"),
			{at: 2 * h, sim: "stop"}, verb(2*h+m, "drop", "s1"), {at: 2*h + 2*m, sim: "start"}, {at: 3 * h},
		}, []string{lost(20 * m), back(h), lost(2*h + 2*m)}, false},
		{"one that was lost and comes back while the core is away connects when the core is there", []does{
			verb(m, "drop", "s1"), {at: 10 * m, sim: "stop"}, verb(15*m, "connect", "s1"), {at: 20 * m, sim: "start"}, {at: h},
		}, []string{lost(m), back(20*m + time.Second)}, false}, // it has tried 1, 3, 7, 15 and 31 s after 15m, and then each 30 s
	} {
		t.Run(tt.name, func(t *testing.T) {
			want := append([]string{connected}, tt.want...)
			for mode, after := range map[string]func(s *sim.Sim) error{
				"plain":      func(*sim.Sim) error { return nil },
				"restarting": func(s *sim.Sim) error { return s.Restart(t.Context()) },
			} {
				for _, each := range []time.Duration{0, 247 * time.Second} {
					if each > 0 && tt.fast {
						continue
					}
					s := satellites(t, lab)
					play(t, s, tt.steps, each, after)
					if diff := cmp.Diff(want, told(t, s)); diff != "" {
						t.Errorf("%s, stopping each %s; want -, got +\n%s", mode, each, diff)
					}
				}
			}
		})
	}
}

// play plays a scenario. each is how often it stops on the way, 0: only where
// it has to; after is done after each step.
func play(t *testing.T, s *sim.Sim, steps []does, each time.Duration, after func(*sim.Sim) error) {
	t.Helper()
	ctx, down := t.Context(), false
	for _, d := range steps {
		to := noon.Add(d.at)
		switch {
		case d.sim == "jump" || down:
			s.Jump(to)
		default:
			for each > 0 && s.Time().Add(each).Before(to) {
				must(t, s.AdvanceTo(ctx, s.Time().Add(each)))
			}
			must(t, s.AdvanceTo(ctx, to))
		}
		switch d.sim {
		case "stop":
			down = true
			must(t, s.Stop(ctx))
		case "start":
			down = false
			must(t, s.Start(ctx))
		}
		if d.arg != nil {
			must(t, s.Happen(ctx, "satellite", d.arg))
		}
		if !down {
			must(t, after(s))
		}
	}
	must(t, s.Settle(ctx))
}

func TestSatellitesAreThereAsGiven(t *testing.T) {
	s := satellites(t, newLab(t),
		map[string]any{"id": "s1", "name": "edge-1", "region": "eu-west", "tags": map[string]any{"tier": "1"}, "offline_threshold": "2m"},
		map[string]any{"name": "edge-2"}, map[string]any{"id": "s3", "connected": false},
	)
	ctx := t.Context()
	state := func(id string) map[string]any {
		t.Helper()
		v, err := s.Entities.State(ctx, s.DB.Read(), "satellite", id)
		must(t, err)
		return v
	}
	want := map[string]any{
		"status": "online", "name": "edge-1", "region": "eu-west", "tags": map[string]any{"tier": "1"},
		"last_seen_at": noon.Format(time.RFC3339), "last_event": "connected", "mass_loss": "",
	}
	if diff := cmp.Diff(want, state("s1")); diff != "" {
		t.Error(diff)
	}
	if got := state("edge-2"); got["status"] != "online" || got["name"] != "edge-2" {
		t.Errorf("got %v", got)
	}
	if got := state("s3"); got != nil {
		t.Errorf("one that never connected is %v", got)
	}
	must(t, s.AdvanceTo(ctx, noon.Add(100*time.Second)))
	if got, want := state("s1")["last_seen_at"], noon.Add(90*time.Second).Format(time.RFC3339); got != want {
		t.Errorf("it was seen last at %s, want %s: the heartbeats are 15 s apart", got, want)
	}
	must(t, s.Happen(ctx, "satellite", map[string]any{"silence": "s1"}))
	must(t, s.Happen(ctx, "satellite", map[string]any{"connect": "s3"}))
	must(t, s.AdvanceTo(ctx, noon.Add(time.Hour)))
	got := told(t, s)
	if diff := cmp.Diff([]string{"0s s1 connected online", "0s edge-2 connected online", "1m40s s3 connected online", "3m40.000001s s1 heartbeat_lost offline"}, got); diff != "" {
		t.Error(diff)
	}
}

func TestWhatSatellitesCannotDo(t *testing.T) {
	s := satellites(t, newLab(t), map[string]any{"id": "s1", "name": "edge-1"}, map[string]any{"id": "s2", "connected": false})
	step := func(name string, arg any) error {
		return s.Happen(t.Context(), "satellite", map[string]any{name: arg})
	}
	given := func(m map[string]any) error { return s.Given(t.Context(), "satellite", m) }
	for want, err := range map[string]error{
		`satellite: there is no satellite "edge-2", did you mean "edge-1"?`:                                                  step("beat", "edge-2"),
		`satellite: there is no satellite "other"; those that are there are given at the beginning, or written in the files`: step("connect", "other"),
		"satellite: satellite s2 is not connected":                                                                           step("beat", "s2"),
		"satellite: satellite s2 is not connected ":                                                                          step("drop", "s2"),
		"satellite: satellite s2 is not connected  ":                                                                         step("silence", "s2"),
		"satellite: satellite s2 is not connected   ":                                                                        step("disconnect", "s2"),
		`satellite: conect: unknown field, did you mean "connect"?`:                                                          step("conect", "s1"),
		"satellite: skew.by: is required":                                                                                    step("skew", map[string]any{"id": "s1"}),
		"satellite: one of connect, beat, silence, drop, disconnect, remove and skew is wanted, with the id or the name of a satellite; there are 2": s.Happen(t.Context(), "satellite", map[string]any{"connect": "s1", "drop": "s1"}),
		`satellite: there is a satellite "s1" already`:     given(map[string]any{"id": "s1", "name": "new"}),
		`satellite: there is a satellite "edge-1" already`: given(map[string]any{"id": "s4", "name": "edge-1"}),
		"satellite: id or name is wanted":                  given(map[string]any{}),
		"satellite: id: write at most 63 letters, digits, dots, underscores and hyphens, with a letter or digit first": given(map[string]any{"id": "a b"}),
		"satellite: name: write letters, digits, dots, underscores and hyphens, with a letter or digit first":          given(map[string]any{"id": "a", "name": "/"}),
		"satellite: offline_threshold: it must be from 15s to 1d":                                                      given(map[string]any{"id": "a", "offline_threshold": "1s"}),
	} {
		if want = strings.TrimRight(want, " "); err == nil || err.Error() != want {
			t.Errorf("got  %v\nwant %s", err, want)
		}
	}
	must(t, step("silence", "s1"))
	if err := step("silence", "s1"); err == nil || err.Error() != "satellite: satellite edge-1 is silent already" {
		t.Error(err)
	}
	must(t, s.Stop(t.Context()))
	for name, err := range map[string]error{"given": given(map[string]any{"id": "a"}), "remove": step("remove", "s1")} {
		if err == nil || err.Error() != "satellite: the core is down" {
			t.Errorf("%s: %v", name, err)
		}
	}
	must(t, step("beat", "s1"))
	must(t, s.Start(t.Context()))

	alone, done, err := newLab(t).Open(t.Context(), sim.Options{Start: noon})
	must(t, err)
	if err := alone.Happen(t.Context(), "satellite", nil); err == nil {
		t.Error("something happened outside of a simulation that has no outside")
	}
	must(t, done())
}

// While the engine is frozen it hears nobody: that is its own outage, and nobody's
// loss.
func TestALeapIsTheEnginesOutage(t *testing.T) {
	s := satellites(t, newLab(t), map[string]any{"id": "well"}, map[string]any{"id": "silent"})
	must(t, s.AdvanceTo(t.Context(), noon.Add(time.Minute)))
	must(t, s.Happen(t.Context(), "satellite", map[string]any{"silence": "silent"}))
	s.Jump(noon.Add(time.Hour))
	must(t, s.AdvanceTo(t.Context(), noon.Add(2*time.Hour)))
	want := []string{"0s well connected online", "0s silent connected online", fmt.Sprintf("%s silent heartbeat_lost offline", time.Hour+threshold+eps)}
	if diff := cmp.Diff(want, told(t, s)); diff != "" {
		t.Error(diff)
	}
}

func TestSatellitesGoOnWhileAPeerIsDriven(t *testing.T) {
	brought := func() []plugins.Plugin { return app.Plugins(app.PluginConfig{}) }
	s, err := sim.Open(t.Context(), sim.Options{DB: dbtest.Postgres(t), Start: noon, Plugins: brought, Worlds: true})
	must(t, err)
	t.Cleanup(func() { must(t, s.Close(context.Background())) })
	must(t, s.Given(t.Context(), "satellite", map[string]any{"id": "s1"}))
	peer, err := s.Peer(t.Context())
	must(t, err)
	t.Cleanup(func() { must(t, peer.Close(context.Background())) })
	must(t, peer.AdvanceTo(t.Context(), noon.Add(time.Hour)))
	must(t, peer.Happen(t.Context(), "satellite", map[string]any{"silence": "s1"}))
	must(t, peer.AdvanceTo(t.Context(), noon.Add(2*time.Hour)))
	if diff := cmp.Diff([]string{"0s s1 connected online", "1h0m45.000001s s1 heartbeat_lost offline"}, told(t, peer)); diff != "" {
		t.Error(diff)
	}
}

func TestLabVerbs(t *testing.T) {
	var got []string
	for _, v := range newLab(t).Verbs() {
		got = append(got, fmt.Sprint(v.Name, " ", v.Given))
	}
	if diff := cmp.Diff([]string{"satellite false", "satellite true", "check false", "check true"}, got); diff != "" {
		t.Error(diff)
	}
}

// A simulated week of satellites that send heartbeats is to cost next to
// nothing, however many stops for deadlines and notes it would have.
func TestAWeekOfSatellitesIsCheap(t *testing.T) {
	looked := 0
	s, done, err := newLab(t).Open(t.Context(), sim.Options{Start: noon, Worlds: true, Looked: func() { looked++ }})
	must(t, err)
	for i := range 3 {
		must(t, s.Given(t.Context(), "satellite", map[string]any{"id": fmt.Sprint("s", i)}))
	}
	must(t, s.AdvanceTo(t.Context(), noon.Add(week)))
	must(t, done())
	if looked > 300 {
		t.Errorf("the engine looked at the clock %d times", looked)
	}
}

// A simulated week of three satellites is to take well under a second.
func BenchmarkWeekOfSatellites(b *testing.B) {
	lab := newLab(b)
	for b.Loop() {
		s, done, err := lab.Open(b.Context(), sim.Options{Start: noon, Worlds: true})
		for i := 0; err == nil && i < 3; i++ {
			err = s.Given(b.Context(), "satellite", map[string]any{"id": fmt.Sprint("s", i)})
		}
		if err == nil {
			err = s.AdvanceTo(b.Context(), noon.Add(week))
		}
		if err == nil {
			err = done()
		}
		if err != nil {
			b.Fatal(err)
		}
	}
}
