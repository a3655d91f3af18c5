package bench_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/flightrules/flightrules/internal/bench"
	"github.com/flightrules/flightrules/internal/dbtest"
)

// small is so little of everything that it says nothing about speed.
var small = bench.Options{Length: 50 * time.Millisecond, Rules: 1500, Waits: 300, Satellites: 100, Heartbeat: 600 * time.Millisecond, Log: 20_000, Threshold: 2 * time.Second, Crowd: itself}

// asCrowd is set where this program is started as a crowd of satellites.
const asCrowd = "FLIGHTRULES_TEST_CROWD"

func itself() (*exec.Cmd, error) {
	self, err := os.Executable()
	cmd := exec.Command(self)
	cmd.Env = append(os.Environ(), asCrowd+"=1")
	return cmd, err
}

func TestMain(m *testing.M) {
	if os.Getenv(asCrowd) == "" {
		os.Exit(m.Run())
	}
	if err := bench.RunCrowd(context.Background(), os.Stdin, os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func TestRun(t *testing.T) {
	t.Run("each work gives its results, complete and with a baseline where there is one", func(t *testing.T) {
		o := small
		o.Dir, o.DB = t.TempDir(), dbtest.Postgres(t)
		last := map[string]float64{}
		o.Progress = func(p bench.Progress) {
			if p.Part < last[p.Name] || p.Part > 1 {
				t.Errorf("progress of %s went from %v to %v", p.Name, last[p.Name], p.Part)
			}
			last[p.Name] = p.Part
		}
		results, err := bench.Run(t.Context(), o)
		if err != nil {
			t.Fatal(err)
		}
		var names []string
		for _, r := range results {
			names = append(names, r.Name)
			if r.Ops == 0 || r.Seconds <= 0 || r.PerSecond <= 0 || r.P50 <= 0 || r.P99 < r.P50 || r.Detail == "" {
				t.Errorf("%+v", r)
			}
			if compared := r.Name != "detect" && !strings.HasPrefix(r.Name, "satellites/"); compared != (r.Baseline > 0 && r.Ratio > 0) {
				t.Errorf("compared with a baseline: %v, want %v: %+v", !compared, compared, r)
			}
		}
		want := []string{
			"match/100/all", "match/100/right", "match/150/all", "match/150/right", "match/1500/all", "match/1500/right", "load/1500",
			"mutate/sqlite/1", "mutate/sqlite/64", "mutate/sqlite/256", "mutate/postgres/1", "mutate/postgres/64", "mutate/postgres/256",
			"decide/sqlite/64", "decide/sqlite/256", "decide/postgres/64", "decide/postgres/256",
			"run/sqlite", "run/postgres", "wake/sqlite", "wake/postgres", "latency/sqlite", "latency/postgres", "detect", "satellites/100/steady", "satellites/100/loss", "satellites/100/back", "replay/20000",
			"http/20000/quiet/log", "http/20000/quiet/log-deep", "http/20000/quiet/entity", "http/20000/quiet/entity-deep", "http/20000/quiet/overview",
			"http/20000/written/log", "http/20000/written/log-deep", "http/20000/written/entity", "http/20000/written/entity-deep", "http/20000/written/overview", "test",
		}
		if !slices.Equal(names, want) {
			t.Errorf("results are %v, want %v", names, want)
		}
	})

	t.Run("only what is asked for is measured", func(t *testing.T) {
		o := small
		o.Works = []string{"match"}
		results, err := bench.Run(t.Context(), o)
		if err != nil || len(results) != 6 {
			t.Errorf("%d results: %v", len(results), err)
		}
	})

	t.Run("an unknown work is refused before anything is measured", func(t *testing.T) {
		results, err := bench.Run(t.Context(), bench.Options{Works: []string{"match", "fly"}})
		if !errors.Is(err, bench.ErrUnknownWork) || results != nil {
			t.Errorf("%v, %v", results, err)
		}
	})
}

func TestResult(t *testing.T) {
	t.Run("its JSON has the names that are documented", func(t *testing.T) {
		text, err := json.Marshal(bench.Result{Name: "x", Baseline: 2, Ratio: 0.5})
		if err != nil {
			t.Fatal(err)
		}
		const want = `{"name":"x","ops":0,"seconds":0,"per_second":0,"p50_ms":0,"p99_ms":0,"peak_rss_mb":0,"baseline_per_second":2,"ratio":0.5}`
		if string(text) != want {
			t.Errorf("%s, want %s", text, want)
		}
	})
}
