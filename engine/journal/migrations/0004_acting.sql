-- woken says that something the run may wait for has come since it was claimed, heeds that it waits for such a thing and not for a time alone. recoveries counts how often it was broken off since it last got any further; dead marks one that was given up.
ALTER TABLE runs ADD COLUMN woken BOOLEAN NOT NULL DEFAULT FALSE;
ALTER TABLE runs ADD COLUMN heeds BOOLEAN NOT NULL DEFAULT FALSE;
ALTER TABLE runs ADD COLUMN recoveries INTEGER NOT NULL DEFAULT 0;
ALTER TABLE runs ADD COLUMN dead BOOLEAN NOT NULL DEFAULT FALSE;
CREATE INDEX runs_dead ON runs (id) WHERE dead;

-- attempt_at is when the present attempt began, due_at when what the step waits for is due, failures how many attempts have failed.
ALTER TABLE steps ADD COLUMN attempt_at BIGINT;
ALTER TABLE steps ADD COLUMN due_at BIGINT;
ALTER TABLE steps ADD COLUMN failures INTEGER NOT NULL DEFAULT 0;

-- The events that a run waits for now or may wait for later; gone when the run has ended.
CREATE TABLE listeners (
    event  TEXT NOT NULL,
    run_id TEXT NOT NULL,
    PRIMARY KEY (event, run_id)
);
CREATE INDEX listeners_run ON listeners (run_id);

-- Such events that have come since the run began, in the order of routing.
CREATE TABLE mail (
    seq      {{identity}},
    run_id   TEXT NOT NULL,
    event_id TEXT NOT NULL,
    UNIQUE (run_id, event_id)
);
CREATE INDEX mail_event ON mail (event_id);

-- The entities that the condition which a run waits for has read; an entity_id of '' is all of the kind.
CREATE TABLE watches (
    kind      TEXT NOT NULL,
    entity_id TEXT NOT NULL,
    run_id    TEXT NOT NULL,
    PRIMARY KEY (kind, entity_id, run_id)
);
CREATE INDEX watches_run ON watches (run_id);
