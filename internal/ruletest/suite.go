// Package ruletest is the unit tests of rules: the language of *.test.yaml, and
// what plays them, each in a simulation of its own.
package ruletest

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"path"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/flightrules/flightrules/internal/sim"
	"github.com/flightrules/flightrules/internal/yamlx"
	"github.com/flightrules/flightrules/plugins"
	"github.com/flightrules/flightrules/rules"
)

// Suite is the rules of a folder and their tests.
type Suite struct {
	Tests []*Test // in the order of the files, and in them as they are written

	dir       string
	lab       *sim.Lab
	snapshots map[string]map[string]string // by file of tests and title
}

// Open reads the rules and the tests below the root of files; dir is where that
// is, under which snapshots are written. Problems of any of them are a
// *yamlx.Error; those of tests are looked for once the rules have none. Close
// it.
func Open(ctx context.Context, files fs.FS, dir string, brought func() []plugins.Plugin) (s *Suite, err error) {
	s = &Suite{dir: dir, snapshots: map[string]map[string]string{}}
	if s.lab, err = sim.NewLab(ctx, files, dir, brought); err != nil {
		return nil, err
	}
	if err := s.read(files); err != nil {
		return nil, errors.Join(err, s.Close(ctx))
	}
	return s, nil
}

// Close ends a suite.
func (s *Suite) Close(ctx context.Context) error { return s.lab.Close(ctx) }

func (s *Suite) read(files fs.FS) error {
	verbs := ownVerbs()
	if err := collision(verbs, s.lab.Verbs()); err != nil {
		return err
	}
	ps := &yamlx.Problems{}
	for _, name := range testFiles(files, s.dir, ps) {
		shown := path.Join(s.dir, name)
		src, err := fs.ReadFile(files, name)
		if err != nil {
			ps.AddFile(shown, fmt.Sprintf("cannot be read: %v", err), "")
			continue
		}
		root, ok := yamlx.Parse(shown, src, ps)
		if !ok {
			continue
		}
		if root.IsZero() {
			ps.AddFile(shown, "there are no tests in this file", "begin with tests:")
			continue
		}
		p := &parser{Problems: ps, lab: s.lab, verbs: verbs, all: s.lab.Set, taken: map[string]bool{}}
		s.Tests = append(s.Tests, p.file(root)...)
		if s.snapshots[shown], err = readSnapshots(files, snapshotFile(name)); err != nil {
			ps.AddFile(snapshotFile(shown), err.Error(), "remove it, and run flightrules test --update")
		}
	}
	return ps.Err()
}

// testFiles names the files of tests, sorted.
func testFiles(files fs.FS, dir string, ps *yamlx.Problems) (names []string) {
	_ = fs.WalkDir(files, ".", func(name string, d fs.DirEntry, err error) error {
		if err != nil {
			ps.AddFile(path.Join(dir, name), fmt.Sprintf("cannot be read: %v", err), "")
			return nil // the others are read all the same
		}
		base := path.Base(name)
		switch hidden := strings.HasPrefix(base, ".") && name != "."; {
		case hidden && d.IsDir():
			return fs.SkipDir
		case !hidden && !d.IsDir() && rules.IsTest(base):
			names = append(names, name)
		}
		return nil
	})
	slices.Sort(names)
	return names
}

// collision is an error of a plugin whose verb is called like something of ours.
func collision(verbs map[string]verb, list []plugins.Verb) error {
	for _, v := range list {
		_, taken := verbs[v.Name]
		if v.Given {
			taken = slices.Contains(givenKeys, v.Name)
		}
		if taken || slices.Contains(stepKeys, v.Name) {
			return fmt.Errorf("the verb %q of a plugin is called like one of the test language", v.Name)
		}
	}
	return nil
}

// Options are how tests are run. The zero value runs all of them once.
type Options struct {
	Match    *regexp.Regexp // of the names of those to run; nil: all
	Restarts bool           // each again, with a restart after every step
	Update   bool           // take snapshots as they are
	Timeout  time.Duration  // of one test, in real time; zero: a minute
	Done     func(Result)   // is told of each that has ended, one at a time; nil: nobody is
}

// Result is what came of a test.
type Result struct {
	Name     string    `json:"name"`
	File     string    `json:"file"`
	Line     int       `json:"line"`
	Passed   bool      `json:"passed"`
	Seconds  float64   `json:"seconds"`
	Failures []Failure `json:"failures"`
	// Error is why the test could not be played to its end; "": it was.
	Error string `json:"error,omitempty"`
}

// Report is what came of tests.
type Report struct {
	Passed   int       `json:"passed"`
	Failed   int       `json:"failed"`
	Tests    []Result  `json:"tests"`
	Coverage *Coverage `json:"coverage"`
	// Notes are for whoever keeps the tests: snapshots that none takes.
	Notes []string `json:"notes"`
}

