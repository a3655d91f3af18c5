CREATE TABLE timers (
    id       {{identity}},
    kind     TEXT NOT NULL,
    key      TEXT NOT NULL,
    due_at   BIGINT NOT NULL,
    payload  TEXT,
    attempts INTEGER NOT NULL DEFAULT 0,
    UNIQUE (kind, key)
);
CREATE INDEX timers_due ON timers (kind, due_at, id);
