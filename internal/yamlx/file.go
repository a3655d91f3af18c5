package yamlx

import (
	"fmt"
	"strings"
	"unicode/utf8"

	"gopkg.in/yaml.v3"
)

// file is the source that nodes belong to.
type file struct {
	name  string
	lines []string            // without their line breaks
	order []*yaml.Node        // every node as written, parents before their content
	last  map[*yaml.Node]int  // the index in order of the last node that belongs to a node
	bad   map[*yaml.Node]bool // keys that were reported and that count as not there
}

func newFile(name, src string) *file {
	return &file{name: name, lines: splitLines(src), last: make(map[*yaml.Node]int), bad: make(map[*yaml.Node]bool)}
}

// line returns the text of a line, counted from 1, or "".
func (f *file) line(number int) string {
	if f == nil || number < 1 || number > len(f.lines) {
		return ""
	}
	return strings.TrimRight(f.lines[number-1], " \t")
}

// splitLines splits at what YAML takes for the end of a line, so that its line numbers are ours.
func splitLines(src string) []string {
	var lines []string
	for src != "" {
		end := strings.IndexAny(src, lineBreaks)
		if end < 0 {
			break
		}
		_, size := utf8.DecodeRuneInString(src[end:])
		if strings.HasPrefix(src[end:], "\r\n") {
			size = 2
		}
		lines = append(lines, src[:end])
		src = src[end+size:]
	}
	return append(lines, src)
}

const lineBreaks = "\n\r\u0085\u2028\u2029"

// checkText reports what a YAML file cannot hold: bytes that are no UTF-8, and control characters.
func (f *file) checkText(ps *Problems) bool {
	for i, line := range f.lines {
		column := 0
		for offset, r := range line {
			column++
			message := ""
			if _, size := utf8.DecodeRuneInString(line[offset:]); r == utf8.RuneError && size == 1 {
				message = "the file is not UTF-8 text"
			} else if !printable(r) {
				message = fmt.Sprintf("the character %U is not allowed", r)
			}
			if message != "" {
				ps.add(Problem{File: f.name, Line: i + 1, Column: column, Message: message})
				return false
			}
		}
	}
	return true
}

// printable says whether YAML 1.2 allows a character (section 5.1 of its specification).
func printable(r rune) bool {
	return r == '\t' || r >= 0x20 && r <= 0x7E || r >= 0xA0 && r <= 0xD7FF || r >= 0xE000 && r <= 0xFFFD && r != 0xFEFF ||
		r >= 0x10000
}
