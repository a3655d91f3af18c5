-- Who may use the HTTP API. hash is the SHA-256 of the token, which is nowhere.
CREATE TABLE tokens (
    id         TEXT PRIMARY KEY,
    name       TEXT NOT NULL UNIQUE,
    role       TEXT NOT NULL,
    hash       TEXT NOT NULL UNIQUE,
    created_at BIGINT NOT NULL,
    expires_at BIGINT,
    last_used  BIGINT
);

-- Every write that came in by HTTP. status is null while the answer is not known: after a crash it stays so.
CREATE TABLE audit (
    seq    {{identity}},
    actor  TEXT NOT NULL,
    method TEXT NOT NULL,
    path   TEXT NOT NULL,
    remote TEXT NOT NULL,
    status INTEGER,
    at     BIGINT NOT NULL
);
CREATE INDEX audit_at ON audit (at);
