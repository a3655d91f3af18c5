package satellite

import (
	"time"

	"github.com/flightrules/flightrules/internal/refusal"
)

const (
	// failureBurst is how many failures in a row are answered.
	failureBurst = 10
	// failurePause is after how long one more is.
	failurePause = 6 * time.Second
)

// limiter counts failures to authenticate, by address and by client.
type limiter struct{ addresses, clients *refusal.Limiter }

func newLimiter() *limiter {
	return &limiter{refusal.New(failureBurst, failurePause), refusal.New(failureBurst, failurePause)}
}

// allow counts a failure, and says whether neither the address nor the client
// has had too many.
func (l *limiter) allow(now time.Time, remote, client string) bool {
	if !isRef(client) {
		client = "" // what nobody can be called has no owner to protect
	}
	byAddress := l.addresses.Take(now, refusal.Address(remote))
	byClient := l.clients.Take(now, client)
	return byAddress == 0 && byClient == 0
}
