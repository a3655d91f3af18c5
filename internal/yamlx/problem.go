package yamlx

import (
	"fmt"
	"strings"
)

// Problem is one mistake in a file.
type Problem struct {
	File    string `json:"file"`             // as it was given to Parse
	Line    int    `json:"line"`             // from 1
	Column  int    `json:"column"`           // from 1, in characters
	Rule    string `json:"rule,omitempty"`   // the id of the rule that holds the mistake
	Message string `json:"message"`          // one line
	Hint    string `json:"hint,omitempty"`   // what to do about it, one line
	Source  string `json:"source,omitempty"` // the offending line
}

// String returns the problem as people read it: the place and the message, then the line with a caret under the column,
// then the hint. There is no line break at the end.
func (p Problem) String() string {
	var out strings.Builder
	if p.File != "" {
		fmt.Fprintf(&out, "%s:%d:%d: ", p.File, p.Line, p.Column)
	}
	if p.Rule != "" {
		fmt.Fprintf(&out, "rule %q: ", p.Rule)
	}
	out.WriteString(p.Message)
	if p.Source != "" {
		out.WriteString("\n    " + p.Source + "\n    " + padding(p.Source, p.Column-1) + "^")
	}
	if p.Hint != "" {
		out.WriteString("\n    hint: " + p.Hint)
	}
	return out.String()
}

// padding returns blanks as wide as the first n characters of the line: tabs stay tabs, so that both lines align
// whatever a tab is wide.
func padding(line string, n int) string {
	var out strings.Builder
	for _, r := range line {
		if n <= 0 {
			break
		}
		n--
		if r != '\t' {
			r = ' '
		}
		out.WriteRune(r)
	}
	return out.String() + strings.Repeat(" ", max(n, 0))
}

// Error is a set of problems as an error.
type Error struct {
	Problems []Problem // sorted by file, line and column; not empty
}

// Error returns every problem, one after another.
func (e *Error) Error() string {
	texts := make([]string, len(e.Problems))
	for i, p := range e.Problems {
		texts[i] = p.String()
	}
	return strings.Join(texts, "\n")
}
