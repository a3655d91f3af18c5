// Package refusal counts failures to authenticate, in token buckets that fill
// again with time and in a memory that strangers cannot make grow.
package refusal

import (
	"net"
	"net/netip"
	"sync"
	"time"
)

// maxBuckets bounds how many keys a Limiter tells apart.
const maxBuckets = 4096

// Limiter counts the failures of each key. It is safe for concurrent use.
type Limiter struct {
	burst float64
	pause time.Duration

	mu      sync.Mutex
	buckets map[string]bucket
	swept   time.Time // when full buckets were looked for last: it costs too much to do for each stranger
}

type bucket struct {
	left float64
	at   time.Time // when left was true
}

// New makes a Limiter that allows burst failures in a row to each key, and one
// more after each pause.
func New(burst int, pause time.Duration) *Limiter {
	return &Limiter{burst: float64(burst), pause: pause, buckets: map[string]bucket{}}
}

// Take counts a failure of a key and says how long it has to wait; zero when
// it is allowed.
func (l *Limiter) Take(now time.Time, key string) time.Duration {
	l.mu.Lock()
	defer l.mu.Unlock()
	b, ok := l.buckets[key]
	if !ok && len(l.buckets) >= maxBuckets {
		l.forget(now)
		if len(l.buckets) >= maxBuckets {
			key = "" // all further strangers share one
			b, ok = l.buckets[key]
		}
	}
	if !ok {
		b = bucket{l.burst, now}
	}
	left := l.filled(b, now)
	if left < 1 {
		l.buckets[key] = bucket{left, now}
		return time.Duration((1 - left) * float64(l.pause))
	}
	l.buckets[key] = bucket{left - 1, now}
	return 0
}

// Len is how many keys are told apart.
func (l *Limiter) Len() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return len(l.buckets)
}

func (l *Limiter) filled(b bucket, now time.Time) float64 {
	return min(l.burst, b.left+max(0, float64(now.Sub(b.at))/float64(l.pause)))
}

// forget drops the buckets that are full again.
func (l *Limiter) forget(now time.Time) {
	if now.Sub(l.swept).Abs() < l.pause {
		return
	}
	l.swept = now
	for key, b := range l.buckets {
		if l.filled(b, now) >= l.burst {
			delete(l.buckets, key)
		}
	}
}

// Address is the key of a remote HOST:PORT: the host; of IPv6 the /64, which
// one customer has whole.
func Address(remote string) string {
	host, _, err := net.SplitHostPort(remote)
	if err != nil {
		host = remote
	}
	ip, err := netip.ParseAddr(host)
	if err != nil || ip.Unmap().Is4() {
		return host
	}
	prefix, err := ip.WithZone("").Prefix(64)
	if err != nil {
		return host
	}
	return prefix.String()
}
