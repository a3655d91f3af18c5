-- How rules came into force and left it, and were paused and resumed: what they were at any time.
CREATE TABLE rule_changes (
    seq     {{identity}},
    rule    TEXT NOT NULL,
    change  TEXT NOT NULL,
    version TEXT,
    actor   TEXT,
    reason  TEXT,
    at      BIGINT NOT NULL
);
