package httpapi

import (
	"net"
	"net/netip"
	"sync"
	"time"
)

const (
	// refusalBurst is how many failures in a row an address is answered for.
	refusalBurst = 20
	// refusalPause is after how long it is answered for one more.
	refusalPause = 3 * time.Second
	// maxAddresses bounds how many addresses are told apart, and by that the
	// memory that strangers can take.
	maxAddresses = 4096
)

// refusals counts requests without a valid token by address: a bucket each,
// that fills again with time.
type refusals struct {
	now func() time.Time

	mu      sync.Mutex
	buckets map[string]bucket
}

type bucket struct {
	left float64
	at   time.Time // when left was true
}

func newRefusals(now func() time.Time) *refusals {
	return &refusals{now: now, buckets: map[string]bucket{}}
}

// take counts a failure and says how long the address has to wait; zero when
// it may have an answer.
func (f *refusals) take(remote string) time.Duration {
	now, address := f.now(), addressOf(remote)
	f.mu.Lock()
	defer f.mu.Unlock()
	b, ok := f.buckets[address]
	if !ok {
		if len(f.buckets) >= maxAddresses {
			f.forget(now)
		}
		if len(f.buckets) >= maxAddresses {
			address = "" // all further strangers share one
			b, ok = f.buckets[address]
		}
	}
	left := float64(refusalBurst)
	if ok {
		left = b.filled(now)
	}
	if left < 1 {
		f.buckets[address] = bucket{left, now}
		return time.Duration((1 - left) * float64(refusalPause))
	}
	f.buckets[address] = bucket{left - 1, now}
	return 0
}

func (b bucket) filled(now time.Time) float64 {
	gained := max(0, float64(now.Sub(b.at))/float64(refusalPause))
	return min(refusalBurst, b.left+gained)
}

// forget drops the addresses that have been quiet for long enough.
func (f *refusals) forget(now time.Time) {
	for address, b := range f.buckets {
		if b.filled(now) >= refusalBurst {
			delete(f.buckets, address)
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
