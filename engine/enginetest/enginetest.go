// Package enginetest runs a whole engine in a test, with its clock in hand: no
// goroutine works by itself, time moves when the test says so, and everything
// that falls due on the way happens in order.
package enginetest

import (
	"context"
	"encoding/json"
	"io/fs"
	"log/slog"
	"testing"
	"testing/fstest"
	"time"

	"github.com/flightrules/flightrules/engine"
	"github.com/flightrules/flightrules/engine/journal"
	"github.com/flightrules/flightrules/internal/db"
	"github.com/flightrules/flightrules/internal/dbtest"
	"github.com/flightrules/flightrules/internal/sim"
	"github.com/flightrules/flightrules/plugins"
)

// Epoch is when the clock of a test begins.
var Epoch = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

// Options are what an engine under test is made of. The zero value is an
// engine without rules and plugins on a SQLite database of its own.
type Options struct {
	// URL is the database; "": a new SQLite file.
	URL string
	// Rules is the text of a file of rules.
	Rules string
	// Plugins makes the plugins, anew at each start.
	Plugins func() []plugins.Plugin
	// Worlds makes what is outside of the plugins take part, by the verbs that
	// they declare: see sim.Sim.Given and Happen.
	Worlds bool
	// Secret is what ${{ secrets.NAME }} stands for; nil: there are none.
	Secret func(ctx context.Context, name, by string) (string, error)
	// Looked is called whenever the engine looks at the clock; nil: nobody is
	// told. What panics there ends what the engine is at, as a crash would.
	Looked func()
	// Log gets the engine's log; nil: nobody does.
	Log *slog.Logger
}

// Engine is an engine under test.
type Engine struct {
	*sim.Sim

	t testing.TB
}

// Start brings an engine up at Epoch; it is closed at the end of the test.
func Start(t testing.TB, o Options) *Engine {
	t.Helper()
	if o.URL == "" {
		o.URL = dbtest.SQLite(t)
	}
	s, err := sim.Open(context.Background(), sim.Options{
		DB: o.URL, Start: Epoch, Files: file(o.Rules), Plugins: o.Plugins, Secret: o.Secret, Worlds: o.Worlds,
		Looked: o.Looked, Log: o.Log,
	})
	return started(t, s, err)
}

func started(t testing.TB, s *sim.Sim, err error) *Engine {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(context.Background()); err != nil {
			t.Error(err)
		}
	})
	return &Engine{Sim: s, t: t}
}

func file(text string) fs.FS { return fstest.MapFS{"rules.yaml": {Data: []byte(text)}} }

// Restart stops the engine and starts it again on the same database, at the
// same time. Nothing that matters is in memory.
func (e *Engine) Restart() {
	e.t.Helper()
	e.Reopen()
	e.Settle()
}

// Reopen is Restart without doing what can be done.
func (e *Engine) Reopen() {
	e.t.Helper()
	e.must(e.Sim.Restart(context.Background()))
}

// Peer starts another node on the same database, with the same clock. The
// database must be PostgreSQL.
func (e *Engine) Peer() *Engine {
	e.t.Helper()
	peer, err := e.Sim.Peer(context.Background())
	return started(e.t, peer, err)
}

// Reload swaps the text of the file of rules.
func (e *Engine) Reload(rules string) {
	e.t.Helper()
	e.must(e.TryReload(rules))
}

// TryReload is Reload for a file that may be refused; nothing changes then.
func (e *Engine) TryReload(rules string) error {
	e.t.Helper()
	if err := e.Sim.Reload(e.t.Context(), file(rules)); err != nil {
		return err
	}
	e.Settle()
	return nil
}

// Settle does all that can be done at the present time.
func (e *Engine) Settle() {
	e.t.Helper()
	e.must(e.Sim.Settle(e.t.Context()))
}

// Advance moves the clock, stopping wherever something falls due.
func (e *Engine) Advance(d time.Duration) {
	e.t.Helper()
	e.must(e.AdvanceTo(e.t.Context(), e.Time().Add(d)))
}

// Jump moves the clock at once, as when the engine was down meanwhile: what
// falls due on the way happens late, at the next Settle.
func (e *Engine) Jump(d time.Duration) { e.Sim.Jump(e.Time().Add(d)) }

// Emit makes an event with a payload that is JSON, and settles.
func (e *Engine) Emit(name string, payload any) string {
	e.t.Helper()
	recorded, _, err := e.Engine.Emit(e.t.Context(), engine.Emitted{Name: name, Payload: db.ToJSON(payload)})
	e.must(err)
	e.Settle()
	return recorded.ID
}

// Decisions are the decisions of a rule, oldest first.
func (e *Engine) Decisions(rule string) []journal.Decision {
	e.t.Helper()
	list, err := journal.Decisions(e.t.Context(), e.DB.Read(), journal.Filter{Rule: rule})
	e.must(err)
	return reversed(list)
}

// Outcomes are the outcomes of a rule's decisions, oldest first.
func (e *Engine) Outcomes(rule string) []journal.Outcome {
	e.t.Helper()
	outcomes := []journal.Outcome{}
	for _, d := range e.Decisions(rule) {
		outcomes = append(outcomes, d.Outcome)
	}
	return outcomes
}

// Runs are the runs of a rule, oldest first.
func (e *Engine) Runs(rule string) []journal.Run {
	e.t.Helper()
	list, err := journal.Runs(e.t.Context(), e.DB.Read(), journal.Filter{Rule: rule})
	e.must(err)
	return reversed(list)
}

// Steps are the steps of a run, in the order in which they began.
func (e *Engine) Steps(run string) []journal.Step {
	e.t.Helper()
	steps, err := journal.Steps(e.t.Context(), e.DB.Read(), run)
	e.must(err)
	return steps
}

// Events are the events of a name, oldest first.
func (e *Engine) Events(name string) []journal.Event {
	e.t.Helper()
	list, err := journal.Events(e.t.Context(), e.DB.Read(), journal.Filter{Name: name})
	e.must(err)
	return reversed(list)
}

// Output is the output of the step of that path, decoded.
func (e *Engine) Output(run, path string) any {
	e.t.Helper()
	for _, s := range e.Steps(run) {
		if s.Path == path && s.Output != nil {
			var v any
			e.must(json.Unmarshal(s.Output, &v))
			return v
		}
	}
	return nil
}

func (e *Engine) must(err error) {
	e.t.Helper()
	if err != nil {
		e.t.Fatal(err)
	}
}

func reversed[T any](list []T) []T {
	out := make([]T, 0, len(list))
	for i := len(list) - 1; i >= 0; i-- {
		out = append(out, list[i])
	}
	return out
}
