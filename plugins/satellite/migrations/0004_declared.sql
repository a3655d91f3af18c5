-- Where a satellite is written: file or api.
ALTER TABLE satellites ADD COLUMN source TEXT NOT NULL DEFAULT 'api';

-- The satellites of the files. A timer brings the satellites in line with them.
CREATE TABLE satellite_declarations (
    name              TEXT PRIMARY KEY,
    region            TEXT NOT NULL,
    tags              TEXT NOT NULL,
    offline_threshold BIGINT -- in microseconds; null is the default
);
