package main

import (
	"bufio"
	"encoding/json"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

const testedRule = `rules:
  - id: greet
    triggers: [{event: custom.hello}]
    actions:
      - choose: [{when: 'event.payload.name == "world"', do: [{log: "hello ${{ event.payload.name }}"}]}]
        else: [{log: who}]
`

const goodTest = `tests:
  - name: greets
    steps: [{event: {name: custom.hello, payload: {name: world}}, expect: {logs: [hello world]}}]
`

// ruleFolder is a folder with a rule and a test of it.
func ruleFolder(t *testing.T, test string) string {
	t.Helper()
	dir := t.TempDir()
	write(t, filepath.Join(dir, "greet.yaml"), testedRule)
	if test != "" {
		write(t, filepath.Join(dir, "greet.test.yaml"), test)
	}
	return dir
}

func TestTest(t *testing.T) {
	badTest := strings.Replace(goodTest, "[hello world]", "[hello you]", 1)
	inexact := strings.NewReplacer("name: greets", "name: nobody", "hello world", "who", "name: world", "name: x").Replace(goodTest)
	for _, c := range []struct {
		name, test string
		args       []string
		code       int
		want       []string
	}{
		{"passing", goodTest, nil, 0, []string{"ok: 1 test\n"}},
		{"shown when wanted", goodTest, []string{"-v"}, 0, []string{"pass greets", "ok: 1 test"}},
		{"failing", badTest, nil, 1, []string{"FAIL greets", `greet.test.yaml:3: at 0s, logs: [0].text: want "hello you", got "hello world"`, "1 failed, 1 of 1 test"}},
		{"a mistake", strings.Replace(goodTest, "expect", "expct", 1), nil, 1, []string{`greet.test.yaml:3:67: unknown key "expct"`, `did you mean "expect"?`, "1 problem in 1 file"}},
		{"coverage is shown", goodTest, []string{"--cover"}, 0, []string{"greet actions[0].else", "branches  1 of 2 (50.0 %)", "rules     1 of 1"}},
		{"coverage is too low", goodTest, []string{"--cover=90"}, 1, []string{"coverage is 5 of 7 (71.4 %), and 90 % are wanted"}},
		{"coverage is reached", goodTest + strings.TrimPrefix(inexact, "tests:\n"), []string{"--cover=100", "--with-restarts"}, 0, []string{"ok: 2 tests"}},
		{"some", goodTest + strings.TrimPrefix(inexact, "tests:\n"), []string{"--run", "nobo", "-v"}, 0, []string{"pass nobody", "ok: 1 test"}},
		{"none that match", goodTest, []string{"--run", "zzz"}, 1, []string{`there are no tests that match "zzz"`}},
		{"none", "", nil, 1, []string{"there are no tests in", "NAME.test.yaml"}},
		{"a bad pattern", goodTest, []string{"--run", "("}, 2, []string{"--run: error parsing regexp"}},
		{"a bad share", goodTest, []string{"--cover=200"}, 2, []string{"--cover=200: a number from 0 to 100 is wanted"}},
		{"a bad output", goodTest, []string{"-o", "xml"}, 2, []string{`unknown output "xml"`}},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			out, errs, code := run(t, append([]string{"test", ruleFolder(t, c.test)}, c.args...)...)
			if code != c.code {
				t.Errorf("exit %d, want %d", code, c.code)
			}
			for _, want := range c.want {
				if !strings.Contains(out+errs, want) {
					t.Errorf("want %q in:\n%s%s", want, out, errs)
				}
			}
		})
	}

	t.Run("a mistake in a rule, and a file instead of a folder", func(t *testing.T) {
		dir := ruleFolder(t, goodTest)
		write(t, filepath.Join(dir, "greet.yaml"), strings.Replace(testedRule, "log", "lg", 1))
		if out, _, code := run(t, "test", dir); code != 1 || !strings.Contains(out, `did you mean "log"?`) {
			t.Errorf("exit %d: %s", code, out)
		}
		if _, errs, code := run(t, "test", filepath.Join(dir, "greet.test.yaml")); code != 2 || !strings.Contains(errs, "choose tests with --run") {
			t.Errorf("exit %d: %s", code, errs)
		}
	})

	t.Run("JSON and JUnit of several folders", func(t *testing.T) {
		good, bad, junit := ruleFolder(t, goodTest), ruleFolder(t, badTest), filepath.Join(t.TempDir(), "report.xml")
		out, errs, code := run(t, "test", good, bad, "-o", "json", "--junit", junit)
		var report struct {
			Passed, Failed int
			Tests          []struct {
				Name, File string
				Passed     bool
				Failures   []struct{ Lines []string }
			}
			Coverage struct{ Rules struct{ Used, All int } }
		}
		if err := json.Unmarshal([]byte(out), &report); err != nil || code != 1 {
			t.Fatalf("exit %d: %v: %s%s", code, err, out, errs)
		}
		if report.Passed != 1 || report.Failed != 1 || len(report.Tests) != 2 || len(report.Tests[1].Failures) != 1 || report.Coverage.Rules.All != 2 {
			t.Errorf("%+v", report)
		}
		if text := read(t, junit); !strings.Contains(text, `<testsuites tests="2" failures="1" errors="0"`) || !strings.Contains(text, "want &#34;hello you&#34;") {
			t.Error(text)
		}
		out, _, code = run(t, "test", ruleFolder(t, "tests: 1"), "-o", "json")
		var problems struct {
			Problems []struct{ File, Message string }
		}
		if err := json.Unmarshal([]byte(out), &problems); err != nil || code != 1 || len(problems.Problems) == 0 || problems.Problems[0].Message == "" {
			t.Errorf("exit %d: %v: %s", code, err, out)
		}
	})

	t.Run("snapshots", func(t *testing.T) {
		dir := ruleFolder(t, strings.Replace(goodTest, "logs: [hello world]", "snapshot: true", 1))
		if out, _, code := run(t, "test", dir); code != 1 || !strings.Contains(out, "there is none yet") {
			t.Errorf("exit %d: %s", code, out)
		}
		if out, errs, code := run(t, "test", dir, "--update"); code != 0 {
			t.Fatalf("exit %d: %s%s", code, out, errs)
		}
		if out, errs, code := run(t, "test", dir); code != 0 {
			t.Errorf("exit %d: %s%s", code, out, errs)
		}
	})
}

