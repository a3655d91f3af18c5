package notify

import (
	"context"
	"fmt"
	"runtime/debug"
	"strings"

	"github.com/flightrules/flightrules/engine/action"
	"github.com/flightrules/flightrules/internal/duration"
	"github.com/flightrules/flightrules/internal/secret"
)

// deliver sends one message to one target and gives its slot back. The error
// names the target and holds no secret.
//
// The library takes no context, and some of its services wait for ever. What is
// not done in time is left behind with its slot, so that there are never more
// than MaxConcurrent of them; the system ends its connection when nobody is at
// the other end any more.
func (p *Plugin) deliver(ctx context.Context, call action.Call, t Target, taken *slot, c Config) error {
	ctx, cancel := context.WithTimeoutCause(ctx, t.timeout(), fmt.Errorf("there was no answer within %s", duration.Format(t.timeout())))
	defer cancel()
	u, mask, err := t.filled(func(name string) (string, error) {
		return p.host.Secret(ctx, name, fmt.Sprintf("target:%s run:%s", t.Name, call.Run))
	})
	if err != nil {
		p.slots.free(taken)
		return fmt.Errorf("%s: %w", t.Name, err)
	}
	result := make(chan error, 1)
	go func() {
		defer p.slots.free(taken)
		err := contained(func() error { return p.send(ctx, call, u, oneLine(c.Title), c.Message) })
		if err == nil {
			p.done.add(call.IdempotencyKey, t.Name) // also when nobody waits for it any more
		}
		result <- err
	}()
	select {
	case err = <-result:
		if err != nil && ctx.Err() != nil {
			err = context.Cause(ctx) // what it says of that is no better
		}
	case <-ctx.Done():
		p.slots.late(taken)
		err = context.Cause(ctx)
	}
	if err == nil {
		return nil
	}
	return fmt.Errorf("%s: %s", t.Name, told(err, mask))
}

func contained(fn func() error) (err error) {
	defer func() {
		if r := recover(); r != nil {
			err = fmt.Errorf("panic: %v\n%s", r, debug.Stack())
		}
	}()
	return fn()
}

// told is an error as people may read it.
func told(err error, mask *secret.Masker) string {
	const most = 500
	text := oneLine(mask.Text(err.Error())) // masked before it is cut: half a secret is not found
	if len(text) > most {
		text = strings.ToValidUTF8(text[:most], "") + "..."
	}
	return text
}

// oneLine has blanks in the place of line breaks, which in a title would begin
// another header of a mail.
func oneLine(text string) string { return strings.Join(strings.Fields(text), " ") }
