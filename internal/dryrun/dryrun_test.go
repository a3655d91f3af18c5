package dryrun_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/fstest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/uptrace/bun"

	"github.com/flightrules/flightrules/engine"
	"github.com/flightrules/flightrules/engine/journal"
	"github.com/flightrules/flightrules/entities"
	"github.com/flightrules/flightrules/internal/app"
	"github.com/flightrules/flightrules/internal/dbtest"
	"github.com/flightrules/flightrules/internal/dryrun"
	"github.com/flightrules/flightrules/internal/httpapi"
	"github.com/flightrules/flightrules/internal/shape"
	"github.com/flightrules/flightrules/internal/sim"
	"github.com/flightrules/flightrules/internal/yamlx"
	"github.com/flightrules/flightrules/plugins"
)

var noon = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

const kinds = `
kinds:
  - name: backup
    doc: A nightly backup.
    fields:
      status: {type: string, enum: [ok, failed, late], default: ok}
      size_mb: {type: number}
    events:
      - name: backup.failed
        when: change.next.status == "failed" && change.prev?.status != "failed"
        payload: {database: "${{ entity.id }}"}
notifiers:
  - {name: oncall, url: "ntfy://127.0.0.1:9/alerts"}
`

// fixture is a live engine, of which nothing runs by itself, and a Runner.
type fixture struct {
	t      *testing.T
	live   *sim.Sim
	runner *dryrun.Runner
}

