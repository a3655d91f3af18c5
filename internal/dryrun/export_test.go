package dryrun

import "time"

// SetPatience bounds how long a dry run takes.
func (r *Runner) SetPatience(d time.Duration) { r.patience = d }

// Occupy takes all turns until free is called.
func (r *Runner) Occupy() (free func()) {
	for range atOnce {
		r.turns <- struct{}{}
	}
	return func() {
		for range atOnce {
			<-r.turns
		}
	}
}
