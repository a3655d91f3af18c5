package yamlx

import (
	"strings"
	"unicode/utf8"

	"gopkg.in/yaml.v3"
)

// Source returns the text of the node as it is written, from its start to the end of its last line with everything
// between, and without the indentation that its lines share. Comments on the lines behind the node are not part of it.
// It ends with a line break.
func (n Node) Source() string {
	if n.IsZero() {
		return ""
	}
	first, last := n.n.Line, n.lastLine()
	head := n.file.line(first)
	if head == "" {
		return ""
	}
	lines := []string{strings.TrimRight(head[byteOffset(head, n.n.Column):], " \t")}
	rest := n.file.lines[min(first, last):last]
	indent := commonIndent(rest, n.n.Column-1)
	for _, line := range rest {
		lines = append(lines, strings.TrimRight(line[min(indent, indentOf(line)):], " \t"))
	}
	return strings.Join(lines, "\n") + "\n"
}

// lastLine returns the number of the last line that belongs to the node: up to the next node, without the comments and
// blank lines before that.
func (n Node) lastLine() int {
	f := n.file
	end := f.last[n.n]
	leaf := f.order[end]
	last := len(f.lines)
	if end+1 < len(f.order) {
		last = min(last, f.order[end+1].Line-1)
	}
	inText := leaf.Style&(yaml.LiteralStyle|yaml.FoldedStyle) != 0
	textIndent := 0
	if inText {
		textIndent, _ = f.blockIndent(leaf)
	}
	for last > leaf.Line {
		line := f.lines[last-1]
		text := strings.TrimSpace(line)
		comment := strings.HasPrefix(text, "#") && !(inText && indentOf(line) >= textIndent)
		if text != "" && text != "..." && !comment {
			break
		}
		last--
	}
	return min(max(last, leaf.Line), len(f.lines)) // yaml.v3 puts empty values at the end of a file behind it
}

// blockIndent returns the indentation of a block text (| or >), and the index in lines of its first line.
func (f *file) blockIndent(n *yaml.Node) (indent, firstLine int) {
	for i := n.Line; i < len(f.lines); i++ {
		if strings.TrimSpace(f.lines[i]) != "" {
			return indentOf(f.lines[i]), n.Line
		}
	}
	return 0, n.Line
}

// commonIndent returns the smallest indentation of the lines that are not blank, at most limit.
func commonIndent(lines []string, limit int) int {
	for _, line := range lines {
		if strings.TrimSpace(line) != "" {
			limit = min(limit, indentOf(line))
		}
	}
	return limit
}

func indentOf(line string) int { return len(line) - len(strings.TrimLeft(line, " ")) }

// byteOffset returns the offset in bytes of a column, which counts characters from 1.
func byteOffset(line string, column int) int {
	offset := 0
	for ; column > 1 && offset < len(line); column-- {
		_, size := utf8.DecodeRuneInString(line[offset:])
		offset += size
	}
	return offset
}
