package engine

import (
	"fmt"
	"unicode/utf8"

	"github.com/flightrules/flightrules/internal/db"
	"github.com/flightrules/flightrules/internal/shape"
)

// How much of what steps are told and give is recorded, in bytes.
const (
	maxLine   = 16 << 10  // of a log
	maxInput  = 1 << 20   // of an action; one that is told more fails
	maxOutput = 256 << 10 // of a step; what is more is cut, for later steps too
)

// cut shortens a text, with a mark that says how long it was.
func cut(text string, most int) string {
	if len(text) <= most {
		return text
	}
	end := most
	for end > 0 && !utf8.RuneStart(text[end]) {
		end--
	}
	return fmt.Sprintf("%s… (truncated, %d bytes)", text[:end], len(text))
}

// output is the output of a step as it is recorded: masked, and cut where it is
// too large. Later steps see the same, whether the run was suspended or not.
func (f *frame) output(v any) db.JSON {
	v = f.mask().Value(shape.Encode(v))
	return fit(v, db.ToJSON(v), maxOutput)
}

// Excerpt is a value of the journal for readers who want no more than so many
// bytes: the texts and lists in it are cut, with a mark that says how long they
// were. cut says whether any was.
func Excerpt(text db.JSON, most int) (out db.JSON, cut bool) {
	if len(text) <= most {
		return text, false
	}
	return fit(stored(text), text, most), true
}

// fit shortens a value whose JSON is text to at most so many bytes.
func fit(v any, text db.JSON, most int) db.JSON {
	whole := len(text)
	for texts, items := most/4, 4096; len(text) > most; texts, items = texts/4, items/4 {
		if texts < 16 {
			return db.ToJSON(map[string]any{"truncated": fmt.Sprintf("%d bytes", whole)})
		}
		text = db.ToJSON(shrink(v, texts, items))
	}
	return text
}

// shrink cuts the texts and the lists in a value.
func shrink(v any, texts, items int) any {
	switch v := v.(type) {
	case string:
		return cut(v, texts)
	case []any:
		list := make([]any, 0, min(len(v), items)+1)
		for i, one := range v {
			if i == items {
				return append(list, fmt.Sprintf("… (truncated, %d items)", len(v)))
			}
			list = append(list, shrink(one, texts, items))
		}
		return list
	case map[string]any:
		m := make(map[string]any, len(v))
		for key, one := range v {
			m[key] = shrink(one, texts, items)
		}
		return m
	}
	return v
}
