package bench

import (
	"os"
	"runtime/debug"
	"slices"
	"strconv"
	"strings"
	"time"
)

// result makes a Result of how long each op took and how long all of it took.
func result(name string, took []time.Duration, all time.Duration) Result {
	slices.Sort(took)
	return Result{
		Name: name, Ops: len(took), Seconds: all.Seconds(), PerSecond: float64(len(took)) / all.Seconds(),
		P50: quantile(took, 0.50), P99: quantile(took, 0.99), PeakRSS: peakRSS(),
	}
}

// against adds a baseline, in ops per second.
func (r Result) against(perSecond float64) Result {
	r.Baseline, r.Ratio = perSecond, r.PerSecond/perSecond
	return r
}

// quantile is the smallest of the sorted durations that a part of them does not
// exceed, in milliseconds.
func quantile(sorted []time.Duration, part float64) float64 {
	if len(sorted) == 0 {
		return 0
	}
	at := int(part*float64(len(sorted))+0.999999) - 1
	return float64(sorted[max(0, at)]) / float64(time.Millisecond)
}

// resetPeak collects the garbage of what was before and makes peakRSS begin
// anew, where the system can do that.
func resetPeak() {
	debug.FreeOSMemory()
	_ = os.WriteFile("/proc/self/clear_refs", []byte("5"), 0) // without it the peak is that of the whole process
}

// peakRSS is the most memory that the process held since resetPeak, in MiB.
func peakRSS() float64 {
	text, err := os.ReadFile("/proc/self/status")
	if err != nil {
		return 0 // not Linux
	}
	for line := range strings.Lines(string(text)) {
		if rest, ok := strings.CutPrefix(line, "VmHWM:"); ok {
			kib, err := strconv.Atoi(strings.TrimSuffix(strings.TrimSpace(rest), " kB"))
			if err == nil {
				return float64(kib) / 1024
			}
		}
	}
	return 0
}
