package ruletest_test

import (
	"bytes"
	"context"
	"encoding/xml"
	"flag"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"testing/fstest"
	"time"

	"github.com/flightrules/flightrules/internal/ruletest"
	"github.com/flightrules/flightrules/plugins"
)

// TestSnapshots takes snapshots, compares with them, and drops those that no test
// takes any more.
func TestSnapshots(t *testing.T) {
	dir := t.TempDir()
	write := func(name, text string) {
		t.Helper()
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	again := func(o ruletest.Options) string {
		t.Helper()
		return strings.ReplaceAll(told(run(t, open(t, os.DirFS(dir), dir), o)), dir+"/", "")
	}
	test := func(state string) string {
		return `tests:
  - name: lit
    rules: [lit]
    steps:
      - update: {kind: lamp, id: a, set: {state: "` + state + `"}}
        expect: {snapshot: true}
  - name: other
    steps: [{name: b, expect: {snapshot: true}}]
`
	}
	write("rules.yaml", contents(t, "testdata/rules/rules.yaml"))
	write("lamps.test.yaml", test("on"))
	if got := again(ruletest.Options{}); strings.Count(got, "there is none yet") != 2 {
		t.Errorf("without snapshots: %s", got)
	}
	if got := again(ruletest.Options{Update: true, Match: regexp.MustCompile("lit")}); got != "pass lit\n" {
		t.Errorf("taking one: %s", got)
	}
	if got := again(ruletest.Options{Update: true}); got != "pass lit\npass other\n" {
		t.Errorf("taking them: %s", got)
	}
	if got := again(ruletest.Options{Restarts: true}); got != "pass lit\npass other\n" {
		t.Errorf("with snapshots: %s", got)
	}
	taken := contents(t, filepath.Join(dir, "lamps.test.snap"))
	for _, want := range []string{"lit / 0s: |", "text: lit a", "name: lamp.lit", "other / b: |"} {
		if !strings.Contains(taken, want) {
			t.Errorf("the snapshots have no %q:\n%s", want, taken)
		}
	}
	if got := again(ruletest.Options{Update: true, Match: regexp.MustCompile("lit")}); got != "pass lit\n" {
		t.Errorf("taking one again: %s", got)
	}
	if taken := contents(t, filepath.Join(dir, "lamps.test.snap")); !strings.Contains(taken, "other / b") {
		t.Errorf("to take one has removed the others:\n%s", taken)
	}
	write("lamps.test.yaml", test("off"))
	if got := again(ruletest.Options{}); !strings.Contains(got, "-     - at: 0s") || !strings.Contains(got, "lamps.test.yaml:6: at 0s, snapshot: the snapshot differs") {
		t.Errorf("another state: %s", got)
	}
	write("lamps.test.yaml", strings.Replace(test("on"), "name: b", "name: c", 1))
	if got := again(ruletest.Options{}); !strings.Contains(got, `note lamps.test.snap: no test takes the snapshot "other / b"`) {
		t.Errorf("a snapshot without a test: %s", got)
	}
	again(ruletest.Options{Update: true})
	if taken := contents(t, filepath.Join(dir, "lamps.test.snap")); strings.Contains(taken, "other / b") || !strings.Contains(taken, "other / c") {
		t.Errorf("after an update:\n%s", taken)
	}
	write("lamps.test.snap", "- no map")
	if _, err := ruletest.Open(t.Context(), os.DirFS(dir), dir, brought); err == nil || !strings.Contains(err.Error(), "lamps.test.snap") {
		t.Errorf("a file of snapshots that is none: %v", err)
	}
}

// forgetful is a plugin that keeps in memory what it should not.
type forgetful struct{ calls int }

func (*forgetful) Name() string { return "forgetful" }

func (f *forgetful) Register(h *plugins.Host) error {
	return h.Function("calls", "How often it was called.", func() int { f.calls++; return f.calls })
}

// TestRestartsMustChangeNothing finds a plugin whose memory matters.
func TestRestartsMustChangeNothing(t *testing.T) {
	files := fstest.MapFS{
		"rules.yaml": {Data: []byte(`rules: [{id: x, triggers: [{event: custom.x}], actions: [{log: "${{ calls() }}"}]}]`)},
		"x.test.yaml": {Data: []byte(`tests:
  - name: counts
    steps: [{event: custom.x}, {event: custom.x}, {expect: {runs: 2}}]
  - name: counts and looks
    steps: [{event: custom.x}, {event: custom.x, expect: {logs: ["1", "2"]}}]
`)},
	}
	s, err := ruletest.Open(t.Context(), files, "", func() []plugins.Plugin { return append(brought(), &forgetful{}) })
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := s.Close(context.Background()); err != nil {
			t.Error(err)
		}
	}()
	if report := run(t, s, ruletest.Options{}); report.Failed > 0 {
		t.Fatal(told(report))
	}
	got := told(run(t, s, ruletest.Options{Restarts: true}))
	for _, want := range []string{
		"with restarts, logs: a restart after each step changes them", `-     text: "2"`, `+     text: "1"`,
		`x.test.yaml:5: at 0s, with restarts, logs: [1].text: want "2", got "1"`,
	} {
		if !strings.Contains(got, want) {
			t.Errorf("want %q in:\n%s", want, got)
		}
	}
}

