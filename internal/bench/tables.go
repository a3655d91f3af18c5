package bench

import (
	"slices"

	"github.com/uptrace/bun"
)

// transitions are all transitions, but for their numbers.
func transitions() *rawTable {
	return &rawTable{
		like: "transitions", order: "seq",
		columns: []string{"kind", "entity_id", "version", "delta", "next", "actor", "run_id", "depth", "at"},
		table: `
CREATE TABLE raw (
	seq %s, kind TEXT NOT NULL, entity_id TEXT NOT NULL, version BIGINT NOT NULL, delta TEXT NOT NULL, next TEXT,
	actor TEXT NOT NULL, run_id TEXT, depth INTEGER NOT NULL, at BIGINT NOT NULL, UNIQUE (kind, entity_id, version)
);
CREATE INDEX raw_at ON raw (at);
CREATE INDEX raw_run ON raw (run_id) WHERE run_id IS NOT NULL;`,
	}
}

// rawEvents are the custom events of a name.
func rawEvents(name string) *rawTable {
	return &rawTable{
		like: "events", order: "seq", where: "name = ?", args: []any{"custom." + name},
		columns: []string{"id", "name", "kind", "entity_id", "payload", "transition_seq", "actor", "run_id", "depth", "at", "about_seq"},
		table: `
CREATE TABLE raw (
	seq %s, id TEXT NOT NULL UNIQUE, name TEXT NOT NULL, kind TEXT, entity_id TEXT, payload TEXT, transition_seq BIGINT,
	actor TEXT NOT NULL, run_id TEXT, depth INTEGER NOT NULL, at BIGINT NOT NULL, about_seq BIGINT, UNIQUE (transition_seq, name)
);
CREATE INDEX raw_name ON raw (name, seq);
CREATE INDEX raw_entity ON raw (kind, entity_id, seq);`,
	}
}

// rawDecisions are the decisions of some rules.
func rawDecisions(rules ...string) *rawTable {
	return &rawTable{
		like: "decisions", order: "seq", where: "rule IN (?)", args: []any{bun.List(rules)},
		columns: []string{"rule", "version", "trigger_id", "event_id", "key", "outcome", "detail", "run_id", "at"},
		table: `
CREATE TABLE raw (
	seq %s, rule TEXT NOT NULL, version TEXT NOT NULL, trigger_id TEXT NOT NULL, event_id TEXT NOT NULL, key TEXT NOT NULL,
	outcome TEXT NOT NULL, detail TEXT NOT NULL, run_id TEXT, at BIGINT NOT NULL, UNIQUE (event_id, rule, trigger_id, outcome)
);
CREATE INDEX raw_rule ON raw (rule, seq);
CREATE INDEX raw_outcome ON raw (outcome, seq);`,
	}
}

// rawItems are what the windows of a rule hold.
func rawItems(rule string) *rawTable {
	return &rawTable{
		like: "window_items", order: "at, event_id", where: "rule = ?", args: []any{rule},
		columns: []string{"rule", "trigger_id", "key", "event_id", "part", "at"},
		table: `
CREATE TABLE raw (
	rule TEXT NOT NULL, trigger_id TEXT NOT NULL, key TEXT NOT NULL, event_id TEXT NOT NULL, part INTEGER NOT NULL, at BIGINT NOT NULL,
	PRIMARY KEY (rule, trigger_id, key, event_id, part)
);
CREATE INDEX raw_at ON raw (rule, trigger_id, key, at);
CREATE INDEX raw_old ON raw (rule, trigger_id, at);`,
	}
}

// claimRaw and finishRaw take runs of rawRuns to their ends.
const (
	claimRaw = `UPDATE raw SET status = 'running', ready = FALSE, woken = FALSE, heeds = FALSE, lease_node = 'bench', lease_until = 1,
	epoch = epoch + 1, started_at = COALESCE(started_at, 1) WHERE id IN (%s)`
	finishRaw = `UPDATE raw SET status = 'succeeded', slot = NULL, lease_node = NULL, lease_until = NULL, finished_at = 1 WHERE id IN (%s)`
)

