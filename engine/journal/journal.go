// Package journal keeps what happened and what was done about it as rows:
// events, decisions, runs and their steps, and the texts of the rules they
// began with. The engine writes them in its transactions; readers page through
// them, newest first.
package journal

import (
	"context"
	"database/sql"
	"embed"
	"errors"
	"fmt"

	"github.com/uptrace/bun"

	"github.com/flightrules/flightrules/internal/db"
)

// Topic is the hint that a run is ready for a worker.
const Topic = "runs"

// ErrNotFound is returned for a row that does not exist.
var ErrNotFound = errors.New("not found")

//go:embed migrations/*.sql
var files embed.FS

// Migrations are the tables of the journal.
func Migrations() db.Migrations { return db.MigrationsIn("journal", files) }

// Event is one event of the log.
type Event struct {
	bun.BaseModel `bun:"table:events"`

	Seq           int64   `bun:"seq,pk,autoincrement"`
	ID            string  `bun:"id"`
	Name          string  `bun:"name"`
	Kind          string  `bun:"kind,nullzero"`      // of the entity it is about
	EntityID      string  `bun:"entity_id,nullzero"` //
	Payload       db.JSON `bun:"payload"`
	TransitionSeq int64   `bun:"transition_seq,nullzero"` // what it was derived from
	AboutSeq      int64   `bun:"about_seq,nullzero"`      // what it is about without having been derived from it
	Actor         string  `bun:"actor"`
	RunID         string  `bun:"run_id,nullzero"` // the run that caused it
	Depth         int     `bun:"depth"`
	At            db.Time `bun:"at"`
}

// Outcome is how a match of a rule's trigger was decided.
type Outcome string

// The outcomes there are.
const (
	Started        Outcome = "started"
	Held           Outcome = "held"            // a dwell was armed
	Cancelled      Outcome = "cancelled"       // the dwell was broken
	ConditionFalse Outcome = "condition_false" // a condition said no
	Counted        Outcome = "counted"         // a window is not full
	Grouped        Outcome = "grouped"         // it waits for its batch
	Blocked        Outcome = "blocked"         // another run is active
	RunWaits       Outcome = "queued"          // its run waits its turn
	Dropped        Outcome = "dropped"         // there are too many runs, or the rule is paused
	Silenced       Outcome = "silenced"        // a silence is about it
	CooledDown     Outcome = "cooled_down"     // the rule ran a short while ago
	DepthExceeded  Outcome = "depth_exceeded"  // too many runs stand behind the event
	Failed         Outcome = "error"           // an expression could not be evaluated
)

// Decision is what became of one match.
type Decision struct {
	bun.BaseModel `bun:"table:decisions"`

	Seq     int64   `bun:"seq,pk,autoincrement"`
	Rule    string  `bun:"rule"`
	Version string  `bun:"version"`
	Trigger string  `bun:"trigger_id"`
	EventID string  `bun:"event_id"`
	Key     string  `bun:"key"`
	Outcome Outcome `bun:"outcome"`
	Detail  string  `bun:"detail"`
	RunID   string  `bun:"run_id,nullzero"` // started, or the one that blocks
	At      db.Time `bun:"at"`
}

// RunStatus is where a run stands.
type RunStatus string

// The statuses of runs.
const (
	RunQueued    RunStatus = "queued"
	RunRunning   RunStatus = "running"
	RunWaiting   RunStatus = "waiting"
	RunSucceeded RunStatus = "succeeded"
	RunFailed    RunStatus = "failed"
	RunCancelled RunStatus = "cancelled"
)

// Final says whether nothing more will happen.
func (s RunStatus) Final() bool {
	return s == RunSucceeded || s == RunFailed || s == RunCancelled
}

