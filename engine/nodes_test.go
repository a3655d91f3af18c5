package engine_test

import (
	"testing"
	"time"

	"github.com/flightrules/flightrules/internal/dbtest"
)

// While a new set of rules goes round the nodes, one that has it may route the
// change that breaks a dwell of a rule that it does not know any more.
func TestADwellIsBrokenThoughTheChangeWasRoutedByANodeWithOtherRules(t *testing.T) {
	l := newLab(t, dbtest.Postgres(t), openFor5s)
	peer := l.Peer()
	peer.Reload("rules: []")
	l.be("a", "open")
	l.Jump(time.Second)
	mutateOnly(t, l, "a", "closed")
	peer.Settle()
	l.after(time.Minute)
	l.wantOutcomes("left-open", held, cancelled)
}