// rawRuns are the runs of a rule, as they were when they were ready to begin.
func rawRuns(rule string) *rawTable {
	kept := []string{
		"id", "rule", "version", "trigger_id", "event_id", "key", "lane", "depth", "attempt", "woken", "heeds", "recoveries", "dead", "created_at",
	}
	return &rawTable{
		like: "runs", order: "created_at, id", where: "rule = ?", args: []any{rule},
		columns: append(slices.Clip(kept), "slot", "status", "ready", "epoch"),
		reads:   append(slices.Clip(kept), "lane", "'queued'", "NOT dead", "0"),
		table: `
CREATE TABLE raw (
	id TEXT PRIMARY KEY, rule TEXT NOT NULL, version TEXT NOT NULL, trigger_id TEXT NOT NULL, event_id TEXT NOT NULL, key TEXT NOT NULL,
	slot TEXT UNIQUE, status TEXT NOT NULL, ready BOOLEAN NOT NULL, depth INTEGER NOT NULL, attempt INTEGER NOT NULL, epoch BIGINT NOT NULL,
	lease_node TEXT, lease_until BIGINT, error TEXT, created_at BIGINT NOT NULL, started_at BIGINT, finished_at BIGINT, variables TEXT,
	lane TEXT, batch TEXT, cancel_at BIGINT, cancel_why TEXT, woken BOOLEAN NOT NULL, heeds BOOLEAN NOT NULL, recoveries INTEGER NOT NULL,
	dead BOOLEAN NOT NULL
);
CREATE INDEX raw_ready ON raw (created_at, id) WHERE ready;
CREATE INDEX raw_leased ON raw (lease_until) WHERE lease_until IS NOT NULL;
CREATE INDEX raw_rule ON raw (rule, id);
CREATE INDEX raw_status ON raw (status, id);
CREATE INDEX raw_event ON raw (event_id);
CREATE INDEX raw_lane ON raw (lane, created_at, id) WHERE finished_at IS NULL;
CREATE INDEX raw_started ON raw (rule, key, created_at);
CREATE INDEX raw_cancelled ON raw (lease_node) WHERE cancel_at IS NOT NULL AND finished_at IS NULL;
CREATE INDEX raw_dead ON raw (id) WHERE dead;`,
	}
}

// rawSteps are the steps of the runs of a rule: all, or those of a path.
func rawSteps(rule, path string) *rawTable {
	return &rawTable{
		like: "steps", order: "run_id, position", where: "run_id IN (SELECT id FROM runs WHERE rule = ?) AND ? IN ('', path)", args: []any{rule, path},
		columns: []string{
			"run_id", "path", "iteration", "position", "step_id", "action", "status", "attempt", "failures", "attempt_at", "due_at",
			"input", "output", "error", "started_at", "finished_at",
		},
		table: `
CREATE TABLE raw (
	run_id TEXT NOT NULL, path TEXT NOT NULL, iteration TEXT NOT NULL, position INTEGER NOT NULL, step_id TEXT, action TEXT NOT NULL,
	status TEXT NOT NULL, attempt INTEGER NOT NULL, input TEXT, output TEXT, error TEXT, started_at BIGINT NOT NULL, finished_at BIGINT,
	attempt_at BIGINT, due_at BIGINT, failures INTEGER NOT NULL, PRIMARY KEY (run_id, path, iteration)
);`,
	}
}

// rawTimers are timers as the runs of a rule had them while they waited.
func rawTimers(rule string) *rawTable {
	return &rawTable{
		like: "runs", order: "created_at, id", where: "rule = ?", args: []any{rule},
		columns: []string{"key", "kind", "due_at", "attempts"},
		reads:   []string{"id", "'run.wake'", "1", "0"},
		table: `
CREATE TABLE raw (
	id %s, kind TEXT NOT NULL, key TEXT NOT NULL, due_at BIGINT NOT NULL, payload TEXT, attempts INTEGER NOT NULL DEFAULT 0, UNIQUE (kind, key)
);
CREATE INDEX raw_due ON raw (kind, due_at, id);`,
	}
}
