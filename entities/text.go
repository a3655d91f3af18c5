package entities

import (
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"slices"
	"strconv"
	"unicode/utf8"

	"github.com/flightrules/flightrules/internal/db"
)

// This file reads and writes the text of Views. Every change does so several
// times while it keeps all other writers waiting, and encoding/json, which does
// not know what it is about to meet, takes two to three times as long.

// textOf is the JSON of a value of a View, byte for byte as encoding/json has
// it.
func textOf(v any) db.JSON { return appendText(make(db.JSON, 0, 256), v) }

func appendText(to db.JSON, v any) db.JSON {
	switch v := v.(type) {
	case nil:
		return append(to, "null"...)
	case bool:
		return strconv.AppendBool(to, v)
	case int64:
		return strconv.AppendInt(to, v, 10)
	case float64:
		if size := math.Abs(v); size >= 1e-6 && size < 1e21 || size == 0 {
			return strconv.AppendFloat(to, v, 'f', -1, 64)
		}
	case string:
		return appendString(to, v)
	case View:
		return appendText(to, map[string]any(v))
	case Delta:
		changes := make(map[string]any, len(v))
		for name, values := range v {
			changes[name] = values[:]
		}
		return appendText(to, changes)
	case map[string]any:
		to = append(to, '{')
		names := make([]string, 0, len(v))
		for name := range v {
			names = append(names, name)
		}
		slices.Sort(names)
		for i, name := range names {
			if i > 0 {
				to = append(to, ',')
			}
			to = append(appendString(to, name), ':')
			to = appendText(to, v[name])
		}
		return append(to, '}')
	case []any:
		to = append(to, '[')
		for i, one := range v {
			if i > 0 {
				to = append(to, ',')
			}
			to = appendText(to, one)
		}
		return append(to, ']')
	}
	return append(to, db.ToJSON(v)...)
}

func appendString(to db.JSON, s string) db.JSON {
	if !plain(s) {
		return append(to, db.ToJSON(s)...)
	}
	to = append(append(to, '"'), s...)
	return append(to, '"')
}

// plain says whether a string stands in JSON as it is.
func plain[S string | []byte](s S) bool {
	for i := range len(s) {
		if c := s[i]; c < ' ' || c >= utf8.RuneSelf || c == '"' || c == '\\' || c == '<' || c == '>' || c == '&' {
			return false
		}
	}
	return true
}

// parser reads JSON into the normal form of Views, in which equal means equal.
type parser struct {
	text  []byte
	at    int
	depth int
}

var errSyntax = errors.New("this is not JSON")

// deepest bounds how deep a state may be nested.
const deepest = 1000

func parseText(text db.JSON) (any, error) {
	p := parser{text: text}
	v, err := p.value()
	if p.space(); err == nil && p.at != len(text) {
		err = errSyntax
	}
	if err != nil {
		return nil, fmt.Errorf("%w: %w, at byte %d", ErrInvalid, err, p.at)
	}
	return v, nil
}

func (p *parser) space() {
	for p.at < len(p.text) {
		switch p.text[p.at] {
		case ' ', '\t', '\n', '\r':
			p.at++
		default:
			return
		}
	}
}

// next takes a character after space, if it is the next one.
func (p *parser) next(c byte) bool {
	p.space()
	if p.at < len(p.text) && p.text[p.at] == c {
		p.at++
		return true
	}
	return false
}

func (p *parser) value() (any, error) {
	if p.depth++; p.depth > deepest {
		return nil, errors.New("this is nested too deep")
	}
	defer func() { p.depth-- }()
	switch {
	case p.next('{'):
		return p.object()
	case p.next('['):
		return p.list()
	case p.next('"'):
		return p.str()
	default:
		return p.word()
	}
}

// object reads what follows a brace. Fields that are null are absent.
func (p *parser) object() (any, error) {
	fields := map[string]any{}
	if p.next('}') {
		return fields, nil
	}
	for {
		if !p.next('"') {
			return nil, errSyntax
		}
		name, err := p.str()
		if err != nil {
			return nil, err
		}
		if !p.next(':') {
			return nil, errSyntax
		}
		v, err := p.value()
		if err != nil {
			return nil, err
		}
		if delete(fields, name); v != nil {
			fields[name] = v
		}
		if p.next('}') {
			return fields, nil
		}
		if !p.next(',') {
			return nil, errSyntax
		}
	}
}

func (p *parser) list() (any, error) {
	list := []any{}
	if p.next(']') {
		return list, nil
	}
	for {
		v, err := p.value()
		if err != nil {
			return nil, err
		}
		list = append(list, v)
		if p.next(']') {
			return list, nil
		}
		if !p.next(',') {
			return nil, errSyntax
		}
	}
}

// str reads what follows a quote.
func (p *parser) str() (string, error) {
	start := p.at
	for ; p.at < len(p.text) && p.text[p.at] != '"'; p.at++ {
		if p.text[p.at] == '\\' {
			p.at++
		}
	}
	if p.at >= len(p.text) {
		return "", errSyntax
	}
	p.at++
	if inside := p.text[start : p.at-1]; plain(inside) {
		return string(inside), nil
	}
	var s string
	if err := json.Unmarshal(p.text[start-1:p.at], &s); err != nil {
		return "", errSyntax
	}
	return s, nil
}

// word reads a number, true, false or null.
func (p *parser) word() (any, error) {
	start := p.at
	for p.at < len(p.text) && isWord(p.text[p.at]) {
		p.at++
	}
	word := p.text[start:p.at]
	switch string(word) {
	case "null":
		return nil, nil
	case "true":
		return true, nil
	case "false":
		return false, nil
	}
	if ordinary(word) {
		return normalNumber(json.Number(word)), nil
	}
	var n json.Number
	if err := json.Unmarshal(word, &n); err != nil {
		return nil, errSyntax
	}
	return normalNumber(n), nil
}

// ordinary says whether a word is a number without sign and exponent.
func ordinary(word []byte) bool {
	point := -1
	for i, c := range word {
		switch {
		case c >= '0' && c <= '9':
		case c == '.' && i > 0 && point < 0:
			point = i
		default:
			return false
		}
	}
	return len(word) > 0 && point != len(word)-1 && (word[0] != '0' || len(word) == 1 || point == 1)
}

func isWord(c byte) bool {
	return c >= '0' && c <= '9' || c >= 'a' && c <= 'z' || c == '-' || c == '+' || c == '.' || c == 'E'
}