// Run is one execution of a rule's actions.
type Run struct {
	bun.BaseModel `bun:"table:runs"`

	ID         string    `bun:"id,pk"`
	Rule       string    `bun:"rule"`
	Version    string    `bun:"version"`
	Trigger    string    `bun:"trigger_id"`
	EventID    string    `bun:"event_id"`
	Key        string    `bun:"key"`
	Slot       string    `bun:"slot,nullzero"` // that it has for itself while it is active
	Lane       string    `bun:"lane,nullzero"` // that it shares with the runs which its mode counts
	Batch      db.JSON   `bun:"batch"`         // the ids of the events of a group; nil: the event alone
	CancelAt   db.Time   `bun:"cancel_at"`     // when somebody asked it to end; zero: nobody did
	CancelWhy  string    `bun:"cancel_why,nullzero"`
	Status     RunStatus `bun:"status"`
	Ready      bool      `bun:"ready"`
	Variables  db.JSON   `bun:"variables"` // of the rule, as they were when it began; nil: it has none
	Depth      int       `bun:"depth"`     // of what the run causes
	Attempt    int       `bun:"attempt"`
	Woken      bool      `bun:"woken"`      // something that it may wait for has come since it was claimed
	Heeds      bool      `bun:"heeds"`      // it waits for such a thing
	Recoveries int       `bun:"recoveries"` // how often it was broken off since it got any further
	Dead       bool      `bun:"dead"`       // it has failed for good, and somebody should look at it
	Epoch      int64     `bun:"epoch"`      // counts the claims; a writer with an older one is fenced off
	LeaseNode  string    `bun:"lease_node,nullzero"`
	LeaseUntil db.Time   `bun:"lease_until"`
	Error      string    `bun:"error,nullzero"`
	CreatedAt  db.Time   `bun:"created_at"`
	StartedAt  db.Time   `bun:"started_at"`
	FinishedAt db.Time   `bun:"finished_at"`
}

// StepStatus is where a step stands.
type StepStatus string

// The statuses of steps.
const (
	StepRunning   StepStatus = "running"
	StepWaiting   StepStatus = "waiting"
	StepSucceeded StepStatus = "succeeded"
	StepFailed    StepStatus = "failed"
	StepSkipped   StepStatus = "skipped"
	StepCancelled StepStatus = "cancelled"
)

// Final says whether the step is never done again.
func (s StepStatus) Final() bool { return s != StepRunning && s != StepWaiting }

// Step is what one step of a run did.
type Step struct {
	bun.BaseModel `bun:"table:steps"`

	RunID      string     `bun:"run_id,pk"`
	Path       string     `bun:"path,pk"`      // "actions[0]"
	Iteration  string     `bun:"iteration,pk"` // of the loops around it, "" outside of loops
	Position   int        `bun:"position"`     // in the order in which steps began
	StepID     string     `bun:"step_id,nullzero"`
	Action     string     `bun:"action"`
	Status     StepStatus `bun:"status"`
	Attempt    int        `bun:"attempt"`    // how often it began, those times included that were broken off
	Failures   int        `bun:"failures"`   // attempts that have failed
	AttemptAt  db.Time    `bun:"attempt_at"` // when the present attempt began
	DueAt      db.Time    `bun:"due_at"`     // of one that waits: until when at most; zero: until something comes
	Input      db.JSON    `bun:"input"`
	Output     db.JSON    `bun:"output"`
	Error      string     `bun:"error,nullzero"`
	StartedAt  db.Time    `bun:"started_at"`
	FinishedAt db.Time    `bun:"finished_at"`
}

// RuleVersion is the text of a rule at some time.
type RuleVersion struct {
	bun.BaseModel `bun:"table:rule_versions"`

	Version   string  `bun:"version,pk"`
	Rule      string  `bun:"rule"`
	Text      string  `bun:"text"`
	CreatedAt db.Time `bun:"created_at"`
}

// one turns "no rows" into ErrNotFound.
func one(err error, what, id string) error {
	if errors.Is(err, sql.ErrNoRows) {
		return fmt.Errorf("%s %s: %w", what, id, ErrNotFound)
	}
	return err
}

// passed says of what is not there, and does not stay for ever, that it may
// have been.
func passed(err error) error {
	if errors.Is(err, ErrNotFound) {
		return fmt.Errorf("%w: it never was, or is not kept any more", err)
	}
	return err
}

// EventByID finds an event.
func EventByID(ctx context.Context, idb bun.IDB, id string) (Event, error) {
	var e Event
	err := idb.NewSelect().Model(&e).Where("id = ?", id).Scan(ctx)
	return e, passed(one(err, "event", id))
}

// EventsByID are events by their ids; those that are not there are left out.
func EventsByID(ctx context.Context, idb bun.IDB, ids ...string) (map[string]Event, error) {
	found := make(map[string]Event, len(ids))
	if len(ids) == 0 {
		return found, nil
	}
	var rows []Event
	if err := idb.NewSelect().Model(&rows).Where("id IN (?)", bun.List(ids)).Scan(ctx); err != nil {
		return nil, err
	}
	for _, row := range rows {
		found[row.ID] = row
	}
	return found, nil
}

// RunByID finds a run.
func RunByID(ctx context.Context, idb bun.IDB, id string) (Run, error) {
	var r Run
	err := idb.NewSelect().Model(&r).Where("id = ?", id).Scan(ctx)
	return r, passed(one(err, "run", id))
}

