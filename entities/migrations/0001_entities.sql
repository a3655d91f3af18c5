-- The recorded view of every entity. state is null before the first change and after the removal; the version goes on counting.
CREATE TABLE entities (
    kind       TEXT NOT NULL,
    id         TEXT NOT NULL,
    version    BIGINT NOT NULL,
    state      TEXT,
    since      TEXT,
    updated_at BIGINT NOT NULL,
    PRIMARY KEY (kind, id)
);

-- What changed, for ever: a row for each version of each entity.
CREATE TABLE transitions (
    seq       {{identity}},
    kind      TEXT NOT NULL,
    entity_id TEXT NOT NULL,
    version   BIGINT NOT NULL,
    delta     TEXT NOT NULL,
    next      TEXT,
    actor     TEXT NOT NULL,
    run_id    TEXT,
    depth     INTEGER NOT NULL,
    at        BIGINT NOT NULL,
    UNIQUE (kind, entity_id, version)
);
CREATE INDEX transitions_at ON transitions (at);
CREATE INDEX transitions_run ON transitions (run_id) WHERE run_id IS NOT NULL;
