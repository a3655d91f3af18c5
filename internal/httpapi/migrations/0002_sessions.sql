-- Who is signed in with a browser. hash is the SHA-256 of what the cookie holds, which is nowhere. A session of a token ends with it.
CREATE TABLE sessions (
    hash       TEXT PRIMARY KEY,
    token_id   TEXT NOT NULL,
    created_at BIGINT NOT NULL,
    expires_at BIGINT NOT NULL
);
CREATE INDEX sessions_expires ON sessions (expires_at);
