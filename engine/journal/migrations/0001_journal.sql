-- What happened. An event derived from a transition is there once for it.
CREATE TABLE events (
    seq            {{identity}},
    id             TEXT NOT NULL UNIQUE,
    name           TEXT NOT NULL,
    kind           TEXT,
    entity_id      TEXT,
    payload        TEXT,
    transition_seq BIGINT,
    actor          TEXT NOT NULL,
    run_id         TEXT,
    depth          INTEGER NOT NULL,
    at             BIGINT NOT NULL,
    UNIQUE (transition_seq, name)
);
CREATE INDEX events_name ON events (name, seq);
CREATE INDEX events_entity ON events (kind, entity_id, seq);

-- What was decided about each match of a rule's trigger.
CREATE TABLE decisions (
    seq      {{identity}},
    rule     TEXT NOT NULL,
    version  TEXT NOT NULL,
    trigger_id TEXT NOT NULL,
    event_id TEXT NOT NULL,
    key      TEXT NOT NULL,
    outcome  TEXT NOT NULL,
    detail   TEXT NOT NULL,
    run_id   TEXT,
    at       BIGINT NOT NULL,
    UNIQUE (event_id, rule, trigger_id, outcome)
);
CREATE INDEX decisions_rule ON decisions (rule, seq);
CREATE INDEX decisions_outcome ON decisions (outcome, seq);

-- The text of every rule that a run or a dwell began with.
CREATE TABLE rule_versions (
    version    TEXT PRIMARY KEY,
    rule       TEXT NOT NULL,
    text       TEXT NOT NULL,
    created_at BIGINT NOT NULL
);

-- What is being done. slot is set while the run is active and its mode admits one; ready says that it waits for a worker.
CREATE TABLE runs (
    id          TEXT PRIMARY KEY,
    rule        TEXT NOT NULL,
    version     TEXT NOT NULL,
    trigger_id  TEXT NOT NULL,
    event_id    TEXT NOT NULL,
    key         TEXT NOT NULL,
    slot        TEXT UNIQUE,
    status      TEXT NOT NULL,
    ready       BOOLEAN NOT NULL,
    depth       INTEGER NOT NULL,
    attempt     INTEGER NOT NULL,
    epoch       BIGINT NOT NULL,
    lease_node  TEXT,
    lease_until BIGINT,
    error       TEXT,
    created_at  BIGINT NOT NULL,
    started_at  BIGINT,
    finished_at BIGINT
);
CREATE INDEX runs_ready ON runs (created_at, id) WHERE ready;
CREATE INDEX runs_leased ON runs (lease_until) WHERE lease_until IS NOT NULL;
CREATE INDEX runs_rule ON runs (rule, id);
CREATE INDEX runs_status ON runs (status, id);
CREATE INDEX runs_event ON runs (event_id);

-- What each step of a run did. A row in a final status is never done again.
CREATE TABLE steps (
    run_id      TEXT NOT NULL,
    path        TEXT NOT NULL,
    iteration   TEXT NOT NULL,
    position    INTEGER NOT NULL,
    step_id     TEXT,
    action      TEXT NOT NULL,
    status      TEXT NOT NULL,
    attempt     INTEGER NOT NULL,
    input       TEXT,
    output      TEXT,
    error       TEXT,
    started_at  BIGINT NOT NULL,
    finished_at BIGINT,
    PRIMARY KEY (run_id, path, iteration)
);
