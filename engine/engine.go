// Package engine is what happens between a change and what is done about it:
// it routes recorded transitions and events to rules, decides every match, and
// runs the actions durably.
//
// All of its state is in the database, and every part of it is a step that may
// stop between any two transactions and go on, here or on another node: the
// router, of which one is at work in a cluster at a time, and the workers,
// which hold each run under a lease. Routing something and all that follows
// from it is one transaction; a step of a run with an effect is another.
package engine

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/uptrace/bun"

	"github.com/flightrules/flightrules/engine/journal"
	"github.com/flightrules/flightrules/engine/outbox"
	"github.com/flightrules/flightrules/engine/retention"
	"github.com/flightrules/flightrules/engine/timer"
	"github.com/flightrules/flightrules/entities"
	"github.com/flightrules/flightrules/internal/db"
	"github.com/flightrules/flightrules/internal/loop"
	"github.com/flightrules/flightrules/rules"
	"github.com/flightrules/flightrules/triggers"
)

// Options are what an engine is made of. Those from Lease on have defaults.
type Options struct {
	DB       *db.DB
	Entities *entities.Registry
	Events   *triggers.Catalogue
	Timers   *timer.Timers
	Compiler *rules.Compiler
	Now      func() time.Time
	Log      *slog.Logger
	Node     string // unique in the cluster and new at each start

	// Lease is how long a run stays with a node that is not heard of; zero
	// means 15 seconds. It is renewed three times as often.
	Lease time.Duration
	// Workers bounds the runs that this node executes at once; zero means 64.
	Workers int
	// Inline makes a step of the worker return when the runs it claimed have
	// ended or wait: for simulated time.
	Inline  bool
	Metrics *Metrics
	// MaxRecoveries is how often a step is begun again that was broken off,
	// before its run is given up; zero means 10.
	MaxRecoveries int
	// Secret is what ${{ secrets.NAME }} stands for, and by is who is given it;
	// nil: there are none.
	Secret func(ctx context.Context, name, by string) (string, error)
	// Shadow makes the engine one that stands beside another: all that it reads
	// of entities and transitions is in the log of this database, as of Now, and
	// steps that would change an entity, emit an event, run a rule or make a
	// silence are recorded without doing so. nil: it is no shadow.
	Shadow bun.IDB
	// Twin is what a shadow knows of the engine beside it; nil: nothing.
	Twin Twin
	// NewID makes the ids of events and runs, which must sort by when they were
	// made; nil: UUIDs of version 7.
	NewID func() string
}

// Engine routes, decides and executes. Make it with New, give it rules with
// SetRules, and drive it with Run, or with the Steppers by hand.
type Engine struct {
	Options

	set        atomic.Pointer[rules.Set] // nil until the first SetRules
	reconciled atomic.Pointer[rules.Set] // the set that what waits is in line with
	compiled   sync.Map                  // version -> *rules.Rule that is not in the set
	stored     sync.Map                  // version -> true: its text is in the database
	matchers   sync.Map                  // text -> *rules.Matcher of a silence; nil: it does not compile

	reports   *db.Group[*report]
	emissions *db.Group[*emission]

	router router
	worker worker
	pruner *retention.Pruner
}

// New makes an engine without rules. It registers its timers, so it must come
// before the timers' first step.
func New(o Options) *Engine {
	if o.Lease == 0 {
		o.Lease = 15 * time.Second
	}
	if o.Workers == 0 {
		o.Workers = 64
	}
	if o.MaxRecoveries == 0 {
		o.MaxRecoveries = defaultMaxRecoveries
	}
	if o.Secret == nil {
		o.Secret = func(_ context.Context, name, _ string) (string, error) {
			return "", fmt.Errorf("there is no secret %s", name)
		}
	}
	if o.NewID == nil {
		o.NewID = newID
	}
	if o.Metrics == nil {
		o.Metrics = NewMetrics(nil)
	}
	e := &Engine{Options: o}
	e.reports = db.NewGroup(o.DB, e.writeReports)
	e.emissions = db.NewGroup(o.DB, e.emitAll)
	e.router.Engine = e
	e.worker.init(e)
	e.pruner = e.newPruner()
	o.Timers.HandleBatch(wakeTimer, e.wake)
	o.Timers.Handle(cancelTimer, e.endOverdue)
	return e
}

// Migrations are the tables of the engine and of all below it.
func Migrations() []db.Migrations {
	return []db.Migrations{timer.Migrations(), outbox.Migrations(), entities.Migrations(), journal.Migrations(), retention.Migrations()}
}

