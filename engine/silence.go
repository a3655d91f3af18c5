package engine

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/uptrace/bun"

	"github.com/flightrules/flightrules/engine/journal"
	"github.com/flightrules/flightrules/engine/timer"
	"github.com/flightrules/flightrules/entities"
	"github.com/flightrules/flightrules/internal/db"
	"github.com/flightrules/flightrules/rules"
	"github.com/flightrules/flightrules/triggers"
)

// silence is a silence that is not over, with its matcher; nil when that does
// not compile any more.
type silence struct {
	journal.Silence

	match *rules.Matcher
}

// openSilences are those that are not over, read once in a batch.
func (b *batch) openSilences(ctx context.Context, tx bun.Tx) ([]silence, error) {
	if b.silences != nil {
		return b.silences, nil
	}
	rows, err := journal.OpenSilences(ctx, tx)
	if err != nil {
		return nil, err
	}
	b.silences = make([]silence, len(rows))
	for i, row := range rows {
		b.silences[i] = silence{row, b.matcher(row.Matcher)}
	}
	return b.silences, nil
}

// matcher compiles a matcher, once.
func (e *Engine) matcher(text string) *rules.Matcher {
	if m, ok := e.matchers.Load(text); ok {
		return m.(*rules.Matcher)
	}
	m, err := e.Compiler.CompileMatcher(text)
	if err != nil {
		e.Log.Error("the matcher of a silence does not compile; it silences nothing", "matcher", text, "error", err)
		m = nil
	}
	e.matchers.Store(text, m)
	return m
}

// silenced records a match that a silence is about, and keeps one on a state in
// mind for its end. A matcher that cannot be evaluated silences nothing.
func (b *batch) silenced(ctx context.Context, tx bun.Tx, m match) (stop bool, err error) {
	open, err := b.openSilences(ctx, tx)
	if err != nil {
		return false, err
	}
	for _, s := range open {
		if s.match == nil || m.at.Before(s.StartsAt.Time) || !m.at.Before(s.EndsAt.Time) {
			continue
		}
		yes, err := s.match.Matches(m.value, triggerValue(m.rule, m.trigger.ID))
		if err != nil {
			b.Metrics.Failed("silences", err)
		}
		if !yes {
			continue
		}
		b.decision(m, journal.Silenced, fmt.Sprintf("%s until %s: %s", s.ID, s.EndsAt.UTC().Format(time.RFC3339), s.Reason), "")
		return true, b.remember(ctx, tx, s.ID, m)
	}
	return false, nil
}

// remember keeps a match on a state for the end of a silence: the last one of
// each entity.
func (b *batch) remember(ctx context.Context, tx bun.Tx, id string, m match) error {
	if _, ok := m.trigger.Trigger.(triggers.Holding); !ok || m.event.Change == nil {
		return nil
	}
	row := journal.SilencedMatch{Silence: id, Rule: m.rule.ID, Trigger: m.trigger.ID, Kind: m.event.Kind, EntityID: m.event.EntityID, EventID: m.event.ID}
	_, err := tx.NewInsert().Model(&row).On("CONFLICT (silence, rule, trigger_id, kind, entity_id) DO UPDATE").
		Set("event_id = EXCLUDED.event_id").Returning("NULL").Exec(ctx)
	return err
}

// silenceOver ends a silence and looks again at the matches that it kept from
// running: those whose state still holds are decided about now.
func (b *batch) silenceOver(ctx context.Context, tx bun.Tx, id string, at time.Time) error {
	s, err := journal.SilenceByID(ctx, tx, id)
	if errors.Is(err, journal.ErrNotFound) || err == nil && !s.EndedAt.IsZero() {
		return nil
	}
	if err != nil {
		return err
	}
	if _, err := tx.NewUpdate().Model(&s).Set("ended_at = ?", db.At(at)).WherePK().Exec(ctx); err != nil {
		return err
	}
	b.silences = nil
	b.announce(b.made(triggers.Event{
		Name: triggers.SilenceEnded, At: at, Cause: entities.Cause{Actor: entities.System},
		Payload: db.ToJSON(triggers.SilencePayload{Silence: s.ID, Reason: s.Reason}),
	}, "", ""))
	var rows []journal.SilencedMatch
	if err := tx.NewDelete().Model(&rows).Where("silence = ?", id).Returning("*").Scan(ctx); err != nil {
		return err
	}
	for _, row := range rows {
		if err := b.again(ctx, tx, s, row, at); err != nil {
			return err
		}
	}
	return nil
}

