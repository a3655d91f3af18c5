package healthcheck_test

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/flightrules/flightrules/engine/enginetest"
	"github.com/flightrules/flightrules/internal/dbtest"
	"github.com/flightrules/flightrules/plugins"
	"github.com/flightrules/flightrules/plugins/healthcheck"
	"github.com/flightrules/flightrules/plugins/satellite"
)

// watched is an engine with satellites and checks.
type watched struct {
	*enginetest.Engine
	t      *testing.T
	plugin *healthcheck.Plugin // of the newest start
}

func watch(t *testing.T, url, files string, worlds bool) *watched {
	t.Helper()
	w := &watched{t: t}
	w.Engine = enginetest.Start(t, enginetest.Options{URL: url, Rules: files, Worlds: worlds, Plugins: func() []plugins.Plugin {
		w.plugin = healthcheck.New(healthcheck.Config{KeepResults: 3 * time.Hour, KeepHours: 24 * time.Hour})
		return []plugins.Plugin{satellite.New(satellite.Config{}), w.plugin}
	}, Secret: func(_ context.Context, name, _ string) (string, error) {
		if name != "probe_key" {
			return "", fmt.Errorf("there is no secret %s", name)
		}
		return "hunter2-key", nil
	}})
	return w
}

func (w *watched) given(name, region string) {
	w.t.Helper()
	must(w.t, w.Given(w.t.Context(), "satellite", map[string]any{"id": name, "name": name, "region": region}))
	w.Settle()
}

func (w *watched) satellite(what, name string) {
	w.t.Helper()
	must(w.t, w.Happen(w.t.Context(), "satellite", map[string]any{what: name}))
	w.Settle()
}

// see lets an observer have a row of results; "": all have them.
func (w *watched) see(who, status string, times int) {
	w.t.Helper()
	must(w.t, w.Happen(w.t.Context(), "check", map[string]any{
		"id": "web", "status": status, "satellite": who, "times": float64(times), "latency": "120ms", "message": "it is " + status,
	}))
	w.Settle()
}

// events are those of checks, in order, without their prefix.
func (w *watched) events() []string {
	w.t.Helper()
	var list []string
	for _, name := range []string{"check.down", "check.degraded", "check.recovered", "check.unobserved", "check.flapping", "check.flapping_ended"} {
		for _, e := range w.Events(name) {
			list = append(list, e.ID+" "+strings.TrimPrefix(name, "check."))
		}
	}
	slices.Sort(list) // ids are in the order of time
	for i := range list {
		_, list[i], _ = strings.Cut(list[i], " ")
	}
	return list
}

func (w *watched) want(events ...string) {
	w.t.Helper()
	if got := w.events(); !slices.Equal(got, events) {
		w.t.Errorf("events: got %q, want %q", got, events)
	}
}

func (w *watched) status(want string) {
	w.t.Helper()
	state, err := w.Core.Entities.Get(w.t.Context(), w.Core.DB.Read(), "check", "web")
	must(w.t, err)
	if got := state.State["status"]; got != want {
		w.t.Errorf("the check is %v, want %s", got, want)
	}
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// on is a check that satellites of some regions look at.
func on(how string) string {
	return "checks: [{id: web, tcp: {address: 'db:5432'}, satellites: {regions: [eu, us]}, on: " + how + "}]"
}

func TestACheck(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, url string) {
		w := watch(t, url, on("any"), true)
		w.given("eu-1", "eu")
		w.given("us-1", "us")
		w.given("lab", "lab")
		w.see("", "up", 1)
		w.want()
		w.status("up")

		w.see("eu-1", "down", 2)
		w.want() // two are not three
		w.see("eu-1", "down", 1)
		w.want("down")
		w.status("down")
		w.Restart()
		w.see("eu-1", "up", 1)
		w.see("eu-1", "up", 1)
		w.want("down", "recovered")

		if err := w.Happen(t.Context(), "check", map[string]any{"id": "web", "status": "up", "satellite": "lab"}); err == nil {
			t.Error("a satellite that does not observe it was heard")
		}

		w.satellite("silence", "us-1")
		w.Advance(2 * time.Minute)
		w.want("down", "recovered") // one is still there
		w.satellite("disconnect", "eu-1")
		w.want("down", "recovered", "unobserved")
		w.satellite("connect", "eu-1")
		w.status("unobserved") // it has not looked again
		w.see("eu-1", "up", 1)
		w.want("down", "recovered", "unobserved", "recovered")

		w.Reload("rules: []")
		w.Settle()
		if _, err := w.Core.Entities.Get(t.Context(), w.Core.DB.Read(), "check", "web"); err == nil {
			t.Error("it is there after its file said nothing of it")
		}
	})
}

func TestHowManyMustSeeItBad(t *testing.T) {
	for how, want := range map[string][]string{"any": {"down", "down", "down"}, "quorum": {"up", "down", "down"}, "all": {"up", "up", "down"}} {
		t.Run(how, func(t *testing.T) {
			w := watch(t, "", on(how), true)
			names := []string{"eu-1", "eu-2", "us-1"}
			for _, name := range names {
				w.given(name, name[:2])
			}
			must(t, w.Given(t.Context(), "check", map[string]any{"id": "web"}))
			for i, name := range names {
				w.see(name, "down", 3)
				w.status(want[i])
			}
		})
	}
}

