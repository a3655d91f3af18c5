package rules_test

import (
	"fmt"
	"io/fs"
	"strings"
	"testing"
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

// BenchmarkLoad loads 10,000 rules from 500 files.
func BenchmarkLoad(b *testing.B) {
	c, all := newCompiler(b), fleet(10_000)
	b.ReportAllocs()
	for b.Loop() {
		set, err := c.Load(all, "")
		if err != nil || len(set.Rules) != 10_000 {
			b.Fatal(err)
		}
	}
}
