package httpapi_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/flightrules/flightrules/internal/httpapi"
)

func TestRefusalsByAddress(t *testing.T) {
	now := start
	clock := func() time.Time { return now }
	exhaust := func(take func(string) bool, remote string) int {
		n := 0
		for take(remote) {
			n++
		}
		return n
	}

	t.Run("addresses are counted apart, ports are not, and of IPv6 the /64 counts", func(t *testing.T) {
		for _, c := range []struct {
			first, second string
			together      bool
		}{
			{"192.0.2.1:1", "192.0.2.1:2", true},
			{"192.0.2.1:1", "192.0.2.2:1", false},
			{"[2001:db8::1]:1", "[2001:db8::ffff]:1", true},
			{"[2001:db8::1]:1", "[2001:db8:0:1::1]:1", false},
			{"[fe80::1%eth0]:1", "[fe80::2%eth0]:1", true},
			{"[::ffff:192.0.2.1]:1", "[::ffff:192.0.2.2]:1", false},
		} {
			f := httpapi.NewRefusals(clock)
			exhaust(f.Take, c.first)
			if got := !f.Take(c.second); got != c.together {
				t.Errorf("%s and %s counted together: %v, want %v", c.first, c.second, got, c.together)
			}
		}
	})

	t.Run("a bucket fills again, to what it was and no further", func(t *testing.T) {
		f := httpapi.NewRefusals(clock)
		for _, c := range []struct {
			pause time.Duration
			want  int
		}{{0, 20}, {2 * time.Second, 0}, {time.Second, 1}, {30 * time.Second, 10}, {24 * time.Hour, 20}, {-time.Hour, 0}, {3 * time.Second, 1}} {
			now = now.Add(c.pause)
			if got := exhaust(f.Take, "192.0.2.1:1"); got != c.want {
				t.Errorf("after %v: %d answers, want %d", c.pause, got, c.want)
			}
		}
	})

	t.Run("many strangers take bounded memory, and those that are quiet are forgotten", func(t *testing.T) {
		f := httpapi.NewRefusals(clock)
		stranger := func(i int) string { return fmt.Sprintf("10.%d.%d.%d:1", i>>16&255, i>>8&255, i&255) }
		answered := 0
		for i := range 10000 {
			if f.Take(stranger(i)) {
				answered++
			}
		}
		if got := f.Addresses(); got > 4097 {
			t.Errorf("%d addresses are told apart", got)
		}
		if want := 4096 + 20; answered != want {
			t.Errorf("%d strangers were answered, want %d", answered, want)
		}
		now = now.Add(time.Hour)
		if !f.Take(stranger(20000)) {
			t.Error("a stranger was not answered after an hour of quiet")
		}
		if got := f.Addresses(); got != 1 {
			t.Errorf("%d addresses are told apart after an hour of quiet, want 1", got)
		}
	})
}
