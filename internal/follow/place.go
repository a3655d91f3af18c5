package follow

import (
	"fmt"
	"strconv"
	"strings"
)

// Topic is one of the logs that are followed together.
type Topic int

// The topics.
const (
	Transitions Topic = iota
	Events
	Decisions
	Runs
	topics // how many there are
)

// tables are where the topics are.
var tables = [topics]string{"transitions", "events", "decisions", "run_changes"}

// String is the topic as it is written: transition, event, decision or run.
func (t Topic) String() string { return [topics]string{"transition", "event", "decision", "run"}[t] }

// Place is how far somebody is in each of the logs: the numbers that they have
// seen.
type Place [topics]int64

// String is the text that Parse reads: the numbers, with dots between.
func (p Place) String() string {
	parts := make([]string, topics)
	for i, seq := range p {
		parts[i] = strconv.FormatInt(seq, 10)
	}
	return strings.Join(parts, ".")
}

// Parse reads what String wrote.
func Parse(text string) (p Place, err error) {
	parts := strings.Split(text, ".")
	if len(parts) != len(p) {
		return p, fmt.Errorf("%q is not the id of a message", text)
	}
	for i, part := range parts {
		if p[i], err = strconv.ParseInt(part, 10, 64); err != nil || p[i] < 0 {
			return p, fmt.Errorf("%q is not the id of a message", text)
		}
	}
	return p, nil
}

// within is the place, or another one in those logs in which it is beyond the
// newest number: it is of another database then, or of one that was set back.
func (p Place) within(newest, other Place) Place {
	for i := range p {
		if p[i] > newest[i] {
			p[i] = other[i]
		}
	}
	return p
}
