package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"regexp"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"github.com/flightrules/flightrules/internal/app"
	"github.com/flightrules/flightrules/internal/ruletest"
	"github.com/flightrules/flightrules/internal/yamlx"
	"github.com/flightrules/flightrules/plugins"
)

// tester is how tests are run and shown.
type tester struct {
	ruletest.Options

	match, output, junit, cover string
	least                       float64 // of cover, in percent
	verbose, watch              bool
}

func testCommand() *cobra.Command {
	var t tester
	cmd := &cobra.Command{
		Use:   "test [DIR...]",
		Short: "Run the unit tests of the rules in DIR",
		Long: "Runs the tests in *.test.yaml below each DIR (default: .) on the rules that are there. Each is played by\n" +
			"the engine itself, in simulated time and in memory: it reaches no network, clock or file, and what actions\n" +
			"would do is recorded and answered. Exits 0 when all pass, else 1.",
		Example: "  flightrules test rules/\n" +
			"  flightrules test rules/ --with-restarts --cover=90 --junit report.xml\n" +
			"  flightrules test rules/ --watch --run 'pages once'",
		RunE: func(cmd *cobra.Command, dirs []string) error {
			if len(dirs) == 0 {
				dirs = []string{"."}
			}
			if err := t.read(cmd, dirs); err != nil {
				return err
			}
			if t.watch {
				return t.again(cmd, dirs)
			}
			return t.once(cmd, dirs)
		},
	}
	flags := cmd.Flags()
	flags.StringVar(&t.match, "run", "", "only the tests whose names match this regular expression")
	flags.BoolVarP(&t.verbose, "verbose", "v", false, "show the tests that pass, too")
	flags.BoolVar(&t.Restarts, "with-restarts", false, "run each test again with a restart of the engine after every step, which must change nothing")
	flags.BoolVar(&t.Update, "update", false, "take the snapshots as they are now")
	flags.BoolVar(&t.watch, "watch", false, "run them again whenever a file changes")
	flags.StringVar(&t.cover, "cover", "", "show which rules, triggers, branches and steps no test used; with =PERCENT, fail below that")
	flags.Lookup("cover").NoOptDefVal = "0"
	flags.StringVarP(&t.output, "output", "o", "text", "text or json")
	flags.StringVar(&t.junit, "junit", "", "file for a report that build servers read")
	flags.DurationVar(&t.Timeout, "timeout", 0, "real time that one test may take (default 1m)")
	return cmd
}

// read reads the flags.
func (t *tester) read(cmd *cobra.Command, dirs []string) (err error) {
	if t.output != "text" && t.output != "json" {
		return misused(cmd, fmt.Errorf("unknown output %q: it is text or json", t.output))
	}
	if t.match != "" {
		if t.Match, err = regexp.Compile(t.match); err != nil {
			return misused(cmd, fmt.Errorf("--run: %w", err))
		}
	}
	if t.cover != "" {
		if t.least, err = strconv.ParseFloat(strings.TrimSuffix(t.cover, "%"), 64); err != nil || t.least < 0 || t.least > 100 {
			return misused(cmd, fmt.Errorf("--cover=%s: a number from 0 to 100 is wanted", t.cover))
		}
	}
	for _, dir := range dirs {
		info, err := os.Stat(dir)
		if err != nil {
			return err
		}
		if !info.IsDir() {
			return misused(cmd, fmt.Errorf("%s is a file: name the folder with the rules, and choose tests with --run", dir))
		}
	}
	return nil
}

// again runs the tests now and whenever a file changes, until it is interrupted.
func (t *tester) again(cmd *cobra.Command, dirs []string) error {
	run := func() {
		var failed exit
		if err := t.once(cmd, dirs); err != nil && !errors.As(err, &failed) && cmd.Context().Err() == nil {
			fmt.Fprintln(cmd.ErrOrStderr(), "flightrules:", err)
		}
		if cmd.Context().Err() == nil {
			fmt.Fprintln(cmd.ErrOrStderr(), "-- waiting for changes")
		}
	}
	return app.Watch(cmd.Context(), dirs, slog.New(slog.NewTextHandler(cmd.ErrOrStderr(), nil)), run, run)
}

// once runs the tests and shows what came of them. It is exit where that is not
// well.
func (t *tester) once(cmd *cobra.Command, dirs []string) error {
	report, err := t.run(cmd.Context(), dirs, cmd.ErrOrStderr())
	var list *yamlx.Error
	switch {
	case errors.As(err, &list):
		return errors.Join(t.problems(cmd, list.Problems), exit{exitFailed})
	case err != nil:
		return err
	}
	if t.junit != "" {
		if err := writeTo(t.junit, report.JUnit); err != nil {
			return err
		}
	}
	out := cmd.OutOrStdout()
	if t.output == "json" {
		err = indented(out, report)
	} else {
		err = t.text(out, report)
	}
	if err != nil {
		return err
	}
	if len(report.Tests) == 0 {
		return fmt.Errorf("there are no tests%s in %s: their files are called NAME.test.yaml", matching(t.match), strings.Join(dirs, ", "))
	}
	if report.Failed > 0 {
		return exit{exitFailed}
	}
	if total := report.Coverage.Total(); total.Percent() < t.least {
		return fmt.Errorf("coverage is %s, and %s %% are wanted", total, strings.TrimSuffix(t.cover, "%"))
	}
	return nil
}