func newFixture(t *testing.T, url, rules string) *fixture {
	t.Helper()
	brought := func() []plugins.Plugin { return app.Plugins(app.PluginConfig{}) }
	live, err := sim.Open(t.Context(), sim.Options{
		DB: url, Start: noon, Files: fstest.MapFS{"rules.yaml": {Data: []byte(kinds + rules)}}, Plugins: brought,
		Secret: func(_ context.Context, name, _ string) (string, error) {
			t.Errorf("the secret %s was looked up", name)
			return "", errors.New("it is for nobody")
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	f := &fixture{t: t, live: live, runner: dryrun.New(brought)}
	f.runner.SetPatience(time.Minute)
	t.Cleanup(func() {
		if err := errors.Join(f.runner.Close(context.Background()), live.Close(context.Background())); err != nil {
			t.Error(err)
		}
	})
	f.at(0)
	return f
}

// at passes time in the live engine.
func (f *fixture) at(d time.Duration) {
	f.t.Helper()
	if err := f.live.AdvanceTo(f.t.Context(), noon.Add(d)); err != nil {
		f.t.Fatal(err)
	}
}

func (f *fixture) put(id string, state map[string]any) {
	f.t.Helper()
	if _, err := f.live.Entities.Put(f.t.Context(), "backup", id, func(entities.View) (map[string]any, error) { return state, nil }); err != nil {
		f.t.Fatal(err)
	}
	if err := f.live.Settle(f.t.Context()); err != nil {
		f.t.Fatal(err)
	}
}

func (f *fixture) emit(name, payload string) string {
	f.t.Helper()
	e, _, err := f.live.Engine.Emit(f.t.Context(), engine.Emitted{Name: name, Payload: []byte(payload)})
	if err != nil {
		f.t.Fatal(err)
	}
	if err := f.live.Settle(f.t.Context()); err != nil {
		f.t.Fatal(err)
	}
	return e.ID
}

// event is the id of the newest event of a name in the live log.
func (f *fixture) event(name string) string {
	f.t.Helper()
	list, err := journal.Events(f.t.Context(), f.live.DB.Read(), journal.Filter{Name: name, Limit: 1})
	if err != nil || len(list) == 0 {
		f.t.Fatalf("there is no event %s: %v", name, err)
	}
	return list[0].ID
}

func (f *fixture) try(ask httpapi.DryRun) *httpapi.DryRunResult {
	f.t.Helper()
	result, err := f.runner.Run(f.t.Context(), f.live.Core, ask)
	if err != nil {
		f.t.Fatal(err)
	}
	return result
}

// told is a result in lines: what stopped each trigger, what was decided, what
// the run came to, and the notes.
func told(r *httpapi.DryRunResult) (lines []string) {
	for _, t := range r.Explanation.Triggers {
		if t.Gate != "" {
			lines = append(lines, fmt.Sprintf("%s no: %s", t.Trigger.ID, t.Gate))
		}
	}
	for _, d := range r.Explanation.Decisions {
		lines = append(lines, strings.TrimSpace(fmt.Sprintf("%s %s %s", d.Trigger, d.Outcome, d.Detail)))
	}
	if r.Run != nil {
		lines = append(lines, strings.TrimSpace(fmt.Sprintf("run %s %s", r.Run.Status, r.Run.Error)))
	}
	for _, s := range r.Steps {
		if s.Action == "log" {
			lines = append(lines, "log "+string(s.Input))
		}
	}
	for _, note := range r.Notes {
		lines = append(lines, "note "+note)
	}
	return lines
}

func (f *fixture) want(ask httpapi.DryRun, want ...string) {
	f.t.Helper()
	if diff := cmp.Diff(want, told(f.try(ask))); diff != "" {
		f.t.Errorf("%+v (-want +got):\n%s", ask, diff)
	}
}

func log(text string) string { return fmt.Sprintf(`log {"level":"info","text":%q}`, text) }

const (
	held     = "note the trigger waits until it has held: force the rule to see the run that would be started then"
	gathered = "note the trigger waits for other events: force the rule to see the run that would be started then"
)

func TestEventsThatHappened(t *testing.T) {
	t.Parallel()
	f := newFixture(t, dbtest.SQLite(t), `
rules:
  - id: event
    triggers: [{event: custom.x, where: event.payload.n > 1}]
    conditions: [event.payload.n < 9]
    actions: [{log: "${{ event.payload.n }} ${{ event.at == now() }}"}]
  - id: derived
    triggers: [{event: backup.failed}]
    actions: [{log: "${{ event.entity.id }} was ${{ event.change.prev?.status }}, is ${{ state('backup', 'db').status }}"}]
  - id: state
    triggers: [{state: backup.status, to: failed}, {id: late, state: backup.status, to: late}]
    actions: [{log: "${{ event.change.prev.status }} to ${{ event.change.next.status }}"}]
  - id: dwell
    triggers: [{state: backup.status, to: failed, for: 1h}]
    actions: [{log: "${{ trigger.id }} ${{ event.name }}"}]
  - id: numeric
    triggers: [{numeric: backup.size_mb, above: 10, reset: 5}]
    actions: [{log: "${{ event.change.next.size_mb }}"}]
  - id: becomes
    triggers: [{becomes: entity.state.size_mb > 15, kind: backup}]
    actions: [{log: "${{ event.entity.id }}"}]
  - id: count
    triggers: [{event: custom.x, count: 2, within: 1m}]
    actions: [{log: counted}]
  - id: unless
    triggers: [{event: custom.x, unless: {event: custom.y, within: 1m}}]
    actions: [{log: none came}]
  - id: all
    triggers: [{all: [{event: custom.x}, {event: custom.y}], within: 1m}]
    actions: [{log: all}]
  - id: group
    triggers: [{event: custom.x, group: {wait: 1m}}]
    actions: [{log: "${{ len(events) }}: ${{ events[0].payload.n }}"}]
  - id: cron
    triggers: [{cron: "30 * * * *"}]
    actions: [{log: "${{ event.payload.scheduled_at }}"}]
  - id: other
    triggers: [{every: 1h}]
    actions: [{log: other}]
  - id: absent
    triggers: [{absent: custom.z, for: 10m, since: start}]
    actions: [{log: "no ${{ event.payload.event }}"}]
  - id: hook
    triggers: [{webhook: push}]
    actions: [{log: "${{ event.payload.body }}"}]
  - id: manual
    triggers: [{manual: true, inputs: {who: {type: string}}}]
    conditions: ["false"]
    actions: [{log: "${{ event.payload.who }}"}]
`)
	f.put("db", map[string]any{"status": "ok", "size_mb": 1})
	f.at(time.Minute)
	x := f.emit("custom.x", `{"n": 5}`)
	few, many := f.emit("custom.x", `{"n": 1}`), f.emit("custom.x", `{"n": 9}`)
	hook := f.emit("webhook.push", `{"body": "b", "headers": {}, "query": {}}`)
	f.at(2 * time.Minute)
	f.put("db", map[string]any{"status": "failed", "size_mb": 20})
	failed := f.event("backup.failed")
	f.at(3 * time.Minute)
	f.put("db", map[string]any{"status": "late", "size_mb": 30})
	late := f.event("backup.changed")
	f.at(45 * time.Minute)
	if _, err := f.live.Engine.RunByHand(t.Context(), "manual", map[string]any{"who": "me"}); err != nil {
		t.Fatal(err)
	}
	f.at(46 * time.Minute)

	for name, c := range map[string]struct {
		ask  httpapi.DryRun
		want []string
	}{
		"an event, at its time": {httpapi.DryRun{Rule: "event", EventID: x}, []string{"1 started", "run succeeded", log("5 true")}},
		"a where that is false": {httpapi.DryRun{Rule: "event", EventID: few}, []string{"1 no: where"}},
		"a condition that is false": {httpapi.DryRun{Rule: "event", EventID: many}, []string{
			"1 no: conditions", "1 condition_false conditions[0]: event.payload.n < 9"}},
		"a condition that is false, by force": {httpapi.DryRun{Rule: "event", EventID: many, Force: true}, []string{"1 started", "run succeeded", log("9 true")}},
		"another event":                       {httpapi.DryRun{Rule: "derived", EventID: x}, []string{"1 no: event"}},
		"a derived event, with states of then and the change": {httpapi.DryRun{Rule: "derived", EventID: failed}, []string{
			"1 started", "run succeeded", log("db was ok, is failed")}},
		"a state, by an event that the change means": {httpapi.DryRun{Rule: "state", EventID: failed}, []string{
			"late no: trigger", "1 started", "run succeeded", log("ok to failed")}},
		"a state, by the change itself": {httpapi.DryRun{Rule: "state", EventID: late}, []string{
			"1 no: trigger", "late started", "run succeeded", log("failed to late")}},
		"one trigger alone": {httpapi.DryRun{Rule: "state", EventID: late, Trigger: "1"}, []string{"1 no: trigger"}},
		"a dwell":           {httpapi.DryRun{Rule: "dwell", EventID: failed}, []string{"1 held for 1h", held}},
		"a dwell, by force": {httpapi.DryRun{Rule: "dwell", EventID: failed, Force: true}, []string{"1 started", "run succeeded", log("1 backup.failed")}},
		"a number":          {httpapi.DryRun{Rule: "numeric", EventID: failed}, []string{"1 started", "run succeeded", log("20")}},
		"what becomes true": {httpapi.DryRun{Rule: "becomes", EventID: failed}, []string{"1 started", "run succeeded", log("db")}},
		"a count":           {httpapi.DryRun{Rule: "count", EventID: x}, []string{"1 counted 1 of 2 within 1m", gathered}},
		"a count, by force": {httpapi.DryRun{Rule: "count", EventID: x, Force: true}, []string{"1 started", "run succeeded", log("counted")}},
		"an unless":         {httpapi.DryRun{Rule: "unless", EventID: x}, []string{"1 held unless custom.y comes within 1m", held}},
		"several events":    {httpapi.DryRun{Rule: "all", EventID: x}, []string{"1 counted 1 of 2 within 1m", gathered}},
		"a group": {httpapi.DryRun{Rule: "group", EventID: x}, []string{
			`1 grouped "-" fires at 2026-03-01T12:02:00Z`, "note the trigger gathers what comes: force the rule to see the run that would be started then"}},
		"a group, by force": {httpapi.DryRun{Rule: "group", EventID: x, Force: true}, []string{"1 started", "run succeeded", log("1: 5")}},
		"a tick":            {httpapi.DryRun{Rule: "cron", EventID: f.event("engine.tick")}, []string{"1 started", "run succeeded", log("2026-03-01 12:30:00 +0000 UTC")}},
		"another's tick":    {httpapi.DryRun{Rule: "other", EventID: f.event("engine.tick")}, []string{"1 no: event"}},
		"an absence":        {httpapi.DryRun{Rule: "absent", EventID: f.event("engine.absence")}, []string{"1 started", "run succeeded", log("no custom.z")}},
		"a delivery":        {httpapi.DryRun{Rule: "hook", EventID: hook}, []string{"1 started", "run succeeded", log("b")}},
		"a run by hand":     {httpapi.DryRun{Rule: "manual", EventID: f.event("engine.manual")}, []string{"1 started", "run succeeded", log("me")}},
	} {
		t.Run(name, func(t *testing.T) {
			f := &fixture{t, f.live, f.runner}
			f.want(c.ask, c.want...)
		})
	}
}

func TestEventsThatAreMadeUp(t *testing.T) {
	t.Parallel()
	f := newFixture(t, dbtest.SQLite(t), `
rules:
  - id: event
    triggers: [{event: custom.x, where: event.payload.n > 1}]
    actions: [{log: "${{ event.payload.n }} by ${{ event.actor }}, ${{ state('backup', 'db')?.status }}"}]
  - id: derived
    triggers: [{event: backup.failed}]
    actions: [{log: "${{ event.entity.id }} ${{ event.payload.database }}"}]
  - id: any
    triggers: [{event: custom.*}]
    actions: [{log: "${{ event.name }}"}]
  - id: two
    triggers: [{id: x, event: custom.x}, {id: y, event: custom.y}]
    actions: [{log: "${{ trigger.id }}"}]
  - id: hook
    triggers: [{webhook: push, schema: {type: object, required: [ref]}}]
    actions: [{log: "${{ event.payload.body.ref }} ${{ event.payload.headers['x-a'] ?? 'none' }}"}]
  - id: manual
    triggers: [{manual: true, inputs: {who: {type: string}, n: {type: integer, default: 2}}}]
    conditions: ["false"]
    actions: [{log: "${{ event.payload.who }} ${{ event.payload.n }}"}]
  - id: state
    triggers: [{state: backup.status, to: failed}]
    actions: [{log: "${{ event.name }}"}]
  - id: off
    enabled: false
    triggers: [{event: custom.x, enabled: false}]
    actions: [{log: on}]
  - id: paused
    triggers: [{event: custom.x}]
    cooldown: 1h
    actions: [{log: on}]
`)
	f.put("db", map[string]any{"status": "late"})
	if _, err := f.live.Engine.Pause(t.Context(), "paused", "for a while"); err != nil {
		t.Fatal(err)
	}
	number := func(text string) any { return map[string]any{"n": json.Number(text)} }
	const noChange = "note the event was not derived from a change: event.change is nil"
	for name, c := range map[string]struct {
		ask  httpapi.DryRun
		want []string
	}{
		"of the trigger's name": {httpapi.DryRun{Rule: "event", Payload: number("3")}, []string{"1 started", "run succeeded", log("3 by token:me, late")}},
		"that does not match":   {httpapi.DryRun{Rule: "event", Payload: number("1")}, []string{"1 no: where"}},
		"about an entity": {httpapi.DryRun{Rule: "derived", Payload: map[string]any{"database": "a"}, Kind: "backup", EntityID: "b"}, []string{
			"1 started", "run succeeded", log("b a"), noChange}},
		"about no entity": {httpapi.DryRun{Rule: "derived", Payload: map[string]any{"database": "a"}}, []string{
			"1 started", "run succeeded", log(" a"), "note the event is about no entity, and backup.failed always is about one of kind backup", noChange}},
		"of a name that is given": {httpapi.DryRun{Rule: "any", Payload: map[string]any{}, Name: "custom.b"}, []string{"1 started", "run succeeded", log("custom.b")}},
		"for one trigger":         {httpapi.DryRun{Rule: "two", Payload: map[string]any{}, Trigger: "y"}, []string{"y started", "run succeeded", log("y")}},
		"of a webhook": {httpapi.DryRun{Rule: "hook", Payload: map[string]any{"body": map[string]any{"ref": "main"}}}, []string{
			"1 started", "run succeeded", log("main none")}},
		"inputs as a payload":  {httpapi.DryRun{Rule: "manual", Payload: map[string]any{"who": "me"}}, []string{"1 started", "run succeeded", log("me 2")}},
		"inputs":               {httpapi.DryRun{Rule: "manual", Inputs: map[string]any{"who": "you"}}, []string{"1 started", "run succeeded", log("you 2")}},
		"by hand, of any rule": {httpapi.DryRun{Rule: "state"}, []string{"manual started", "run succeeded", log("engine.manual")}},
		"by hand and by force": {httpapi.DryRun{Rule: "state", Force: true}, []string{"manual started", "run succeeded", log("engine.manual")}},
		"of what is disabled": {httpapi.DryRun{Rule: "off", Payload: map[string]any{}, Trigger: "1"}, []string{
			"1 started", "run succeeded", log("on"), "note the rule is disabled: it looks at nothing until it is enabled", "note trigger 1 is disabled"}},
		"of what is paused": {httpapi.DryRun{Rule: "paused", Payload: map[string]any{}}, []string{
			"1 started", "run succeeded", log("on"), "note the rule is paused: its matches are dropped until it is resumed"}},
		"of another text": {httpapi.DryRun{Rule: "event", Payload: number("1"), Source: "id: event\ntriggers: [{event: custom.x}]\nactions: [{log: edited}]\n"}, []string{
			"1 started", "run succeeded", log("edited")}},
		"of a new rule": {httpapi.DryRun{Rule: "new", Payload: number("1"), Source: "id: new\ntriggers: [{event: custom.x}]\nactions: [{log: new}]\n"}, []string{
			"1 started", "run succeeded", log("new")}},
	} {
		t.Run(name, func(t *testing.T) {
			ctx := entities.WithCause(t.Context(), entities.Cause{Actor: "token:me"})
			result, err := f.runner.Run(ctx, f.live.Core, c.ask)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(c.want, told(result)); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}

	for name, c := range map[string]struct {
		ask  httpapi.DryRun
		want error
		text string
	}{
		"no rule":           {httpapi.DryRun{Rule: "none"}, engine.ErrNoRule, "none"},
		"no event":          {httpapi.DryRun{Rule: "event", EventID: "none"}, journal.ErrNotFound, "event none"},
		"no trigger":        {httpapi.DryRun{Rule: "two", Trigger: "z"}, httpapi.ErrDryRun, "it has x, y"},
		"which trigger":     {httpapi.DryRun{Rule: "two", Payload: map[string]any{}}, httpapi.ErrDryRun, "say which, x or y"},
		"which name":        {httpapi.DryRun{Rule: "any", Payload: map[string]any{}}, httpapi.ErrDryRun, "custom.*: give the event a name"},
		"an unknown name":   {httpapi.DryRun{Rule: "any", Payload: map[string]any{}, Name: "bakcup.failed"}, httpapi.ErrDryRun, "unknown event"},
		"an engine's event": {httpapi.DryRun{Rule: "any", Payload: map[string]any{}, Name: "engine.tick"}, httpapi.ErrDryRun, "cannot be made up"},
		"a change":          {httpapi.DryRun{Rule: "any", Payload: map[string]any{}, Name: "backup.changed"}, httpapi.ErrDryRun, "cannot be made up"},
		"a state":           {httpapi.DryRun{Rule: "state", Payload: map[string]any{}}, httpapi.ErrDryRun, "try it with an event that happened"},
		"a misfit":          {httpapi.DryRun{Rule: "derived", Payload: map[string]any{"database": 1.0}}, httpapi.ErrPayload, "database: "},
		"another kind":      {httpapi.DryRun{Rule: "derived", Payload: map[string]any{"database": "a"}, Kind: "satellite", EntityID: "s"}, httpapi.ErrDryRun, "about a backup"},
		"an unknown kind":   {httpapi.DryRun{Rule: "event", Payload: number("3"), Kind: "moon", EntityID: "s"}, httpapi.ErrDryRun, "no kind moon"},
		"no body":           {httpapi.DryRun{Rule: "hook", Payload: map[string]any{"ref": "main"}}, httpapi.ErrPayload, "{body, headers, query}"},
		"a bad body":        {httpapi.DryRun{Rule: "hook", Payload: map[string]any{"body": map[string]any{"rex": 1}}}, httpapi.ErrPayload, "missing property 'ref'"},
		"bad inputs":        {httpapi.DryRun{Rule: "manual", Inputs: map[string]any{"who": 1.0}}, engine.ErrInputs, "who: "},
		"another rule":      {httpapi.DryRun{Rule: "event", Source: "id: other\ntriggers: [{event: custom.x}]\nactions: [{log: x}]\n"}, httpapi.ErrDryRun, "of a rule other"},
	} {
		t.Run(name, func(t *testing.T) {
			if _, err := f.runner.Run(t.Context(), f.live.Core, c.ask); !errors.Is(err, c.want) || !strings.Contains(err.Error(), c.text) {
				t.Errorf("got %v, want %v with %q", err, c.want, c.text)
			}
		})
	}
	t.Run("a text with mistakes", func(t *testing.T) {
		_, err := f.runner.Run(t.Context(), f.live.Core, httpapi.DryRun{Rule: "event", Source: "id: event\ntriggers: [{event: custom.x}]\nactions: [{lgo: x}]\n"})
		if problems, ok := errors.AsType[*yamlx.Error](err); !ok || problems.Problems[0].Line != 3 {
			t.Errorf("got %v", err)
		}
	})
	t.Run("a misfit is told with its place", func(t *testing.T) {
		_, err := f.runner.Run(t.Context(), f.live.Core, httpapi.DryRun{Rule: "derived", Payload: map[string]any{"database": 1.0, "x": 1.0}})
		if mismatch, ok := errors.AsType[*shape.Mismatch](err); !ok || len(mismatch.Problems) != 2 {
			t.Errorf("got %v", err)
		}
	})
}

// everything has steps of every sort; the address is where http would send to.
const everything = `
rules:
  - id: everything
    variables: {channel: "#oncall"}
    triggers: [{event: custom.x}]
    actions:
      - log: "begins at ${{ run.started_at }}"
      - set: {n: "${{ event.payload.n + 1 }}", channel: "${{ vars.channel }}-night"}
      - id: post
        http: {method: POST, url: "ADDRESS/x", headers: {Authorization: "Bearer ${{ secrets.HUB }}"}, json: {n: "${{ vars.n }}"}}
        retry: {attempts: 3, backoff: 1s}
      - if: steps.post.output.status == 200 and len(steps.post.output.headers) == 0
        notify: {to: oncall, message: "${{ steps.post.output.body }}"}
      - wait: 1h
      - choose:
          - when: now() - run.started_at >= duration("1h")
            do: [{log: "after ${{ now() - run.started_at }}"}]
        else: [{log: at once}]
      - wait_for: {event: custom.ack}
        timeout: 10m
        on_timeout: continue
      - wait_for: {condition: 'now() - run.started_at >= duration("2h")'}
      - repeat: {for_each: "[7, 8]"}
        do: [{set: {last: "${{ item }}"}}]
      - parallel: [[{set: {a: 1}}], [{wait: 5m}, {set: {b: 2}}]]
      - update: {kind: backup, id: db, set: {status: late}}
      - log: "still ${{ state('backup', 'db').status }}"
      - emit: {event: custom.done, payload: {n: "${{ vars.n }}"}}
      - run: other
      - silence: {match: 'event.name == "custom.x"', for: 1h, reason: quiet}
      - unsilence: nothing
      - if: "false"
        http: {url: "ADDRESS/never"}
      - stop: done
  - id: other
    triggers: [{manual: true}]
    actions: [{http: {url: "ADDRESS/other"}}]
`

func TestStepsOfEverySort(t *testing.T) {
	t.Parallel()
	dbtest.Each(t, func(t *testing.T, url string) {
		var called atomic.Int64
		server := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { called.Add(1) }))
		defer server.Close()
		f := newFixture(t, url, strings.ReplaceAll(everything, "ADDRESS", server.URL))
		f.put("db", map[string]any{"status": "failed"})
		before := f.dump()
		result := f.try(httpapi.DryRun{Rule: "everything", Payload: map[string]any{"n": json.Number("1")}})
		if diff := cmp.Diff(before, f.dump()); diff != "" {
			t.Errorf("the live database is another (-before +after):\n%s", diff)
		}
		if called.Load() != 0 {
			t.Error("something was sent")
		}

		var got []string
		for _, s := range result.Steps {
			line := fmt.Sprintf("%s %s %s %s", s.StartedAt.Sub(noon), s.Path, s.Action, s.Status)
			if slices.Contains([]string{"http", "notify", "log", "emit", "update", "run", "unsilence"}, s.Action) {
				line += " " + strings.ReplaceAll(string(s.Input), server.URL, "ADDRESS")
			}
			got = append(got, line)
		}
		want := []string{
			`0s actions[0] log succeeded {"level":"info","text":"begins at 2026-03-01T12:00:00Z"}`,
			`0s actions[1] set succeeded`,
			`0s actions[2] http succeeded {"headers":{"Authorization":"Bearer ****"},"json":{"n":2},"method":"POST","url":"ADDRESS/x"}`,
			`0s actions[3] notify succeeded {"message":{},"to":"oncall"}`,
			`0s actions[4] wait succeeded`,
			`1h0m0s actions[5] choose succeeded`,
			`1h0m0s actions[5].choose[0].do[0] log succeeded {"level":"info","text":"after 1h"}`,
			`1h0m0s actions[6] wait_for succeeded`,
			`1h10m0s actions[7] wait_for succeeded`,
			`2h0m0s actions[8] repeat succeeded`,
			`2h0m0s actions[8].do[0] set succeeded`,
			`2h0m0s actions[8].do[0] set succeeded`,
			`2h0m0s actions[9] parallel succeeded`,
			`2h0m0s actions[9].parallel[0][0] set succeeded`,
			`2h0m0s actions[9].parallel[1][0] wait succeeded`,
			`2h5m0s actions[9].parallel[1][1] set succeeded`,
			`2h5m0s actions[10] update succeeded {"id":"db","kind":"backup","set":{"status":"late"}}`,
			`2h5m0s actions[11] log succeeded {"level":"info","text":"still failed"}`,
			`2h5m0s actions[12] emit succeeded {"event":"custom.done","payload":{"n":2}}`,
			`2h5m0s actions[13] run succeeded {"inputs":{},"rule":"other"}`,
			`2h5m0s actions[14] silence succeeded`,
			`2h5m0s actions[15] unsilence succeeded {"id":"nothing"}`,
			`2h5m0s actions[16] http skipped `,
			`2h5m0s actions[17] stop succeeded`,
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("steps (-want +got):\n%s\n%v", diff, told(result))
		}
		wantVars := map[string]any{"n": 2.0, "channel": "#oncall-night", "last": 8.0, "a": 1.0, "b": 2.0}
		if diff := cmp.Diff(wantVars, result.Vars); diff != "" {
			t.Errorf("vars (-want +got):\n%s", diff)
		}
		if result.Run.Status != journal.RunSucceeded || len(result.Notes) != 0 {
			t.Errorf("run %+v, notes %q", result.Run, result.Notes)
		}
	})
}

// dump is every row of the live database, by table.
func (f *fixture) dump() map[string][]string {
	f.t.Helper()
	names := "SELECT name FROM sqlite_master WHERE type = 'table' AND name NOT LIKE 'sqlite_%'"
	if f.live.DB.Postgres() {
		names = "SELECT tablename FROM pg_tables WHERE schemaname = current_schema()"
	}
	var tables []string
	if err := f.live.DB.Read().NewRaw(names).Scan(f.t.Context(), &tables); err != nil || len(tables) < 20 {
		f.t.Fatalf("tables %v: %v", tables, err)
	}
	all := map[string][]string{}
	for _, table := range tables {
		var rows []map[string]any
		if err := f.live.DB.Read().NewRaw("SELECT * FROM ?", bun.Ident(table)).Scan(f.t.Context(), &rows); err != nil {
			f.t.Fatal(err)
		}
		all[table] = []string{}
		for _, row := range rows {
			all[table] = append(all[table], fmt.Sprint(row))
		}
		slices.Sort(all[table])
	}
	return all
}

func TestBesideALiveEngine(t *testing.T) {
	t.Parallel()
	dbtest.Each(t, func(t *testing.T, url string) {
		f := newFixture(t, url, `
rules:
  - {id: x, mode: parallel, max: 1000, triggers: [{event: custom.x}], actions: [{log: "${{ event.payload.n }}"}, {wait: 1h}, {log: again}]}
`)
		before := f.emit("custom.x", `{"n": 0}`)
		ctx, stop := context.WithCancel(t.Context())
		running := make(chan error, 1)
		go func() { running <- f.live.Engine.Run(ctx) }()
		var wg sync.WaitGroup
		for n := range 8 {
			wg.Go(func() {
				for range 4 {
					result, err := f.runner.Run(t.Context(), f.live.Core, httpapi.DryRun{Rule: "x", EventID: before})
					if err != nil {
						t.Error(err)
					} else if diff := cmp.Diff([]string{"1 started", "run succeeded", log("0"), log("again")}, told(result)); diff != "" {
						t.Errorf("(-want +got):\n%s", diff)
					}
					if _, _, err := f.live.Engine.Emit(t.Context(), engine.Emitted{Name: "custom.x", Payload: fmt.Appendf(nil, `{"n": %d}`, n)}); err != nil {
						t.Error(err)
					}
				}
			})
		}
		wg.Wait()
		stop()
		if err := <-running; err != nil {
			t.Error(err)
		}
		f.at(0)
		if n, err := f.live.DB.Read().NewSelect().Model((*journal.Run)(nil)).Count(t.Context()); err != nil || n != 33 {
			t.Errorf("%d live runs, %v; want those of the live events alone, 33", n, err)
		}
	})
}

func TestConditionsThatCameTrue(t *testing.T) {
	t.Parallel()
	dbtest.Each(t, func(t *testing.T, url string) {
		f := newFixture(t, url, `
rules:
  - id: one
    triggers: [{event: backup.failed}]
    actions: [{wait_for: {condition: 'state("backup", event.entity.id).status == "ok"'}}, {log: "after ${{ now() - event.at }}"}]
  - id: any
    triggers: [{event: backup.failed}]
    actions: [{wait_for: {condition: 'any(entities("backup"), .state.status == "late")'}, timeout: 1h}, {log: "after ${{ now() - event.at }}"}]
`)
		f.put("a", map[string]any{"status": "ok"})
		f.put("b", map[string]any{"status": "ok"})
		f.at(time.Minute)
		f.put("a", map[string]any{"status": "failed"})
		failed := f.event("backup.failed")
		f.at(3 * time.Minute)
		f.put("b", map[string]any{"status": "failed"})
		f.put("b", map[string]any{"status": "ok"})
		f.at(6 * time.Minute)
		f.put("b", map[string]any{"status": "late"})
		f.at(8 * time.Minute)
		f.put("a", map[string]any{"status": "ok"})
		f.want(httpapi.DryRun{Rule: "one", EventID: failed}, "1 started", "run succeeded", log("after 7m"))
		f.want(httpapi.DryRun{Rule: "any", EventID: failed}, "1 started", "run succeeded", log("after 5m"))
	})
}

func TestRunsThatDoNotEnd(t *testing.T) {
	t.Parallel()
	f := newFixture(t, dbtest.SQLite(t), `
rules:
  - {id: waits, triggers: [{manual: true}], actions: [{wait_for: {event: custom.x}}, {log: came}]}
  - {id: sleeps, triggers: [{manual: true}], actions: [{wait: 10000h}, {log: came}]}
  - id: loops
    triggers: [{manual: true}]
    actions: [{repeat: {while: "true"}, max: 1000000, do: [{http: {url: "http://127.0.0.1:9/"}}]}]
  - id: long
    triggers: [{manual: true}]
    actions: [{repeat: {times: 2100}, max: 3000, do: [{set: {n: "${{ index }}"}}]}]
`)
	f.want(httpapi.DryRun{Rule: "waits"}, "1 started", "run waiting", "note the run still waits: nothing comes in a dry run, and there is no timeout")
	f.want(httpapi.DryRun{Rule: "sleeps"}, "1 started", "run waiting", "note the run still waits after 366d of simulated time")
	long := f.try(httpapi.DryRun{Rule: "long"})
	if len(long.Steps) != 2000 || long.Vars["n"] != 2099.0 || !slices.Equal(long.Notes, []string{"the run has 2101 steps, of which the first 2000 are shown"}) {
		t.Errorf("%d steps, %v, %q", len(long.Steps), long.Vars, long.Notes)
	}

	f.runner.SetPatience(2 * time.Second)
	began := time.Now()
	loop := f.try(httpapi.DryRun{Rule: "loops"})
	if took := time.Since(began); took > 30*time.Second || len(loop.Steps) == 0 || !slices.Contains(loop.Notes, "the run was broken off: a dry run takes 2s at most") {
		t.Errorf("after %s: %d steps, %q", took, len(loop.Steps), loop.Notes)
	}

	t.Run("more than a few at once are told to come again", func(t *testing.T) {
		free := f.runner.Occupy()
		if _, err := f.runner.Run(t.Context(), f.live.Core, httpapi.DryRun{Rule: "waits"}); !errors.Is(err, httpapi.ErrDryRunBusy) {
			t.Errorf("got %v", err)
		}
		free()
		f.try(httpapi.DryRun{Rule: "waits"})
	})
}

func BenchmarkRun(b *testing.B) {
	var text strings.Builder
	text.WriteString(kinds + "rules:\n")
	for i := range 1000 {
		fmt.Fprintf(&text, "  - {id: r%d, triggers: [{event: custom.x, where: event.payload.n == %d}], actions: [{log: hi}, {wait: 1h}, {http: {url: \"http://127.0.0.1:9/\"}}]}\n", i, i)
	}
	brought := func() []plugins.Plugin { return app.Plugins(app.PluginConfig{}) }
	live, err := sim.Open(b.Context(), sim.Options{
		DB: dbtest.SQLite(b), Start: noon, Files: fstest.MapFS{"rules.yaml": {Data: []byte(text.String())}}, Plugins: brought,
	})
	if err != nil {
		b.Fatal(err)
	}
	runner := dryrun.New(brought)
	defer func() {
		if err := errors.Join(runner.Close(context.Background()), live.Close(context.Background())); err != nil {
			b.Error(err)
		}
	}()
	for b.Loop() {
		result, err := runner.Run(b.Context(), live.Core, httpapi.DryRun{Rule: "r7", Payload: map[string]any{"n": 7}})
		if err != nil || result.Run == nil || len(result.Steps) != 3 {
			b.Fatal(result, err)
		}
	}
}
