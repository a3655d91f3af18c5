package replay

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/uptrace/bun"

	"github.com/flightrules/flightrules/internal/db"
)

// looks goes through the decisions in their order, which is that of the looks
// of the router.
type looks struct {
	idb   bun.IDB
	loads []time.Time // when rules came into force and left it, which is a look too
	// later says that an item was routed under the rules that came into force then,
	// and not under those before.
	later func(one *item, at time.Time) bool
	after int64
	ahead []decided
	ended bool
}

// decided is of a decision what tells of other events than its own.
type decided struct {
	Seq    int64
	At     db.Time
	Detail string
}

// soon is how much after something came the router looks at it as a rule.
const soon = 50 * time.Millisecond

// when is the look at which something was routed that nothing was decided about:
// the next one with a decision that names it or, where that is soon, the next
// one. zero: it is not told. It is asked in the order of time.
func (l *looks) when(ctx context.Context, one *item) (time.Time, error) {
	for {
		for len(l.ahead) > 0 && l.ahead[0].At.Before(one.at) {
			l.ahead = l.ahead[1:]
		}
		if len(l.ahead) > 0 || l.ended {
			break
		}
		if err := l.read(ctx); err != nil {
			return time.Time{}, err
		}
	}
	for len(l.loads) > 0 && l.loads[0].Before(one.at) {
		l.loads = l.loads[1:]
	}
	if len(l.loads) > 0 && (len(l.ahead) == 0 || !l.loads[0].After(l.ahead[0].At.Time)) {
		if c := l.loads[0]; c.Sub(one.at) <= soon && l.later(one, c) {
			return c, nil
		}
		return time.Time{}, nil
	}
	if len(l.ahead) == 0 {
		return time.Time{}, nil
	}
	at := l.ahead[0].At
	last := latest(at.Time, one.at.Add(soon))
	for i := 0; ; i++ {
		if i == len(l.ahead) && !l.ended {
			if err := l.read(ctx); err != nil {
				return time.Time{}, err
			}
		}
		if i == len(l.ahead) || l.ahead[i].At.After(last) {
			break
		}
		if one.named(l.ahead[i].Detail) {
			return l.ahead[i].At.Time, nil
		}
	}
	if at.Sub(one.at) > soon {
		return time.Time{}, nil
	}
	return at.Time, nil
}

// named says whether the detail of a decision about something else names it.
func (one *item) named(detail string) bool {
	if one.event != nil {
		return strings.Contains(detail, "event "+one.event.ID)
	}
	t := one.transition
	return strings.HasSuffix(detail, fmt.Sprintf("by version %d of %s/%s", t.Version, t.Kind, t.ID))
}

func (l *looks) read(ctx context.Context) error {
	var list []decided
	err := l.idb.NewSelect().Table("decisions").Column("seq", "at", "detail").Where("seq > ?", l.after).Order("seq").Limit(pageSize).Scan(ctx, &list)
	if len(list) > 0 {
		l.after = list[len(list)-1].Seq
	}
	l.ended = len(list) < pageSize
	l.ahead = append(l.ahead, list...)
	return err
}
