-- What satellites are to do, and what they have.
ALTER TABLE satellites ADD COLUMN revision BIGINT NOT NULL DEFAULT 0; -- of its assignments
ALTER TABLE satellites ADD COLUMN bundle TEXT NOT NULL DEFAULT ''; -- the hash of the files that it is to have
ALTER TABLE satellites ADD COLUMN buffered BIGINT NOT NULL DEFAULT 0; -- results that its agent had not delivered at its newest heartbeat
ALTER TABLE satellites ADD COLUMN refused BIGINT NOT NULL DEFAULT 0; -- results of what was not assigned to it

CREATE TABLE satellite_assignments (
    satellite_id TEXT NOT NULL,
    capability   TEXT NOT NULL,
    id           TEXT NOT NULL,
    run_every    BIGINT NOT NULL, -- in microseconds
    timeout      BIGINT NOT NULL, -- in microseconds
    spec         TEXT NOT NULL,
    secrets      TEXT NOT NULL, -- by collector, then variable: the name of a secret, never its value
    PRIMARY KEY (satellite_id, capability, id)
);

-- Up to which number the results of an agent's memory were taken.
CREATE TABLE satellite_streams (
    satellite_id TEXT NOT NULL,
    stream       TEXT NOT NULL,
    seq          BIGINT NOT NULL,
    dropped      BIGINT NOT NULL, -- results that the agent lost for want of room
    at           BIGINT NOT NULL,
    PRIMARY KEY (satellite_id, stream)
);

-- What an agent told last of how its capabilities do.
CREATE TABLE satellite_statuses (
    satellite_id TEXT NOT NULL,
    capability   TEXT NOT NULL,
    payload      TEXT NOT NULL,
    at           BIGINT NOT NULL,
    PRIMARY KEY (satellite_id, capability)
);