// Run runs tests, as many at a time as there are processors. An error is that of
// ctx, or of writing snapshots.
func (s *Suite) Run(ctx context.Context, o Options) (*Report, error) {
	var list []*Test
	for _, t := range s.Tests {
		if o.Match == nil || o.Match.MatchString(t.Name) {
			list = append(list, t)
		}
	}
	results, outs := make([]Result, len(list)), make([]played, len(list))
	next := make(chan int)
	var mu sync.Mutex
	var group sync.WaitGroup
	for range runtime.GOMAXPROCS(0) {
		group.Go(func() {
			for i := range next {
				results[i], outs[i] = s.run(ctx, list[i], o)
				if o.Done != nil {
					mu.Lock()
					o.Done(results[i])
					mu.Unlock()
				}
			}
		})
	}
	for i := range list {
		if ctx.Err() == nil {
			next <- i
		}
	}
	close(next)
	group.Wait()
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	report := &Report{Tests: results, Notes: []string{}}
	used := covered{}
	for i, r := range results {
		if r.Passed {
			report.Passed++
		} else {
			report.Failed++
		}
		maps.Copy(used, outs[i].covered)
	}
	report.Coverage = coverage(s.lab.Set, used)
	return report, s.keep(report, list, outs, o)
}

// run runs one test.
func (s *Suite) run(ctx context.Context, t *Test, o Options) (r Result, out played) {
	began := time.Now()
	limit := o.Timeout
	if limit == 0 {
		limit = time.Minute
	}
	timed, cancel := context.WithTimeoutCause(ctx, limit, fmt.Errorf("the test took longer than %s", limit))
	defer cancel()
	r = Result{Name: t.Name, File: t.File, Line: t.Line, Failures: []Failure{}}
	out, err := play(timed, s.lab, t, false)
	r.Failures = append(r.Failures, out.failures...)
	if err == nil && !o.Update {
		r.Failures = append(r.Failures, s.compare(t, out)...)
	}
	if err == nil && o.Restarts {
		var again played
		if again, err = play(timed, s.lab, t, true); err == nil {
			r.Failures = append(r.Failures, restarted(t, out, again)...)
		} else {
			err = fmt.Errorf("with restarts: %w", err)
		}
	}
	if err != nil {
		if cause := context.Cause(timed); cause != nil {
			err = cause
		}
		r.Error = err.Error()
	}
	r.Passed = err == nil && len(r.Failures) == 0
	r.Seconds = time.Since(began).Seconds()
	return r, out
}

// compare is how the snapshots that a test took differ from those that there are.
func (s *Suite) compare(t *Test, out played) (list []Failure) {
	for _, title := range slices.Sorted(maps.Keys(out.snapshots)) {
		taken := out.snapshots[title]
		at := taken.step.expect.node.At("snapshot")
		before, ok := s.snapshots[t.File][title]
		switch {
		case !ok:
			list = append(list, taken.step.failure(at, "snapshot", "there is none yet: flightrules test --update takes it"))
		case before != taken.text:
			list = append(list, taken.step.failure(at, "snapshot", changed(before, taken.text)...))
		}
	}
	return list
}

// restarted is how a test went otherwise with restarts of the engine.
func restarted(t *Test, plain, again played) (list []Failure) {
	if len(plain.failures) == 0 {
		for _, f := range again.failures {
			f.What = "with restarts, " + f.What
			list = append(list, f)
		}
	}
	if list != nil {
		return list
	}
	for _, key := range slices.Sorted(maps.Keys(sights)) {
		want, err := listing(plain.seen[key])
		got, err2 := listing(again.seen[key])
		if err := errors.Join(err, err2); err != nil {
			want, got = err.Error(), ""
		}
		if want != got {
			lines := append([]string{"a restart after each step changes them (- without, + with restarts)"}, lineDiff(lines(want), lines(got))...)
			list = append(list, Failure{File: t.File, Line: t.Line, Step: "at the end", What: "with restarts, " + key, Lines: lines})
		}
	}
	return list
}

// keep writes the snapshots that were taken, if that is wanted, and notes those
// that no test takes.
func (s *Suite) keep(report *Report, list []*Test, outs []played, o Options) error {
	taken := map[string]map[string]string{}
	for file := range s.snapshots {
		taken[file] = map[string]string{}
	}
	whole := o.Match == nil
	for i, t := range list {
		for title, one := range outs[i].snapshots {
			taken[t.File][title] = one.text
		}
		whole = whole && report.Tests[i].Error == "" // else some were not reached
	}
	for _, file := range slices.Sorted(maps.Keys(taken)) {
		before, after := s.snapshots[file], taken[file]
		for title, text := range before {
			if _, ok := after[title]; ok {
				continue
			}
			if !whole {
				after[title] = text
			} else if !o.Update {
				report.Notes = append(report.Notes, fmt.Sprintf("%s: no test takes the snapshot %q: flightrules test --update removes it", snapshotFile(file), title))
			}
		}
		if o.Update {
			if err := writeSnapshots(filepath.FromSlash(snapshotFile(file)), before, after); err != nil {
				return err
			}
			s.snapshots[file] = after
		}
	}
	slices.Sort(report.Notes)
	return nil
}

// Add adds the report of another suite.
func (r *Report) Add(other *Report) {
	r.Passed, r.Failed = r.Passed+other.Passed, r.Failed+other.Failed
	r.Tests, r.Notes = append(r.Tests, other.Tests...), append(r.Notes, other.Notes...)
	c := other.Coverage
	r.Coverage.Missing = append(r.Coverage.Missing, c.Missing...)
	for sum, share := range map[*Share]Share{
		&r.Coverage.Rules: c.Rules, &r.Coverage.Triggers: c.Triggers, &r.Coverage.Branches: c.Branches, &r.Coverage.Steps: c.Steps,
	} {
		sum.Used, sum.All = sum.Used+share.Used, sum.All+share.All
	}
}
