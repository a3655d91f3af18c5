package httpcall

import (
	"fmt"
	"net/url"
	"strings"
	"sync"
	"time"

	"github.com/flightrules/flightrules/engine/action"
)

// slots counts the requests that are under way, by host and port. The zero value
// is ready.
type slots struct {
	mu   sync.Mutex
	used map[string]int
}

// later is when a step looks again that found its host busy.
const later = time.Second

// begin takes a slot of the host of a URL until end is called. Where there is
// none the error is an *action.Later: a worker that waits does nothing for
// others, and there are few.
func (p *Plugin) begin(u *url.URL) (end func(), err error) {
	host, most := strings.ToLower(u.Host), p.hosts.Load().of(u.Hostname()).most
	s := &p.slots
	s.mu.Lock()
	defer s.mu.Unlock()
	if most > 0 && s.used[host] >= most {
		return nil, &action.Later{After: later, Reason: fmt.Sprintf("%d requests to %s are under way", s.used[host], host)}
	}
	if s.used == nil {
		s.used = map[string]int{}
	}
	s.used[host]++
	return func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		if s.used[host]--; s.used[host] == 0 {
			delete(s.used, host) // hosts come out of events too, and there is no end of them
		}
	}, nil
}
