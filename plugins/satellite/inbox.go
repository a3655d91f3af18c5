package satellite

import (
	"context"
	"errors"
	"fmt"
	"runtime/debug"
	"sync"
	"time"

	"github.com/flightrules/flightrules/plugins/satellite/protocol"
)

// maxInbox bounds how many messages of an agent wait to be worked on. An agent
// that has answered none of them sends no more than that.
const maxInbox = 64

// inbox is what an agent has sent that needs the database. It is worked on
// beside the socket, one by one: a heartbeat never waits for it.
type inbox struct {
	mu      sync.Mutex
	waiting []received
	busy    bool
	closed  bool
	done    sync.WaitGroup
}

type received struct {
	message protocol.Message
	at      time.Time
}

// put adds a message and has it worked on; false when too many wait. Only while
// there is something to do a goroutine does it.
func (i *inbox) put(r received, work func(received)) bool {
	i.mu.Lock()
	defer i.mu.Unlock()
	if i.closed || len(i.waiting) >= maxInbox {
		return i.closed
	}
	i.waiting = append(i.waiting, r)
	if !i.busy {
		i.busy = true
		i.done.Go(func() {
			for r, ok := i.next(); ok; r, ok = i.next() {
				work(r)
			}
		})
	}
	return true
}

func (i *inbox) next() (r received, ok bool) {
	i.mu.Lock()
	defer i.mu.Unlock()
	if i.busy = len(i.waiting) > 0 && !i.closed; !i.busy {
		i.waiting = nil
		return received{}, false
	}
	r = i.waiting[0]
	i.waiting = i.waiting[1:]
	return r, true
}

// close drops what waits, and returns when what was begun is done.
func (i *inbox) close() {
	i.mu.Lock()
	i.closed = true
	i.mu.Unlock()
	i.done.Wait()
}

// handle works on a message of an agent. What fails is logged and counted; an
// agent that gets no answer asks again.
func (p *Plugin) handle(ctx context.Context, s *session, r received) {
	if s.over() {
		return
	}
	var err error
	doing := r.message.Type()
	defer func() {
		if v := recover(); v != nil {
			p.failed(doing, s.id, fmt.Errorf("panic: %v\n%s", v, debug.Stack()))
		}
	}()
	switch m := r.message.(type) {
	case protocol.Results:
		doing, err = "results", p.takeResults(s.cause(ctx), s, m, r.at)
	case protocol.SecretsRequest:
		doing, err = "secrets", p.answerSecrets(s.cause(ctx), s, m)
	case protocol.BundleRequest:
		doing, err = "bundle", p.answerBundle(ctx, s, m)
	case protocol.BlobRequest:
		doing, err = "blob", p.answerBlob(ctx, s, m)
	case protocol.Status:
		doing, err = "status", p.keepStatus(ctx, s, m.Capability, m.Payload, r.at)
	case protocol.SyncState:
		doing, err = "status", p.keepSyncState(ctx, s, m, r.at)
	}
	if err != nil && !errors.Is(err, errOutdated) {
		p.failed(doing, s.id, err)
	}
}
