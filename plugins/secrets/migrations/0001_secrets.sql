-- Secrets in the database, each encrypted by itself.
CREATE TABLE stored_secrets (
    name       TEXT PRIMARY KEY,
    key_id     TEXT NOT NULL, -- of the key that it is encrypted with
    sealed     TEXT NOT NULL, -- AES-256-GCM, in base64: the nonce, then the value and its tag
    created_at BIGINT NOT NULL,
    updated_at BIGINT NOT NULL
);

-- Who was given which secret, and who could not be.
CREATE TABLE secret_uses (
    id      {{identity}},
    at      BIGINT NOT NULL,
    name    TEXT NOT NULL,
    used_by TEXT NOT NULL,
    source  TEXT NOT NULL,
    error   TEXT NOT NULL -- empty: it was given
);
CREATE INDEX secret_uses_name ON secret_uses (name, id);
CREATE INDEX secret_uses_at ON secret_uses (at);
