package refusal_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/flightrules/flightrules/internal/refusal"
)

var start = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

func TestAddress(t *testing.T) {
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
		if got := refusal.Address(c.first) == refusal.Address(c.second); got != c.together {
			t.Errorf("%s and %s counted together: %v, want %v", c.first, c.second, got, c.together)
		}
	}
}

func TestABucketFillsAgainToWhatItWasAndNoFurther(t *testing.T) {
	l, now := refusal.New(20, 3*time.Second), start
	for _, c := range []struct {
		pause time.Duration
		want  int
	}{{0, 20}, {2 * time.Second, 0}, {time.Second, 1}, {30 * time.Second, 10}, {24 * time.Hour, 20}, {-time.Hour, 0}, {3 * time.Second, 1}} {
		now = now.Add(c.pause)
		n := 0
		for l.Take(now, "a") == 0 {
			n++
		}
		if n != c.want {
			t.Errorf("after %v: %d allowed, want %d", c.pause, n, c.want)
		}
	}
	if wait := l.Take(now.Add(time.Second), "a"); wait != 2*time.Second {
		t.Errorf("it has to wait %v, want 2s", wait)
	}
	if l.Take(now, "b") != 0 {
		t.Error("another key has to wait for it")
	}
}

func TestManyStrangersTakeBoundedMemory(t *testing.T) {
	l, now := refusal.New(20, 3*time.Second), start
	allowed := 0
	for i := range 10000 {
		if l.Take(now, fmt.Sprint(i)) == 0 {
			allowed++
		}
	}
	if l.Len() != 4097 || allowed != 4096+20 {
		t.Errorf("%d strangers are told apart and %d were allowed", l.Len(), allowed)
	}
	now = now.Add(time.Hour)
	if l.Take(now, "new") != 0 || l.Len() != 1 {
		t.Errorf("after an hour of quiet %d are told apart", l.Len())
	}
}
