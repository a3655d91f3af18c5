package expression

// The limits of an expression. They keep one rule from stopping the engine; what real rules need is far below.
const (
	// MaxLength is how long the source of one expression may be, in bytes.
	MaxLength = 16 << 10

	// MaxNodes is how many parts (names, constants, operators, calls) one expression may have.
	MaxNodes = 5000

	// MaxOperands is how many parts of an expression Explain tells of. Nobody reads more, and each is compiled.
	MaxOperands = 100

	// MemoryBudget is what one evaluation may use. One unit is an item of a list or a map that is made, a byte of a text
	// that is made or searched through by a function, or one turn of a loop (all, any, filter, map, ...).
	MemoryBudget = 1_000_000
)