var repetitions = flag.Int("repetitions", 100, "how often TestATestIsDeterministic plays its test")

// TestATestIsDeterministic repeats a test side by side; make thorough does that a
// thousand times.
func TestATestIsDeterministic(t *testing.T) {
	s := open(t, files(t, map[string]string{"many.test.yaml": many(*repetitions)}), "")
	report := run(t, s, ruletest.Options{})
	if report.Failed != *repetitions {
		t.Errorf("%d of %d fail, each should", report.Failed, *repetitions)
	}
	first := report.Tests[0].Failures[0].Lines
	for _, one := range report.Tests[1:] {
		if len(one.Failures) != 1 || !slices.Equal(one.Failures[0].Lines, first) {
			t.Fatalf("one test has seen\n%s\nand the same one\n%v", strings.Join(first, "\n"), one.Failures)
		}
	}
	if len(first) < 3 {
		t.Errorf("too little was seen: %s", first)
	}
}

// many is one test many times over: it fails and shows all that it has seen.
func many(n int) string {
	var b strings.Builder
	b.WriteString("tests:\n")
	for i := range n {
		fmt.Fprintf(&b, `
  - name: number %d
    given: [secrets: {KEY: abc}]
    responses: [{http: {}, reply: {delay: 1s, error: boom}}]
    steps:
      - update: {kind: lamp, id: a, set: {state: "on"}}
      - update: {kind: door, id: d1, set: {open: true}}
      - at: 6m
        expect: {steps: 0}
`, i)
	}
	return b.String()
}

// TestATestReachesNothing lets an action call a server that is there, and looks at
// the clock and into the folders that a test could write to.
func TestATestReachesNothing(t *testing.T) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	reached := make(chan struct{}, 1)
	go func() {
		if conn, err := listener.Accept(); err == nil {
			_ = conn.Close()
			reached <- struct{}{}
		}
	}()
	dir := t.TempDir()
	text := fmt.Sprintf(`rules:
  - id: x
    triggers: [{event: custom.x}]
    actions: [{http: {url: "http://%s/"}}, {log: "${{ now() }}"}, {wait: 240h}, {log: "${{ now() }}"}]
`, listener.Addr())
	test := `tests:
  - name: x
    steps:
      - event: custom.x
      - at: 10d
        expect: {logs: [/^2026-01-05/, /^2026-01-15/], actions: 1}
`
	for name, text := range map[string]string{"rules.yaml": text, "x.test.yaml": test} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	t.Setenv("FLIGHTRULES_SECRET_KEY", "of the environment")
	report := run(t, open(t, os.DirFS(dir), dir), ruletest.Options{Restarts: true})
	if report.Failed > 0 {
		t.Error(told(report))
	}
	if err := listener.Close(); err != nil {
		t.Fatal(err)
	}
	select {
	case <-reached:
		t.Error("a test has reached a server")
	default:
	}
	left, err := os.ReadDir(dir)
	if err != nil || len(left) != 2 {
		t.Errorf("a test has written files: %v %v", left, err)
	}
}

