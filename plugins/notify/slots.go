package notify

import (
	"cmp"
	"fmt"
	"sync"
	"time"

	"github.com/flightrules/flightrules/engine/action"
)

// slots counts the deliveries that are under way, by target. The zero value is
// ready.
type slots struct {
	mu   sync.Mutex
	used map[string]int
	lost map[string]int // of those, the ones that nobody waits for any more
}

// slot is one delivery's.
type slot struct {
	target     string
	late, gone bool
}

// again is when a step looks again that found a target busy.
const again = time.Second

// take takes a slot of each target, or none. Where one is busy the error is an
// *action.Later; where that will not end by itself, it is a failure.
func (s *slots) take(targets []Target) ([]*slot, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, t := range targets {
		most := cmp.Or(t.MaxConcurrent, defaultConcurrent)
		switch {
		case s.lost[t.Name] >= most:
			return nil, fmt.Errorf("%s: %d deliveries did not end in time, and have not ended since", t.Name, s.lost[t.Name])
		case s.used[t.Name] >= most:
			return nil, &action.Later{After: again, Reason: fmt.Sprintf("%d deliveries to %s are under way", s.used[t.Name], t.Name)}
		}
	}
	if s.used == nil {
		s.used, s.lost = map[string]int{}, map[string]int{}
	}
	var taken []*slot
	for _, t := range targets {
		s.used[t.Name]++
		taken = append(taken, &slot{target: t.Name})
	}
	return taken, nil
}

// free gives a slot back.
func (s *slots) free(one *slot) {
	s.mu.Lock()
	defer s.mu.Unlock()
	one.gone = true
	s.used[one.target]--
	if one.late {
		s.lost[one.target]--
	}
}

// late says that nobody waits for a delivery any more.
func (s *slots) late(one *slot) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !one.gone {
		one.late = true
		s.lost[one.target]++
	}
}
