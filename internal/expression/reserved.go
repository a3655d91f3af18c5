package expression

import (
	"slices"

	"github.com/expr-lang/expr/builtin"
)

// words are those that the language gives a meaning of their own.
var words = []string{
	"and", "or", "not", "in", "matches", "contains", "startsWith", "endsWith", "let", "if", "else", "true", "false", "nil", "null",
}

// Reserved reports whether a name belongs to the language: a function that every Env has, or a word with a meaning.
func Reserved(name string) bool {
	_, function := builtin.Index[name]
	return function || slices.Contains(words, name)
}
