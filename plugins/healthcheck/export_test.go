package healthcheck

import (
	"context"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"github.com/flightrules/flightrules/internal/duration"
)

// Opinion is what an observer thinks.
type Opinion struct {
	Status              string
	Observing, Flapping bool
}

// Judge gives the opinion after each result, letters of U, G, D and E.
func Judge(failures, successes int, low, high float64, results string) (list []Opinion) {
	l, o := limits{failures, successes, low, high}, opinion{}
	for _, r := range results {
		o = l.judge(o, map[rune]string{'U': up, 'G': degraded, 'D': down, 'E': failed}[r])
		list = append(list, Opinion{o.Status, o.Observing, o.Flapping})
	}
	return list
}

// Change is how much results change, in percent.
func Change(results string) float64 { return flapping(results) }

// Turn is whether it is flapping after a result that makes the change so much.
func Turn(was bool, change string, low, high float64) bool {
	o := limits{1, 1, low, high}.judge(opinion{Flapping: was, Recent: change[:len(change)-1]}, map[byte]string{'U': up, 'D': down}[change[len(change)-1]])
	return o.Flapping
}

// LookQueued does the looks that wait, and says how many there were.
func (p *Plugin) LookQueued(ctx context.Context) (n int, err error) {
	for {
		select {
		case l := <-p.local.queue:
			n++
			if err := p.lookLocally(ctx, l); err != nil {
				return n, err
			}
		default:
			return n, nil
		}
	}
}

// Operations declares the operations of the API.
func (p *Plugin) Operations(api huma.API) { p.operations(api) }

// Next is when the core looks again at a check with that interval.
func Next(id string, interval time.Duration, now time.Time) time.Time {
	d := Definition{ID: id}
	d.Interval = duration.Text(interval)
	return d.next(now)
}