// again decides about a silenced match whose state has held to the end.
func (b *batch) again(ctx context.Context, tx bun.Tx, s journal.Silence, row journal.SilencedMatch, at time.Time) error {
	a := awaited{Rule: row.Rule, Trigger: row.Trigger, EventID: row.EventID, Kind: row.Kind, Entity: row.EntityID}
	r, t, _ := b.live(a)
	if t == nil {
		return nil
	}
	event, _, err := b.happened(ctx, tx, row.EventID)
	if errors.Is(err, errUnreadable) || err == nil && event.Change == nil {
		return nil
	}
	if err != nil {
		return err
	}
	log, err := b.Entities.After(ctx, b.log(tx), row.Kind, row.EntityID, event.Change.Version)
	if err != nil && !errors.Is(err, entities.ErrInvalid) {
		return err
	}
	for _, change := range log {
		if !change.At.After(at) && b.breaks(t, change) {
			return nil
		}
	}
	m, err := b.found(r, t, *event.Change, at)
	m.note = "silence " + s.ID + " ended "
	if err != nil {
		return b.failedMatch(m, err)
	}
	return b.decide(ctx, tx, m)
}

// found is the match of an entity as a change has left it, looked at later.
func (b *batch) found(r *rules.Rule, t *rules.Trigger, change entities.Transition, at time.Time) (match, error) {
	e := b.made(triggers.Event{
		Name: triggers.ChangedEvent(change.Kind), At: at, Kind: change.Kind, EntityID: change.ID,
		Payload: emptyObject, Cause: entities.Cause{Actor: entities.System}, Change: &change, About: true,
	}, r.ID, t.ID)
	value, err := b.Events.Value(e)
	return match{rule: r, trigger: t, event: e, value: value, at: at}, err
}

// SilenceSpec is a silence to be made.
type SilenceSpec struct {
	ID     string    // "": a new one
	Match  string    // an expression over `event` and `trigger`
	Start  time.Time // zero: now
	End    time.Time
	Reason string
}

// ErrSilence is returned for a silence that cannot be made.
var ErrSilence = errors.New("bad silence")

// Silence makes a silence; its author is the actor of ctx. Errors: ErrSilence,
// an *expression.Error of the matcher.
func (e *Engine) Silence(ctx context.Context, spec SilenceSpec) (row journal.Silence, err error) {
	err = e.DB.Write(ctx, func(ctx context.Context, tx bun.Tx) error {
		row, err = e.silenceTx(ctx, tx, spec)
		return err
	})
	return row, err
}

func (e *Engine) silenceTx(ctx context.Context, tx bun.Tx, spec SilenceSpec) (journal.Silence, error) {
	now := e.Now()
	row := journal.Silence{
		ID: spec.ID, Matcher: spec.Match, StartsAt: db.At(spec.Start), EndsAt: db.At(spec.End), Reason: spec.Reason,
		Author: entities.CauseOf(ctx).Actor, CreatedAt: db.At(now),
	}
	if spec.Start.IsZero() {
		row.StartsAt = db.At(now)
	}
	if row.ID == "" {
		row.ID = e.NewID()
	}
	switch {
	case !row.EndsAt.After(row.StartsAt.Time):
		return row, fmt.Errorf("%w: it ends at %s, before it starts", ErrSilence, spec.End.UTC().Format(time.RFC3339))
	case !row.EndsAt.After(now):
		return row, fmt.Errorf("%w: it ended already, at %s", ErrSilence, spec.End.UTC().Format(time.RFC3339))
	}
	if _, err := e.Compiler.CompileMatcher(spec.Match); err != nil {
		return row, err
	}
	err := openSilence(ctx, tx, row)
	if db.IsUnique(err) {
		err = fmt.Errorf("%w: the id %q is taken", ErrSilence, row.ID)
	}
	return row, err
}

