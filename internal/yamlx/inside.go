package yamlx

import (
	"strconv"
	"strings"
	"unicode/utf8"

	"gopkg.in/yaml.v3"
)

// inside returns the place of a byte of a scalar's decoded value, and false when it cannot be found.
func (n Node) inside(offset int) (line, column int, ok bool) {
	if !n.IsScalar() || offset < 0 || offset > len(n.n.Value) {
		return 0, 0, false
	}
	c := &cursor{lines: n.file.lines, line: n.n.Line - 1}
	if c.line >= len(c.lines) {
		return 0, 0, false
	}
	c.offset = byteOffset(c.text(), n.n.Column)
	c.skipProperties()
	switch {
	case n.n.Style&(yaml.LiteralStyle|yaml.FoldedStyle) != 0:
		indent, first := n.file.blockIndent(n.n)
		ok = c.findInLines(n.n.Value, offset, first, indent)
	case n.n.Style&yaml.SingleQuotedStyle != 0:
		c.offset++
		ok = c.findQuoted(n.n.Value, offset, c.singleQuoted)
	case n.n.Style&yaml.DoubleQuotedStyle != 0:
		c.offset++
		ok = c.findQuoted(n.n.Value, offset, c.doubleQuoted)
	default:
		ok = c.findPlain(n.n.Value, offset)
	}
	if !ok {
		return 0, 0, false
	}
	return c.line + 1, utf8.RuneCountInString(c.text()[:min(c.offset, len(c.text()))]) + 1, true
}

// cursor is a place in the source; both numbers count from 0, the offset in bytes.
type cursor struct {
	lines        []string
	line, offset int
}

func (c *cursor) text() string { return c.lines[c.line] }

// rest returns what is left of the line.
func (c *cursor) rest() string { return c.text()[min(c.offset, len(c.text())):] }

// skipProperties passes over an anchor and a tag before the value.
func (c *cursor) skipProperties() {
	for strings.HasPrefix(c.rest(), "&") || strings.HasPrefix(c.rest(), "!") {
		word := strings.IndexAny(c.rest()+" ", " \t")
		c.offset += word
		c.offset += len(c.rest()) - len(strings.TrimLeft(c.rest(), " \t"))
	}
}

// findPlain finds an offset in a text without quotes: its first line begins at the cursor, the others where their first
// character is.
func (c *cursor) findPlain(value string, offset int) bool {
	done := 0
	for {
		text := c.rest()
		n := commonPrefix(text, value[done:]) // behind it: a comment, or what follows inside [ ] or { }
		if offset <= done+n {
			c.offset += offset - done
			return true
		}
		done += n
		for done < len(value) && (value[done] == ' ' || value[done] == '\n') {
			done++
		}
		if n == 0 && text != "" || !c.nextLine() || offset < done {
			return false
		}
	}
}

func commonPrefix(a, b string) int {
	n := 0
	for n < len(a) && n < len(b) && a[n] == b[n] {
		n++
	}
	return n
}

// findInLines finds an offset in a block text, whose lines begin behind the indentation.
func (c *cursor) findInLines(value string, offset, first, indent int) bool {
	done := 0
	for c.line = first; c.line < len(c.lines); c.line++ {
		c.offset = min(indent, indentOf(c.text()))
		text := c.rest()
		for !strings.HasPrefix(value[done:], text) {
			// What stands between two lines: a line break, or the blank that folding puts in its place.
			if done == len(value) || value[done] != ' ' && value[done] != '\n' {
				return false
			}
			done++
		}
		if offset <= done+len(text) {
			c.offset += max(offset-done, 0)
			return true
		}
		done += len(text)
		if done < len(value) && text == "" {
			done++
		}
	}
	return false
}

// findQuoted finds an offset in a quoted text. next reads one piece at the cursor and returns what it stands for.
func (c *cursor) findQuoted(value string, offset int, next func() (string, bool)) bool {
	for done := 0; ; {
		c.fold(value, &done)
		if offset <= done {
			return true
		}
		at := *c
		piece, ok := next()
		if !ok || !strings.HasPrefix(value[done:], piece) {
			return false
		}
		done += len(piece)
		if offset < done {
			c.line, c.offset = at.line, at.offset
			return true
		}
	}
}

// fold passes over the end of a line inside quotes, with the blanks around it and empty lines, and over what stands for
// it in the value: a blank for one line break, and for more of them one line break less.
func (c *cursor) fold(value string, done *int) {
	breaks := 0
	for strings.TrimSpace(c.rest()) == "" && c.nextLine() {
		breaks++
		if strings.HasPrefix(value[*done:], "\n") {
			*done++
		}
	}
	if breaks == 1 && strings.HasPrefix(value[*done:], " ") {
		*done++
	}
}

func (c *cursor) nextLine() bool {
	if c.line+1 >= len(c.lines) {
		return false
	}
	c.line++
	c.offset = len(c.text()) - len(strings.TrimLeft(c.text(), " \t"))
	return true
}

// singleQuoted reads one character of a text in single quotes.
func (c *cursor) singleQuoted() (string, bool) {
	rest := c.rest()
	if strings.HasPrefix(rest, "''") {
		c.offset += 2
		return "'", true
	}
	return c.character("'")
}

// doubleQuoted reads one character or escape of a text in double quotes.
func (c *cursor) doubleQuoted() (string, bool) {
	rest := c.rest()
	if !strings.HasPrefix(rest, `\`) {
		return c.character(`"`)
	}
	if rest == `\` {
		return "", c.nextLine()
	}
	if digits := hexEscapes[rest[1]]; digits > 0 {
		code, err := strconv.ParseUint(rest[2:min(2+digits, len(rest))], 16, 32)
		c.offset += 2 + digits
		return string(rune(code)), err == nil
	}
	c.offset += 2
	text, ok := escapes[rest[1]]
	return text, ok
}

func (c *cursor) character(end string) (string, bool) {
	rest := c.rest()
	if rest == "" || strings.HasPrefix(rest, end) {
		return "", false
	}
	_, size := utf8.DecodeRuneInString(rest)
	c.offset += size
	return rest[:size], true
}

var hexEscapes = map[byte]int{'x': 2, 'u': 4, 'U': 8}

var escapes = map[byte]string{
	'0': "\x00", 'a': "\a", 'b': "\b", 't': "\t", '\t': "\t", 'n': "\n", 'v': "\v", 'f': "\f", 'r': "\r", 'e': "\x1b",
	' ': " ", '"': `"`, '\'': "'", '\\': `\`, '/': "/", 'N': "\u0085", '_': "\u00a0", 'L': "\u2028", 'P': "\u2029",
}
