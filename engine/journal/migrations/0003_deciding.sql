-- The transition that an event is about without having been derived from it: of an entity as it was found.
ALTER TABLE events ADD COLUMN about_seq BIGINT;

-- lane is what the run's mode counts over; batch the ids of the events of a group; cancel_at when somebody asked it to end.
ALTER TABLE runs ADD COLUMN lane TEXT;
ALTER TABLE runs ADD COLUMN batch TEXT;
ALTER TABLE runs ADD COLUMN cancel_at BIGINT;
ALTER TABLE runs ADD COLUMN cancel_why TEXT;
UPDATE runs SET lane = slot;
CREATE INDEX runs_lane ON runs (lane, created_at, id) WHERE finished_at IS NULL;
CREATE INDEX runs_started ON runs (rule, key, created_at);
CREATE INDEX runs_cancelled ON runs (lease_node) WHERE cancel_at IS NOT NULL AND finished_at IS NULL;

-- What is known of a rule besides its text. loaded_at is null while no file has it.
CREATE TABLE rule_states (
    rule       TEXT PRIMARY KEY,
    loaded_at  BIGINT,
    version    TEXT,
    signatures TEXT,
    paused_at  BIGINT,
    paused_by  TEXT,
    tripped    BOOLEAN NOT NULL DEFAULT FALSE,
    reason     TEXT
);
CREATE INDEX rule_states_paused ON rule_states (rule) WHERE paused_at IS NOT NULL;

-- What a trigger gathers: the events of a window, of a group, or of several parts.
CREATE TABLE window_items (
    rule       TEXT NOT NULL,
    trigger_id TEXT NOT NULL,
    key        TEXT NOT NULL,
    event_id   TEXT NOT NULL,
    part       INTEGER NOT NULL,
    at         BIGINT NOT NULL,
    PRIMARY KEY (rule, trigger_id, key, event_id, part)
);
CREATE INDEX window_items_at ON window_items (rule, trigger_id, key, at);
CREATE INDEX window_items_old ON window_items (rule, trigger_id, at);

-- What a trigger remembers of an entity or a key: that it is on, or off.
CREATE TABLE latches (
    rule       TEXT NOT NULL,
    trigger_id TEXT NOT NULL,
    key        TEXT NOT NULL,
    value      INTEGER NOT NULL,
    PRIMARY KEY (rule, trigger_id, key)
);
CREATE INDEX latches_key ON latches (key);

-- Silences. One that is over has an ended_at; one of the files has file set.
CREATE TABLE silences (
    id         TEXT PRIMARY KEY,
    matcher    TEXT NOT NULL,
    starts_at  BIGINT NOT NULL,
    ends_at    BIGINT NOT NULL,
    reason     TEXT NOT NULL,
    author     TEXT NOT NULL,
    file       BOOLEAN NOT NULL,
    created_at BIGINT NOT NULL,
    ended_at   BIGINT
);
CREATE INDEX silences_open ON silences (ends_at) WHERE ended_at IS NULL;

-- The matches on states that a silence kept from running: they are looked at again when it ends.
CREATE TABLE silenced (
    silence    TEXT NOT NULL,
    rule       TEXT NOT NULL,
    trigger_id TEXT NOT NULL,
    kind       TEXT NOT NULL,
    entity_id  TEXT NOT NULL,
    event_id   TEXT NOT NULL,
    PRIMARY KEY (silence, rule, trigger_id, kind, entity_id)
);
