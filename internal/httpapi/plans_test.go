package httpapi_test

import (
	"context"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/uptrace/bun"

	"github.com/flightrules/flightrules/internal/dbtest"
	"github.com/flightrules/flightrules/plugins"
)

// plans gathers what the database is asked.
type plans struct {
	mu      sync.Mutex
	queries map[string]bool
}

func (p *plans) BeforeQuery(ctx context.Context, _ *bun.QueryEvent) context.Context { return ctx }

func (p *plans) AfterQuery(_ context.Context, e *bun.QueryEvent) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if strings.HasPrefix(e.Query, "SELECT") {
		p.queries[e.Query] = true
	}
}

// take gives what was gathered, and forgets it.
func (p *plans) take() map[string]bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	list := p.queries
	p.queries = map[string]bool{}
	return list
}

// numbers are so many, from 1 on, in both databases.
const numbers = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 20000) "

// many fills the tables with so much that no planner reads all of it by choice.
var many = []string{
	"INSERT INTO transitions (kind, entity_id, version, delta, next, actor, run_id, depth, at) " + numbers +
		`SELECT 'planet', 'p' || (i % 500), i, '{"status":["unknown","charted"]}', '{"status":"charted"}', 'token:a' || (i % 50), 'r' || (i % 900), 0, 1790000000000000 + i FROM n`,
	"INSERT INTO entities (kind, id, version, state, since, updated_at, search, status) " + numbers +
		`SELECT 'planet', 'p' || i, 1, '{"status":"charted"}', '{}', 1, 'p' || i || ' a planet with a name', CASE i % 100 WHEN 0 THEN 'unknown' ELSE 'charted' END FROM n`,
	"INSERT INTO events (id, name, kind, entity_id, actor, depth, at) " + numbers +
		"SELECT 'e' || i, 'custom.e' || (i % 100), 'planet', 'p' || (i % 500), 'system', 0, i FROM n",
	"INSERT INTO decisions (rule, version, trigger_id, event_id, key, outcome, detail, at) " + numbers +
		"SELECT 'rule-' || (i % 100), '1', '1', 'e' || i, '', CASE i % 50 WHEN 0 THEN 'error' ELSE 'started' END, '', i FROM n",
	"INSERT INTO runs (id, rule, version, trigger_id, event_id, key, status, ready, depth, attempt, epoch, created_at) " + numbers +
		"SELECT 'r' || i, 'rule-' || (i % 100), '1', '1', 'e' || i, '', CASE i % 100 WHEN 0 THEN 'failed' ELSE 'succeeded' END, FALSE, 0, 1, 1, i FROM n",
	"INSERT INTO audit (actor, method, path, remote, status, at) " + numbers + "SELECT 'token:a', 'POST', '/', '', 200, i FROM n",
	"INSERT INTO silences (id, matcher, starts_at, ends_at, reason, author, file, created_at, ended_at) " + numbers + "SELECT 's' || i, 'true', 1, 2, '', '', FALSE, 1, 2 FROM n",
	"INSERT INTO tokens (id, name, role, hash, created_at) " + numbers + "SELECT 't' || i, 't' || i, 'viewer', 'h' || i, 1 FROM n",
	"ANALYZE",
}

