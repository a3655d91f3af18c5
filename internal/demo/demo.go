// Package demo shows the main job on one screen: an engine on a database of its
// own, three satellites that are real processes, and a rule. One satellite is
// killed; the loss is found, the rule fires, and the history shows it.
package demo

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/flightrules/flightrules/engine/journal"
	"github.com/flightrules/flightrules/entities"
	"github.com/flightrules/flightrules/examples"
	"github.com/flightrules/flightrules/internal/app"
	"github.com/flightrules/flightrules/internal/client"
	"github.com/flightrules/flightrules/plugins/satellite"
)

// The numbers of the demo. In production a satellite sends a heartbeat every
// 15 s and counts as lost after 45 s; nobody wants to watch that.
const (
	heartbeat = 500 * time.Millisecond
	threshold = 3 * time.Second
	patience  = 30 * time.Second // for anything that is to happen
)

// rule is the rule that pages, in examples/demo.
const rule = "page-when-satellite-is-lost"

// Options say how the demo runs.
type Options struct {
	Out     io.Writer
	Once    bool   // end by itself when the history shows what it should
	Program string // the binary that runs the agents: `PROGRAM satellite run ...`
	Version string
	Listen  string // address of the engine; "": a free port of this machine
}

// Run runs the demo. With Once it returns nil when the loss was detected, the
// rule ran, the receiver was called and the history shows it all; otherwise it
// goes on until ctx ends.
func Run(ctx context.Context, o Options) (err error) {
	folder, err := os.MkdirTemp("", "flightrules-demo-")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(folder)) }()
	if o.Listen == "" {
		o.Listen = "127.0.0.1:0"
	}
	d := &demo{Options: o, folder: folder, began: time.Now()}
	return d.run(ctx)
}

type demo struct {
	Options
	folder string
	began  time.Time
	pager  *pager
	up     *app.Serving
	api    *client.Client
	agents []*agentProcess
}

// say prints a line of the account, with the seconds since the beginning.
func (d *demo) say(format string, args ...any) {
	_, _ = fmt.Fprintf(d.Out, "%7.2fs  %s\n", time.Since(d.began).Seconds(), fmt.Sprintf(format, args...)) // nobody to tell
}

func (d *demo) run(ctx context.Context) (err error) {
	ctx, stop := context.WithCancel(ctx)
	if d.pager, err = startPager(); err != nil {
		stop()
		return err
	}
	served := make(chan error, 1)
	defer func() {
		for _, a := range d.agents {
			a.end()
		}
		stop()
		err = errors.Join(err, <-served, d.pager.close())
	}()
	started := make(chan *app.Serving, 1)
	go func() { served <- d.serve(ctx, func(up *app.Serving) { started <- up }) }()
	select {
	case d.up = <-started:
	case err := <-served:
		served <- nil
		return err
	}
	if err := d.show(ctx); err != nil {
		return err
	}
	if d.Once {
		return nil
	}
	d.stay()
	select {
	case <-ctx.Done():
		return nil
	case err := <-served:
		served <- nil
		return err
	}
}

// serve runs the engine, with the rules of the examples and short times.
func (d *demo) serve(ctx context.Context, started func(*app.Serving)) error {
	rules := filepath.Join(d.folder, "rules")
	if err := d.writeRules(rules); err != nil {
		return err
	}
	log, err := os.Create(filepath.Join(d.folder, "engine.log"))
	if err != nil {
		return err
	}
	defer func() { _ = log.Close() }() // it goes away with the folder
	c := app.ServeConfig{Data: d.folder, Listen: d.Listen, Version: d.Version, Started: started}
	c.Dir = rules
	c.Log = slog.New(slog.NewTextHandler(log, nil))
	c.Metrics = app.NewMetrics()
	c.Plugins = app.Plugins(app.PluginConfig{Satellites: satellite.Config{
		HeartbeatInterval: heartbeat, OfflineThreshold: threshold, MinThreshold: time.Second,
		FlushInterval: 50 * time.Millisecond, ListenInterval: 250 * time.Millisecond, Registerer: c.Metrics,
	}})
	return app.Serve(ctx, c)
}

// writeRules copies the examples, with the address of the pager of this demo.
func (d *demo) writeRules(to string) error {
	if err := os.Mkdir(to, 0o700); err != nil {
		return err
	}
	files, err := examples.Demo.ReadDir("demo")
	if err != nil {
		return err
	}
	for _, f := range files {
		text, err := examples.Demo.ReadFile("demo/" + f.Name())
		if err != nil {
			return err
		}
		own := strings.ReplaceAll(string(text), "http://127.0.0.1:9099/pages", d.pager.url)
		if err := os.WriteFile(filepath.Join(to, f.Name()), []byte(own), 0o600); err != nil {
			return err
		}
	}
	return nil
}

