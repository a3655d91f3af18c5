package main

import (
	"context"
	"time"
)

// waitFor bounds how long another process may take for anything.
const waitFor = 30 * time.Second

// pause lets the other process work before it is asked again.
func pause(ctx context.Context) {
	select {
	case <-ctx.Done():
	case <-time.After(20 * time.Millisecond):
	}
}
