package bench

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"runtime/metrics"
	"time"

	"gopkg.in/yaml.v3"

	"github.com/flightrules/flightrules/internal/app"
	"github.com/flightrules/flightrules/plugins"
)

// heapEvery is how often the heap is looked at.
const heapEvery = 5 * time.Millisecond

// load measures what it costs to check, compile and index many rules of every
// sort, as at a start. The baseline parses the same files to nodes of yaml.v3.
func load(ctx context.Context, o Options) (results []Result, err error) {
	l := &loading{Options: o, name: fmt.Sprintf("load/%d", o.Rules)}
	l.tell(l.name, 0)
	core, err := app.Open(ctx, app.Config{
		DB: "sqlite:" + filepath.Join(o.Dir, "load.db"), Node: "bench", NoSync: true, Plugins: []plugins.Plugin{&meters{}},
	})
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, core.Close(context.WithoutCancel(ctx))) }()
	files := ruleFiles(o.Rules)
	heap := 0.0
	r, err := l.measure(ctx, 0, func() error {
		top := watchHeap()
		set, err := core.Compiler.Load(files, "")
		heap = max(heap, top())
		if err == nil && len(set.Rules) != o.Rules {
			err = fmt.Errorf("%d of %d rules were loaded", len(set.Rules), o.Rules)
		}
		return err
	})
	if err != nil {
		return nil, err
	}
	parsed, err := l.measure(ctx, 1, func() error {
		nodes := make([]yaml.Node, 0, len(files)) // held together, as rules are
		for _, file := range files {
			var node yaml.Node
			if err := yaml.Unmarshal(file.Data, &node); err != nil {
				return err
			}
			nodes = append(nodes, node)
		}
		if len(nodes) != len(files) {
			return fmt.Errorf("%d of %d files were parsed", len(nodes), len(files))
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	r = r.against(parsed.PerSecond)
	r.Detail = fmt.Sprintf("ops are rules, p50 and p99 are of loads of %d rules in %d files; the heap held at most %.0f MiB; the baseline parses the files with yaml.v3 alone, in %.3g ms and %.0f MiB (RSS)",
		o.Rules, len(files), heap, parsed.P50, parsed.PeakRSS)
	return []Result{r}, nil
}

// loading is a measurement of load.
type loading struct {
	Options
	name string
}

// measure does a part, one of two, again and again for as long as it is to
// take, each time without the garbage of the time before.
func (l *loading) measure(ctx context.Context, part int, fn func() error) (Result, error) {
	var took []time.Duration
	spent, peak := time.Duration(0), 0.0
	for spent == 0 || spent < l.Length {
		if err := ctx.Err(); err != nil {
			return Result{}, err
		}
		resetPeak()
		begin := time.Now()
		if err := fn(); err != nil {
			return Result{}, err
		}
		took = append(took, time.Since(begin))
		spent, peak = spent+took[len(took)-1], max(peak, peakRSS())
		l.tell(l.name, (float64(part)+min(1, spent.Seconds()/l.Length.Seconds()))/2)
	}
	r := result(l.name, took, spent)
	r.Ops *= l.Rules
	r.PerSecond *= float64(l.Rules)
	r.PeakRSS = peak
	return r, nil
}

// watchHeap looks at the heap until the function that it gives is called, which
// gives the most that objects held, in MiB, those not yet collected included.
func watchHeap() func() float64 {
	stop, top := make(chan struct{}), make(chan float64)
	go func() {
		tick := time.NewTicker(heapEvery)
		defer tick.Stop()
		sample, most := []metrics.Sample{{Name: "/memory/classes/heap/objects:bytes"}}, uint64(0)
		for {
			metrics.Read(sample)
			most = max(most, sample[0].Value.Uint64())
			select {
			case <-stop:
				top <- float64(most) / (1 << 20)
				return
			case <-tick.C:
			}
		}
	}()
	return func() float64 {
		close(stop)
		return <-top
	}
}
