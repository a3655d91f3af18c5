package satellite

import (
	"net"
	"net/netip"
	"sync"
	"time"
)

const (
	// failureBurst is how many failures in a row are answered.
	failureBurst = 10
	// failurePause is after how long one more is.
	failurePause = 6 * time.Second
	// maxBuckets bounds how many addresses and clients are told apart, and by
	// that the memory that strangers can take.
	maxBuckets = 8192
)

// limiter counts failures to authenticate in token buckets, one for each
// address and one for each client.
type limiter struct {
	mu      sync.Mutex
	buckets map[bucketKey]bucket
	swept   time.Time // when full buckets were looked for last: it costs too much to do for each stranger
}

type bucketKey struct{ kind, name string }

type bucket struct {
	left float64
	at   time.Time // when left was true
}

func newLimiter() *limiter { return &limiter{buckets: map[bucketKey]bucket{}} }

// allow counts a failure, and says whether neither the address nor the client
// has had too many.
func (l *limiter) allow(now time.Time, address, client string) bool {
	if !isRef(client) {
		client = "" // what nobody can be called has no owner to protect
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	byAddress := l.take(now, bucketKey{"address", address})
	byClient := l.take(now, bucketKey{"client", client})
	return byAddress && byClient
}

func (l *limiter) take(now time.Time, key bucketKey) bool {
	b, ok := l.buckets[key]
	if !ok && len(l.buckets) >= maxBuckets {
		l.forget(now)
		if len(l.buckets) >= maxBuckets {
			key = bucketKey{key.kind, "others"} // all further strangers share one
			b, ok = l.buckets[key]
		}
	}
	if !ok {
		b = bucket{failureBurst, now}
	}
	b = bucket{b.filled(now), now}
	allowed := b.left >= 1
	if allowed {
		b.left--
	}
	l.buckets[key] = b
	return allowed
}

func (b bucket) filled(now time.Time) float64 {
	return min(failureBurst, b.left+max(0, float64(now.Sub(b.at))/float64(failurePause)))
}

// forget drops the buckets that are full again.
func (l *limiter) forget(now time.Time) {
	if now.Sub(l.swept).Abs() < failurePause {
		return
	}
	l.swept = now
	for key, b := range l.buckets {
		if b.filled(now) >= failureBurst {
			delete(l.buckets, key)
		}
	}
}

// addressOf is the host of HOST:PORT; of IPv6 the /64, which one customer has
// whole.
func addressOf(remote string) string {
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