func TestFlappingIsAnEventOfItsOwn(t *testing.T) {
	w := watch(t, "", strings.Replace(on("any"), "on: any", "failures: 20, successes: 1", 1), true)
	w.given("eu-1", "eu")
	w.see("", "up", 1)
	for range 6 {
		w.see("", "down", 1)
		w.see("", "up", 1)
	}
	w.want("flapping")
	w.Restart()
	// HB-16: that it comes to rest as down is told.
	w.see("", "down", 20)
	w.want("flapping", "down", "flapping_ended")
}

func TestWhoObservesFollowsTheSatellites(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, url string) {
		w := watch(t, url, on("any"), true)
		w.given("eu-1", "eu")
		w.see("", "down", 3)
		w.want("down")
		w.satellite("remove", "eu-1")
		w.want("down", "unobserved")
		w.given("us-1", "us")
		w.see("us-1", "up", 1)
		w.want("down", "unobserved", "recovered")
		// Another address: what was seen of the one before does not count.
		w.see("us-1", "down", 2)
		w.Reload(strings.Replace(on("any"), "5432", "5433", 1))
		w.see("us-1", "down", 1)
		w.want("down", "unobserved", "recovered")
		w.see("us-1", "down", 2)
		w.want("down", "unobserved", "recovered", "down")
	})
}

func TestTheCoreLooksItself(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, url string) {
		status := http.StatusOK
		server := httptest.NewServer(http.HandlerFunc(func(out http.ResponseWriter, r *http.Request) {
			if r.Header.Get("Key") != "hunter2-key" {
				status = http.StatusUnauthorized
			}
			out.Header().Set("Echo", r.Header.Get("Key"))
			out.WriteHeader(status)
		}))
		defer server.Close()
		files := `checks: [{id: web, http: {url: "` + server.URL + `", headers: {Key: "${{ env.KEY }}"}},
			assert: ['result.headers["echo"] != "x"'], secret_env: {KEY: probe_key}, interval: 10s, failures: 2, local: true}]`
		w := watch(t, url, files, false)
		looks := func(d time.Duration) (n int) {
			w.Advance(d)
			n, err := w.plugin.LookQueued(context.Background())
			must(t, err)
			w.Settle()
			return n
		}
		if n := looks(5 * time.Second); n != 1 {
			t.Fatalf("it looked %d times in the first seconds", n)
		}
		w.status("up")
		w.Restart()
		status = http.StatusTeapot
		n := 0
		for range 30 {
			n += looks(time.Second)
		}
		if n < 2 || n > 3 {
			t.Errorf("it looked %d times in half a minute", n)
		}
		w.want("down")
		state, err := w.Core.Entities.Get(t.Context(), w.Core.DB.Read(), "check", "web")
		must(t, err)
		if state.State["message"] != "status 418" {
			t.Errorf("it says %v", state.State["message"])
		}
		w.Reload("rules: []")
		if n := looks(time.Minute); n != 0 {
			t.Errorf("it looked %d times after it was removed", n)
		}
	})
}

func TestNextLook(t *testing.T) {
	now := enginetest.Epoch.Add(1234 * time.Millisecond)
	first := healthcheck.Next("web", time.Minute, now)
	if d := first.Sub(now); d < 30*time.Second || d >= 90*time.Second {
		t.Errorf("the first is after %s", d)
	}
	for _, late := range []time.Duration{0, time.Millisecond, 20 * time.Second} {
		if next := healthcheck.Next("web", time.Minute, first.Add(late)); !next.Equal(first.Add(time.Minute)) {
			t.Errorf("%s late, the one after it is after %s", late, next.Sub(first))
		}
	}
}

func TestHistoryIsKeptAndSummedUp(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, url string) {
		w := watch(t, url, on("any"), true)
		w.given("eu-1", "eu")
		count := func(table string) (n int) {
			must(t, w.Core.DB.Read().NewSelect().ColumnExpr("COUNT(*)").TableExpr(table).Scan(t.Context(), &n))
			return n
		}
		for range 6 {
			w.see("", "up", 2)
			w.see("", "failed", 1)
			w.Advance(time.Hour)
		}
		if got := count("check_results"); got != 12 {
			t.Errorf("%d results are kept, want those of 4 hours", got)
		}
		if got := count("check_hours"); got != 6 {
			t.Errorf("%d hours are kept", got)
		}
		var sums []string
		must(t, w.Core.DB.Read().NewRaw("SELECT DISTINCT up || ' ' || degraded || ' ' || down || ' ' || failed || ' ' || latency_sum || ' ' || latency_min || ' ' || latency_max FROM check_hours").Scan(t.Context(), &sums))
		if !slices.Equal(sums, []string{"2 0 0 1 240000 120000 120000"}) {
			t.Errorf("the hours say %q", sums)
		}
		w.Advance(48 * time.Hour)
		w.see("", "up", 1)
		if r, h := count("check_results"), count("check_hours"); r != 1 || h != 1 {
			t.Errorf("after two days %d results and %d hours are kept", r, h)
		}
	})
}