// TestListsUseIndexes asks each list with large tables, near, deep and narrowed,
// and looks at the plans of what the database was asked.
func TestListsUseIndexes(t *testing.T) {
	const (
		few = 1 << iota // an index leaves few rows, which may be sorted
		all             // a text may stand anywhere, and what is counted is gone through: all of one column
	)
	dbtest.Each(t, func(t *testing.T, url string) {
		f := newFixture(t, url)
		for _, query := range many {
			f.no(f.db.Write(t.Context(), func(ctx context.Context, tx bun.Tx) error {
				_, err := tx.ExecContext(ctx, query)
				return err
			}))
		}
		seen := &plans{queries: map[string]bool{}}
		//lint:ignore SA1019 the copy that is advised would not be the one that the server reads with
		f.db.Read().AddQueryHook(seen)
		// In SQLite a table is itself the index of its numbers, in whose order it is
		// gone through until there is enough.
		whole := regexp.MustCompile(`^SCAN (\w+)$|Seq Scan on (\w+)`)
		sorted := regexp.MustCompile(`TEMP B-TREE FOR ORDER|Sort Key`)
		for target, c := range map[string]struct {
			may   int
			index string // that the plan of SQLite has, and what is looked up in it; "": the log is gone through from its end
		}{
			"/api/v1/transitions":                                                   {0, ""},
			"/api/v1/transitions?after=5000":                                        {0, "INTEGER PRIMARY KEY"},
			"/api/v1/transitions?kind=planet&id=p7":                                 {0, "sqlite_autoindex_transitions_1 (kind=? AND entity_id=?)"},
			"/api/v1/transitions?kind=planet&id=p7&after=9000":                      {0, "sqlite_autoindex_transitions_1 (kind=? AND entity_id=?)"},
			"/api/v1/transitions?run=r7":                                            {few, "transitions_run"},
			"/api/v1/transitions?actor=token:a7":                                    {0, ""},
			"/api/v1/transitions?from=2026-09-21T00:00:00Z&to=2026-09-22T00:00:00Z": {0, ""},
			"/api/v1/entities/planet/p7/transitions?after=9000":                     {0, "sqlite_autoindex_transitions_1 (kind=? AND entity_id=?)"},
			"/api/v1/entities/planet/p7/transitions?field=status":                   {0, "sqlite_autoindex_transitions_1 (kind=? AND entity_id=?)"},
			"/api/v1/entities?kind=planet":                                          {0, "sqlite_autoindex_entities_1 (kind=?"},
			"/api/v1/entities?kind=planet&after=p5":                                 {0, "sqlite_autoindex_entities_1 (kind=? AND id>?)"},
			"/api/v1/entities?kind=planet&status=unknown":                           {0, "entities_status (kind=? AND status=?"},
			"/api/v1/entities?kind=planet&status=unknown&after=p5":                  {0, "entities_status (kind=? AND status=? AND id>?)"},
			"/api/v1/entities?kind=planet&search=p77":                               {all | few, "entities_search (kind=?"},
			"/api/v1/entities?kind=planet&search=name&after=p5":                     {all, "entities_search (kind=? AND search>?)"},
			"/api/v1/entities?kind=planet&search=p77&status=unknown":                {few, "entities_"},
			"/api/v1/events":                                  {0, ""},
			"/api/v1/events?after=5000":                       {0, "INTEGER PRIMARY KEY"},
			"/api/v1/events?name=custom.e7&after=5000":        {few, "events_name (name=? AND seq<?)"},
			"/api/v1/events?kind=planet&entity=p7&after=5000": {few, "events_entity (kind=? AND entity_id=? AND seq<?)"},
			"/api/v1/events/e7/decisions":                     {few, "sqlite_autoindex_decisions_1 (event_id=?)"},
			"/api/v1/decisions?after=5000":                    {0, "INTEGER PRIMARY KEY"},
			"/api/v1/decisions?rule=rule-7&after=5000":        {few, "decisions_rule (rule=? AND seq<?)"},
			"/api/v1/decisions?outcome=error&after=5000":      {few, "decisions_outcome (outcome=? AND seq<?)"},
			"/api/v1/rules/rule-7/activity":                   {few, "decisions_rule (rule=?"},
			"/api/v1/runs":                                    {0, ""},
			"/api/v1/runs?after=r5":                           {0, "sqlite_autoindex_runs_1 (id<?)"},
			"/api/v1/runs?rule=rule-7&after=r5":               {0, "runs_rule (rule=? AND id<?)"},
			"/api/v1/runs?status=failed&after=r5":             {0, "runs_status (status=? AND id<?)"},
			"/api/v1/runs?event=e7":                           {few, "runs_event (event_id=?)"},
			"/api/v1/runs?dead=true":                          {0, "runs_dead"},
			"/api/v1/silences?after=s5":                       {0, "sqlite_autoindex_silences_1 (id>?)"},
			"/api/v1/tokens?after=t5":                         {0, "sqlite_autoindex_tokens_1 (id<?)"},
			"/api/v1/audit?after=5000":                        {0, "INTEGER PRIMARY KEY"},
			"/api/v1/overview":                                {all, "entities_status"},
		} {
			seen.take()
			f.as(plugins.Admin, "GET", target, "").want(200)
			queries := seen.take()
			if len(queries) == 0 {
				t.Errorf("%s asks nothing", target)
			}
			used := f.db.Postgres() || c.index == ""
			for query := range queries {
				for _, line := range f.plan(query) {
					used = used || strings.Contains(line, c.index)
					found := whole.FindStringSubmatch(line)
					switch {
					case found == nil && !sorted.MatchString(line),
						found == nil && c.may&few != 0,
						found != nil && found[1] != "" && strings.Contains(query, `"seq" DESC`),
						found != nil && strings.HasPrefix(found[2], "rule_state"), // as many as there are rules
						found != nil && c.may&all != 0:
					default:
						t.Errorf("%s: %s\n  %s", target, query, line)
					}
				}
			}
			if !used {
				t.Errorf("%s does not use %s: %v", target, c.index, queries)
			}
		}
	})
}

