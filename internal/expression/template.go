package expression

import (
	"slices"
	"strings"
)

const (
	opening = "${{"
	closing = "}}"
)

// Template is a text with ${{ expression }} parts. $${{ stands for ${{ itself.
type Template struct {
	source string
	parts  []part
}

// part is a piece of text, or an expression that begins at offset in the source.
type part struct {
	text    string
	program *Program
	offset  int
}

// ParseTemplate parses a template and compiles its expressions. The error is an *Error.
func (e *Env) ParseTemplate(src string) (*Template, error) {
	t := &Template{source: src}
	var text strings.Builder
	for at := 0; at < len(src); {
		next := strings.Index(src[at:], opening)
		if next < 0 {
			text.WriteString(src[at:])
			break
		}
		if next > 0 && src[at+next-1] == '$' {
			text.WriteString(src[at:at+next-1] + opening)
			at += next + len(opening)
			continue
		}
		text.WriteString(src[at : at+next])
		start := at + next + len(opening)
		end, err := findClosing(src, start)
		if err != nil {
			return nil, err
		}
		p, err := e.compilePart(src[start:end], start)
		if err != nil {
			return nil, err
		}
		t.addText(&text)
		t.parts = append(t.parts, p)
		at = end + len(closing)
	}
	t.addText(&text)
	return t, nil
}

func (t *Template) addText(text *strings.Builder) {
	if text.Len() > 0 {
		t.parts = append(t.parts, part{text: text.String()})
		text.Reset()
	}
}

// compilePart compiles the expression between ${{ and }}, which begins at start in the template.
func (e *Env) compilePart(src string, start int) (part, error) {
	trimmed := strings.TrimSpace(src)
	if trimmed == "" {
		return part{}, &Error{Offset: start - len(opening), Message: "there is no expression between ${{ and }}"}
	}
	offset := start + strings.Index(src, trimmed)
	program, err := e.Compile(trimmed, AnyResult)
	if err != nil {
		return part{}, asError(err).shifted(offset)
	}
	return part{program: program, offset: offset}, nil
}

// findClosing returns the offset of the }} that ends the expression at start: not one inside a string, nor one that
// closes the braces of a map.
func findClosing(src string, start int) (int, error) {
	depth := 0
	for i := start; i < len(src); i++ {
		switch c := src[i]; c {
		case '"', '\'', '`':
			end := endOfString(src, i)
			if end < 0 {
				return 0, &Error{Offset: i, Message: "a string is not closed"}
			}
			i = end
		case '{':
			depth++
		case '}':
			if depth == 0 && strings.HasPrefix(src[i:], closing) {
				return i, nil
			}
			depth = max(depth-1, 0)
		}
	}
	return 0, &Error{Offset: start - len(opening), Message: "${{ is not closed", Hint: "end the expression with }}"}
}

// endOfString returns the offset of the quote that closes the string at start, or -1. Inside backquotes there are no
// escapes; a doubled backquote reads here as two strings, which comes to the same.
func endOfString(src string, start int) int {
	quote := src[start]
	for i := start + 1; i < len(src); i++ {
		switch {
		case src[i] == quote:
			return i
		case src[i] == '\\' && quote != '`':
			i++
		}
	}
	return -1
}

// Source returns the text of the template.
func (t *Template) Source() string { return t.source }

// IsLiteral reports whether the template holds no expression.
func (t *Template) IsLiteral() bool {
	for _, p := range t.parts {
		if p.program != nil {
			return false
		}
	}
	return true
}

// single returns the expression of a template that is nothing else, or nil.
func (t *Template) single() *Program {
	if len(t.parts) != 1 {
		return nil
	}
	return t.parts[0].program
}

// Type returns what Eval gives: the type of the expression if the template is one ${{ }} and nothing else, AnyResult if
// that is known only at run time, and StringResult for all others.
func (t *Template) Type() Result {
	if p := t.single(); p != nil {
		return p.Type()
	}
	return StringResult
}

// Calls returns the calls of functions of the Env, with offsets into the template's source.
func (t *Template) Calls() []Call {
	var all []Call
	for _, p := range t.parts {
		if p.program == nil {
			continue
		}
		for _, c := range p.program.Calls() {
			c.Offset += p.offset
			all = append(all, c)
		}
	}
	return all
}

// Members returns which members of a name of the Env the expressions of the template read; see Program.Members.
func (t *Template) Members(name string) (paths []string, whole bool) {
	for _, p := range t.parts {
		if p.program == nil {
			continue
		}
		some, all := p.program.Members(name)
		paths, whole = append(paths, some...), whole || all
	}
	slices.Sort(paths)
	return slices.Compact(paths), whole
}

// Eval evaluates the template. One ${{ }} and nothing else gives the expression's value as it is. Otherwise the result is
// a string, in which times are RFC 3339, durations as duration.Format writes them, numbers in their shortest form, lists
// and maps JSON, and nil is empty. The error is an *Error.
func (t *Template) Eval(vars map[string]any) (any, error) {
	if t.single() != nil {
		return t.parts[0].eval(vars)
	}
	var out strings.Builder
	for _, p := range t.parts {
		if p.program == nil {
			out.WriteString(p.text)
			continue
		}
		v, err := p.eval(vars)
		if err != nil {
			return nil, err
		}
		out.WriteString(textOf(v))
	}
	return out.String(), nil
}

func (p part) eval(vars map[string]any) (any, error) {
	v, err := p.program.Eval(vars)
	if err != nil {
		return nil, asError(err).shifted(p.offset)
	}
	return v, nil
}

// text returns the text of a template without expressions.
func (t *Template) text() string {
	if len(t.parts) == 0 {
		return ""
	}
	return t.parts[0].text
}