func matching(pattern string) string {
	if pattern == "" {
		return ""
	}
	return fmt.Sprintf(" that match %q", pattern)
}

// writeTo writes a file.
func writeTo(path string, write func(io.Writer) error) error {
	file, err := os.Create(path)
	if err != nil {
		return err
	}
	return errors.Join(write(file), file.Close())
}

// run runs the tests of all folders.
func (t *tester) run(ctx context.Context, dirs []string, progress io.Writer) (*ruletest.Report, error) {
	var suites []*ruletest.Suite
	defer func() {
		for _, s := range suites {
			_ = s.Close(context.WithoutCancel(ctx)) // it is in memory
		}
	}()
	problems := &yamlx.Error{}
	all := 0
	for _, dir := range dirs {
		s, err := ruletest.Open(ctx, os.DirFS(dir), dir, standardPlugins)
		var list *yamlx.Error
		if errors.As(err, &list) {
			problems.Problems = append(problems.Problems, list.Problems...)
			continue
		} else if err != nil {
			return nil, err
		}
		suites = append(suites, s)
		all += len(s.Tests)
	}
	if len(problems.Problems) > 0 {
		return nil, problems
	}
	o := t.Options
	if terminal(progress) {
		done := 0
		o.Done = func(ruletest.Result) {
			done++
			_, _ = fmt.Fprint(progress, bar("test", float64(done)/float64(all))) // nobody to tell
		}
		defer fmt.Fprint(progress, clearLine)
	}
	report := &ruletest.Report{Tests: []ruletest.Result{}, Coverage: &ruletest.Coverage{Missing: []ruletest.Place{}}, Notes: []string{}}
	for _, s := range suites {
		one, err := s.Run(ctx, o)
		if err != nil {
			return nil, err
		}
		report.Add(one)
	}
	return report, nil
}

// standardPlugins are those that every engine has.
func standardPlugins() []plugins.Plugin { return app.Plugins(app.PluginConfig{}) }

func (t *tester) problems(cmd *cobra.Command, list []yamlx.Problem) error {
	out := cmd.OutOrStdout()
	if t.output == "json" {
		return indented(out, map[string]any{"passed": 0, "failed": 0, "tests": []any{}, "problems": list})
	}
	for _, p := range list {
		if _, err := fmt.Fprintln(out, p); err != nil {
			return err
		}
	}
	_, err := fmt.Fprintln(out, summary(list))
	return err
}

func (t *tester) text(w io.Writer, r *ruletest.Report) error {
	colours := colours(w)
	p := &printer{w: w}
	for _, one := range r.Tests {
		switch {
		case !one.Passed:
			p.line("%s %s  %s", colours.paint(red, "FAIL"), one.Name, colours.paint(grey, fmt.Sprintf("%s:%d", one.File, one.Line)))
			for _, f := range one.Failures {
				p.line("  %s", strings.ReplaceAll(f.String(), "\n", "\n  "))
			}
			if one.Error != "" {
				p.line("  %s", one.Error)
			}
		case t.verbose:
			p.line("%s %s  %s", colours.paint(green, "pass"), one.Name, colours.paint(grey, fmt.Sprintf("%s:%d  %.0f ms", one.File, one.Line, one.Seconds*1000)))
		}
	}
	for _, note := range r.Notes {
		p.line("%s %s", colours.paint(yellow, "note"), note)
	}
	if t.cover != "" {
		for _, m := range r.Coverage.Missing {
			p.line("%s %s:%d: %s", colours.paint(yellow, "unused"), m.File, m.Line, strings.TrimSpace(m.Rule+" "+m.Part))
		}
		p.line("rules     %s", r.Coverage.Rules)
		p.line("triggers  %s", r.Coverage.Triggers)
		p.line("branches  %s", r.Coverage.Branches)
		p.line("steps     %s", r.Coverage.Steps)
	}
	if r.Failed > 0 {
		p.line("%s, %d of %s", colours.paint(red, fmt.Sprintf("%d failed", r.Failed)), r.Failed, count(len(r.Tests), "test"))
	} else {
		p.line("%s: %s", colours.paint(green, "ok"), count(len(r.Tests), "test"))
	}
	return p.err
}