// RuleVersionByID finds the text of a rule.
func RuleVersionByID(ctx context.Context, idb bun.IDB, version string) (RuleVersion, error) {
	var v RuleVersion
	err := idb.NewSelect().Model(&v).Where("version = ?", version).Scan(ctx)
	return v, one(err, "rule version", version)
}

// Steps are the steps of a run in the order in which they began.
func Steps(ctx context.Context, idb bun.IDB, run string) ([]Step, error) {
	var steps []Step
	err := idb.NewSelect().Model(&steps).Where("run_id = ?", run).Order("position").Scan(ctx)
	return steps, err
}

// StepsOf are the steps of runs, each in the order in which they began.
func StepsOf(ctx context.Context, idb bun.IDB, runs ...string) (map[string][]Step, error) {
	found := make(map[string][]Step, len(runs))
	if len(runs) == 0 {
		return found, nil
	}
	var steps []Step
	if err := idb.NewSelect().Model(&steps).Where("run_id IN (?)", bun.List(runs)).Order("run_id", "position").Scan(ctx); err != nil {
		return nil, err
	}
	for _, s := range steps {
		found[s.RunID] = append(found[s.RunID], s)
	}
	return found, nil
}

// Filter narrows a list. Zero fields do not narrow; which of them apply
// depends on what is listed.
type Filter struct {
	Rule    string
	Event   string // of decisions and runs: the id of the event
	Name    string // of events
	Kind    string // of events: of the entity
	Entity  string // of events: the entity's id
	Outcome Outcome
	Status  RunStatus
	Dead    bool   // of runs: only those that were given up
	Before  int64  // only with a smaller seq: the cursor of events and decisions
	Last    string // only with a smaller id: the cursor of runs
	Limit   int
}

func (f Filter) where(q *bun.SelectQuery, conditions map[string]string) *bun.SelectQuery {
	for condition, value := range conditions {
		if value != "" {
			q = q.Where(condition, value)
		}
	}
	if f.Before != 0 {
		q = q.Where("seq < ?", f.Before)
	}
	if f.Limit > 0 {
		q = q.Limit(int64(f.Limit))
	}
	return q
}

// Events lists events, newest first.
func Events(ctx context.Context, idb bun.IDB, f Filter) ([]Event, error) {
	var list []Event
	q := f.where(idb.NewSelect().Model(&list), map[string]string{"name = ?": f.Name, "kind = ?": f.Kind, "entity_id = ?": f.Entity})
	err := q.Order("seq DESC").Scan(ctx)
	return list, err
}

// Decisions lists decisions, newest first.
func Decisions(ctx context.Context, idb bun.IDB, f Filter) ([]Decision, error) {
	var list []Decision
	q := f.where(idb.NewSelect().Model(&list), map[string]string{"rule = ?": f.Rule, "event_id = ?": f.Event, "outcome = ?": string(f.Outcome)})
	err := q.Order("seq DESC").Scan(ctx)
	return list, err
}

// DeadRuns is how many runs were given up.
func DeadRuns(ctx context.Context, idb bun.IDB) (int64, error) {
	return idb.NewSelect().Model((*Run)(nil)).Where("dead").Count(ctx)
}

// Runs lists runs, newest first: their ids rise with time.
func Runs(ctx context.Context, idb bun.IDB, f Filter) ([]Run, error) {
	var list []Run
	rule := "rule = ?"
	if f.Dead {
		rule = "rule || '' = ?" // the few that are dead are faster looked through than all that the rule has begun
	}
	q := f.where(idb.NewSelect().Model(&list), map[string]string{
		rule: f.Rule, "event_id = ?": f.Event, "status = ?": string(f.Status), "id < ?": f.Last,
	})
	if f.Dead {
		q = q.Where("dead")
	}
	err := q.Order("id DESC").Scan(ctx)
	return list, err
}

// CountRuns is how many runs have a status.
func CountRuns(ctx context.Context, idb bun.IDB, status RunStatus) (int64, error) {
	return idb.NewSelect().Model((*Run)(nil)).Where("status = ?", status).Count(ctx)
}

// Outcomes are the newest decisions of a rule, newest first, with nothing but
// their outcomes and times.
func Outcomes(ctx context.Context, idb bun.IDB, rule string, limit int) ([]Decision, error) {
	var list []Decision
	err := idb.NewSelect().Model(&list).Column("outcome", "at").Where("rule = ?", rule).Order("seq DESC").Limit(int64(limit)).Scan(ctx)
	return list, err
}
