package ruletest

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"time"

	"github.com/flightrules/flightrules/engine/journal"
	"github.com/flightrules/flightrules/internal/db"
	"github.com/flightrules/flightrules/internal/duration"
	"github.com/flightrules/flightrules/internal/shape"
)

// What a test can see of a simulation. Moments are durations since its start,
// by the engine's clock.
type (
	runRow struct {
		Rule       string         `json:"rule"`
		Status     string         `json:"status" enum:"queued,running,waiting,succeeded,failed,cancelled"`
		Trigger    string         `json:"trigger"`
		Event      string         `json:"event" doc:"The name of what it is about."`
		Key        string         `json:"key,omitempty"`
		Attempt    int            `json:"attempt,omitempty"`
		Error      string         `json:"error,omitempty"`
		At         duration.Text  `json:"at" doc:"When it was made."`
		FinishedAt *duration.Text `json:"finished_at,omitempty"`
		Steps      []stepRow      `json:"steps"`
	}
	stepRow struct {
		Rule       string         `json:"rule,omitempty"`
		Path       string         `json:"path"`
		ID         string         `json:"id,omitempty"`
		Action     string         `json:"action"`
		Status     string         `json:"status" enum:"running,waiting,succeeded,failed,skipped,cancelled"`
		Attempt    int            `json:"attempt"`
		Iteration  string         `json:"iteration,omitempty"`
		Input      any            `json:"input,omitempty"`
		Output     any            `json:"output,omitempty"`
		Error      string         `json:"error,omitempty"`
		At         duration.Text  `json:"at"`
		FinishedAt *duration.Text `json:"finished_at,omitempty"`
	}
	actionRow struct {
		Action  string        `json:"action"`
		Config  any           `json:"config,omitempty"`
		Rule    string        `json:"rule"`
		Step    string        `json:"step" doc:"Its path."`
		Attempt int           `json:"attempt"`
		Output  any           `json:"output,omitempty"`
		Error   string        `json:"error,omitempty"`
		At      duration.Text `json:"at"`
	}
	decisionRow struct {
		Rule    string        `json:"rule"`
		Trigger string        `json:"trigger"`
		Outcome string        `json:"outcome" enum:"started,held,cancelled,counted,grouped,condition_false,blocked,queued,dropped,silenced,cooled_down,depth_exceeded,error"`
		Detail  string        `json:"detail,omitempty"`
		Event   string        `json:"event" doc:"The name of what it is about."`
		Key     string        `json:"key,omitempty"`
		At      duration.Text `json:"at"`
	}
	eventRow struct {
		Name    string        `json:"name"`
		Payload any           `json:"payload,omitempty"`
		Entity  *entityRef    `json:"entity,omitempty"`
		Actor   string        `json:"actor,omitempty"`
		Depth   int           `json:"depth,omitempty"`
		At      duration.Text `json:"at"`
	}
	timerRow struct {
		What    string        `json:"what" enum:"dwell,unless,group,absent,schedule,silence,run"`
		Rule    string        `json:"rule,omitempty"`
		Trigger string        `json:"trigger,omitempty"`
		Entity  *entityRef    `json:"entity,omitempty"`
		Silence string        `json:"silence,omitempty"`
		At      duration.Text `json:"at" doc:"When it falls due."`
	}
	logRow struct {
		Text  string        `json:"text"`
		Level string        `json:"level" enum:"debug,info,warn,error"`
		Rule  string        `json:"rule"`
		At    duration.Text `json:"at"`
	}
	entityRef struct {
		Kind string `json:"kind"`
		ID   string `json:"id"`
	}
)

func (p *player) moment(at time.Time) duration.Text { return duration.Text(at.Sub(p.test.start)) }

func (p *player) momentOf(at db.Time) *duration.Text {
	if at.IsZero() {
		return nil
	}
	m := p.moment(at.Time)
	return &m
}

// plain is a row as a map.
func plain(row any) map[string]any {
	var m map[string]any
	if err := json.Unmarshal(db.ToJSON(row), &m); err != nil {
		panic(fmt.Sprintf("ruletest: a row without a JSON form: %v", err))
	}
	return m
}

func plains[T any](rows []T) []map[string]any {
	list := make([]map[string]any, len(rows))
	for i, row := range rows {
		list[i] = plain(row)
	}
	return list
}

// names are those of events, by id.
func (p *player) names(ctx context.Context, ids []string) (map[string]string, error) {
	rows, err := journal.EventsByID(ctx, p.DB.Read(), ids...)
	names := make(map[string]string, len(rows))
	for id, row := range rows {
		names[id] = row.Name
	}
	return names, err
}

func (p *player) runRows(ctx context.Context) ([]runRow, error) {
	runs, err := journal.Runs(ctx, p.DB.Read(), journal.Filter{})
	if err != nil {
		return nil, err
	}
	slices.Reverse(runs)
	var ids, events []string
	for _, r := range runs {
		ids, events = append(ids, r.ID), append(events, r.EventID)
	}
	names, err := p.names(ctx, events)
	if err != nil {
		return nil, err
	}
	steps, err := journal.StepsOf(ctx, p.DB.Read(), ids...)
	if err != nil {
		return nil, err
	}
	rows := make([]runRow, len(runs))
	for i, r := range runs {
		rows[i] = runRow{
			Rule: r.Rule, Status: string(r.Status), Trigger: r.Trigger, Event: names[r.EventID], Key: r.Key, Attempt: r.Attempt,
			Error: r.Error, At: p.moment(r.CreatedAt.Time), FinishedAt: p.momentOf(r.FinishedAt), Steps: []stepRow{},
		}
		for _, s := range steps[r.ID] {
			row := p.stepRow(s)
			if p.atWork(s) {
				row.Status, rows[i].Status = string(journal.StepRunning), string(journal.RunRunning)
			}
			rows[i].Steps = append(rows[i].Steps, row)
		}
	}
	return rows, nil
}