func openSilence(ctx context.Context, tx bun.Tx, row journal.Silence) error {
	if _, err := tx.NewInsert().Model(&row).Returning("NULL").Exec(ctx); err != nil {
		return err
	}
	return endAt(ctx, tx, row)
}

// endAt sets the timer of a silence's end.
func endAt(ctx context.Context, tx bun.Tx, row journal.Silence) error {
	db.HintAfter(ctx, routeTopic)
	return timer.Set(ctx, tx, timer.Timer{Kind: silenceTimer, Key: row.ID, DueAt: row.EndsAt})
}

// Unsilence ends a silence now. ErrNotFound of journal when there is none that
// is not over; ErrSilence for one of the files.
func (e *Engine) Unsilence(ctx context.Context, id string) (row journal.Silence, err error) {
	err = e.DB.Write(ctx, func(ctx context.Context, tx bun.Tx) error {
		row, err = e.unsilenceTx(ctx, tx, id)
		return err
	})
	return row, err
}

func (e *Engine) unsilenceTx(ctx context.Context, tx bun.Tx, id string) (journal.Silence, error) {
	row, err := journal.SilenceByID(ctx, tx, id)
	switch {
	case err != nil:
		return row, err
	case !row.EndedAt.IsZero():
		return row, fmt.Errorf("silence %s is over: %w", id, journal.ErrNotFound)
	case row.File:
		return row, fmt.Errorf("%w: %s stands in the files: take it out there", ErrSilence, id)
	}
	return row, cutSilence(ctx, tx, &row, e.Now())
}

// cutSilence moves the end of a silence to now.
func cutSilence(ctx context.Context, tx bun.Tx, row *journal.Silence, now time.Time) error {
	row.EndsAt = db.At(now)
	if _, err := tx.NewUpdate().Model(row).Column("ends_at").WherePK().Exec(ctx); err != nil {
		return err
	}
	return endAt(ctx, tx, *row)
}

// reconcileSilences brings the silences of the files in line with the set.
func (b *batch) reconcileSilences(ctx context.Context, tx bun.Tx) error {
	var rows []journal.Silence
	if err := tx.NewSelect().Model(&rows).Where("file").Scan(ctx); err != nil {
		return err
	}
	known := map[string]*journal.Silence{}
	for i := range rows {
		known[rows[i].ID] = &rows[i]
	}
	for _, s := range b.set.Silences {
		if err := b.reconcileSilence(ctx, tx, s, known[s.ID]); err != nil {
			return err
		}
		delete(known, s.ID)
	}
	for _, row := range known {
		if row.EndedAt.IsZero() {
			if err := cutSilence(ctx, tx, row, b.now); err != nil {
				return err
			}
		}
	}
	b.silences = nil
	return nil
}

func (b *batch) reconcileSilence(ctx context.Context, tx bun.Tx, s *rules.Silence, before *journal.Silence) error {
	row := journal.Silence{
		ID: s.ID, Matcher: s.Match.Source(), StartsAt: db.At(s.Start), EndsAt: db.At(s.End), Reason: s.Reason, Author: s.Author, File: true, CreatedAt: b.at(),
	}
	switch {
	case before != nil && s.Start.IsZero():
		row.StartsAt = before.StartsAt
	case s.Start.IsZero():
		row.StartsAt = b.at()
	}
	if before != nil {
		row.CreatedAt = before.CreatedAt
		if !before.EndedAt.IsZero() && before.EndsAt.Equal(row.EndsAt.Time) {
			return nil // it is over
		}
		if *before == row {
			return nil
		}
	}
	if before == nil && !row.EndsAt.After(b.now) {
		return nil // it was over before anybody saw it
	}
	if _, err := tx.NewInsert().Model(&row).On("CONFLICT (id) DO UPDATE").
		Set("matcher = EXCLUDED.matcher, starts_at = EXCLUDED.starts_at, ends_at = EXCLUDED.ends_at, reason = EXCLUDED.reason, author = EXCLUDED.author, file = EXCLUDED.file, ended_at = NULL").
		Returning("NULL").Exec(ctx); err != nil {
		return err
	}
	return endAt(ctx, tx, row)
}
