package yamlx

import (
	"regexp"
	"sort"
	"strconv"
	"strings"
	"unicode/utf8"
)

const notClosed = "found unexpected end of stream"

// syntaxMessages says in other words what yaml.v3 says.
var syntaxMessages = []struct{ yaml, message, hint string }{
	{"mapping values are not allowed in this context", "a key with a value cannot stand here",
		"check the indentation, and put a text that holds \": \" in quotes"},
	{"did not find expected key", "a key was expected here", "check the indentation and the quotes"},
	{"did not find expected '-' indicator", "a list item (\"- \") was expected here", "check the indentation"},
	{"block sequence entries are not allowed in this context", "a list item cannot stand here",
		"begin the list on a line of its own"},
	{"could not find expected ':'", "the colon of a key is missing", "write key: value"},
	{notClosed, "a quote that is opened here is not closed", ""},
	{"did not find expected ',' or ']'", "a list that is opened with [ is not closed, or lacks a comma", ""},
	{"did not find expected ',' or '}'", "a map that is opened with { is not closed, or lacks a comma", ""},
	{"found a tab character that violates indentation", "a tab cannot indent", "use spaces"},
	{"found unknown escape character", "a text in double quotes holds a backslash that means nothing",
		"write \\\\ for a backslash, or use single quotes"},
}

var (
	syntaxLine    = regexp.MustCompile(`^(?:yaml: )?(?:line (\d+): )?(.*)$`)
	unknownAnchor = regexp.MustCompile(`^unknown anchor '(.*)' referenced$`)
)

// syntaxProblem makes a problem of what yaml.v3 says about a text that it cannot read.
func (f *file) syntaxProblem(src string, err error) Problem {
	reported, message := splitSyntaxError(err)
	line := f.syntaxErrorLine(reported, message)
	text := f.line(line)
	p := Problem{File: f.name, Line: line, Column: firstColumn(text), Message: "not valid YAML: " + message, Source: text}
	for _, known := range syntaxMessages {
		if message == known.yaml {
			p.Message, p.Hint = known.message, known.hint
		}
	}
	indent := text[:len(text)-len(strings.TrimLeft(text, " \t"))]
	switch {
	case unknownAnchor.MatchString(message):
		alias := "*" + unknownAnchor.FindStringSubmatch(message)[1]
		p.Message = "unknown anchor: there is no &" + alias[1:] + " above"
		p.Hint = "put a text that begins with * in quotes"
		p.Column = utf8.RuneCountInString(text[:max(0, strings.Index(text, alias))]) + 1
	case message == "found character that cannot start any token" && !strings.Contains(indent, "\t"):
		p.Message, p.Hint = "a text cannot begin with @, ` or %", "put it in quotes"
	case strings.Contains(indent, "\t"):
		p.Message, p.Hint = "a tab cannot indent", "use spaces"
		p.Column = utf8.RuneCountInString(text[:strings.Index(text, "\t")]) + 1
	}
	return p
}

// syntaxErrorLine finds the line of an error. yaml.v3 often names the line where the broken list or map begins, or one
// line too few; the error is on the first line from there whose inclusion makes the parser say the same.
func (f *file) syntaxErrorLine(reported int, message string) int {
	from := max(reported, 1)
	if message == notClosed {
		from = 1 // a quote that opens on the first line is reported at the end of the file
	}
	count := sort.Search(len(f.lines)-from, func(i int) bool {
		_, _, err := decode([]byte(strings.Join(f.lines[:from+i], "\n") + "\n"))
		if err == nil {
			return false
		}
		_, same := splitSyntaxError(err)
		return same == message
	})
	return min(from+count, len(f.lines))
}

// splitSyntaxError splits an error of yaml.v3 into its line, 0 when it names none, and the rest.
func splitSyntaxError(err error) (line int, message string) {
	parts := syntaxLine.FindStringSubmatch(strings.SplitN(err.Error(), "\n", 2)[0])
	if number, err := strconv.Atoi(parts[1]); err == nil {
		line = number
	}
	return line, parts[2]
}

// firstColumn returns the column of the first character that is no blank.
func firstColumn(line string) int {
	return len(line) - len(strings.TrimLeft(line, " \t")) + 1
}
