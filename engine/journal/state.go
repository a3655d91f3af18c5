package journal

import (
	"context"
	"slices"

	"github.com/uptrace/bun"

	"github.com/flightrules/flightrules/internal/db"
)

// RuleState is what is known of a rule besides its text.
type RuleState struct {
	bun.BaseModel `bun:"table:rule_states"`

	Rule       string  `bun:"rule,pk"`
	LoadedAt   db.Time `bun:"loaded_at"` // first; zero: no file has it now
	Version    string  `bun:"version,nullzero"`
	Signatures db.JSON `bun:"signatures"` // of the triggers that gather something, by id
	PausedAt   db.Time `bun:"paused_at"`  // zero: it is not paused
	PausedBy   string  `bun:"paused_by,nullzero"`
	Tripped    bool    `bun:"tripped"` // the engine paused it, as it started too many runs
	Reason     string  `bun:"reason,nullzero"`
}

// Paused says whether the rule's matches are dropped.
func (s RuleState) Paused() bool { return !s.PausedAt.IsZero() }

// RuleStates are the states of the rules that are paused or, with all, of all
// rules.
func RuleStates(ctx context.Context, idb bun.IDB, all bool) (map[string]RuleState, error) {
	var list []RuleState
	q := idb.NewSelect().Model(&list)
	if !all {
		q = q.Where("paused_at IS NOT NULL")
	}
	if err := q.Scan(ctx); err != nil {
		return nil, err
	}
	states := make(map[string]RuleState, len(list))
	for _, s := range list {
		states[s.Rule] = s
	}
	return states, nil
}

// RuleChange is a change of what is known of a rule. It stays, with the texts of
// the versions: so that it can be told what a rule was at any time.
type RuleChange struct {
	bun.BaseModel `bun:"table:rule_changes"`

	Seq     int64      `bun:"seq,pk,autoincrement"`
	Rule    string     `bun:"rule"`
	Change  ChangeKind `bun:"change"`
	Version string     `bun:"version,nullzero"` // of RuleLoaded: that came into force
	Actor   string     `bun:"actor,nullzero"`   // of pauses: who paused it
	Reason  string     `bun:"reason,nullzero"`  // likewise
	At      db.Time    `bun:"at"`
}

// ChangeKind is what happened to a rule.
type ChangeKind string

// What can happen to a rule.
const (
	RuleLoaded  ChangeKind = "loaded"  // a version came into force
	RuleRemoved ChangeKind = "removed" // no file has it any more
	RulePaused  ChangeKind = "paused"  // by somebody
	RuleResumed ChangeKind = "resumed"
	RuleTripped ChangeKind = "tripped" // paused by the engine, as it started too many runs
)

// NoteChanges records changes of rules.
func NoteChanges(ctx context.Context, idb bun.IDB, changes ...RuleChange) error {
	for some := range slices.Chunk(changes, 1000) {
		if _, err := idb.NewInsert().Model(&some).ExcludeColumn("seq").Returning("NULL").Exec(ctx); err != nil {
			return err
		}
	}
	return nil
}

// Item is an event that a trigger has gathered.
type Item struct {
	bun.BaseModel `bun:"table:window_items"`

	Rule    string  `bun:"rule,pk"`
	Trigger string  `bun:"trigger_id,pk"`
	Key     string  `bun:"key,pk"`
	EventID string  `bun:"event_id,pk"`
	Part    int     `bun:"part,pk"` // of an `all`, from 1; 0 elsewhere
	At      db.Time `bun:"at"`
}

// Latch is what a trigger remembers of a key.
type Latch struct {
	bun.BaseModel `bun:"table:latches"`

	Rule    string `bun:"rule,pk"`
	Trigger string `bun:"trigger_id,pk"`
	Key     string `bun:"key,pk"`
	Value   int    `bun:"value"`
}

// Silence is a time in which the matches that it is about are recorded and not
// run.
type Silence struct {
	bun.BaseModel `bun:"table:silences"`

	ID        string  `bun:"id,pk"`
	Matcher   string  `bun:"matcher"` // an expression over `event` and `trigger`
	StartsAt  db.Time `bun:"starts_at"`
	EndsAt    db.Time `bun:"ends_at"`
	Reason    string  `bun:"reason"`
	Author    string  `bun:"author"`
	File      bool    `bun:"file"` // it stands in the files, and goes with them
	CreatedAt db.Time `bun:"created_at"`
	EndedAt   db.Time `bun:"ended_at"` // zero: it is not over
}

// SilencedMatch is a match on a state that a silence kept from running.
type SilencedMatch struct {
	bun.BaseModel `bun:"table:silenced"`

	Silence  string `bun:"silence,pk"`
	Rule     string `bun:"rule,pk"`
	Trigger  string `bun:"trigger_id,pk"`
	Kind     string `bun:"kind,pk"`
	EntityID string `bun:"entity_id,pk"`
	EventID  string `bun:"event_id"`
}

// OpenSilences are the silences that are not over, those yet to start included.
func OpenSilences(ctx context.Context, idb bun.IDB) ([]Silence, error) {
	var list []Silence
	err := idb.NewSelect().Model(&list).Where("ended_at IS NULL").Order("id").Scan(ctx)
	return list, err
}

// Silences lists silences by their ids, after one.
func Silences(ctx context.Context, idb bun.IDB, after string, open bool, limit int) ([]Silence, error) {
	var list []Silence
	q := idb.NewSelect().Model(&list).Where("id > ?", after).Order("id").Limit(int64(limit))
	if open {
		q = q.Where("ended_at IS NULL")
	}
	err := q.Scan(ctx)
	return list, err
}

// SilenceByID finds a silence.
func SilenceByID(ctx context.Context, idb bun.IDB, id string) (Silence, error) {
	var s Silence
	err := idb.NewSelect().Model(&s).Where("id = ?", id).Scan(ctx)
	return s, one(err, "silence", id)
}
