// Package clock is a clock that stands still until it is set: the time of
// engines under test.
package clock

import (
	"sync"
	"time"
)

// Manual is such a clock. It is safe for concurrent use.
type Manual struct {
	mu sync.Mutex
	t  time.Time
}

// At makes a clock that shows t.
func At(t time.Time) *Manual { return &Manual{t: t} }

// Now is what the clock shows.
func (m *Manual) Now() time.Time {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.t
}

// Set sets the clock, forward or back.
func (m *Manual) Set(t time.Time) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.t = t
}

// Add moves the clock by d.
func (m *Manual) Add(d time.Duration) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.t = m.t.Add(d)
}
