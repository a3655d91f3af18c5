package healthcheck

import (
	"strings"

	"github.com/flightrules/flightrules/plugins/healthcheck/probe"
)

// The values of State.Status.
const (
	up         = "up"
	degraded   = "degraded"
	down       = "down"
	unobserved = "unobserved"
)

// The letters of an opinion's recent results.
const (
	letterUp       = 'U'
	letterDegraded = 'G'
	letterDown     = 'D'
	letterFailed   = 'E' // it could not be looked
)

// failed is the outcome of a result that tells nothing of what was to be looked
// at.
const failed = "failed"

func letter(outcome string) byte {
	switch outcome {
	case string(probe.Up):
		return letterUp
	case string(probe.Degraded):
		return letterDegraded
	case string(probe.Down):
		return letterDown
	}
	return letterFailed
}

// slots is over how many changes between results it is decided whether a check
// is flapping.
const slots = 20

// maxStreak bounds how many results in a row may be wanted.
const maxStreak = slots

// limits are what it takes to change an opinion.
type limits struct {
	failures  int     // results in a row until it is worse
	successes int     // results in a row until it is better
	low, high float64 // percent of change, weighted, at which flapping ends and begins
}

// opinion is what an observer thinks of a check.
type opinion struct {
	Observing bool   `bun:"observing"` // it counts
	Status    string `bun:"status"`    // up, degraded, down; "" before it is known
	Flapping  bool   `bun:"flapping"`
	Recent    string `bun:"recent"` // the newest results, oldest first, a letter each
}

// judge is the opinion after one more result.
//
// A result that could not be had says nothing about what is checked: it neither
// adds to a row of others nor breaks it. After as many of them in a row as make
// a check fail, the observer does not count until he sees something again.
func (l limits) judge(o opinion, outcome string) opinion {
	o.Recent += string(letter(outcome))
	o.Recent = o.Recent[max(len(o.Recent)-slots-1, 0):]
	if letter(outcome) == letterFailed {
		if trailing(o.Recent, string(letterFailed)) >= l.failures {
			o.Observing = false
		}
		return o
	}
	o.Observing = true
	seen := strings.ReplaceAll(o.Recent, string(letterFailed), "")
	o.Status = l.status(o.Status, seen)
	if change := flapping(seen); o.Flapping {
		o.Flapping = change >= l.low
	} else {
		o.Flapping = change > l.high
	}
	return o
}

// status is what follows a status when those are the newest results.
func (l limits) status(before, seen string) string {
	var (
		isDown = trailing(seen, string(letterDown))
		isBad  = trailing(seen, string(letterDown)+string(letterDegraded))
		isUp   = trailing(seen, string(letterUp))
		answer = trailing(seen, string(letterUp)+string(letterDegraded))
	)
	switch {
	case isDown >= l.failures:
		return down
	case before == down && isUp >= l.successes:
		return up
	case before == down && answer >= l.successes:
		return degraded
	case before == down:
		return down
	case isBad >= l.failures:
		return degraded
	case isUp >= l.successes, before == "" && isUp > 0:
		return up
	}
	return before
}

// trailing counts the letters at the end that are among those of a set.
func trailing(text, set string) int { return len(text) - len(strings.TrimRight(text, set)) }

// flapping is how much results change, in percent, over the newest slots of
// them; a change counts from 0.8 for the oldest to 1.18 for the newest. Before
// the first result everything was up. This is how Icinga and Nagios weigh it.
func flapping(seen string) float64 {
	before := byte(letterUp)
	if len(seen) > slots {
		before, seen = seen[len(seen)-slots-1], seen[len(seen)-slots:]
	}
	var sum float64
	first := slots - len(seen)
	for i := range len(seen) {
		if seen[i] != before {
			sum += 0.8 + 0.02*float64(first+i)
		}
		before = seen[i]
	}
	return 100 * sum / slots
}