// show is the story.
func (d *demo) show(ctx context.Context) error {
	token, err := client.ReadToken(d.up.TokenFile)
	if err != nil {
		return err
	}
	d.api = client.New(d.up.URL, token)
	d.say("the engine is up at %s with %d rules, on SQLite in %s", d.up.URL, d.up.RulesCount, d.folder)
	d.say("for the demo, a satellite counts as lost after %s instead of 45s", threshold)

	for _, s := range []struct{ name, region string }{{"edge-frankfurt", "eu-central"}, {"edge-ohio", "us-east"}, {"edge-tokyo", "ap-north"}} {
		if err := d.launch(ctx, s.name, s.region); err != nil {
			return err
		}
	}
	if err := d.until(ctx, "all satellites are online", d.allOnline); err != nil {
		return err
	}
	for _, a := range d.agents {
		d.say("%-15s is online (process %d)", a.name, a.pid())
	}

	lost := d.agents[0]
	if err := lost.kill(); err != nil {
		return err
	}
	killed := time.Now()
	d.say("%-15s is killed with SIGKILL: no goodbye, its heartbeats just stop", lost.name)

	var loss entities.Transition
	if err := d.until(ctx, "the loss is detected", func(ctx context.Context) (bool, error) {
		loss, err = d.loss(ctx, lost.id)
		return loss.Seq != 0, err
	}); err != nil {
		return err
	}
	d.say("%-15s is declared lost, %.2fs after the kill:", lost.name, loss.At.Sub(killed).Seconds())
	for _, field := range loss.Fields() {
		d.say("    %s: %v -> %v", field, loss.Delta[field][0], loss.Delta[field][1])
	}

	var run journal.Run
	if err := d.until(ctx, "the rule has run", func(ctx context.Context) (bool, error) {
		runs, err := journal.Runs(ctx, d.up.DB.Read(), journal.Filter{Rule: rule, Limit: 1})
		if err != nil || len(runs) == 0 || !runs[0].Status.Final() {
			return false, err
		}
		run = runs[0]
		return true, nil
	}); err != nil {
		return err
	}
	return d.account(ctx, run)
}

// launch makes a satellite and starts its agent.
func (d *demo) launch(ctx context.Context, name, region string) error {
	s, err := d.api.SatelliteToken(ctx, client.NewSatellite{Name: name, Region: region}, "")
	if err != nil {
		return err
	}
	a, err := startAgent(d.Program, d.folder, d.up.URL, s)
	if err != nil {
		return err
	}
	d.agents = append(d.agents, a)
	return nil
}

func (d *demo) allOnline(ctx context.Context) (bool, error) {
	for _, a := range d.agents {
		if err := a.ended(); err != nil {
			return false, err
		}
		state, err := d.up.Entities.State(ctx, d.up.DB.Read(), "satellite", a.id)
		if err != nil || state["status"] != "online" {
			return false, err
		}
	}
	return true, nil
}

// loss is the transition that holds both halves of the loss.
func (d *demo) loss(ctx context.Context, id string) (entities.Transition, error) {
	list, err := d.up.Entities.Transitions(ctx, d.up.DB.Read(), entities.Filter{Kind: "satellite", ID: id, Limit: 5})
	for _, t := range list {
		if t.Delta["status"] == [2]any{"online", "offline"} && t.Delta["last_event"] == [2]any{"connected", "heartbeat_lost"} {
			return t, nil
		}
	}
	return entities.Transition{}, err
}

// account tells what was decided and done, from the rows of the journal.
func (d *demo) account(ctx context.Context, run journal.Run) error {
	event, err := journal.EventByID(ctx, d.up.DB.Read(), run.EventID)
	if err != nil {
		return err
	}
	d.say("event    %s", event.Name)
	decisions, err := journal.Decisions(ctx, d.up.DB.Read(), journal.Filter{Event: event.ID})
	if err != nil {
		return err
	}
	for _, decision := range decisions {
		d.say("decision %s: %s %s", decision.Rule, decision.Outcome, decision.Detail)
	}
	steps, err := journal.Steps(ctx, d.up.DB.Read(), run.ID)
	if err != nil {
		return err
	}
	for _, s := range steps {
		d.say("step     %-10s %-5s %s %s", s.Path, s.Action, s.Status, s.Error)
	}
	d.say("run      %s, %.0f ms after the event", run.Status, float64(run.FinishedAt.Sub(event.At.Time).Microseconds())/1000)
	if run.Status != journal.RunSucceeded {
		return fmt.Errorf("the run of %s ended as %s: %s", rule, run.Status, run.Error)
	}
	page, err := d.pager.received()
	if err != nil {
		return err
	}
	var shown map[string]any
	if err := json.Unmarshal(page.body, &shown); err != nil {
		return fmt.Errorf("what the pager received is no JSON: %w", err)
	}
	d.say("the pager received %q with Idempotency-Key %s", shown["title"], page.key)
	return nil
}

// stay tells what can be looked at.
func (d *demo) stay() {
	token, err := client.ReadToken(d.up.TokenFile)
	if err != nil {
		token = "(in " + d.up.TokenFile + ")"
	}
	_, _ = fmt.Fprintf(d.Out, `
The engine stays up; end it with Ctrl-C. Look around in a browser, at %[2]s,
or with curl; both take this token:

  TOKEN=%[1]s
  curl -H "Authorization: Bearer $TOKEN" %[2]s/api/v1/satellites
  curl -H "Authorization: Bearer $TOKEN" %[2]s/api/v1/transitions
  curl -H "Authorization: Bearer $TOKEN" %[2]s/api/v1/rules/%[3]s/decisions
  curl -H "Authorization: Bearer $TOKEN" %[2]s/api/v1/runs

The rules are in %[4]s; edit them and they are loaded again.
The API is described at %[2]s/openapi.json.
`, token, d.up.URL, rule, filepath.Join(d.folder, "rules")) // nobody to tell
}

// until waits for something to become true.
func (d *demo) until(ctx context.Context, what string, holds func(ctx context.Context) (bool, error)) error {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	for {
		yes, err := holds(ctx)
		if err != nil {
			return fmt.Errorf("waiting until %s: %w", what, err)
		}
		if yes {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("waited until %s, for %s: %w\n%s", what, patience, ctx.Err(), d.engineLog())
		case <-time.After(20 * time.Millisecond):
		}
	}
}

// engineLog is the log of the engine, for when something went wrong.
func (d *demo) engineLog() string {
	text, err := os.ReadFile(filepath.Join(d.folder, "engine.log"))
	if err != nil {
		return err.Error()
	}
	return string(text)
}