// TestJUnit reads the report back.
func TestJUnit(t *testing.T) {
	report := &ruletest.Report{Passed: 1, Failed: 2, Tests: []ruletest.Result{
		{Name: "a", File: "x.test.yaml", Line: 2, Passed: true, Seconds: 0.25},
		{Name: "b <&>", File: "x.test.yaml", Line: 9, Failures: []ruletest.Failure{{File: "x.test.yaml", Line: 11, Step: "at 5m", What: "runs", Lines: []string{"want 1, got 0", "  there is"}}}},
		{Name: "c", File: "y.test.yaml", Line: 2, Error: "it took too long"},
	}}
	var text bytes.Buffer
	if err := report.JUnit(&text); err != nil {
		t.Fatal(err)
	}
	var got struct {
		Tests  int `xml:"tests,attr"`
		Failed int `xml:"failures,attr"`
		Errors int `xml:"errors,attr"`
		Suites []struct {
			Name  string `xml:"name,attr"`
			Cases []struct {
				Name    string `xml:"name,attr"`
				Failure string `xml:"failure"`
			} `xml:"testcase"`
		} `xml:"testsuite"`
	}
	if err := xml.Unmarshal(text.Bytes(), &got); err != nil {
		t.Fatal(err)
	}
	if got.Tests != 3 || got.Failed != 1 || got.Errors != 1 || len(got.Suites) != 2 || got.Suites[0].Cases[1].Name != "b <&>" ||
		!strings.Contains(got.Suites[0].Cases[1].Failure, "x.test.yaml:11: at 5m, runs: want 1, got 0") {
		t.Errorf("%s", text.String())
	}
}

// TestCoverage counts what tests use.
func TestCoverage(t *testing.T) {
	s := open(t, files(t, map[string]string{"x.test.yaml": `tests:
  - name: x
    given: [secrets: {KEY: abc}]
    steps:
      - update: {kind: door, id: a, set: {open: true}}
      - at: 4m
        update: {kind: lamp, id: a, set: {state: "on"}}
        expect: {runs: {count: 1, where: lit}}
      - at: 10m
        expect: {runs: {count: 1, where: opened}}
`}), "")
	c := run(t, s, ruletest.Options{}).Coverage
	missing := map[string]bool{}
	for _, m := range c.Missing {
		missing[m.Rule+" "+m.Part] = true
	}
	for part, want := range map[string]bool{
		"opened ": false, "opened trigger opened": false, "opened actions[1].choose[0]": true, "opened actions[1].else": false,
		"opened actions[3]": true, "opened actions[0]": false, "tick ": true, "manual trigger 1": true, "lit ": false,
	} {
		if missing[part] != want {
			t.Errorf("%q is missing: %v, want %v", part, missing[part], want)
		}
	}
	if c.Rules != (ruletest.Share{Used: 2, All: 8}) || c.Branches != (ruletest.Share{Used: 1, All: 2}) || c.Total().All != 8+8+2+c.Steps.All {
		t.Errorf("%+v", *c)
	}
}

