package ruletest

import (
	"encoding/xml"
	"fmt"
	"io"
	"strings"
)

// The elements of a JUnit report, as build servers read them.
type (
	junitSuites struct {
		XMLName xml.Name     `xml:"testsuites"`
		Tests   int          `xml:"tests,attr"`
		Failed  int          `xml:"failures,attr"`
		Errors  int          `xml:"errors,attr"`
		Time    string       `xml:"time,attr"`
		Suites  []junitSuite `xml:"testsuite"`
	}
	junitSuite struct {
		Name   string      `xml:"name,attr"`
		Tests  int         `xml:"tests,attr"`
		Failed int         `xml:"failures,attr"`
		Errors int         `xml:"errors,attr"`
		Time   string      `xml:"time,attr"`
		Cases  []junitCase `xml:"testcase"`

		seconds float64
	}
	junitCase struct {
		Name    string        `xml:"name,attr"`
		Class   string        `xml:"classname,attr"`
		File    string        `xml:"file,attr"`
		Line    int           `xml:"line,attr"`
		Time    string        `xml:"time,attr"`
		Failure *junitFailure `xml:"failure,omitempty"`
		Error   *junitFailure `xml:"error,omitempty"`
	}
	junitFailure struct {
		Message string `xml:"message,attr"`
		Text    string `xml:",chardata"`
	}
)

// JUnit writes a report as JUnit XML, with one suite for each file of tests.
func (r *Report) JUnit(w io.Writer) error {
	all := junitSuites{Tests: len(r.Tests)}
	total := 0.0
	for _, t := range r.Tests {
		if n := len(all.Suites); n == 0 || all.Suites[n-1].Name != t.File {
			all.Suites = append(all.Suites, junitSuite{Name: t.File})
		}
		suite := &all.Suites[len(all.Suites)-1]
		suite.Tests++
		suite.seconds += t.Seconds
		total += t.Seconds
		one := junitCase{Name: t.Name, Class: strings.TrimSuffix(t.File, ".yaml"), File: t.File, Line: t.Line, Time: seconds(t.Seconds)}
		switch {
		case t.Error != "":
			one.Error = &junitFailure{Message: t.Error}
			suite.Errors++
			all.Errors++
		case !t.Passed:
			var texts []string
			for _, f := range t.Failures {
				texts = append(texts, f.String())
			}
			one.Failure = &junitFailure{Message: t.Failures[0].Lines[0], Text: strings.Join(texts, "\n")}
			suite.Failed++
			all.Failed++
		}
		suite.Cases = append(suite.Cases, one)
	}
	for i := range all.Suites {
		all.Suites[i].Time = seconds(all.Suites[i].seconds)
	}
	all.Time = seconds(total)
	text, err := xml.MarshalIndent(all, "", "  ")
	if err != nil {
		return err
	}
	_, err = fmt.Fprintf(w, "%s%s\n", xml.Header, text)
	return err
}

func seconds(s float64) string { return fmt.Sprintf("%.3f", s) }
