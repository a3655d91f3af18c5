-- What is to be checked, as the files and the API say.
CREATE TABLE checks (
    id         TEXT PRIMARY KEY,
    source     TEXT NOT NULL CHECK (source IN ('file', 'api')),
    definition TEXT NOT NULL,
    status     TEXT NOT NULL DEFAULT '', -- as of its newest change; empty before the first
    since      BIGINT, -- when it became so
    created_at BIGINT NOT NULL,
    updated_at BIGINT NOT NULL
);

-- Who looks at a check, and what he thinks of it: satellites by their ids, and the core as "local".
CREATE TABLE check_observers (
    check_id  TEXT NOT NULL,
    observer  TEXT NOT NULL,
    name      TEXT NOT NULL,
    region    TEXT NOT NULL,
    observing BOOLEAN NOT NULL DEFAULT FALSE, -- whether what he thinks counts
    status    TEXT NOT NULL DEFAULT '', -- empty before he knows
    flapping  BOOLEAN NOT NULL DEFAULT FALSE,
    recent    TEXT NOT NULL DEFAULT '', -- his newest results, oldest first, a letter each
    latency   BIGINT NOT NULL DEFAULT 0, -- of the newest, in microseconds
    message   TEXT NOT NULL DEFAULT '', -- of the newest
    result_at BIGINT,
    PRIMARY KEY (check_id, observer)
);
CREATE INDEX check_observers_observer ON check_observers (observer);

-- Each result, for a while.
CREATE TABLE check_results (
    id       {{identity}},
    check_id TEXT NOT NULL,
    observer TEXT NOT NULL,
    at       BIGINT NOT NULL,
    outcome  TEXT NOT NULL,
    latency  BIGINT NOT NULL, -- in microseconds
    message  TEXT NOT NULL
);
CREATE INDEX check_results_check ON check_results (check_id, at, id);

-- The results of an hour, for long.
CREATE TABLE check_hours (
    check_id    TEXT NOT NULL,
    at          BIGINT NOT NULL, -- when the hour begins
    observer    TEXT NOT NULL,
    up          BIGINT NOT NULL,
    degraded    BIGINT NOT NULL,
    down        BIGINT NOT NULL,
    failed      BIGINT NOT NULL, -- could not be looked
    latency_sum BIGINT NOT NULL, -- in microseconds, of those that are not failed
    latency_min BIGINT,
    latency_max BIGINT,
    PRIMARY KEY (check_id, at, observer)
);