// TestCoverageIsOfTheFiles counts neither what edited rules do nor what is passed
// over.
func TestCoverageIsOfTheFiles(t *testing.T) {
	s := open(t, fstest.MapFS{
		"rules.yaml": {Data: []byte(`rules:
  - id: edited
    triggers: [{event: custom.x}]
    actions: [{log: x}]
  - id: passes
    triggers: [{event: custom.y, count: 2, within: 1h}]
    actions: [{log: y, if: "false"}]
`)},
		"x.test.yaml": {Data: []byte(`tests:
  - name: x
    steps:
      - edit: {rule: edited, set: {mode: queued}}
      - {event: custom.x, expect: {runs: 1}}
  - name: gathers
    steps: [{event: custom.y, expect: {decisions: [counted]}}]
`)},
	}, "")
	c := run(t, s, ruletest.Options{}).Coverage
	if c.Total().Used != 0 {
		t.Errorf("used by an edited rule and a count that is not full: %+v", *c)
	}
	s = open(t, fstest.MapFS{
		"rules.yaml":  {Data: []byte("rules: [{id: passes, triggers: [{event: custom.y}], actions: [{log: y, if: 'false'}, {log: z}]}]")},
		"x.test.yaml": {Data: []byte("tests: [{name: x, steps: [{event: custom.y, expect: {runs: 1}}]}]")},
	}, "")
	if c := run(t, s, ruletest.Options{}).Coverage; c.Steps != (ruletest.Share{Used: 1, All: 2}) {
		t.Errorf("with a step that is passed over: %+v", *c)
	}
}

// outside is the outside of a plugin in which nothing happens.
type outside struct{}

func (outside) Step(context.Context) (bool, error)      { return false, nil }
func (outside) Next(context.Context) (time.Time, error) { return time.Time{}, nil }
func (outside) Leap()                                   {}
func (outside) Stop()                                   {}

// namesake is a plugin with a verb.
type namesake struct {
	verb  string
	given bool
}

func (namesake) Name() string                         { return "namesake" }
func (namesake) Simulate(plugins.World) plugins.World { return outside{} }

func (n namesake) Register(h *plugins.Host) error {
	return plugins.AddVerb(h, plugins.VerbSpec[outside, struct{}]{
		Name: n.verb, Given: n.given, Do: func(outside, context.Context, struct{}) error { return nil },
	})
}

// TestAVerbOfAPluginIsNotCalledLikeOneOfOurs refuses such a plugin.
func TestAVerbOfAPluginIsNotCalledLikeOneOfOurs(t *testing.T) {
	for n, refused := range map[namesake]bool{
		{"update", false}: true, {"expect", false}: true, {"entity", true}: true, {"update", true}: false, {"entity", false}: false,
	} {
		s, err := ruletest.Open(t.Context(), fstest.MapFS{}, "", func() []plugins.Plugin { return []plugins.Plugin{n} })
		if got := err != nil && strings.Contains(err.Error(), "is called like one of the test language"); got != refused {
			t.Errorf("%+v: %v", n, err)
		}
		if err == nil {
			if err := s.Close(context.Background()); err != nil {
				t.Error(err)
			}
		}
	}
}

// TestATestThatTakesTooLong is ended, and says so.
func TestATestThatTakesTooLong(t *testing.T) {
	s := open(t, files(t, map[string]string{"x.test.yaml": "tests: [{name: x, steps: [{at: 520w, expect: {logs: 0}}]}]"}), "")
	report := run(t, s, ruletest.Options{Timeout: time.Millisecond})
	if got := told(report); !strings.Contains(got, "error: the test took longer than 1ms") {
		t.Error(got)
	}
}

// FuzzTests looks for tests that make the reader panic.
func FuzzTests(f *testing.F) {
	for _, pattern := range []string{"testdata/*/*.test.yaml", "../../examples/*/*.test.yaml"} {
		names, err := filepath.Glob(pattern)
		if err != nil {
			f.Fatal(err)
		}
		for _, name := range names {
			f.Add(contents(f, name))
		}
	}
	f.Fuzz(func(t *testing.T, text string) {
		s, err := ruletest.Open(t.Context(), files(t, map[string]string{"x.test.yaml": text}), "", brought)
		if err == nil {
			err = s.Close(context.Background())
		}
		_ = err // any text is read, or refused
	})
}
