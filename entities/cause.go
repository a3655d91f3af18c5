package entities

import "context"

// System is the actor of what the engine does by itself.
const System = "system"

// Cause says who is behind a change. Depth is how many runs stand between the
// change and the outside world; RunID is the last of them.
type Cause struct {
	Actor string
	RunID string
	Depth int
}

type causeKey struct{}

// WithCause makes changes under ctx bear the cause.
func WithCause(ctx context.Context, c Cause) context.Context {
	return context.WithValue(ctx, causeKey{}, c)
}

// CauseOf is the cause that changes under ctx will bear; the system's own
// where none was set.
func CauseOf(ctx context.Context) Cause {
	if c, ok := ctx.Value(causeKey{}).(Cause); ok {
		return c
	}
	return Cause{Actor: System}
}
