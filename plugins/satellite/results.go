package satellite

import (
	"cmp"
	"context"
	"database/sql"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/uptrace/bun"

	"github.com/flightrules/flightrules/internal/db"
	"github.com/flightrules/flightrules/plugins"
	"github.com/flightrules/flightrules/plugins/satellite/protocol"
)

const (
	// maxStreams bounds how many streams of a satellite are remembered, the
	// newest. Its agent begins another one when it loses its memory.
	maxStreams = 16
	// maxStream bounds the name of a stream, in bytes.
	maxStream = 64
	// skewTolerance is how wrong an agent's clock may be before the times of its
	// results are put right.
	skewTolerance = 5 * time.Second
)

// errOutdated ends the work for a session that is not the satellite's newest.
var errOutdated = errors.New("the session is not the satellite's newest")

// stream is up to where the results of an agent's memory were taken.
type stream struct {
	bun.BaseModel `bun:"table:satellite_streams"`

	SatelliteID string  `bun:"satellite_id,pk"`
	Stream      string  `bun:"stream,pk"`
	Seq         int64   `bun:"seq"`
	Dropped     int64   `bun:"dropped"`
	At          db.Time `bun:"at"`
}

// implausible says what is wrong with results as a whole; "": nothing.
func implausible(m protocol.Results) string {
	switch {
	case m.Stream == "" || len(m.Stream) > maxStream || strings.ContainsRune(m.Stream, 0):
		return fmt.Sprintf("a stream has a name of 1 to %d bytes", maxStream)
	case m.Seq < 1 || m.Seq > 1<<62 || m.Dropped < 0:
		return "numbers begin at 1"
	case len(m.Items) == 0 || len(m.Items) > protocol.MaxItems:
		return fmt.Sprintf("there are 1 to %d items", protocol.MaxItems)
	case m.SentAt.IsZero():
		return "sent_at is wanted"
	}
	return ""
}

// takeResults takes results, each once: what they change is committed together
// with up to where they were taken. Then, and not before, they are acknowledged.
func (p *Plugin) takeResults(ctx context.Context, s *session, m protocol.Results, came time.Time) error {
	taken := m.Seq + int64(len(m.Items)) - 1
	var own []protocol.Item
	var refused int
	var lost int64
	err := p.host.Write(ctx, func(ctx context.Context, tx bun.Tx) error {
		own, refused, lost = nil, 0, 0
		r, err := p.current(ctx, tx, s)
		if err != nil {
			return err
		}
		known, err := p.streamOf(ctx, tx, s.id, m.Stream)
		if err != nil {
			return err
		}
		fresh := m.Items[min(max(known.Seq+1-m.Seq, 0), int64(len(m.Items))):]
		if len(fresh) == 0 {
			return nil // they were taken before
		}
		if own, err = p.assigned(ctx, tx, s.id, fresh); err != nil {
			return err
		}
		refused, lost = len(fresh)-len(own), max(m.Dropped-known.Dropped, 0)
		if err := p.handOver(ctx, tx, r, own, came.Sub(m.SentAt), came); err != nil {
			return err
		}
		if refused > 0 {
			if _, err := tx.NewUpdate().Model((*row)(nil)).Set("refused = refused + ?", refused).Where("id = ?", s.id).Exec(ctx); err != nil {
				return err
			}
		}
		known.Seq, known.Dropped, known.At = taken, max(m.Dropped, known.Dropped), db.At(came)
		return p.keepStream(ctx, tx, known)
	})
	switch {
	case errors.Is(err, errOutdated):
		return p.checkSessions(ctx, s)
	case err != nil:
		return err
	}
	if refused > 0 {
		p.metrics.results.WithLabelValues("refused").Add(float64(refused))
		p.host.Log().Warn("results of what is not assigned to a satellite were refused", "satellite", s.name, "count", refused)
	}
	if lost > 0 {
		p.metrics.results.WithLabelValues("lost").Add(float64(lost))
		p.host.Log().Warn("a satellite lost results: it had no room for them while it could not deliver", "satellite", s.name, "count", lost)
	}
	p.metrics.results.WithLabelValues("taken").Add(float64(len(own)))
	s.tell(protocol.ResultsAck{Stream: m.Stream, Seq: taken})
	return nil
}

