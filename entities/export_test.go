package entities

import "runtime"

// AwaitWaiting returns when that many changes wait for the one that is being
// committed.
func (r *Registry) AwaitWaiting(n int) {
	for {
		r.commit.mu.Lock()
		waiting := len(r.commit.waiting)
		r.commit.mu.Unlock()
		if waiting >= n {
			return
		}
		runtime.Gosched()
	}
}

// The reading and writing of texts, to be held against encoding/json.
var (
	ParseText = parseText
	TextOf    = textOf
)
