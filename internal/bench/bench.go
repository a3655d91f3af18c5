// Package bench measures how much the engine carries on this machine, against
// baselines of the same run: what a plain loop or a plain insert would do.
//
// The engine that is measured is the one that is served, wired by package app,
// with its real loops in real time and, on SQLite, with syncs to disk.
package bench

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"slices"
	"strings"
	"time"
)

// Options say what is measured. The zero value measures everything on SQLite.
type Options struct {
	// Works are the names of what to measure; nil: all of Works.
	Works []string
	// DB is the URL of an empty PostgreSQL database; with it, mutate, decide, run,
	// wake and latency are measured there too. "": on SQLite alone.
	DB string
	// Dir is where files of SQLite are put while they are needed; "": a folder
	// of the system for temporary files. What is measured is the disk under it.
	Dir string
	// Progress is told now and then what is under way and how far it is. It is
	// never called by two goroutines at once. May be nil.
	Progress func(Progress)

	// Length is how long each measurement takes; zero: 5 s.
	Length time.Duration
	// Rules are how many rules the large set of match has, and load loads; zero:
	// 10,000.
	Rules int
	// Waits are how many runs of wake wait for the same instant; zero: 10,000.
	Waits int
	// Satellites are how many there are in detect and satellites, of which every
	// tenth goes silent; zero: 10,000.
	Satellites int
	// Heartbeat is how far apart their heartbeats are in satellites, and a third
	// of its threshold; zero: 15 s. The measurement takes seven times that.
	Heartbeat time.Duration
	// Crowd makes the command of a process that calls RunCrowd; nil: the hidden
	// command of this program.
	Crowd func() (*exec.Cmd, error)
	// Log is how many recorded transitions replay goes through, and http pages
	// through; zero: a million.
	Log int
	// Threshold is after how much silence a satellite in detect is lost; zero:
	// 6 s. The measurement takes a little more than twice that.
	Threshold time.Duration
}

// Progress is how far a measurement is.
type Progress struct {
	Name string  // of the measurement: "mutate/sqlite/64"
	Part float64 // from 0 to 1
}

// progressEvery is how often Progress is told.
const progressEvery = 100 * time.Millisecond

// tell tells the progress of a measurement.
func (o Options) tell(name string, part float64) {
	o.Progress(Progress{Name: name, Part: min(1, part)})
}

// Result is what one measurement gave.
type Result struct {
	Name      string  `json:"name"`
	Ops       int     `json:"ops"`
	Seconds   float64 `json:"seconds"`
	PerSecond float64 `json:"per_second"`
	P50       float64 `json:"p50_ms"`
	P99       float64 `json:"p99_ms"`
	// PeakRSS is the most memory that the process held during the measurement,
	// in MiB; zero where the system does not say.
	PeakRSS float64 `json:"peak_rss_mb"`
	// Baseline and Ratio compare PerSecond with what the detail names; both are
	// absent where there is nothing to compare with.
	Baseline float64 `json:"baseline_per_second,omitzero"`
	Ratio    float64 `json:"ratio,omitzero"`
	// Detail says what was done, what the baseline is, and the like.
	Detail string `json:"detail,omitempty"`
}

// work is one thing to measure; it may give several results.
type work struct {
	name string
	run  func(ctx context.Context, o Options) ([]Result, error)
}

var works = []work{{"match", match}, {"load", load}, {"mutate", mutate}, {"decide", decide}, {"run", run}, {"wake", wake}, {"latency", latency}, {"detect", detect}, {"satellites", crowds}, {"replay", replayed}, {"http", pages}, {"test", tested}}

// Works are the names of what can be measured.
func Works() []string {
	var names []string
	for _, w := range works {
		names = append(names, w.name)
	}
	return names
}

// ErrUnknownWork is returned for a name that is not among Works.
var ErrUnknownWork = errors.New("unknown work")

// Run measures, one thing after the other, and gives the results that there
// are also with an error.
func Run(ctx context.Context, o Options) (results []Result, err error) {
	for _, name := range o.Works {
		if !slices.Contains(Works(), name) {
			return nil, fmt.Errorf("%w %q: there are %s", ErrUnknownWork, name, strings.Join(Works(), ", "))
		}
	}
	if o, err = o.filled(); err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(o.Dir)) }()
	for _, w := range works {
		if o.Works != nil && !slices.Contains(o.Works, w.name) {
			continue
		}
		list, err := w.run(ctx, o)
		results = append(results, list...)
		if err != nil {
			return results, fmt.Errorf("measure %s: %w", w.name, err)
		}
	}
	return results, nil
}

// filled is the options with their defaults, and with a folder of its own.
func (o Options) filled() (Options, error) {
	if o.Progress == nil {
		o.Progress = func(Progress) {}
	}
	if o.Length == 0 {
		o.Length = 5 * time.Second
	}
	if o.Rules == 0 {
		o.Rules = 10_000
	}
	if o.Waits == 0 {
		o.Waits = 10_000
	}
	if o.Satellites == 0 {
		o.Satellites = 10_000
	}
	if o.Heartbeat == 0 {
		o.Heartbeat = 15 * time.Second
	}
	if o.Log == 0 {
		o.Log = 1_000_000
	}
	if o.Threshold == 0 {
		o.Threshold = 6 * time.Second
	}
	var err error
	o.Dir, err = os.MkdirTemp(o.Dir, "flightrules-bench-")
	return o, err
}