// current is the row of a session's satellite, locked until the transaction
// ends; errOutdated when the session is not its newest.
func (p *Plugin) current(ctx context.Context, tx bun.Tx, s *session) (row, error) {
	rows, err := p.lockRows(ctx, tx, []string{s.id})
	if err != nil {
		return row{}, err
	}
	if len(rows) == 0 || rows[0].Epoch != s.epoch {
		return row{}, errOutdated
	}
	return rows[0], nil
}

func (p *Plugin) streamOf(ctx context.Context, tx bun.Tx, satellite, name string) (stream, error) {
	s := stream{SatelliteID: satellite, Stream: name}
	err := tx.NewSelect().Model(&s).WherePK().Scan(ctx)
	if errors.Is(err, sql.ErrNoRows) {
		err = nil
	}
	return s, err
}

// keepStream notes up to where a stream was taken, and forgets the oldest of
// too many.
func (p *Plugin) keepStream(ctx context.Context, tx bun.Tx, s stream) error {
	if _, err := tx.NewInsert().Model(&s).On("CONFLICT (satellite_id, stream) DO UPDATE").
		Set("seq = EXCLUDED.seq, dropped = EXCLUDED.dropped, at = EXCLUDED.at").Returning("NULL").Exec(ctx); err != nil {
		return err
	}
	newest := tx.NewSelect().Model((*stream)(nil)).Column("stream").Where("satellite_id = ?", s.SatelliteID).Order("at DESC", "stream").Limit(maxStreams)
	_, err := tx.NewDelete().Model((*stream)(nil)).Where("satellite_id = ? AND stream NOT IN (?)", s.SatelliteID, newest).Exec(ctx)
	return err
}

// assigned are those of the items that are of assignments of the satellite, and
// can be read.
func (p *Plugin) assigned(ctx context.Context, tx bun.Tx, satellite string, items []protocol.Item) (own []protocol.Item, err error) {
	var list []assignment
	if err := tx.NewSelect().Model(&list).Column("capability", "id").Where("satellite_id = ?", satellite).Scan(ctx); err != nil {
		return nil, err
	}
	type ref struct{ capability, id string }
	has := make(map[ref]bool, len(list))
	for _, a := range list {
		has[ref{a.Capability, a.ID}] = true
	}
	for _, i := range items {
		_, known := p.remote.capabilities[i.Capability]
		if known && has[ref{i.Capability, i.Assignment}] && len(i.Payload) <= protocol.MaxPayload && i.Duration >= 0 {
			own = append(own, i)
		}
	}
	return own, nil
}

// handOver gives results to those who had them made, each run of one capability
// at once. offset is how far the core's clock is ahead of the agent's, the way
// of the message included.
func (p *Plugin) handOver(ctx context.Context, tx bun.Tx, r row, items []protocol.Item, offset time.Duration, now time.Time) error {
	if len(items) == 0 {
		return nil
	}
	if offset.Abs() <= skewTolerance {
		offset = 0
	}
	from, err := p.remotes(ctx, tx, now, []row{r})
	if err != nil {
		return err
	}
	for begin, end := 0, 0; begin < len(items); begin = end {
		name := items[begin].Capability
		var results []plugins.RemoteResult
		for ; end < len(items) && items[end].Capability == name; end++ {
			results = append(results, result(items[end], offset, now))
		}
		err := contained(func() error { return p.remote.capabilities[name].Results(ctx, tx, from[0], results) })
		if err != nil {
			return fmt.Errorf("capability %s: %w", name, err)
		}
	}
	return nil
}

func result(i protocol.Item, offset time.Duration, now time.Time) plugins.RemoteResult {
	at := i.At.Add(offset).UTC().Truncate(time.Microsecond)
	if at.After(now) {
		at = now // nothing has happened later
	}
	text := i.Error
	if len(i.Payload) == 0 {
		text = cmp.Or(text, "the satellite gave neither a payload nor an error")
	}
	return plugins.RemoteResult{
		Assignment: i.Assignment, At: at, Duration: time.Duration(i.Duration), Payload: i.Payload,
		Error: strings.ToValidUTF8(strings.ReplaceAll(text[:min(len(text), protocol.MaxError)], "\x00", ""), ""),
	}
}

// contained turns a panic of another plugin into an error.
func contained(fn func() error) (err error) {
	defer func() {
		if v := recover(); v != nil {
			err = fmt.Errorf("panic: %v", v)
		}
	}()
	return fn()
}