// plan is how the database answers a query.
func (f *fixture) plan(query string) (lines []string) {
	f.t.Helper()
	if f.db.Postgres() {
		f.no(f.db.Write(f.t.Context(), func(ctx context.Context, tx bun.Tx) error { return tx.NewRaw("EXPLAIN "+query).Scan(ctx, &lines) }))
		return lines
	}
	var rows []struct {
		ID, Parent, Notused int
		Detail              string
	}
	f.no(f.db.Read().NewRaw("EXPLAIN QUERY PLAN "+query).Scan(f.t.Context(), &rows))
	for _, row := range rows {
		lines = append(lines, row.Detail)
	}
	return lines
}

func TestOverviewAndActivity(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, url string) {
		f := newFixture(t, url)
		history(f)
		var o struct {
			Kinds []struct {
				Name     string
				Count    int
				Statuses map[string]int
			}
			Rules struct{ Count, Enabled, Paused, Problems int }
			Runs  struct{ Queued, Running, Waiting, Dead int }
			Ready struct{ Status string }
		}
		f.as(plugins.Operator, "POST", "/api/v1/rules/off/pause", `{"reason":"x"}`).want(200)
		f.as(plugins.Viewer, "GET", "/api/v1/overview", "").want(200).into(&o)
		if o.Rules.Count != 2 || o.Rules.Enabled != 1 || o.Rules.Paused != 1 || o.Runs.Waiting != 1 || o.Runs.Dead != 1 || o.Runs.Queued != 0 || o.Ready.Status != "ok" {
			t.Errorf("overview %+v", o)
		}
		for _, k := range o.Kinds {
			if k.Name == "planet" && (k.Count != 1 || k.Statuses["charted"] != 1) || k.Name == "probe" && (k.Count != 1 || k.Statuses["online"] != 1) {
				t.Errorf("kind %+v", k)
			}
		}

		var a struct {
			Complete bool
			Outcomes map[string]int
			Slices   []map[string]int
			LastRun  *struct{ ID string } `json:"last_run"`
			NextAt   *time.Time           `json:"next_at"`
		}
		f.as(plugins.Viewer, "GET", "/api/v1/rules/off/activity?slices=2&since=2026-11-24T05:00:00Z", "").want(200).into(&a)
		if !a.Complete || a.Outcomes["error"] != 1 || len(a.Slices) != 2 || a.Slices[0]["error"] != 1 || a.LastRun == nil || a.LastRun.ID != "r2" || a.NextAt != nil {
			t.Errorf("activity %+v", a)
		}
		for range 3 {
			f.insertDecision("off")
		}
		f.as(plugins.Viewer, "GET", "/api/v1/rules/off/activity?limit=2", "").want(200).into(&a)
		if a.Complete || a.Outcomes["started"] != 2 {
			t.Errorf("activity %+v", a)
		}
		f.load(orbit + "  - id: nightly\n    triggers: [{every: 10m}]\n    actions: [{log: tick}]\n")
		f.settle()
		f.as(plugins.Viewer, "GET", "/api/v1/rules/nightly/activity", "").want(200).into(&a)
		if a.NextAt == nil || a.NextAt.Sub(f.clock()) > 10*time.Minute || !a.NextAt.After(f.clock()) || a.LastRun != nil {
			t.Errorf("activity %+v at %s", a, f.clock())
		}
		f.as(plugins.Viewer, "GET", "/api/v1/rules/off/activity?since=2999-01-01T00:00:00Z", "").want(422)
	})
}
