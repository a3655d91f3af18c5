package engine

import (
	"context"
	"slices"
	"time"

	"github.com/uptrace/bun"

	"github.com/flightrules/flightrules/engine/journal"
	"github.com/flightrules/flightrules/engine/outbox"
	"github.com/flightrules/flightrules/internal/db"
	"github.com/flightrules/flightrules/rules"
	"github.com/flightrules/flightrules/triggers"
)

// batch gathers what follows from the things that are routed together, and
// writes it with one statement for each table.
type batch struct {
	*Engine
	set *rules.Set
	now time.Time

	events       []journal.Event
	recorded     map[string]bool // ids of events
	later        []outbox.Note   // events of the batch that are yet to be routed
	decisions    []journal.Decision
	runs         []*journal.Run
	versions     map[string]*rules.Rule
	lanes        map[string][]*journal.Run // active runs, those of the batch included
	starts       map[string]int            // recent starts by rule and key
	timers       map[timerName]*pending
	latches      map[string]map[latchName]triggers.Latch // by key
	dirtyLatches []journal.Latch
	states       map[string]journal.RuleState // of paused rules; nil: not read yet
	silences     []silence                    // nil: not read yet
	hears        listeners
	routed       int
}

func (e *Engine) newBatch() *batch {
	return &batch{
		Engine: e, set: e.Rules(), now: e.Now(),
		recorded: map[string]bool{}, versions: map[string]*rules.Rule{}, lanes: map[string][]*journal.Run{},
		starts: map[string]int{}, timers: map[timerName]*pending{}, latches: map[string]map[latchName]triggers.Latch{},
	}
}

func (b *batch) at() db.Time { return db.At(b.now) }

// record puts an event into the log, once.
func (b *batch) record(e triggers.Event) {
	if e.Name == "" || b.recorded[e.ID] {
		return // or known by its id alone: it is in the log
	}
	b.recorded[e.ID] = true
	row := journal.Event{
		ID: e.ID, Name: e.Name, Kind: e.Kind, EntityID: e.EntityID, Payload: e.Payload,
		Actor: e.Cause.Actor, RunID: e.Cause.RunID, Depth: e.Cause.Depth, At: db.At(e.At),
	}
	switch {
	case e.Change != nil && e.About:
		row.AboutSeq = e.Change.Seq
	case e.Change != nil:
		row.TransitionSeq = e.Change.Seq
	}
	b.events = append(b.events, row)
}

// announce records an event and has it routed after the batch.
func (b *batch) announce(e triggers.Event) {
	b.record(e)
	b.later = append(b.later, outbox.Note{EventID: e.ID})
}

// decision is what became of a match.
func (b *batch) decision(m match, outcome journal.Outcome, detail, run string) {
	b.decisions = append(b.decisions, journal.Decision{
		Rule: m.rule.ID, Version: m.rule.Version, Trigger: m.trigger.ID, EventID: m.event.ID, Key: m.key(),
		Outcome: outcome, Detail: m.note + detail, RunID: run, At: b.at(),
	})
	b.record(m.event)
}

// write puts everything into the database.
func (b *batch) write(ctx context.Context, tx bun.Tx) error {
	if len(b.events) > 0 {
		if _, err := tx.NewInsert().Model(&b.events).ExcludeColumn("seq").On("CONFLICT (id) DO NOTHING").Returning("NULL").Exec(ctx); err != nil {
			return err
		}
	}
	if err := outbox.Add(ctx, tx, b.later...); err != nil {
		return err
	}
	if len(b.decisions) > 0 {
		if _, err := tx.NewInsert().Model(&b.decisions).ExcludeColumn("seq").Returning("NULL").Exec(ctx); err != nil {
			return err
		}
	}
	if err := b.writeVersions(ctx, tx); err != nil {
		return err
	}
	if len(b.runs) > 0 {
		if _, err := tx.NewInsert().Model(&b.runs).Returning("NULL").Exec(ctx); err != nil {
			return err
		}
		db.HintAfter(ctx, journal.Topic)
	}
	if err := b.writeMail(ctx, tx); err != nil {
		return err
	}
	if err := b.writeLatches(ctx, tx); err != nil {
		return err
	}
	return b.writeTimers(ctx, tx)
}

// writeVersions keeps the text of every rule that came into force or that
// something now depends on.
func (b *batch) writeVersions(ctx context.Context, tx bun.Tx) error {
	var rows []journal.RuleVersion
	for version, r := range b.versions {
		if _, ok := b.stored.Load(version); !ok {
			rows = append(rows, journal.RuleVersion{Version: version, Rule: r.ID, Text: r.Text, CreatedAt: b.at()})
		}
	}
	for some := range slices.Chunk(rows, upsertRows) {
		if _, err := tx.NewInsert().Model(&some).On("CONFLICT DO NOTHING").Returning("NULL").Exec(ctx); err != nil {
			return err
		}
	}
	return nil
}

// committed is called once all of it is durable.
func (b *batch) committed() {
	b.reconciled.Store(b.set)
	for version := range b.versions {
		b.stored.Store(version, true)
	}
	b.Metrics.routed.Add(float64(b.routed))
	for _, d := range b.decisions {
		b.Metrics.decisions.WithLabelValues(d.Rule, string(d.Outcome)).Inc()
	}
}
