package expression

// Error says what is wrong with an expression, when it is compiled or when it is evaluated.
type Error struct {
	Offset  int    // where, in bytes into the source that was given to Compile or ParseTemplate
	Message string // one line
	Hint    string // what to do about it; may be empty

	cause error
}

// Error returns the message, with the hint in parentheses.
func (e *Error) Error() string {
	if e.Hint == "" {
		return e.Message
	}
	return e.Message + " (" + e.Hint + ")"
}

// Unwrap returns the error of the function that ended the evaluation, if that was the reason.
func (e *Error) Unwrap() error { return e.cause }

// shifted returns the error as one of a longer source, in which the expression begins at offset.
func (e *Error) shifted(offset int) *Error {
	c := *e
	c.Offset += offset
	return &c
}
