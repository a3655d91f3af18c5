package satellite_test

import (
	"testing"
	"time"

	"github.com/flightrules/flightrules/internal/clock"
	"github.com/flightrules/flightrules/internal/db"
	"github.com/flightrules/flightrules/internal/dbtest"
	"github.com/flightrules/flightrules/plugins/satellite"
)

// trio is a core with a satellite that lives and one that dies just before
// something happens to the core itself.
type trio struct {
	*node
	living, dead known
	session      *satellite.Session
}

func newTrio(t *testing.T, url string) *trio {
	t.Helper()
	n := single(t, url)
	living, session := n.online("living")
	dead, _ := n.online("dead")
	n.advance(10*time.Second, session)
	return &trio{n, living, dead, session}
}

// wantLossWithin says that after what happened nothing is lost before a
// threshold has passed, and that the dead satellite alone is lost right after.
func (x *trio) wantLossWithin(d time.Duration) {
	x.t.Helper()
	x.step()
	x.beat()
	x.step()
	x.advance(d-time.Millisecond, x.session)
	x.wantStatus(x.dead, "online", "connected")
	x.wantEvents(x.dead, evConnected)
	x.advance(listen, x.session)
	x.wantEvents(x.dead, evConnected, evLost)
	x.wantStatus(x.living, "online", "connected")
	x.wantEvents(x.living, evConnected)
}

func TestOutageOfTheCore(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, url string) {
		x := newTrio(t, url)
		x.Add(10 * time.Minute)
		x.node = x.restarted()
		x.session = x.connect(x.living)
		x.wantLossWithin(threshold)
	})
}

func TestOutageDuringWhichTheLossWasDue(t *testing.T) {
	x := newTrio(t, dbtest.SQLite(t))
	x.advance(threshold-11*time.Second, x.session)
	x.Add(10 * time.Minute)
	x.node = x.restarted()
	x.session = x.connect(x.living)
	x.wantLossWithin(threshold)
}

func TestFrozenCore(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, url string) {
		x := newTrio(t, url)
		x.Add(10 * time.Minute)
		x.step() // timers fire before anything else has happened
		x.wantEvents(x.living, evConnected)
		x.wantStatus(x.living, "online", "connected")
		x.heartbeat(x.session)
		x.wantEvents(x.living, evConnected)
		x.wantLossWithin(threshold)
	})
}

func TestShortPauseIsNoOutage(t *testing.T) {
	x := newTrio(t, dbtest.SQLite(t))
	x.Add(3 * listen)
	x.beat()
	x.advance(threshold-10*time.Second-3*listen+time.Millisecond, x.session)
	x.wantEvents(x.dead, evConnected, evLost)
}

func TestClockJumpsForward(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, url string) {
		x := newTrio(t, url)
		x.Add(2 * time.Hour)
		x.wantLossWithin(threshold)
		if got := x.counted("flightrules_satellite_listening_breaks_total"); got != 1 {
			t.Errorf("%v breaks counted, want 1", got)
		}
	})
}

func TestClockIsSetBack(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, url string) {
		x := newTrio(t, url)
		x.Add(-2 * time.Hour)
		x.wantLossWithin(threshold)
	})
}

func TestClockJumpsForwardAndIsSetBack(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, url string) {
		x := newTrio(t, url)
		x.Add(2 * time.Hour)
		x.beat()
		x.step() // timers are armed for the wrong time
		x.heartbeat(x.session)
		x.Add(-2 * time.Hour)
		x.wantLossWithin(threshold)
	})
}

func TestNodesWhoseClocksDifferALittle(t *testing.T) {
	n := single(t, dbtest.SQLite(t))
	behind := nodeAt(t, n.db, clock.At(start.Add(-3*listen)))
	k, _ := n.online("watched")
	for n.Now().Before(start.Add(threshold + listen)) {
		n.Add(listen)
		behind.Add(listen)
		n.beat()
		behind.beat()
		n.step()
	}
	n.wantEvents(k, evConnected, evLost)
}

func TestDeadlineFromABrokenBackgroundOnly(t *testing.T) {
	// Whoever does not beat does not listen, however long timers are fired.
	n := single(t, dbtest.SQLite(t))
	k, _ := n.online("unheard")
	for range 10 {
		n.Add(threshold)
		n.step()
	}
	n.wantEvents(k, evConnected)
}

func TestLateFlushIsNoLoss(t *testing.T) {
	// A heartbeat counts from when it came in, not from when it was written.
	n := single(t, dbtest.SQLite(t))
	k, s := n.online("slow-database")
	n.advance(threshold - time.Second)
	n.plugin.Heartbeat(s, n.Now())
	n.Add(2 * time.Second)
	must(t, n.plugin.Flush(t.Context()))
	n.beat()
	n.step()
	n.wantEvents(k, evConnected)
	n.advance(threshold - 2*time.Second)
	n.wantEvents(k, evConnected)
	n.advance(listen)
	n.wantEvents(k, evConnected, evLost)
}

func TestHeartbeatWrittenAfterTheLossIsARecovery(t *testing.T) {
	n := single(t, dbtest.SQLite(t))
	k, s := n.online("slow-database")
	n.advance(threshold - time.Second)
	n.plugin.Heartbeat(s, n.Now())
	n.Add(2 * time.Second)
	n.beat()
	n.step()
	n.wantEvents(k, evConnected, evLost)
	must(t, n.plugin.Flush(t.Context()))
	n.wantEvents(k, evConnected, evLost, evConnected)
	n.advance(threshold + listen)
	n.wantEvents(k, evConnected, evLost, evConnected, evLost)
}

func TestListeningRow(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, url string) {
		n := single(t, url)
		since := func() time.Time {
			var at db.Time
			must(t, n.db.Read().NewSelect().Table("satellite_listening").Column("since").Scan(t.Context(), &at))
			return at.Time
		}
		for _, step := range []struct {
			name string
			move time.Duration
			kept bool
		}{
			{"a beat in time keeps it", listen, true},
			{"three beats late keep it", 3 * listen, true},
			{"later moves it", 3*listen + time.Microsecond, false},
			{"a little back keeps it", -3 * listen, true},
			{"from there, the newest note counts", 3 * listen, true},
			{"far back moves it", -3*listen - time.Microsecond, false},
			{"and from there it is kept", listen, true},
		} {
			before := since()
			n.Add(step.move)
			n.beat()
			if kept := since().Equal(before); kept != step.kept {
				t.Errorf("%s: since went from %s to %s", step.name, before, since())
			}
			if !step.kept && !since().Equal(n.Now()) {
				t.Errorf("%s: it moved to %s, want now, %s", step.name, since(), n.Now())
			}
		}
	})
}
