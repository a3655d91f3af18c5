-- Every satellite, with its newest session. Whether one is online follows from this row, satellite_listening and the time.
CREATE TABLE satellites (
    id                    TEXT PRIMARY KEY,
    name                  TEXT NOT NULL UNIQUE,
    region                TEXT NOT NULL,
    tags                  TEXT NOT NULL,
    capabilities          TEXT NOT NULL,
    version               TEXT NOT NULL,
    token_hash            TEXT NOT NULL,
    offline_threshold     BIGINT, -- in microseconds; null is the default
    threshold_at          BIGINT NOT NULL, -- when the threshold was set: it counts from then at the earliest
    last_heartbeat_at     BIGINT,
    last_connection_event TEXT CHECK (last_connection_event IN ('connected', 'disconnected', 'heartbeat_lost')),
    session_id            TEXT,
    session_epoch         BIGINT NOT NULL, -- counts the sessions: what an earlier one writes is refused
    node_id               TEXT,
    connected_at          BIGINT,
    disconnected_at       BIGINT,
    created_at            BIGINT NOT NULL
);

-- One row: until when the core has listened without a break, and since when.
CREATE TABLE satellite_listening (
    id      INTEGER PRIMARY KEY CHECK (id = 1),
    since   BIGINT NOT NULL,
    last_at BIGINT NOT NULL
);
