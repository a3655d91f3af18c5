-- What was published, by name; the newest is the current one.
CREATE TABLE script_versions (
    name         TEXT NOT NULL,
    hash         TEXT NOT NULL, -- of the manifest
    manifest     TEXT NOT NULL,
    number       BIGINT NOT NULL, -- counts the times that something was published
    published_at BIGINT NOT NULL,
    PRIMARY KEY (name, hash)
);

-- Which contents a version needs.
CREATE TABLE script_files (
    name   TEXT NOT NULL,
    hash   TEXT NOT NULL,
    digest TEXT NOT NULL,
    PRIMARY KEY (name, hash, digest)
);
CREATE INDEX script_files_digest ON script_files (digest);

-- Contents, each once, in parts.
CREATE TABLE script_blobs (
    digest TEXT NOT NULL,
    part   BIGINT NOT NULL,
    size   BIGINT NOT NULL, -- of the whole
    data   BYTEA NOT NULL,
    PRIMARY KEY (digest, part)
);

-- Which satellites are to have what, as the files say.
CREATE TABLE script_targets (
    name     TEXT PRIMARY KEY,
    version  TEXT NOT NULL, -- the beginning of a hash; empty: the current one
    selector TEXT NOT NULL
);

-- What satellites are to have, all of it together.
CREATE TABLE script_bundles (
    hash     TEXT PRIMARY KEY,
    manifest TEXT NOT NULL
);
CREATE TABLE script_satellites (
    satellite_id TEXT PRIMARY KEY,
    bundle       TEXT NOT NULL
);