// SetRules swaps the rules as a whole. Nothing is routed before the first
// time. What is under way goes on with the
// version it began with; dwells of rules that changed are brought in line.
func (e *Engine) SetRules(set *rules.Set) {
	e.set.Store(set)
	e.DB.Hint(outbox.Topic)
}

// Loaded says whether SetRules was called: before that nothing is routed.
func (e *Engine) Loaded() bool { return e.set.Load() != nil }

// Rules is the set in force; an empty one before SetRules.
func (e *Engine) Rules() *rules.Set {
	if set := e.set.Load(); set != nil {
		return set
	}
	return rules.NewSet(nil)
}

// Recover takes back the runs of a process that is no more. On SQLite that is
// every leased run, since this process has the file for itself; on PostgreSQL
// their leases run out.
func (e *Engine) Recover(ctx context.Context) error {
	if e.DB.Postgres() {
		return nil
	}
	return e.DB.Write(ctx, func(ctx context.Context, tx bun.Tx) error {
		_, err := tx.NewUpdate().Model((*journal.Run)(nil)).
			Set("ready = ?, lease_node = NULL, lease_until = NULL, recoveries = recoveries + 1", true).Where("lease_until IS NOT NULL").Exec(ctx)
		return err
	})
}

// Steppers are the parts of the engine that work in the background, timers
// included, in the order in which work flows through them. What keeps the
// history bounded is not among them: simulated time passes in leaps, and who
// simulates wants to see all that happened.
func (e *Engine) Steppers() []loop.Stepper {
	return []loop.Stepper{e.Timers, &e.router, &e.worker}
}

// longest bounds how long a loop sleeps without looking: on PostgreSQL a hint
// of another node may have been lost.
func (e *Engine) longest() time.Duration {
	if e.DB.Postgres() {
		return 2 * time.Second
	}
	return 15 * time.Second
}

// Run works until ctx ends, and returns when everything it started has.
func (e *Engine) Run(ctx context.Context) error {
	names := []string{"timers", "router", "worker", "retention"}
	topics := []string{timer.Topic, outbox.Topic, journal.Topic, retention.Topic}
	var wg sync.WaitGroup
	errs := make([]error, len(names)+1)
	for i, stepper := range append(e.Steppers(), e.pruner) {
		hint, cancel := e.DB.Subscribe(topics[i])
		defer cancel()
		l := loop.Loop{
			Name: names[i], Stepper: stepper, Hint: hint, Now: e.Now, Longest: e.longest(), Log: e.Log,
			Failed: func(name string, _ error) { e.Metrics.failures.WithLabelValues(name).Inc() },
		}
		wg.Go(func() { errs[i] = l.Run(ctx) })
	}
	wg.Go(func() { errs[len(names)] = e.worker.renew(ctx) })
	wg.Wait()
	e.worker.wait()
	return errors.Join(append(errs, e.release(context.WithoutCancel(ctx)))...)
}

// release gives back the runs that this node was at, so that another one, or
// the next process, need not wait for their leases to run out.
func (e *Engine) release(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	return e.DB.Write(ctx, func(ctx context.Context, tx bun.Tx) error {
		_, err := tx.NewUpdate().Model((*journal.Run)(nil)).Set("ready = ?, lease_node = NULL, lease_until = NULL", true).
			Where("lease_node = ? AND lease_until IS NOT NULL", e.Node).Exec(ctx)
		return err
	})
}

// rule finds the rule of a version: the one in force, one compiled before, or
// the stored text.
func (e *Engine) rule(ctx context.Context, idb bun.IDB, id, version string) (*rules.Rule, error) {
	if r := e.Rules().Rule(id); r != nil && r.Version == version {
		return r, nil
	}
	if r, ok := e.compiled.Load(version); ok {
		return r.(*rules.Rule), nil
	}
	stored, err := journal.RuleVersionByID(ctx, idb, version)
	if errors.Is(err, journal.ErrNotFound) {
		return nil, &unusable{err}
	}
	if err != nil {
		return nil, err
	}
	r, err := e.Compiler.Compile(stored.Text)
	if err != nil {
		return nil, &unusable{err}
	}
	e.compiled.Store(version, r)
	return r, nil
}

// ErrUnusable is returned for a run whose rule is gone, or does not compile any
// more: a plugin that it needs is gone, say.
var ErrUnusable = errors.New("the rule cannot be compiled any more")

// unusable says what is wrong with the text of a rule.
type unusable struct{ err error }

func (u *unusable) Error() string        { return ErrUnusable.Error() + ": " + u.err.Error() }
func (u *unusable) Unwrap() error        { return u.err }
func (u *unusable) Is(target error) bool { return target == ErrUnusable }