func (p *player) stepRow(s journal.Step) stepRow {
	return stepRow{
		Path: s.Path, ID: s.StepID, Action: s.Action, Status: string(s.Status), Attempt: s.Attempt, Iteration: s.Iteration,
		Input: decoded(s.Input), Output: decoded(s.Output), Error: s.Error, At: p.moment(s.StartedAt.Time), FinishedAt: p.momentOf(s.FinishedAt),
	}
}

// atWork says whether the action of a step takes its time: in production it would
// be running, and nothing would be suspended.
func (p *player) atWork(s journal.Step) bool {
	c := p.newest[s.RunID+"/"+s.Path+"/"+cmp.Or(s.Iteration, "0")]
	return c != nil && !c.closed && s.Status == journal.StepWaiting
}

func decoded(text db.JSON) any {
	if text == nil {
		return nil
	}
	var v any
	if json.Unmarshal(text, &v) != nil {
		return string(text)
	}
	return v
}

// stepRows are those of all runs, in the order in which they began.
func (p *player) stepRows(ctx context.Context) ([]stepRow, error) {
	runs, err := p.runRows(ctx)
	var rows []stepRow
	for _, r := range runs {
		for _, s := range r.Steps {
			s.Rule = r.Rule
			rows = append(rows, s)
		}
	}
	slices.SortStableFunc(rows, func(a, b stepRow) int { return cmp.Compare(a.At, b.At) })
	return rows, err
}

func (p *player) logRows(ctx context.Context) ([]logRow, error) {
	steps, err := p.stepRows(ctx)
	var rows []logRow
	for _, s := range steps {
		if input, ok := s.Input.(map[string]any); ok && s.Action == "log" && s.Status == string(journal.StepSucceeded) {
			rows = append(rows, logRow{fmt.Sprint(input["text"]), fmt.Sprint(input["level"]), s.Rule, s.At})
		}
	}
	return rows, err
}

func (p *player) decisionRows(ctx context.Context) ([]decisionRow, error) {
	list, err := journal.Decisions(ctx, p.DB.Read(), journal.Filter{})
	if err != nil {
		return nil, err
	}
	slices.Reverse(list)
	var events []string
	for _, d := range list {
		events = append(events, d.EventID)
	}
	names, err := p.names(ctx, events)
	rows := make([]decisionRow, len(list))
	for i, d := range list {
		rows[i] = decisionRow{
			Rule: d.Rule, Trigger: d.Trigger, Outcome: string(d.Outcome), Detail: d.Detail, Event: names[d.EventID], Key: d.Key, At: p.moment(d.At.Time),
		}
	}
	return rows, err
}

func (p *player) eventRows(ctx context.Context) ([]eventRow, error) {
	list, err := journal.Events(ctx, p.DB.Read(), journal.Filter{})
	if err != nil {
		return nil, err
	}
	slices.Reverse(list)
	rows := []eventRow{}
	for _, e := range list {
		if e.Seq <= p.firstEvent {
			continue
		}
		row := eventRow{Name: e.Name, Payload: decoded(e.Payload), Actor: e.Actor, Depth: e.Depth, At: p.moment(e.At.Time)}
		if e.Kind != "" {
			row.Entity = &entityRef{e.Kind, e.EntityID}
		}
		rows = append(rows, row)
	}
	return rows, nil
}

func (p *player) timerRows(ctx context.Context) ([]timerRow, error) {
	list, err := p.Engine.Waiting(ctx)
	rows := make([]timerRow, len(list))
	for i, w := range list {
		rows[i] = timerRow{What: w.Kind, Rule: w.Rule, Trigger: w.Trigger, At: p.moment(w.Due)}
		if w.EntityKind != "" {
			rows[i].Entity = &entityRef{w.EntityKind, w.Entity}
		}
		if w.Kind == "silence" {
			rows[i].Silence = w.Key
		}
	}
	return rows, err
}

func (p *player) actionRows() []actionRow {
	rows := make([]actionRow, len(p.calls))
	for i, c := range p.calls {
		rows[i] = c.row
	}
	return rows
}

// seen is a sort of rows that a test can expect.
type seen struct {
	doc  string
	form func(p *parser) *shape.Shape
	rows func(ctx context.Context, p *player) ([]map[string]any, error)
	// short is the field for which a bare text stands; "": there is none.
	short string
}

func seenOf[T any](doc, short string, rows func(p *player, ctx context.Context) ([]T, error)) seen {
	return seen{doc, func(*parser) *shape.Shape { return form[T]() }, func(ctx context.Context, p *player) ([]map[string]any, error) {
		list, err := rows(p, ctx)
		return plains(list), err
	}, short}
}

// sights are what can be expected, by its key.
var sights = map[string]seen{
	"runs":      seenOf("Runs, in the order in which they were made.", "rule", (*player).runRows),
	"steps":     seenOf("Steps of all runs, in the order in which they began.", "path", (*player).stepRows),
	"decisions": seenOf("Decisions, oldest first.", "outcome", (*player).decisionRows),
	"events":    seenOf("Events that happened since the start, oldest first.", "name", (*player).eventRows),
	"timers":    seenOf("What waits for a time, the earliest first.", "what", (*player).timerRows),
	"logs":      seenOf("Lines that rules have logged, oldest first.", "text", (*player).logRows),
	"actions": {
		"Calls of actions that act on the world outside, oldest first.", (*parser).rowForm,
		func(_ context.Context, p *player) ([]map[string]any, error) {
			list := plains(p.actionRows())
			for i := range list {
				list[i] = named(list[i])
			}
			return list, nil
		}, "",
	},
}
