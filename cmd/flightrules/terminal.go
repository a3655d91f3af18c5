package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"strings"
	"unicode"

	"github.com/mattn/go-isatty"
)

// terminal says whether a person sits at the other end of a stream. /dev/null,
// which is what jobs of cron read, is a device and no terminal.
func terminal(stream any) bool {
	file, ok := stream.(*os.File)
	return ok && isatty.IsTerminal(file.Fd())
}

// The colours there are, as terminals are told them.
const (
	red    = "31"
	green  = "32"
	yellow = "33"
	blue   = "34"
	grey   = "90"
)

// palette colours texts, where colours are wanted.
type palette struct{ on bool }

// colours are on for a person who has not said that they want none
// (https://no-color.org).
func colours(out io.Writer) palette { return palette{terminal(out) && os.Getenv("NO_COLOR") == ""} }

func (p palette) paint(colour, text string) string {
	if !p.on || colour == "" {
		return text
	}
	return "\x1b[" + colour + "m" + text + "\x1b[0m"
}

// confirmed asks a person at a terminal, and nobody else.
func confirmed(in io.Reader, out io.Writer, question string) (bool, error) {
	if !terminal(in) {
		return true, nil
	}
	if _, err := fmt.Fprint(out, question, " [y/N] "); err != nil {
		return false, err
	}
	answer, err := bufio.NewReader(in).ReadString('\n')
	if err != nil && err != io.EOF {
		return false, err
	}
	answer = strings.ToLower(strings.TrimSpace(answer))
	return answer == "y" || answer == "yes", nil
}

// oneLine is a text for a line of a terminal, whatever it holds: without line
// breaks and what would steer the terminal, and of at most so many characters.
func oneLine(text string, most int) string {
	text = strings.Join(strings.FieldsFunc(text, func(r rune) bool { return unicode.IsSpace(r) || unicode.IsControl(r) }), " ")
	runes := []rune(text)
	if len(runes) <= most {
		return text
	}
	return string(runes[:most]) + "…"
}

// indented writes a value as JSON for people and tools.
func indented(w io.Writer, v any) error {
	encoder := json.NewEncoder(w)
	encoder.SetEscapeHTML(false)
	encoder.SetIndent("", "  ")
	return encoder.Encode(v)
}
