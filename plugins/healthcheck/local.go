package healthcheck

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/uptrace/bun"

	"github.com/flightrules/flightrules/engine/timer"
	"github.com/flightrules/flightrules/internal/db"
	"github.com/flightrules/flightrules/internal/secret"
	"github.com/flightrules/flightrules/plugins/healthcheck/probe"
)

// localTimer has the core look at a check; its key is the check's id. Whichever
// node takes it sets the next one and looks. A look that a crash cuts off is
// not repeated: the next one tells more.
const localTimer = "check.local"

// local is the looks of this node that are to be done.
type local struct {
	queue chan look
	slots chan struct{}
}

type look struct {
	definition Definition
	due        time.Time
}

// queued bounds how many looks wait for a node that is too busy for them.
const queued = 1024

func newLocal(slots int) *local {
	return &local{queue: make(chan look, queued), slots: make(chan struct{}, slots)}
}

// startLocal begins looks that are due.
func (p *Plugin) startLocal(ctx context.Context, due []timer.Timer) error {
	var errs []error
	for _, t := range due {
		if err := p.startOne(ctx, t); err != nil {
			if ctx.Err() != nil {
				return err
			}
			errs = append(errs, p.host.Timers().Defer(ctx, t, err))
		}
	}
	return errors.Join(errs...)
}

func (p *Plugin) startOne(ctx context.Context, t timer.Timer) error {
	var d Definition
	begin := false
	err := p.host.Write(ctx, func(ctx context.Context, tx bun.Tx) error {
		begin = false
		c, err := checkOf(ctx, tx, t.Key)
		if err != nil && !errors.Is(err, errUnknown) {
			return err
		}
		taken, takeErr := timer.Take(ctx, tx, t)
		if takeErr != nil || !taken || err != nil || p.simulated.Load() {
			return takeErr
		}
		if d, err = c.decode(); err != nil || !d.Local {
			return err
		}
		begin = true
		return p.host.SetTimers(ctx, tx, timer.Timer{Kind: localTimer, Key: d.ID, DueAt: db.At(d.next(p.host.Now()))})
	})
	if err != nil || !begin {
		return err
	}
	select {
	case p.local.queue <- look{d, t.DueAt.Time}:
	default:
		p.host.Log().Warn("a look is left out: too many wait", "check", d.ID)
	}
	return nil
}

// next is the time of the next look: the check's own in each interval, and half
// an interval away at least.
func (d Definition) next(now time.Time) time.Time {
	interval := d.interval()
	from := now.Add(interval / 2)
	own := uint64(interval)
	after := (phase(d.ID)%own + own - uint64(from.UnixNano())%own) % own
	return from.Add(time.Duration(after))
}

// runLocal does the looks of this node until ctx ends.
func (p *Plugin) runLocal(ctx context.Context) error {
	var running sync.WaitGroup
	defer running.Wait()
	for {
		select {
		case <-ctx.Done():
			return nil
		case p.local.slots <- struct{}{}:
		}
		select {
		case <-ctx.Done():
			return nil
		case l := <-p.local.queue:
			running.Go(func() {
				defer func() { <-p.local.slots }()
				if err := p.lookLocally(ctx, l); err != nil && ctx.Err() == nil {
					p.host.Log().Error("the result of a check is lost", "check", l.definition.ID, "error", err)
				}
			})
		}
	}
}

func (p *Plugin) lookLocally(ctx context.Context, l look) error {
	d := l.definition
	at := p.host.Now()
	report, err := p.lookOnce(ctx, d)
	if ctx.Err() != nil {
		return nil // it was cut off, which says nothing
	}
	r := result{
		CheckID: d.ID, Observer: localObserver, At: db.At(at), Outcome: string(report.Outcome), Latency: report.LatencyUS, Message: report.Message,
	}
	if err != nil {
		r.Outcome, r.Message = failed, text(err.Error())
	}
	return p.host.Write(ctx, func(ctx context.Context, tx bun.Tx) error { return p.take(ctx, tx, localObserver, []result{r}) })
}

// lookOnce looks, with the secrets that the check declares, which are masked in
// what it says.
func (p *Plugin) lookOnce(ctx context.Context, d Definition) (report probe.Report, err error) {
	ctx, cancel := context.WithTimeout(ctx, d.timeout())
	defer cancel()
	var given []string
	defer func() {
		if v := recover(); v != nil {
			err = fmt.Errorf("panic: %v", v)
		}
		mask := secret.NewMasker(given...)
		report.Message = mask.Text(report.Message)
		if err != nil {
			err = errors.New(mask.Text(err.Error()))
		}
	}()
	return d.Look(ctx, probe.Environment{Secrets: func(context.Context) (map[string]string, error) {
		values := map[string]string{}
		for variable, name := range d.SecretEnv {
			value, err := p.host.Secret(ctx, name, "check:"+d.ID)
			if err != nil {
				return nil, err
			}
			values[variable] = value
			given = append(given, value)
		}
		return values, nil
	}})
}
