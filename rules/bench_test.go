package rules_test

import (
	"fmt"
	"io/fs"
	"runtime"
	"strings"
	"testing"

	"github.com/flightrules/flightrules/rules"
)

// fleet is n rules in files of 20, each on one satellite of its own.
func fleet(n int) fs.FS {
	var list []string
	for from := 0; from < n; from += 20 {
		var text strings.Builder
		text.WriteString("rules:\n")
		for i := from; i < min(from+20, n); i++ {
			fmt.Fprintf(&text, `
  - id: satellite-%d-is-lost
    name: Satellite %d is lost
    triggers:
      - event: satellite.heartbeat_lost
        where: event.payload.satellite_id == "s%d"
    conditions:
      - state("satellite", event.entity.id)?.status == "offline"
    actions:
      - http:
          url: https://example.com/hook
          json: {text: "${{ event.payload.name }} was seen at ${{ event.payload.last_seen_at }}", rule: "${{ trigger.rule }}"}
      - log: "satellite ${{ event.entity.id }} is lost"
`, i, i, i)
		}
		list = append(list, fmt.Sprintf("team-%d/rules.yaml", from), text.String())
	}
	return files(list...)
}

// BenchmarkLoad loads 10,000 rules from 500 files, and says how much memory the
// set keeps.
func BenchmarkLoad(b *testing.B) {
	const n = 10_000
	c, all := newCompiler(b), fleet(n)
	var set *rules.Set
	before := heap()
	b.ReportAllocs()
	for b.Loop() {
		var err error
		if set, err = c.Load(all, ""); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(heap()-before)/n, "kept-B/rule")
	if len(set.Rules) != n {
		b.Fatal(len(set.Rules))
	}
}

// heap is how many bytes are in use.
func heap() int64 {
	var m runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}

// BenchmarkCandidates looks up the rules for an event of which one rule wants
// to know. It must cost the same whatever the number of rules.
func BenchmarkCandidates(b *testing.B) {
	for _, n := range []int{100, 10_000} {
		set, err := newCompiler(b).Load(fleet(n), "")
		if err != nil {
			b.Fatal(err)
		}
		event := map[string]any{"payload": map[string]any{"satellite_id": "s42"}}
		b.Run(fmt.Sprintf("rules=%d", n), func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if list := set.Candidates("satellite.heartbeat_lost", event); len(list) != 1 {
					b.Fatal(list)
				}
			}
		})
	}
}