// TestTestWatches changes a file while the tests are watched.
func TestTestWatches(t *testing.T) {
	dir := ruleFolder(t, goodTest)
	cmd := program(t.Context(), "test", dir, "--watch")
	told, out := io.Pipe()
	cmd.Stdout, cmd.Stderr = out, out
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	lines := bufio.NewScanner(told)
	until := func(want string) {
		t.Helper()
		for lines.Scan() {
			if strings.Contains(lines.Text(), want) {
				return
			}
		}
		t.Fatalf("it ended before it said %q: %v", want, lines.Err())
	}
	until("ok: 1 test")
	until("waiting for changes")
	write(t, filepath.Join(dir, "greet.yaml"), strings.Replace(testedRule, "hello $", "goodbye $", 1))
	until(`got "goodbye world"`)
	write(t, filepath.Join(dir, "greet.yaml"), strings.Replace(testedRule, "log", "lg", 1))
	until(`unknown action "lg"`)
	if err := cmd.Process.Signal(os.Interrupt); err != nil {
		t.Fatal(err)
	}
	go func() { _, _ = io.Copy(io.Discard, told) }()
	if err := cmd.Wait(); err != nil {
		t.Errorf("after an interrupt: %v", err)
	}
}

// TestTestsOfTheExamples runs them as CI does, and holds them against the schema.
func TestTestsOfTheExamples(t *testing.T) {
	dirs := []string{"../../examples", "starter"}
	if out, errs, code := run(t, append([]string{"test", "--with-restarts", "--cover=100"}, dirs...)...); code != 0 {
		t.Errorf("exit %d: %s%s", code, out, errs)
	}
	schema, _ := printedSchema(t, "--tests")
	names, err := filepath.Glob("../../examples/*/*.test.yaml")
	if err != nil || names == nil {
		t.Fatal(names, err)
	}
	for _, name := range append(names, "starter/rules.test.yaml", "../../internal/ruletest/testdata/passing/passing.test.yaml") {
		if err := schema.Validate(plainYAML(t, read(t, name))); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	if err := schema.Validate(plainYAML(t, strings.Replace(goodTest, "expect", "expct", 1))); err == nil {
		t.Error("the schema takes what Open refuses")
	}
}
