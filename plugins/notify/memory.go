package notify

import "sync"

// memory remembers which targets a step has reached, until all are: a retry
// tells the others alone. It is this process's: after a crash, or on another
// node, all are told again. The zero value is ready.
type memory struct {
	mu      sync.Mutex
	reached map[string]map[string]bool // by idempotency key and target
	order   []string                   // of the keys
}

// mostRemembered bounds the steps that nobody asks for again, since they failed
// for good.
const mostRemembered = 4096

func (m *memory) has(key, target string) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.reached[key][target]
}

func (m *memory) add(key, target string) {
	if key == "" {
		return // nobody can tell such a step from another
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.reached == nil {
		m.reached = map[string]map[string]bool{}
	}
	if m.reached[key] == nil {
		m.reached[key] = map[string]bool{}
		m.order = append(m.order, key)
	}
	m.reached[key][target] = true
	for len(m.order) > mostRemembered {
		delete(m.reached, m.order[0])
		m.order = m.order[1:]
	}
}

func (m *memory) forget(key string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	delete(m.reached, key)
}
