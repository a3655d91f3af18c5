package bench

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing/fstest"
	"time"

	"github.com/flightrules/flightrules/internal/app"
	"github.com/flightrules/flightrules/internal/ruletest"
	"github.com/flightrules/flightrules/internal/sim"
	"github.com/flightrules/flightrules/plugins"
)

// testsAtOnce are the tests of a suite, which is run again and again.
const testsAtOnce = 20

// tested measures how fast tests of rules run. The baseline opens and closes a
// simulation in which nothing happens.
func tested(ctx context.Context, o Options) (results []Result, err error) {
	const name = "test"
	o.tell(name, 0)
	files := fstest.MapFS{"rules.yaml": {Data: []byte(testedRules)}, "week.test.yaml": {Data: []byte(weeks(testsAtOnce))}}
	brought := func() []plugins.Plugin { return app.Plugins(app.PluginConfig{}) }
	baseline, err := emptySimulations(ctx, files, brought, o.Length/4)
	if err != nil {
		return nil, err
	}
	suite, err := ruletest.Open(ctx, files, "", brought)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, suite.Close(context.WithoutCancel(ctx))) }()
	resetPeak()
	var took []time.Duration
	begin := time.Now()
	for time.Since(begin) < o.Length {
		report, err := suite.Run(ctx, ruletest.Options{})
		if err != nil {
			return nil, err
		}
		if report.Failed > 0 {
			return nil, fmt.Errorf("%d tests fail: %v", report.Failed, report.Tests[0].Failures)
		}
		for _, t := range report.Tests {
			took = append(took, time.Duration(t.Seconds*float64(time.Second)))
		}
		o.tell(name, float64(time.Since(begin))/float64(o.Length))
	}
	r := result(name, took, time.Since(begin)).against(baseline)
	r.Detail = "ops are tests of ten steps over a simulated week with a satellite, a wait of hours, a schedule and an action, as many at a time as there are processors; the baseline opens and closes simulations in which nothing happens, one after the other"
	return []Result{r}, nil
}

// emptySimulations are how many can be opened and closed in a second.
func emptySimulations(ctx context.Context, files fstest.MapFS, brought func() []plugins.Plugin, length time.Duration) (perSecond float64, err error) {
	lab, err := sim.NewLab(ctx, files, "", brought)
	if err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, lab.Close(context.WithoutCancel(ctx))) }()
	n, begin := 0, time.Now()
	for ; n == 0 || time.Since(begin) < length; n++ {
		_, done, err := lab.Open(ctx, sim.Options{Start: ruletest.DefaultStart, Worlds: true})
		if err == nil {
			err = done()
		}
		if err != nil {
			return 0, err
		}
	}
	return float64(n) / time.Since(begin).Seconds(), nil
}

const testedRules = `
rules:
  - id: dark
    triggers: [{state: satellite.status, to: offline, for: 15m}]
    actions: [{http: {url: "http://pager/", json: {id: "${{ event.entity.id }}"}}}, {wait: 6h}, {log: still}]
  - id: daily
    triggers: [{cron: "0 7 * * *"}]
    actions: [{log: "${{ count(entities('satellite'), #.state.status == 'online') }}"}]
`

// weeks are so many tests of a week.
func weeks(n int) string {
	var b strings.Builder
	b.WriteString("tests:\n")
	for i := range n {
		fmt.Fprintf(&b, `
  - name: week %d
    given: [satellite: {id: s1, name: edge-1}]
    steps:
      - {at: 10h, satellite: {silence: s1}}
      - {at: 11h, expect: {actions: [{http: {json: {id: s1}}}]}}
      - {at: 16h14m, expect: {runs: [{rule: daily}, {rule: dark, status: waiting}]}}
      - {at: 17h, satellite: {connect: s1}, expect: {logs: ["1", still]}}
      - {at: 2d, expect: {logs: 3}}
      - {at: 3d, satellite: {drop: s1}}
      - {at: 3d1h, expect: {actions: 2}}
      - {at: 5d, event: custom.x}
      - {at: 6d, expect: {events: {include: [custom.x]}}}
      - {at: 1w, expect: {logs: 9, decisions: {started: 9}}}
`, i)
	}
	return b.String()
}
